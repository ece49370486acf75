//! The head of a request in HTTP/1 (RFC 9112): found, read and judged before anything else looks at it.
//!
//! A message that two readers could read differently is refused here, whoever is right: that is what request smuggling
//! lives on. Called by `connection.rs` with whatever came from the client; pure.

use std::mem::MaybeUninit;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, EXPECT, HOST, TRANSFER_ENCODING};
use http::request::Parts;
use http::uri::Scheme;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, Version};
use memchr::memchr;

use super::refusal::Refusal;

/// The most fields that any configuration allows.
pub(super) const MAX_FIELDS: usize = 256;

/// How great a head may be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HeadLimits {
    /// All of it, in octets.
    pub(crate) head: usize,
    /// How many fields.
    pub(crate) fields: usize,
    /// The target, in octets.
    pub(crate) target: usize,
}

/// How the body of a message is framed (RFC 9112 section 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// There is none.
    Empty,
    /// So many octets.
    Length(u64),
    /// In chunks; the last may carry trailers.
    Chunked,
    /// Whatever comes until the connection ends; answers alone.
    Close,
}

/// How far a head has been looked through, so that slow clients cost no more than fast ones.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Scan {
    /// Octets that were looked at.
    seen: usize,
    /// Where the line begins that is being looked at.
    line: usize,
    /// Whether an empty line stood before the request line.
    skipped: bool,
    /// Whether the request line has ended.
    started: bool,
}

impl Scan {
    /// The length of the head once all of it is in `buffer`. Lines end in CR LF: a bare LF is refused, since others take
    /// it for an end of line, and some do not (RFC 9112 section 2.2).
    pub(super) fn end(
        &mut self,
        buffer: &mut BytesMut,
        limits: &HeadLimits,
    ) -> Result<Option<usize>, Refusal> {
        // The method and the version take a few octets of the first line.
        let first_line = limits.target + 32;
        while let Some(offset) = buffer.get(self.seen..).and_then(|rest| memchr(b'\n', rest)) {
            let end = self.seen + offset;
            if end == 0 || buffer.get(end - 1) != Some(&b'\r') {
                return Err(Refusal::Malformed("a line ends without CR"));
            }
            let empty = end - 1 == self.line;
            if empty && !self.started {
                // One empty line before a request is a habit of old clients.
                if self.skipped {
                    return Err(Refusal::Malformed("there is no request line"));
                }
                let _ = buffer.split_to(end + 1);
                (self.seen, self.skipped) = (0, true);
                continue;
            }
            if !self.started && end > first_line {
                return Err(Refusal::TargetTooLong);
            }
            self.seen = end + 1;
            self.line = self.seen;
            self.started = true;
            if self.seen > limits.head {
                return Err(Refusal::HeadTooLong);
            }
            if empty {
                return Ok(Some(self.seen));
            }
        }
        self.seen = buffer.len();
        if !self.started && buffer.len() > first_line {
            return Err(Refusal::TargetTooLong);
        }
        if buffer.len() > limits.head { Err(Refusal::HeadTooLong) } else { Ok(None) }
    }
}

