//! Connections of the management node: whoever stands elsewhere is hung up on before a word is read. Called by the service.

use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::sleep;

use super::gate;
use crate::api::stream::Taken;
use crate::reconcile::Handle;

/// How many connections are served at once; more wait to be accepted. A burst of a hundred commands fits.
const CONNECTIONS: usize = 256;
/// How long a request's head may take, and how long a connection may be idle.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a client may take nothing of its answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// How long nothing is accepted after the system refused to.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The two ends of a connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ends {
    /// Who speaks.
    pub(super) peer: SocketAddr,
    /// Which address of the router was spoken to.
    pub(super) local: IpAddr,
}

/// Serves until `stop` says so; what is being answered then is answered. `hung_up` counts those who may not speak.
pub(super) async fn serve(
    listener: TcpListener,
    router: Router,
    handle: Handle,
    hung_up: Arc<AtomicU64>,
    mut stop: watch::Receiver<bool>,
) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stopped(&mut stop) => return,
        };
        let (stream, ends) = match accepted.and_then(|(stream, peer)| Ok((ends(&stream, peer)?, stream))) {
            Ok((ends, stream)) => (stream, ends),
            Err(error) => {
                tracing::warn!(%error, "a connection to ZStack's port was not accepted");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        if !gate::lets_in(&handle.published().config, ends.peer.ip()) {
            hung_up.fetch_add(1, Ordering::Relaxed);
            tracing::debug!(peer = %ends.peer, "hung up: not in the management network");
            continue;
        }
        let (router, stop) = (router.clone().layer(Extension(ends)), stop.clone());
        tokio::spawn(async move {
            connection(stream, router, stop).await;
            drop(place);
        });
    }
}

fn ends(stream: &TcpStream, peer: SocketAddr) -> std::io::Result<Ends> {
    stream.set_nodelay(true)?;
    let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
    Ok(Ends { peer, local: stream.local_addr()?.ip().to_canonical() })
}

async fn connection(stream: TcpStream, router: Router, mut stop: watch::Receiver<bool>) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(Taken::new(stream, ANSWER_TIMEOUT)), TowerToHyperService::new(router));
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stopped(&mut stop) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection to ZStack's port ended early");
    }
}

/// Waits until the service ends.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    // Whoever could say so may be gone, which says the same.
    let _ = stop.wait_for(|stop| *stop).await;
}
