//! Bodies in HTTP/1: taken out of their framing as they come, strictly (RFC 9112 section 7).
//!
//! Called for requests and answers alike; pure.

use bytes::{Bytes, BytesMut};
use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, COOKIE, HOST,
    SET_COOKIE, TE, TRAILER, TRANSFER_ENCODING,
};
use http::{HeaderMap, HeaderName};
use memchr::memchr;

use super::head::{Framing, field_of};

/// The longest line that a chunk begins with: its size, and extensions that nobody reads.
const MAX_CHUNK_LINE: usize = 256;
/// How much may be said in extensions before the body is not worth it.
const MAX_EXTENSIONS: usize = 16 * 1024;
/// The longest trailers.
const MAX_TRAILERS: usize = 8 * 1024;
/// The most fields in them.
const MAX_TRAILER_FIELDS: usize = 64;

/// What comes next of a body.
#[derive(Debug, PartialEq)]
pub(crate) enum Piece {
    /// Octets of it.
    Data(Bytes),
    /// It is over, with these trailers, mostly none.
    End(HeaderMap),
    /// More has to be read first.
    More,
}

/// The framing is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BrokenBody;

/// Takes one body out of its framing.
#[derive(Debug)]
pub(crate) struct Decoder {
    state: State,
    extensions: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Length(u64),
    Close,
    Size,
    Chunk(u64),
    ChunkEnd,
    Trailers,
    Done,
}

impl Decoder {
    /// For a body that is framed so.
    pub(crate) const fn new(framing: Framing) -> Self {
        let state = match framing {
            Framing::Empty | Framing::Length(0) => State::Done,
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::Size,
            Framing::Close => State::Close,
        };
        Self { state, extensions: 0 }
    }

    /// Whether all of it was taken.
    pub(crate) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// What has to be done when the sender's connection ends here: true if the body may end so.
    pub(crate) fn may_end(&self) -> bool {
        matches!(self.state, State::Done | State::Close)
    }

    /// The next piece out of what was read.
    pub(crate) fn next(&mut self, buffer: &mut BytesMut) -> Result<Piece, BrokenBody> {
        loop {
            match self.state {
                State::Done => return Ok(Piece::End(HeaderMap::new())),
                State::Close if buffer.is_empty() => return Ok(Piece::More),
                State::Close => return Ok(Piece::Data(buffer.split().freeze())),
                State::Length(left) => {
                    let Some((data, left)) = take(buffer, left) else { return Ok(Piece::More) };
                    self.state = if left == 0 { State::Done } else { State::Length(left) };
                    return Ok(Piece::Data(data));
                }
                State::Chunk(left) => {
                    let Some((data, left)) = take(buffer, left) else { return Ok(Piece::More) };
                    self.state = if left == 0 { State::ChunkEnd } else { State::Chunk(left) };
                    return Ok(Piece::Data(data));
                }
                State::ChunkEnd => match (buffer.first(), buffer.get(1)) {
                    (Some(b'\r'), Some(b'\n')) => {
                        let _ = buffer.split_to(2);
                        self.state = State::Size;
                    }
                    (None, _) | (Some(b'\r'), None) => return Ok(Piece::More),
                    _ => return Err(BrokenBody),
                },
                State::Size => {
                    let Some(line) = line(buffer, MAX_CHUNK_LINE)? else { return Ok(Piece::More) };
                    let size = chunk_size(&line)?;
                    if line.contains(&b';') {
                        self.extensions += line.len();
                    }
                    if self.extensions > MAX_EXTENSIONS {
                        return Err(BrokenBody);
                    }
                    self.state = if size == 0 { State::Trailers } else { State::Chunk(size) };
                }
                State::Trailers => {
                    let Some(trailers) = trailers(buffer)? else { return Ok(Piece::More) };
                    self.state = State::Done;
                    return Ok(Piece::End(trailers));
                }
            }
        }
    }
}

