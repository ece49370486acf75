//! Connections of a port: accepted a few at a time, and answered over HTTP/1.1 with a deadline for each part of it, so that
//! nobody slow keeps others out. Called by the servers of the API and of ZStack.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Semaphore, watch};

use super::stream::Taken;
use super::unread::Explained;

/// How many connections of a port are served at once; more wait to be accepted.
const CONNECTIONS: usize = 256;
/// The longest head of a request, in octets; hyper takes 100 fields at most. What is longer is answered with 431.
pub(super) const HEAD_LIMIT: usize = 64 << 10;
/// How long a request's head may take, and how long a connection may be idle.
pub(super) const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a client may take nothing of its answer.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// How long nothing is accepted after the system refused to.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A port that is listened at.
pub(crate) trait Port: Send + Sync {
    /// A connection that was let in.
    type Connection: Send + 'static;

    /// The next connection; nothing where it was turned away.
    fn accept(&self) -> impl Future<Output = io::Result<Option<Self::Connection>>> + Send;

    /// Answers what is asked over a connection, until it ends or `stop` says so.
    fn answer(
        &self,
        connection: Self::Connection,
        stop: watch::Receiver<bool>,
    ) -> impl Future<Output = ()> + Send + 'static;
}

/// Serves a port until `stop` says so; what is being answered then is answered.
pub(crate) async fn serve<P: Port>(port: P, mut stop: watch::Receiver<bool>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let accepted = tokio::select! {
            accepted = port.accept() => accepted,
            () = stopped(&mut stop) => return,
        };
        match accepted {
            Ok(Some(connection)) => {
                let answering = port.answer(connection, stop.clone());
                tokio::spawn(async move {
                    answering.await;
                    drop(place);
                });
            }
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(%error, "a connection was not accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Answers the requests of a connection; each carries what is known of whoever asks.
pub(crate) async fn answer<S, W>(stream: S, who: W, router: Router, mut stop: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    W: Clone + Send + Sync + 'static,
{
    let service = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(who.clone());
        service.call(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_header_size(HEAD_LIMIT)
        .serve_connection(
            TokioIo::new(Explained::new(Taken::new(stream, ANSWER_TIMEOUT), HEAD_LIMIT)),
            service,
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
        tracing::debug!(%error, "a connection ended early");
    }
}

/// Waits until the service ends.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    // Whoever could say so may be gone, which says the same.
    let _ = stop.wait_for(|stop| *stop).await;
}
