//! The head of an answer in HTTP/1, as a backend sends it.
//!
//! A backend is trusted more than a client, but not with framing: an answer that can be read in two ways would put one
//! client's answer before another. Called by `exchange.rs`; pure.

use std::mem::MaybeUninit;
use std::sync::LazyLock;

use bytes::{Buf, BytesMut};
use http::header::TRANSFER_ENCODING;
use http::response::Parts;
use http::{HeaderMap, Method, StatusCode, Version};
use memchr::memmem::Finder;

use super::head::{Framing, MAX_FIELDS, content_length, field_of};
use super::plain::Plain;
use super::spare;

/// The longest head of an answer.
const MAX_HEAD: usize = 256 * 1024;

/// The end of a head.
static END: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\r\n\r\n"));

/// It cannot be understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BrokenAnswer;

/// The head of an answer.
#[derive(Debug)]
pub(super) enum Answer {
    /// What it says of its connection and its body was read in passing.
    Plain(Plain),
    /// That stands among its fields still, or there is none.
    Parts(Parts),
}

impl Answer {
    /// Its status.
    pub(super) const fn status(&self) -> StatusCode {
        match self {
            Self::Parts(parts) => parts.status,
            Self::Plain(plain) => plain.status,
        }
    }
}

/// Reads the head at the start of `buffer` once all of it is there, and takes it out. `text` says that its fields may stay
/// text.
pub(super) fn read(buffer: &mut BytesMut, text: bool) -> Result<Option<Answer>, BrokenAnswer> {
    let Some(end) = END.find(buffer) else {
        // A head with bare line feeds is no head.
        let broken = buffer.len() > MAX_HEAD || memchr::memmem::find(buffer, b"\n\n").is_some();
        return if broken { Err(BrokenAnswer) } else { Ok(None) };
    };
    if end > MAX_HEAD {
        return Err(BrokenAnswer);
    }
    if text && let Some(plain) = buffer.get(..end + 4).and_then(|head| Plain::read(head, None)) {
        buffer.advance(end + 4);
        return Ok(Some(Answer::Plain(plain)));
    }
    let head = buffer.split_to(end + 4).freeze();
    if !text && let Some(plain) = Plain::read(&head, Some(&head)) {
        return Ok(Some(Answer::Plain(plain)));
    }
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
    parts.headers = spare::fields();
    parts.headers.reserve(response.headers.len() + 2);
    for field in response.headers.iter() {
        let (name, value) = field_of(&head, field).ok_or(BrokenAnswer)?;
        parts.headers.append(name, value);
    }
    Ok(Some(Answer::Parts(parts)))
}

/// Whether an answer has no body, whatever its fields say (RFC 9110 section 6.4.1).
pub(super) fn is_bodiless(method: &Method, status: StatusCode) -> bool {
    method == Method::HEAD || status.is_informational() || matches!(status.as_u16(), 204 | 304)
}

/// How the body of an answer is framed (RFC 9112 section 6.3).
pub(super) fn framing(method: &Method, parts: &Parts) -> Result<Framing, BrokenAnswer> {
    let Parts { status, headers, version, .. } = parts;
    if is_bodiless(method, *status) {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// How an answer is framed, which it is in one way whether its fields stay text or not.
    fn framed(method: Method, head: &str) -> Result<Framing, BrokenAnswer> {
        let framed = |text| match read(&mut BytesMut::from(head), text)?.ok_or(BrokenAnswer)? {
            Answer::Plain(plain) => Ok(plain.framing(&method)),
            Answer::Parts(parts) => framing(&method, &parts),
        };
        assert_eq!(framed(true), framed(false));
        framed(true)
    }

    #[test]
    fn answers_are_framed_in_one_way_or_none() {
        let get = |fields: &str| framed(Method::GET, &format!("HTTP/1.1 200 OK\r\n{fields}\r\n"));
        assert_eq!(get("Content-Length: 5\r\n"), Ok(Framing::Length(5)));
        assert_eq!(get("Transfer-Encoding: Chunked\r\n"), Ok(Framing::Chunked));
        assert_eq!(get(""), Ok(Framing::Close));
        for broken in [
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            "Content-Length: 5\r\nContent-Length: 5\r\n",
            "Content-Length: x\r\n",
            "Transfer-Encoding: gzip\r\n",
            "Transfer-Encoding: gzip, chunked\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            "X: a\r\n b\r\n",
            "X : a\r\n",
        ] {
            assert_eq!(get(broken), Err(BrokenAnswer), "{broken:?}");
        }
    }

    #[test]
    fn some_answers_have_no_body_whatever_they_say() {
        let long = "Content-Length: 5\r\n\r\n";
        for status in ["204 No Content", "304 Not Modified", "101 Switching Protocols", "100 Continue"] {
            assert_eq!(framed(Method::GET, &format!("HTTP/1.1 {status}\r\n{long}")), Ok(Framing::Empty));
        }
        assert_eq!(framed(Method::HEAD, &format!("HTTP/1.1 200 OK\r\n{long}")), Ok(Framing::Empty));
    }

    #[test]
    fn a_head_is_taken_once_it_is_whole() {
        let mut buffer = BytesMut::from("HTTP/1.0 200\r\n\r");
        assert_eq!(read(&mut buffer, true).map(|parts| parts.is_some()), Ok(false));
        buffer.extend_from_slice(b"\nbody");
        let Ok(Some(Answer::Plain(parts))) = read(&mut buffer, false) else { panic!() };
        assert_eq!(
            (parts.version, parts.status.as_u16(), &buffer[..]),
            (Version::HTTP_10, 200, &b"body"[..])
        );
        assert_eq!(
            read(&mut BytesMut::from("HTTP/1.1 200 OK\n\n"), true).map(|parts| parts.is_some()),
            Err(BrokenAnswer)
        );
        assert_eq!(
            read(&mut BytesMut::from(&vec![b'x'; MAX_HEAD + 1][..]), true).map(|parts| parts.is_some()),
            Err(BrokenAnswer)
        );
    }
}