/// As much as is there of what is wanted, and what is wanted after it.
fn take(buffer: &mut BytesMut, wanted: u64) -> Option<(Bytes, u64)> {
    let there = buffer.len().min(usize::try_from(wanted).unwrap_or(usize::MAX));
    if there == 0 {
        return None;
    }
    Some((buffer.split_to(there).freeze(), wanted - there as u64))
}

/// A line without its CR LF, once all of it is there.
fn line(buffer: &mut BytesMut, longest: usize) -> Result<Option<BytesMut>, BrokenBody> {
    let Some(end) = memchr(b'\n', buffer.get(..longest).unwrap_or(buffer)) else {
        return if buffer.len() >= longest { Err(BrokenBody) } else { Ok(None) };
    };
    let mut line = buffer.split_to(end + 1);
    if !line.ends_with(b"\r\n") {
        return Err(BrokenBody);
    }
    line.truncate(end - 1);
    Ok(Some(line))
}

/// The size that a chunk's line says (RFC 9112 section 7.1): hex digits alone, then perhaps extensions.
fn chunk_size(line: &[u8]) -> Result<u64, BrokenBody> {
    let digits = line.iter().take_while(|octet| octet.is_ascii_hexdigit()).count();
    let (number, rest) = line.split_at(digits);
    if digits == 0 || digits > 15 {
        return Err(BrokenBody);
    }
    let extensions = rest.trim_ascii_start();
    let printable = |octet: &u8| *octet == b'\t' || (*octet >= 0x20 && *octet != 0x7f);
    if !(rest.is_empty() || extensions.starts_with(b";") && rest.iter().all(printable)) {
        return Err(BrokenBody);
    }
    number.iter().try_fold(0_u64, |size, digit| {
        let digit = char::from(*digit).to_digit(16).ok_or(BrokenBody)?;
        Ok(size << 4 | u64::from(digit))
    })
}

/// The trailers up to the empty line, once all of them are there. Fields that steer framing, routing or identity are
/// left out: they have no place there (RFC 9110 section 6.5.1).
fn trailers(buffer: &mut BytesMut) -> Result<Option<HeaderMap>, BrokenBody> {
    if buffer.starts_with(b"\r\n") {
        let _ = buffer.split_to(2);
        return Ok(Some(HeaderMap::new()));
    }
    let mut line = 0;
    let end = loop {
        let rest = buffer.get(line..).unwrap_or_default();
        let Some(offset) = memchr(b'\n', rest) else {
            return if buffer.len() > MAX_TRAILERS { Err(BrokenBody) } else { Ok(None) };
        };
        if offset == 0 || rest.get(offset - 1) != Some(&b'\r') || line + offset > MAX_TRAILERS {
            return Err(BrokenBody);
        }
        line += offset + 1;
        if offset == 1 {
            break line;
        }
    };
    let section = buffer.split_to(end).freeze();
    let mut fields = [httparse::EMPTY_HEADER; MAX_TRAILER_FIELDS];
    let Ok(httparse::Status::Complete((_, fields))) = httparse::parse_headers(&section, &mut fields) else {
        return Err(BrokenBody);
    };
    let mut trailers = HeaderMap::new();
    for field in fields {
        let (name, value) = field_of(&section, field).ok_or(BrokenBody)?;
        if !is_forbidden(&name) {
            trailers.append(name, value);
        }
    }
    Ok(Some(trailers))
}