/// Reads a whole head into `parts`, whose fields have to be empty, and says how the body is framed.
///
/// The target becomes origin-form, whatever it was, and Host names the authority (RFC 9112 section 3.2.2).
pub(super) fn read(head: &Bytes, parts: &mut Parts, limits: &HeadLimits) -> Result<Framing, Refusal> {
    let mut fields = [const { MaybeUninit::<httparse::Header<'_>>::uninit() }; MAX_FIELDS];
    let fields = fields.get_mut(..limits.fields.min(MAX_FIELDS)).unwrap_or_default();
    let mut request = httparse::Request::new(&mut []);
    let read = request.parse_with_uninit_headers(head, fields).map_err(|error| match error {
        httparse::Error::TooManyHeaders => Refusal::HeadTooLong,
        httparse::Error::Version if says_version(head) => Refusal::Version,
        httparse::Error::HeaderName => Refusal::Malformed("the name of a field is none"),
        httparse::Error::HeaderValue => Refusal::Malformed("the value of a field is none"),
        _ => Refusal::Malformed("the request line is none"),
    })?;
    if read != httparse::Status::Complete(head.len()) {
        return Err(Refusal::Malformed("the head ends early"));
    }
    let (Some(method), Some(target), Some(version)) = (request.method, request.path, request.version) else {
        return Err(Refusal::Malformed("the request line is none"));
    };
    parts.version = if version == 0 { Version::HTTP_10 } else { Version::HTTP_11 };
    parts.method =
        Method::from_bytes(method.as_bytes()).map_err(|_| Refusal::Malformed("the method is none"))?;
    if target.len() > limits.target {
        return Err(Refusal::TargetTooLong);
    }
    for field in request.headers.iter() {
        let (name, value) = field_of(head, field).ok_or(Refusal::Malformed("a field is none"))?;
        parts.headers.append(name, value);
    }
    if parts.method == Method::CONNECT {
        return Err(Refusal::Method);
    }
    let absolute = read_target(head.slice_ref(target.as_bytes()), parts)?;
    check_host(parts, absolute)?;
    if let Some(expected) = parts.headers.get(EXPECT)
        && !expected.as_bytes().eq_ignore_ascii_case(b"100-continue")
    {
        return Err(Refusal::Expectation);
    }
    framing(parts.version, &parts.headers)
}

/// Whether the first line has three words, the last of which looks like a version (RFC 9112 section 2.3).
fn says_version(head: &[u8]) -> bool {
    let line = head.split(|&octet| octet == b'\r').next().unwrap_or_default();
    let mut words = line.split(|&octet| octet == b' ').skip(2);
    let version = words.next().unwrap_or_default();
    words.next().is_none() && version.len() == 8 && version.to_ascii_uppercase().starts_with(b"HTTP/")
}

/// A field whose value shares the octets of the head.
pub(super) fn field_of(head: &Bytes, field: &httparse::Header<'_>) -> Option<(HeaderName, HeaderValue)> {
    let name = HeaderName::from_bytes(field.name.as_bytes()).ok()?;
    let value = HeaderValue::from_maybe_shared(head.slice_ref(field.value)).ok()?;
    Some((name, value))
}

/// Sets the target in origin-form or asterisk-form; the authority of an absolute one is returned.
fn read_target(target: Bytes, parts: &mut Parts) -> Result<Option<HeaderValue>, Refusal> {
    const MALFORMED: Refusal = Refusal::Malformed("the target is none");
    // A fragment never leaves a client; what is not ASCII has to be escaped (RFC 3986).
    if !target.iter().all(|octet| matches!(octet, 0x21..=0x7e) && *octet != b'#') {
        return Err(MALFORMED);
    }
    let origin = target.first() == Some(&b'/');
    let asterisk = target.as_ref() == b"*" && parts.method == Method::OPTIONS;
    let uri = Uri::from_maybe_shared(target).map_err(|_| MALFORMED)?;
    if origin || asterisk {
        parts.uri = uri;
        return Ok(None);
    }
    if uri.scheme() != Some(&Scheme::HTTP) && uri.scheme() != Some(&Scheme::HTTPS) {
        return Err(MALFORMED);
    }
    let mut uri = uri.into_parts();
    let authority = uri.authority.take().ok_or(MALFORMED)?;
    uri.scheme = None;
    parts.uri = Uri::from_parts(uri).map_err(|_| MALFORMED)?;
    HeaderValue::from_str(authority.as_str()).map(Some).map_err(|_| MALFORMED)
}

/// Whether there is the one Host that there has to be (RFC 9112 section 3.2), and it says what the target says.
fn check_host(parts: &mut Parts, absolute: Option<HeaderValue>) -> Result<(), Refusal> {
    let mut hosts = parts.headers.get_all(HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(Refusal::Malformed("there is more than one Host"));
    }
    match (host, &absolute) {
        (None, _) if parts.version == Version::HTTP_11 => {
            return Err(Refusal::Malformed("there is no Host"));
        }
        (Some(host), _) if !is_host(host.as_bytes()) => return Err(Refusal::Malformed("Host is none")),
        (_, Some(authority)) if !is_host(authority.as_bytes()) => {
            return Err(Refusal::Malformed("the target's host is none"));
        }
        (Some(host), Some(authority)) if !host.as_bytes().eq_ignore_ascii_case(authority.as_bytes()) => {
            return Err(Refusal::Malformed("Host is not the target's host"));
        }
        _ => {}
    }
    if let Some(authority) = absolute {
        parts.headers.insert(HOST, authority);
    }
    Ok(())
}

/// Whether this is a host with or without a port (RFC 3986 section 3.2), and without anybody's name before it.
pub(super) fn is_host(text: &[u8]) -> bool {
    let (host, port) = match text.strip_prefix(b"[") {
        Some(literal) => {
            let Some(end) = literal.iter().position(|&octet| octet == b']') else { return false };
            let (inside, after) = literal.split_at(end);
            if !inside.iter().all(|octet| octet.is_ascii_hexdigit() || matches!(octet, b':' | b'.')) {
                return false;
            }
            let after = after.strip_prefix(b"]").unwrap_or_default();
            (inside, if after.is_empty() { None } else { Some(after) })
        }
        None => match text.iter().position(|&octet| octet == b':') {
            Some(colon) => {
                let (host, port) = text.split_at(colon);
                (host, Some(port))
            }
            None => (text, None),
        },
    };
    let literal = text.starts_with(b"[");
    let name = |octet: &u8| {
        octet.is_ascii_alphanumeric()
            || matches!(
                octet,
                b'-' | b'.' | b'_' | b'~' | b'%' | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*'
            )
            || matches!(octet, b'+' | b';' | b'=')
    };
    let host_is_one = literal || host.iter().all(name);
    let port_is_one = port.is_none_or(|port| {
        port.strip_prefix(b":")
            .is_some_and(|digits| digits.len() <= 5 && digits.iter().all(u8::is_ascii_digit))
    });
    host_is_one && port_is_one
}

/// How the body of a request is framed (RFC 9112 section 6.3). A sender that says it twice is not believed once.
fn framing(version: Version, fields: &HeaderMap) -> Result<Framing, Refusal> {
    let length = content_length(fields)?;
    let mut codings = fields.get_all(TRANSFER_ENCODING).iter();
    let Some(coding) = codings.next() else {
        return Ok(match length {
            None | Some(0) => Framing::Empty,
            Some(length) => Framing::Length(length),
        });
    };
    if version == Version::HTTP_10 {
        return Err(Refusal::Malformed("HTTP/1.0 knows no Transfer-Encoding"));
    }
    if length.is_some() {
        return Err(Refusal::Malformed("there are Transfer-Encoding and Content-Length"));
    }
    if codings.next().is_some() {
        return Err(Refusal::Malformed("there is more than one Transfer-Encoding"));
    }
    let coding = coding.as_bytes();
    if coding.eq_ignore_ascii_case(b"chunked") {
        return Ok(Framing::Chunked);
    }
    let last = coding.rsplit(|&octet| octet == b',').next().unwrap_or_default().trim_ascii();
    let before = coding.get(..coding.len() - last.len()).unwrap_or_default().to_ascii_lowercase();
    let twice = before.windows(7).any(|window| window == b"chunked");
    if last.eq_ignore_ascii_case(b"chunked") && !twice && coding.len() > last.len() + 1 {
        return Err(Refusal::Coding);
    }
    Err(Refusal::Malformed("Transfer-Encoding does not end in chunked"))
}

/// Whether fields say this length, once.
pub(super) fn says_length(fields: &HeaderMap, length: u64) -> bool {
    matches!(content_length(fields), Ok(Some(said)) if said == length)
}

/// The one length that a message says, if it does (RFC 9110 section 8.6).
pub(super) fn content_length(fields: &HeaderMap) -> Result<Option<u64>, Refusal> {
    const MALFORMED: Refusal = Refusal::Malformed("Content-Length is no number");
    let mut lengths = fields.get_all(CONTENT_LENGTH).iter();
    let Some(length) = lengths.next() else { return Ok(None) };
    if lengths.next().is_some() {
        return Err(Refusal::Malformed("there is more than one Content-Length"));
    }
    let digits = length.as_bytes();
    if digits.is_empty() || digits.len() > 19 || !digits.iter().all(u8::is_ascii_digit) {
        return Err(MALFORMED);
    }
    let number = digits.iter().fold(0_u64, |number, digit| number * 10 + u64::from(digit - b'0'));
    Ok(Some(number))
}

#[cfg(test)]
mod tests;
