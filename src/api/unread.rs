//! Refusals of what the HTTP library could not read: it answers with a head alone, and a problem document belongs there as in
//! every other refusal. Called by `accept.rs`, which stands between the library and the connection.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::http::StatusCode;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::problem::Problem;

/// How the library says that nothing follows a head. No answer of the API's own to what was refused is without a body.
const NOTHING: &[u8] = b"content-length: 0\r\n";
/// How its refusals begin, and what they become.
const REFUSALS: [(&[u8], Refusal); 2] = [
    (b"HTTP/1.1 400 ", |_| Problem::bad_request("these octets are no request of HTTP/1.1 (RFC 9112)")),
    (b"HTTP/1.1 431 ", |most| {
        let kind = "urn:vrouter:problem:head-too-large";
        let detail = format!("a request's head is at most {most} octets, and 100 fields");
        let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        Problem::new(status, kind, "The head of the request is too large", detail)
    }),
];

/// What is said of a request that could not be read; the longest head is told.
type Refusal = fn(usize) -> Problem;

/// A stream on which the library's bare refusals become problem documents.
#[derive(Debug)]
pub(super) struct Explained<S> {
    stream: S,
    longest_head: usize,
    /// What is written in place of what the library said, and how much of it went out.
    instead: Vec<u8>,
    written: usize,
}

impl<S> Explained<S> {
    pub(super) const fn new(stream: S, longest_head: usize) -> Self {
        Self { stream, longest_head, instead: Vec::new(), written: 0 }
    }
}

/// The whole refusal, where this is the head of one.
fn explained(head: &[u8], longest_head: usize) -> Option<Vec<u8>> {
    let (_, refusal) = REFUSALS.iter().find(|(begin, _)| head.starts_with(begin))?;
    let at = head.windows(NOTHING.len()).position(|part| part.eq_ignore_ascii_case(NOTHING))?;
    let (before, behind) = (head.get(..at)?, head.get(at + NOTHING.len()..)?);
    let body = serde_json::to_vec(&refusal(longest_head)).ok()?;
    let fields = format!("content-type: application/problem+json\r\ncontent-length: {}\r\n", body.len());
    behind.ends_with(b"\r\n").then(|| [before, fields.as_bytes(), behind, &body].concat())
}

impl<S: AsyncRead + Unpin> AsyncRead for Explained<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Explained<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if this.instead.is_empty() {
            match explained(octets, this.longest_head) {
                Some(instead) => (this.instead, this.written) = (instead, 0),
                None => return Pin::new(&mut this.stream).poll_write(context, octets),
            }
        }
        while let Some(rest) = this.instead.get(this.written..).filter(|rest| !rest.is_empty()) {
            match ready!(Pin::new(&mut this.stream).poll_write(context, rest))? {
                0 => return Poll::Ready(Ok(0)),
                written => this.written += written,
            }
        }
        this.instead.clear();
        Poll::Ready(Ok(octets.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    const BARE: &[u8] =
        b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\ndate: x\r\n\r\n";

    async fn said(what: &'static [u8]) -> String {
        let (near, mut far) = duplex(16);
        tokio::spawn(async move { Explained::new(near, 4096).write_all(what).await });
        let mut said = String::new();
        far.read_to_string(&mut said).await.unwrap();
        said
    }

    #[tokio::test]
    async fn a_bare_refusal_gets_its_document_however_little_is_taken_at_once() {
        let said = said(BARE).await;
        let (head, body) = said.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}\r\ndate: x", body.len())), "{head}");
        assert!(body.contains("\"status\":431") && body.contains("at most 4096 octets"), "{body}");
    }

    #[tokio::test]
    async fn everything_else_goes_as_it_came() {
        for other in [
            b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".as_slice(),
            b"HTTP/1.1 431 x\r\ncontent-length: 2\r\n\r\n{}",
            b"content-length: 0\r\n",
            b"",
        ] {
            assert_eq!(said(other).await.as_bytes(), other);
        }
    }
}