fn is_forbidden(name: &HeaderName) -> bool {
    const FORBIDDEN: [HeaderName; 12] = [
        AUTHORIZATION,
        CONNECTION,
        CONTENT_ENCODING,
        CONTENT_LENGTH,
        CONTENT_RANGE,
        CONTENT_TYPE,
        COOKIE,
        HOST,
        SET_COOKIE,
        TE,
        TRAILER,
        TRANSFER_ENCODING,
    ];
    FORBIDDEN.contains(name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// All of a body that comes in pieces of this length, its trailers, and what is left after it.
    fn decode(
        octets: &[u8],
        framing: Framing,
        piece: usize,
    ) -> Result<Option<(Vec<u8>, HeaderMap, usize)>, BrokenBody> {
        let mut decoder = Decoder::new(framing);
        let mut buffer = BytesMut::new();
        let mut body = Vec::new();
        let mut pieces = octets.chunks(piece);
        loop {
            match decoder.next(&mut buffer)? {
                Piece::Data(data) => body.extend_from_slice(&data),
                Piece::End(trailers) => {
                    return Ok(Some((body, trailers, buffer.len() + pieces.map(<[u8]>::len).sum::<usize>())));
                }
                Piece::More => match pieces.next() {
                    Some(octets) => buffer.extend_from_slice(octets),
                    None => return Ok(None),
                },
            }
        }
    }

    #[test]
    fn extensions_and_trailers_are_bounded() {
        let endless = format!("1;{}", "x".repeat(MAX_CHUNK_LINE));
        assert_eq!(decode(endless.as_bytes(), Framing::Chunked, 1000), Err(BrokenBody));
        let talkative = format!("1;{}\r\nx\r\n", "x".repeat(200)).repeat(100);
        assert_eq!(decode(talkative.as_bytes(), Framing::Chunked, 1000), Err(BrokenBody));
        let trailers = format!("0\r\n{}", "X: 1\r\n".repeat(MAX_TRAILERS));
        assert_eq!(decode(trailers.as_bytes(), Framing::Chunked, 1000), Err(BrokenBody));
        let fields = format!("0\r\n{}\r\n", "X: 1\r\n".repeat(MAX_TRAILER_FIELDS + 1));
        assert_eq!(decode(fields.as_bytes(), Framing::Chunked, 1000), Err(BrokenBody));
    }

    #[test]
    fn a_body_until_the_end_may_end_anywhere_and_no_other() {
        let mut buffer = BytesMut::from("abc");
        for (framing, may) in [(Framing::Close, true), (Framing::Length(4), false), (Framing::Chunked, false)]
        {
            let mut decoder = Decoder::new(framing);
            let _ = decoder.next(&mut buffer.split());
            assert_eq!(decoder.may_end(), may, "{framing:?}");
            buffer = BytesMut::from("3\r\nabc");
        }
    }

    proptest! {
        /// Chunks of any sizes are one body, in whatever pieces they come.
        #[test]
        fn chunks_are_put_together(chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..50), 0..8),
            piece in 1_usize..60, after in 0_usize..20) {
            let mut text = Vec::new();
            for chunk in &chunks {
                text.extend_from_slice(format!("{:X};ext\r\n", chunk.len()).as_bytes());
                text.extend_from_slice(chunk);
                text.extend_from_slice(b"\r\n");
            }
            text.extend_from_slice(b"000\r\nX-Sum: 1\r\n\r\n");
            text.extend(std::iter::repeat_n(b'!', after));
            let (body, trailers, left) = decode(&text, Framing::Chunked, piece).unwrap().unwrap();
            prop_assert_eq!(body, chunks.concat());
            prop_assert_eq!(trailers.get("x-sum").unwrap(), "1");
            prop_assert_eq!(left, after);
        }

        /// Whatever comes: nobody crashes, and pieces change nothing.
        #[test]
        fn pieces_change_nothing(octets in "[0-9a-f;\r\n x:]{0,60}", piece in 1_usize..20) {
            let (whole, pieces) = (decode(octets.as_bytes(), Framing::Chunked, 1000), decode(octets.as_bytes(), Framing::Chunked, piece));
            prop_assert_eq!(whole.is_err(), pieces.is_err());
            if let (Ok(Some((whole, ..))), Ok(Some((pieces, ..)))) = (whole, pieces) {
                prop_assert_eq!(whole, pieces);
            }
        }

        /// A body of a length takes its length and no more.
        #[test]
        fn lengths_are_kept(octets in prop::collection::vec(any::<u8>(), 0..100), length in 0_u64..120, piece in 1_usize..40) {
            let there = octets.len() as u64;
            match decode(&octets, Framing::Length(length), piece).unwrap() {
                Some((body, _, left)) => {
                    prop_assert_eq!(body.len() as u64, length);
                    prop_assert_eq!(left as u64, there - length);
                }
                None => prop_assert!(there < length),
            }
        }
    }
}
