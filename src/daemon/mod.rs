//! The service as a whole: store, loop, engines and API brought up in order, and ended in order.
//!
//! The loop has a thread of its own, because its calls wait for the kernel; the engines and the API share a runtime. Ending
//! leaves the kernel as it is: what was being forwarded is forwarded on. Called by `bin/vrouterd.rs`.

mod access;
mod firmware;
pub(crate) mod first;
mod memory;
pub mod process;
mod remembered;
mod ssh;
mod supervisor;
mod traffic;

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use serde_json::Value;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

pub use self::access::{AccessError, AccessOptions};
pub use self::firmware::FirmwareOptions;
pub use self::first::Given;
use self::first::Sources;
use self::supervisor::ServiceManager;
use self::traffic::KernelCounts;
use crate::api::{self, Listener};
use crate::config::Faults;
use crate::engines::Services;
use crate::kernel::{self, Events, FirewallLog, KernelError, Linux};
use crate::plan::facts::{AddressTraffic, ConnectionQuestion, ConnectionsFound, Counters};
use crate::reconcile::{Handle, Loop, Surroundings};
use crate::status::{KernelReadings, Reporter, Start};
use crate::store::{self, Generations, StateLock, StoreError};
use crate::zstack;

/// How long requests that are being answered are given when the service ends.
const DRAIN: Duration = Duration::from_secs(5);

/// What the service is started with.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where generations and leases are.
    pub state_dir: PathBuf,
    /// Where the API answers.
    pub listen: Vec<SocketAddr>,
    /// The API's socket in the file system.
    pub socket: PathBuf,
    /// Who may speak.
    pub access: AccessOptions,
    /// What a router that remembers nothing starts from.
    pub given: Given,
    /// ZStack's personality, where it is wanted.
    pub zstack: Option<zstack::service::Options>,
    /// The firmware of the machine.
    pub firmware: FirmwareOptions,
}

