//! The services: the manager with its ports, and the broker with its own, brought up and ended in order.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sd_notify::NotifyState;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use crate::pool::api;
use crate::pool::broker::ticket::TicketError;
use crate::pool::broker::{Broker, Settings, control};
use crate::pool::config::{Config, ConfigError};
use crate::pool::fake::{Delays, FakeConsoles, FakeHost, FakeHypervisor};
use crate::pool::hypervisor::Hypervisor;
use crate::pool::journal::{Journal, JournalError};
use crate::pool::manager::{Doors, Manager, ManagerError};
use crate::pool::reached::ReachedBroker;
use crate::pool::signal as signal_port;
use crate::pool::slot::State;
use crate::pool::state::Pool;

/// The API's socket of a made-up pool, in its directory.
pub(super) const FAKE_SOCKET: &str = "api.sock";
/// How many visits and questions wait for the manager.
const MAIL: usize = 256;

/// What keeps a service from starting, or from going on.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// A port or socket cannot be listened on.
    #[error("cannot listen on {place}: {source}")]
    Listen {
        /// Where.
        place: String,
        /// The system's words.
        source: io::Error,
    },
    /// The state directory cannot be used.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The made-up pool's configuration does not fit.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The manager ended.
    #[error(transparent)]
    Manager(#[from] ManagerError),
    /// The broker has no key.
    #[error(transparent)]
    Ticket(#[from] TicketError),
    /// The certificate or its key is none.
    #[error("{}: {why}", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// The system refused a signal or a directory.
    #[error("cannot start: {0}")]
    System(#[from] io::Error),
}

/// Runs the manager, and the broker beside it where that is wanted.
///
/// # Errors
/// What keeps it from starting, or from going on.
pub(super) async fn run<H: Hypervisor>(
    config: Config,
    hypervisor: H,
    with_broker: bool,
) -> Result<(), ServiceError> {
    let mut tasks = JoinSet::new();
    if with_broker {
        start_broker(&config, &mut tasks).await?;
    }
    let mut ends = [signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?];
    let journal = Journal::open(&config.control.state_dir)?;
    let stations = signal_port::listen(config.signal.listen, &config.signal.interface)
        .map_err(at(&config.signal.listen))?;
    let operators = api::listen(&config.control.socket).map_err(at(&config.control.socket.display()))?;
    let (visit, visits) = mpsc::channel(MAIL);
    let (ask, asks) = mpsc::channel(MAIL);
    tasks.spawn(signal_port::serve(stations, config.signal.stations, visit));
    tasks.spawn(api::serve(operators, ask.clone()));
    if let Some(address) = config.control.metrics_listen {
        let listener = TcpListener::bind(address).await.map_err(at(&address))?;
        tasks.spawn(api::serve_metrics(listener, ask));
    }
    let door = Arc::new(ReachedBroker::new(config.console.broker_socket.clone()));
    let (stop, stopped) = oneshot::channel();
    tracing::info!(
        signal = %config.signal.listen, console = %config.console.listen, slots = config.slots.size,
        "the pool {} runs", config.name
    );
    let manager = Manager::new(config, journal, Arc::new(hypervisor), door);
    let running = tokio::spawn(manager.run(Doors { visits, asks, stop: stopped }, alive));
    notify(&[NotifyState::Ready]);
    let [terminate, interrupt] = &mut ends;
    let mut running = std::pin::pin!(running);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        ended = &mut running => return ended.map_err(io::Error::other)?.map_err(Into::into),
    }
    notify(&[NotifyState::Stopping]);
    // The loop is waited for, so that it stops between two calls.
    let _ = stop.send(());
    running.await.map_err(io::Error::other)??;
    Ok(())
}

/// Runs the broker until it is told to end, which ends every session.
///
/// # Errors
/// What keeps it from starting.
pub(super) async fn run_broker(config: &Config) -> Result<(), ServiceError> {
    let mut ends = [signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?];
    let mut tasks = JoinSet::new();
    let broker = start_broker(config, &mut tasks).await?;
    notify(&[NotifyState::Ready]);
    let mut beat = tokio::time::interval(Duration::from_secs(5));
    let [terminate, interrupt] = &mut ends;
    loop {
        tokio::select! {
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            _ = beat.tick() => {
                let line = format!("{} stations are bound", broker.bound());
                notify(&[NotifyState::Watchdog, NotifyState::Status(&line)]);
            }
        }
    }
}

/// Runs a whole pool of made-up VMs. Without a configuration: four slots, the usual ports, and a directory that is its own.
///
/// # Errors
/// What keeps it from starting, or from going on.
pub(super) async fn run_fake(config: Option<Config>) -> Result<(), ServiceError> {
    let config = match config {
        Some(config) => config,
        None => fake_config(&fake_directory())?,
    };
    let host = Arc::new(FakeHost::new(&config.base, &config.clones.overlay_dir));
    let hypervisor = FakeHypervisor::with_consoles(host, Delays::REAL, Arc::new(FakeConsoles::new()?));
    run(config, hypervisor, true).await
}

/// Where a made-up pool without a configuration keeps what it keeps.
pub(super) fn fake_directory() -> PathBuf {
    std::env::temp_dir().join("vrouter-pool-fake")
}

fn fake_config(directory: &Path) -> Result<Config, ServiceError> {
    std::fs::create_dir_all(directory)?;
    let mut config = Config::parse("base = \"fake\"\n[slots]\nsize = 4\nspare = 2\n")?;
    config.control.state_dir = directory.to_owned();
    config.control.socket = directory.join(FAKE_SOCKET);
    config.console.broker_socket = directory.join("broker.sock");
    config.clones.overlay_dir = directory.join("overlays");
    config.clones.instant = true;
    Ok(config)
}

async fn start_broker(config: &Config, tasks: &mut JoinSet<()>) -> Result<Broker, ServiceError> {
    let console = &config.console;
    let tls = match (&console.tls_certificate, &console.tls_key) {
        (Some(certificate), Some(key)) => Some(Arc::new(tls(certificate, key)?)),
        _ => None,
    };
    let dead_after = Duration::from_secs(console.dead_after_seconds);
    let broker = Broker::new(&Settings { channels: console.channels, dead_after, tls })?;
    for address in std::iter::once(console.listen).chain(console.tls_listen) {
        let listener = signal_port::listen(address, &config.signal.interface).map_err(at(&address))?;
        let broker = broker.clone();
        tasks.spawn(async move { broker.serve(listener).await });
    }
    if let Some(parent) = console.broker_socket.parent() {
        std::fs::create_dir_all(parent)?;
    }
    let managers = control::listen(&console.broker_socket).map_err(at(&console.broker_socket.display()))?;
    tasks.spawn(control::serve(broker.clone(), managers));
    let served = broker.clone();
    tasks.spawn(async move { served.expire().await });
    Ok(broker)
}

/// What stations are greeted with that speak TLS.
fn tls(certificate: &Path, key: &Path) -> Result<ServerConfig, ServiceError> {
    let wrong = |path: &Path, why: String| ServiceError::Certificate { path: path.to_owned(), why };
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect)
        .map_err(|error| wrong(certificate, error.to_string()))?;
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| wrong(key, error.to_string()))?;
    ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map(|builder| builder.with_no_client_auth())
        .and_then(|builder| builder.with_single_cert(chain, private))
        .map_err(|error| wrong(certificate, error.to_string()))
}

/// Feeds the watchdog and says how the pool is, in one line.
fn alive(pool: &Pool) {
    let count = |state| pool.slots().values().filter(|slot| slot.state() == state).count();
    let line = format!(
        "{} clean, {} used, {} creating, {} deleting, {} waiting",
        count(State::Clean),
        count(State::Used),
        count(State::Creating),
        count(State::Deleting),
        pool.visitors().len()
    );
    notify(&[NotifyState::Watchdog, NotifyState::Status(&line)]);
}

fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "the service manager was not told");
    }
}

fn at<P: ToString>(place: &P) -> impl FnOnce(io::Error) -> ServiceError + use<P> {
    let place = place.to_string();
    move |source| ServiceError::Listen { place, source }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use super::*;

    #[test]
    fn the_made_up_pool_has_a_configuration_of_its_own() {
        let directory = tempfile::tempdir().unwrap();
        let config = fake_config(directory.path()).unwrap();
        assert_eq!(config.signal.listen, SocketAddr::from((Ipv4Addr::UNSPECIFIED, 5905)));
        assert!(config.control.socket.starts_with(directory.path()));
    }
}
