//! The head of an answer in HTTP/1, as a backend sends it.
//!
//! A backend is trusted more than a client, but not with framing: an answer that can be read in two ways would put one
//! client's answer before another. Called by `exchange.rs`; pure.

use std::mem::MaybeUninit;

use bytes::BytesMut;
use http::header::TRANSFER_ENCODING;
use http::response::Parts;
use http::{HeaderMap, Method, StatusCode, Version};

use super::head::{Framing, MAX_FIELDS, content_length, field_of};

/// The longest head of an answer.
const MAX_HEAD: usize = 256 * 1024;

/// It cannot be understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BrokenAnswer;

/// Reads the head at the start of `buffer` once all of it is there, and takes it out.
pub(super) fn read(buffer: &mut BytesMut) -> Result<Option<Parts>, BrokenAnswer> {
    let Some(end) = memchr::memmem::find(buffer, b"\r\n\r\n") else {
        // A head with bare line feeds is no head.
        let broken = buffer.len() > MAX_HEAD || memchr::memmem::find(buffer, b"\n\n").is_some();
        return if broken { Err(BrokenAnswer) } else { Ok(None) };
    };
    if end > MAX_HEAD {
        return Err(BrokenAnswer);
    }
    let head = buffer.split_to(end + 4).freeze();
    let mut fields = [const { MaybeUninit::<httparse::Header<'_>>::uninit() }; MAX_FIELDS];
    let mut response = httparse::Response::new(&mut []);
    let read = httparse::ParserConfig::default()
        .parse_response_with_uninit_headers(&mut response, &head, &mut fields)
        .map_err(|_| BrokenAnswer)?;
    if read != httparse::Status::Complete(head.len()) {
        return Err(BrokenAnswer);
    }
    let mut parts = http::Response::new(()).into_parts().0;
    parts.version = if response.version == Some(0) { Version::HTTP_10 } else { Version::HTTP_11 };
    parts.status = response.code.and_then(|code| StatusCode::from_u16(code).ok()).ok_or(BrokenAnswer)?;
    parts.headers.reserve(response.headers.len() + 2);
    for field in response.headers.iter() {
        let (name, value) = field_of(&head, field).ok_or(BrokenAnswer)?;
        parts.headers.append(name, value);
    }
    Ok(Some(parts))
}

/// How the body of an answer is framed (RFC 9112 section 6.3).
pub(super) fn framing(method: &Method, parts: &Parts) -> Result<Framing, BrokenAnswer> {
    let Parts { status, headers, version, .. } = parts;
    if method == Method::HEAD || status.is_informational() || matches!(status.as_u16(), 204 | 304) {
        return Ok(Framing::Empty);
    }
    let length = content_length(headers).map_err(|_| BrokenAnswer)?;
    let Some(chunked) = is_chunked(headers)? else {
        return Ok(length.map_or(Framing::Close, Framing::Length));
    };
    if length.is_some() || *version == Version::HTTP_10 {
        return Err(BrokenAnswer);
    }
    if chunked { Ok(Framing::Chunked) } else { Err(BrokenAnswer) }
}

fn is_chunked(headers: &HeaderMap) -> Result<Option<bool>, BrokenAnswer> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let Some(coding) = codings.next() else { return Ok(None) };
    if codings.next().is_some() {
        return Err(BrokenAnswer);
    }
    Ok(Some(coding.as_bytes().eq_ignore_ascii_case(b"chunked")))
}
