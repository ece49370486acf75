//! Connections of the API: a few at a time, each with its deadlines, so that nobody slow keeps others out.

use std::io;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Semaphore, watch};

use super::stream::Taken;

/// How many connections are served at once; more wait to be accepted.
const CONNECTIONS: usize = 256;
/// How long a request's head may take, and how long a connection may be idle.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a client may take nothing of its answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// How long nothing is accepted after the system refused to.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

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

    /// Serves until `stop` says so; what is being answered then is answered.
    pub async fn serve(self, router: Router, mut stop: watch::Receiver<bool>) {
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        loop {
            let Ok(place) = places.clone().acquire_owned().await else { return };
            let accepted = tokio::select! {
                accepted = self.accept() => accepted,
                () = stopped(&mut stop) => return,
            };
            let connection = match accepted {
                Ok(connection) => connection,
                Err(error) => {
                    tracing::warn!(%error, "a connection to the API was not accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let (router, stop) = (router.clone(), stop.clone());
            tokio::spawn(async move {
                connection.serve(router, stop).await;
                drop(place);
            });
        }
    }

    async fn accept(&self) -> io::Result<Connection> {
        match self {
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok(Connection(Box::new(stream)))
            }
            Self::Unix(listener) => Ok(Connection(Box::new(listener.accept().await?.0))),
        }
    }
}

/// Waits until the service ends.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    // Whoever could say so may be gone, which says the same.
    let _ = stop.wait_for(|stop| *stop).await;
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

struct Connection(Box<dyn Stream>);

impl Connection {
    async fn serve(self, router: Router, mut stop: watch::Receiver<bool>) {
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .serve_connection(
                TokioIo::new(Taken::new(self.0, ANSWER_TIMEOUT)),
                TowerToHyperService::new(router),
            );
        let mut connection = pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = stopped(&mut stop) => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection to the API ended early");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use axum::body::Bytes;
    use axum::routing::{get, post};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;
    use tokio::time::Instant;

    use super::*;
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
