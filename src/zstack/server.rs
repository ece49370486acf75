//! Connections of the management node: whoever stands elsewhere is hung up on before a word is read. Called by the service.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::gate;
use crate::api::accept;
use crate::reconcile::Handle;

/// The two ends of a connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ends {
    /// Who speaks.
    pub(super) peer: SocketAddr,
    /// Which address of the router was spoken to.
    pub(super) local: IpAddr,
}

/// ZStack's port.
pub(super) struct Port {
    /// Where it is.
    pub(super) listener: TcpListener,
    /// What answers.
    pub(super) router: Router,
    /// The loop, which knows the management network.
    pub(super) handle: Handle,
    /// How many were hung up on.
    pub(super) hung_up: Arc<AtomicU64>,
}

impl accept::Port for Port {
    type Connection = (TcpStream, Ends);

    async fn accept(&self) -> io::Result<Option<Self::Connection>> {
        let (stream, peer) = self.listener.accept().await?;
        stream.set_nodelay(true)?;
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        let ends = Ends { peer, local: stream.local_addr()?.ip().to_canonical() };
        if gate::lets_in(&self.handle.published().config, peer.ip()) {
            return Ok(Some((stream, ends)));
        }
        self.hung_up.fetch_add(1, Ordering::Relaxed);
        tracing::debug!(%peer, "hung up: not in the management network");
        Ok(None)
    }

    fn answer(
        &self,
        (stream, ends): Self::Connection,
        stop: watch::Receiver<bool>,
    ) -> impl Future<Output = ()> + Send + 'static {
        accept::answer(stream, ends, self.router.clone(), stop)
    }
}
