//! Connections of the API: a few at a time, each with its deadlines, so that nobody slow keeps others out.

use std::future::Future;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::io::DuplexStream;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::time::timeout;

use super::accept::{self, answer};
use super::access::{Peer, Source};
use super::door::{CONNECTIONS_OF_SOURCE, Door, Place, Reason};
use super::problem::Problem;

/// How long TLS may take until it is agreed on.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Where the API is listened for.
#[derive(Debug)]
pub enum Listener {
    /// TCP.
    Tcp(TcpListener),
    /// A socket in the file system.
    Unix(UnixListener),
}

impl Listener {
    /// Listens on a socket in the file system, in place of one that a predecessor left.
    ///
    /// # Errors
    /// The socket cannot be made; nothing but a socket is replaced.
    pub fn unix(path: &Path) -> io::Result<Self> {
        use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        if std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket()) {
            std::fs::remove_file(path)?;
        }
        let listener = UnixListener::bind(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
        Ok(Self::Unix(listener))
    }

    /// Serves until `stop` says so; what is being answered then is answered. Requests are handed on as they are.
    pub async fn serve(self, router: Router, stop: watch::Receiver<bool>) {
        self.serve_behind(Arc::default(), router, stop).await;
    }

    /// Serves those whom a door lets in until `stop` says so; what is being answered then is answered. Each request
    /// carries the [`Peer`] that it came from.
    pub async fn serve_behind(self, door: Arc<Door>, router: Router, stop: watch::Receiver<bool>) {
        accept::serve(Port { listener: self, door, router }, stop).await;
    }

    /// The next connection; nothing where its source has as many as it may.
    async fn accept(&self, door: &Arc<Door>) -> io::Result<Option<Accepted>> {
        match self {
            Self::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                let Some(place) = door.enter(Source::of(address.ip())) else {
                    if door.tls().is_none() {
                        turn_away(&stream);
                    }
                    return Ok(None);
                };
                stream.set_nodelay(true)?;
                let peer = Peer::Tcp { address, certificate: None };
                Ok(Some(Accepted { stream: Socket::Tcp(stream), peer, _place: place }))
            }
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                let uid = stream.peer_cred()?.uid();
                let Some(place) = door.enter(Source::Uid(uid)) else { return Ok(None) };
                let peer = Peer::Socket { uid };
                Ok(Some(Accepted { stream: Socket::Unix(stream), peer, _place: place }))
            }
        }
    }
}

/// Says why, as far as that can be said without waiting, and no more.
fn turn_away(stream: &TcpStream) {
    let detail = format!("a source has at most {CONNECTIONS_OF_SOURCE} connections at once");
    let body = serde_json::to_string(&Problem::busy(detail)).unwrap_or_default();
    let answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\nretry-after: 1\r\n\
         connection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    // A socket that was just made has room for it; where it has none, its end says enough.
    let _ = stream.try_write(answer.as_bytes());
}

/// Answers what is asked over a connection that was made within this process for somebody who is known already.
pub async fn answer_within(stream: DuplexStream, peer: Peer, router: Router, stop: watch::Receiver<bool>) {
    answer(stream, peer, router, stop).await;
}

/// A port of the API, with who may speak there and what answers.
struct Port {
    listener: Listener,
    door: Arc<Door>,
    router: Router,
}

impl accept::Port for Port {
    type Connection = Accepted;

    async fn accept(&self) -> io::Result<Option<Accepted>> {
        self.listener.accept(&self.door).await
    }

    fn answer(
        &self,
        connection: Accepted,
        stop: watch::Receiver<bool>,
    ) -> impl Future<Output = ()> + Send + 'static {
        let (door, router) = (self.door.clone(), self.router.clone());
        async move { connection.serve(&door, router, stop).await }
    }
}

/// A connection that was accepted.
struct Accepted {
    stream: Socket,
    peer: Peer,
    _place: Place,
}

enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Accepted {
    async fn serve(self, door: &Door, router: Router, stop: watch::Receiver<bool>) {
        let Self { stream, mut peer, _place } = self;
        match (stream, door.tls()) {
            (Socket::Unix(stream), _) => answer(stream, peer, router, stop).await,
            (Socket::Tcp(stream), None) => answer(stream, peer, router, stop).await,
            (Socket::Tcp(stream), Some(tls)) => {
                let agreed = timeout(HANDSHAKE_TIMEOUT, tls.acceptor().accept(stream)).await;
                match agreed {
                    Ok(Ok(stream)) => {
                        if let Peer::Tcp { certificate, .. } = &mut peer {
                            *certificate = tls.client(stream.get_ref().1.peer_certificates()).map(Arc::new);
                        }
                        answer(stream, peer, router, stop).await;
                    }
                    Ok(Err(error)) => {
                        door.count(Reason::Handshake);
                        tracing::debug!(from = peer.from(), %error, "no TLS with a client of the API");
                    }
                    Err(_) => door.count(Reason::Handshake),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use axum::body::Bytes;
    use axum::routing::{get, post};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::time::Instant;

    use super::*;
    use crate::api::accept::{ANSWER_TIMEOUT, HEAD_LIMIT, HEAD_TIMEOUT};
    use crate::api::with_deadline;

    /// More than the buffers of two sockets hold.
    const MUCH: usize = 64 << 20;

    async fn server() -> (SocketAddr, watch::Sender<bool>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new()
            .route("/length", post(|body: Bytes| async move { body.len().to_string() }))
            .route("/much", get(|| async { vec![b'x'; MUCH] }))
            .layer(axum::middleware::from_fn(with_deadline));
        let (stop, stopping) = watch::channel(false);
        tokio::spawn(Listener::Tcp(listener).serve(router, stopping));
        (address, stop)
    }

    /// What the server says to these octets until it ends the connection, and after how long it does.
    async fn said(octets: &str) -> (String, Duration) {
        let (address, _stop) = server().await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(octets.as_bytes()).await.unwrap();
        let begin = Instant::now();
        let mut answer = Vec::new();
        // It may reset the connection, because it did not read all of the request.
        let _ = stream.read_to_end(&mut answer).await;
        (String::from_utf8_lossy(&answer).into_owned(), begin.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_does_not_end_is_not_waited_for() {
        let (answer, took) = said("POST /length HTTP/1.1\r\nHost: a\r\n").await;
        assert!(!answer.contains("200"), "{answer}");
        assert!(took >= HEAD_TIMEOUT && took < 2 * HEAD_TIMEOUT, "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_come_is_told_so() {
        let (answer, _) = said("POST /length HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nfour").await;
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_without_measure_is_refused() {
        for head in [format!("x: {}\r\n", "y".repeat(HEAD_LIMIT)), "x: y\r\n".repeat(101)] {
            let (answer, _) = said(&format!("POST /length HTTP/1.1\r\nHost: a\r\n{head}\r\n")).await;
            assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
            let (head, body) = answer.split_once("\r\n\r\n").unwrap();
            assert!(head.contains("content-type: application/problem+json"), "{head}");
            assert!(body.contains("a request's head is at most 65536 octets, and 100 fields"), "{body}");
        }
    }

    #[tokio::test]
    async fn what_is_no_request_is_told_so() {
        let (answer, _) = said("NOT HTTP\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("\"status\":400"), "{answer}");
    }

    #[tokio::test]
    async fn a_source_with_too_many_connections_is_told_so() {
        let (address, _stop) = server().await;
        let mut connections = Vec::new();
        for _ in 0..CONNECTIONS_OF_SOURCE {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(b"POST /length HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n").await.unwrap();
            stream.read_u8().await.unwrap();
            connections.push(stream);
        }
        let mut one_more = TcpStream::connect(address).await.unwrap();
        let mut answer = String::new();
        one_more.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("at most 64 connections"), "{answer}");
        assert!(answer.contains("retry-after: 1") && answer.contains("problem:busy"), "{answer}");
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_no_answer_loses_his_place() {
        let (address, _stop) = server().await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET /much HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        stream.readable().await.unwrap();
        tokio::time::sleep(2 * ANSWER_TIMEOUT).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        assert!(!answer.is_empty() && answer.len() < MUCH, "{} octets", answer.len());
    }
}