/// What keeps the service from running.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The state directory cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What is remembered is not a configuration of this version.
    #[error("the stored configuration is not one of this version:\n{0}")]
    Remembered(Faults),
    /// The kernel cannot be spoken to.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// The API cannot answer where it should.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Where.
        address: String,
        /// The system's words.
        source: io::Error,
    },
    /// It cannot be said who may speak.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// An engine cannot be started.
    #[error(transparent)]
    Engines(#[from] crate::reconcile::EngineError),
    /// The system refused a thread or a signal.
    #[error("cannot start: {0}")]
    System(#[from] io::Error),
    /// The loop ended, which it never should.
    #[error("the loop ended by itself")]
    LoopEnded,
}

/// Runs the service until it is told to end.
///
/// # Errors
/// What keeps it from starting, or from going on.
pub async fn run(options: Options) -> Result<(), DaemonError> {
    let mut signals = Signals::new()?;
    let sources = Sources::new(options.given);
    let tokens = sources.tokens().map(|(source, lines)| (source.to_owned(), lines.to_owned()));
    let access = options.access.with_tokens_of(tokens);
    let door = access.door()?;
    let listen_on = access.listen(&options.listen, door.access.asks())?;
    // Held to the end: whoever comes next finds everything written.
    let _lock = StateLock::take(&options.state_dir)?;
    store::format::mark(&options.state_dir, env!("CARGO_PKG_VERSION"));
    let store = remembered::open(&options.state_dir).await?;
    let last = store.0.last();
    let listeners = listen(&listen_on, &options.socket)?;
    let services = Arc::new(Services::open(&options.state_dir)?);
    let commanded = options.zstack.iter().flat_map(|zstack| &zstack.listen);
    let commands = commanded.clone().map(|address| tcp_at(*address)).collect::<Result<Vec<_>, _>>()?;
    let ports = listen_on.iter().chain(commanded);
    let ports: BTreeSet<u16> =
        ports.filter(|address| !address.ip().is_loopback()).map(SocketAddr::port).collect();
    let (handle, mut ended) = match start_loop(store, &services, ports.clone()).await {
        Err(DaemonError::Remembered(faults)) => {
            let why = faults.to_string();
            let store = remembered::understood(&options.state_dir, &why).await;
            start_loop(store.map_err(|_| DaemonError::Remembered(faults))?, &services, ports).await?
        }
        started => started?,
    };
    let told = sources.tell(&handle, last).await;
    let start = Start { api: listen_on.clone(), told };
    match FirewallLog::open() {
        Ok(log) => {
            tokio::spawn(async move {
                if let Err(error) = log.run().await {
                    tracing::error!(%error, "firewall logs are not told any more");
                }
            });
        }
        Err(error) => tracing::warn!(%error, "firewall logs cannot be told"),
    }
    let (stop, stopping) = watch::channel(false);
    let mut servers = JoinSet::new();
    let counts = KernelCounts::new(handle.clone());
    let listening = tokio::spawn(counts.clone().listen());
    let balanced = Box::new(move || counts.read());
    let kernel = KernelReadings { counters, addresses, connections, balanced };
    let system = options.firmware.system(&options.state_dir).await?;
    let reporter = Reporter::new(handle.clone(), services.clone(), kernel, start).with_system(system.clone());
    let reporter = Arc::new(reporter);
    let trying = firmware::watch(system.clone(), reporter.clone());
    let router = api::router(api::Context {
        handle: handle.clone(),
        services: services.clone(),
        reporter: reporter.clone(),
        door: door.clone(),
        system,
    });
    ssh::answer(&services, (&router, &door), &handle, &stopping);
    let watching = tokio::spawn(reporter.clone().watch());
    for listener in listeners {
        servers.spawn(listener.serve_behind(door.clone(), router.clone(), stopping.clone()));
    }
    if let Some(zstack) = options.zstack {
        let house = (handle.clone(), reporter.clone());
        let machine = zstack::service::Machine { state_dir: &options.state_dir, memory: memory::octets() };
        zstack::service::start(zstack, commands, machine, house, &mut servers, &stopping).await?;
    }
    let result = signals.wait(&handle, || access.reload(&door), &mut ended).await;
    supervisor::stopping();
    // Whoever is gone already needs not be told.
    let _ = stop.send(true);
    let drained = tokio::time::timeout(DRAIN, async { while servers.join_next().await.is_some() {} });
    let (drained, ()) = tokio::join!(drained, services.ssh().close());
    if drained.is_err() {
        tracing::warn!("requests that are still being answered are cut off");
    }
    // The loop ends once nobody can ask it any more, with what it is doing done; then the engines end.
    for task in [&watching, &listening, &trying] {
        task.abort();
    }
    let _ = tokio::join!(watching, listening, trying);
    drop((servers, router, handle, reporter));
    if result.is_ok() && tokio::time::timeout(DRAIN, ended).await.is_err() {
        tracing::warn!("the loop is still busy and ends with the process");
    }
    if let Some(services) = Arc::into_inner(services) {
        services.close().await;
    }
    tracing::info!("ending; the kernel goes on forwarding");
    result
}

/// What the kernel counts; nothing where it does not answer, which the loop hears of as well.
fn counters() -> Counters {
    kernel::counters()
        .inspect_err(|error| tracing::warn!(%error, "the kernel's counters cannot be read"))
        .unwrap_or_default()
}

/// What the kernel counts of single addresses.
fn addresses() -> Option<AddressTraffic> {
    let traffic = kernel::address_traffic();
    traffic.inspect_err(|error| tracing::warn!(%error, "the counters of addresses cannot be read")).ok()
}

/// The connections that are asked for; or why the kernel does not answer.
fn connections(question: &ConnectionQuestion) -> Result<ConnectionsFound, String> {
    kernel::connections(question).map_err(|error| error.to_string())
}

fn listen(addresses: &[SocketAddr], socket: &Path) -> Result<Vec<Listener>, DaemonError> {
    let mut listeners = Vec::new();
    for address in addresses {
        listeners.push(Listener::Tcp(tcp_at(*address)?));
    }
    let failed = |source| DaemonError::Listen { address: socket.display().to_string(), source };
    listeners.push(Listener::unix(socket).map_err(failed)?);
    Ok(listeners)
}

/// A socket on an address, or which address it cannot be on.
fn tcp_at(address: SocketAddr) -> Result<TcpListener, DaemonError> {
    tcp(address).map_err(|source| DaemonError::Listen { address: address.to_string(), source })
}

/// A socket that may be on an address that a device gets later.
fn tcp(address: SocketAddr) -> io::Result<TcpListener> {
    use socket2::{Domain, Protocol, Socket, Type};
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv4() {
        socket.set_freebind_v4(true)?;
    }
    socket.bind(&address.into())?;
    socket.listen(128)?;
    TcpListener::from_std(socket.into())
}

/// Starts the loop on a thread of its own; the receiver hears when it ends.
async fn start_loop(
    store: (Generations, Option<Value>),
    services: &Services,
    management_ports: BTreeSet<u16>,
) -> Result<(Handle, oneshot::Receiver<()>), DaemonError> {
    let (started, handle) = oneshot::channel();
    let (end, ended) = oneshot::channel();
    let engines = services.on(tokio::runtime::Handle::current());
    thread::Builder::new().name("loop".to_owned()).spawn(move || {
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => {
                let _ = started.send(Err(DaemonError::System(error)));
                return;
            }
        };
        runtime.block_on(async move {
            let open = || -> Result<_, DaemonError> {
                let mut kernel = Linux::open()?;
                let events = Events::open(kernel.ports())?;
                let surroundings = Surroundings {
                    capabilities: kernel.capabilities()?,
                    management_ports,
                    conntrack_max: memory::connections(),
                };
                let made = Loop::new(kernel, engines, ServiceManager, store, surroundings);
                let (run, handle) = made.map_err(DaemonError::Remembered)?;
                Ok((run, handle, events))
            };
            match open() {
                Ok((run, handle, events)) => {
                    // Whoever started the loop waits for this.
                    let _ = started.send(Ok(handle));
                    run.run(Some(events)).await;
                }
                Err(error) => {
                    let _ = started.send(Err(error));
                }
            }
        });
        drop(end);
    })?;
    let handle = handle.await.map_err(|_| DaemonError::LoopEnded)??;
    Ok((handle, ended))
}

/// The signals that the service knows.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Waits until the service has to end; a hangup has everything looked at again.
    async fn wait(
        &mut self,
        handle: &Handle,
        reload: impl Fn(),
        ended: &mut oneshot::Receiver<()>,
    ) -> Result<(), DaemonError> {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return Ok(()),
                _ = self.interrupt.recv() => return Ok(()),
                _ = self.hangup.recv() => {
                    supervisor::reloading();
                    reload();
                    if let Err(error) = handle.reload().await {
                        tracing::error!(%error, "not looked at again");
                    }
                    supervisor::reloaded();
                }
                _ = &mut *ended => return Err(DaemonError::LoopEnded),
            }
        }
    }
}
