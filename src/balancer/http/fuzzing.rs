//! Heads and bodies of HTTP/1 for the fuzz targets: fed in pieces as a connection feeds them. Built under `cfg(fuzzing)`
//! alone; called by `tests/fuzz`.

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::request::Parts;

use super::body::{Decoder, Piece};
use super::head::{Framing, HeadLimits, Scan, read};
use super::outgoing::Outgoing;

/// How the body of a message is framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framed {
    /// There is none.
    Empty,
    /// So many octets.
    Length(u64),
    /// In chunks.
    Chunked,
}

/// A head that was accepted.
#[derive(Debug)]
pub struct Head {
    /// What it says.
    pub parts: Parts,
    /// How its body is framed.
    pub framed: Framed,
    /// The octets of the head, without an empty line before it.
    pub octets: Bytes,
    /// How many octets are left behind it.
    pub left: usize,
}

/// A body, as far as it was taken out of its framing.
#[derive(Debug, PartialEq)]
pub struct Body {
    /// Its octets.
    pub data: Vec<u8>,
    /// The trailers, where it is over, and how many octets are left behind it.
    pub end: Option<(HeaderMap, usize)>,
    /// Whether the framing is broken.
    pub broken: bool,
}

/// Looks for a head in these pieces and reads it; nothing where there is none yet.
///
/// # Errors
/// The status that it is refused with.
pub fn head(pieces: &[&[u8]], most: usize, fields: usize, target: usize) -> Result<Option<Head>, u16> {
    let limits = HeadLimits { head: most, fields, target };
    let (mut scan, mut buffer) = (Scan::default(), BytesMut::new());
    for (index, piece) in pieces.iter().enumerate() {
        buffer.extend_from_slice(piece);
        if let Some(length) = scan.end(&mut buffer, &limits).map_err(|refusal| refusal.status().as_u16())? {
            let octets = buffer.split_to(length).freeze();
            let mut parts = http::Request::new(()).into_parts().0;
            let framing = read(&octets, &mut parts, &limits).map_err(|refusal| refusal.status().as_u16())?;
            let framed = match framing {
                Framing::Length(length) => Framed::Length(length),
                Framing::Chunked => Framed::Chunked,
                Framing::Empty | Framing::Close => Framed::Empty,
            };
            let behind = pieces.get(index + 1..).unwrap_or_default();
            let left = buffer.len() + behind.iter().map(|piece| piece.len()).sum::<usize>();
            return Ok(Some(Head { parts, framed, octets, left }));
        }
    }
    Ok(None)
}

/// Takes a body that comes in these pieces out of its framing.
#[must_use]
pub fn body(pieces: &[&[u8]], framed: Framed) -> Body {
    let mut decoder = Decoder::new(framing(framed));
    let mut buffer = BytesMut::new();
    let mut pieces = pieces.iter();
    let mut body = Body { data: Vec::new(), end: None, broken: false };
    loop {
        match decoder.next(&mut buffer) {
            Ok(Piece::Data(data)) => body.data.extend_from_slice(&data),
            Ok(Piece::End(trailers)) => {
                let left = buffer.len() + pieces.map(|piece| piece.len()).sum::<usize>();
                body.end = Some((trailers, left));
                return body;
            }
            Ok(Piece::More) => match pieces.next() {
                Some(piece) => buffer.extend_from_slice(piece),
                None => return body,
            },
            Err(_) => {
                body.broken = true;
                return body;
            }
        }
    }
}

/// A request as a backend would get it, its body in `pieces`: the fields that frame it are written here.
#[must_use]
pub fn written(head: &Head, pieces: &[&[u8]], trailers: &HeaderMap) -> Vec<u8> {
    let mut fields = head.parts.headers.clone();
    fields.remove(CONTENT_LENGTH);
    fields.remove(TRANSFER_ENCODING);
    let framing = framing(head.framed);
    let mut out = Outgoing::default();
    out.text(format!("{} {} HTTP/1.1\r\n", head.parts.method, head.parts.uri).as_bytes());
    out.fields(&fields);
    out.end_of_head(framing);
    let mut octets = out.waiting();
    for piece in pieces {
        let mut out = Outgoing::default();
        out.data(framing, Bytes::copy_from_slice(piece));
        octets.extend(out.waiting());
    }
    let mut out = Outgoing::default();
    out.end(framing, trailers);
    octets.extend(out.waiting());
    octets
}

const fn framing(framed: Framed) -> Framing {
    match framed {
        Framed::Empty => Framing::Empty,
        Framed::Length(length) => Framing::Length(length),
        Framed::Chunked => Framing::Chunked,
    }
}
