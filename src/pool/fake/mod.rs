//! A pool without libvirt: a made-up host and a made-up broker, stateful as the real ones are. For `vrouter-pool run
//! --fake` and for tests.

pub mod console;
pub mod door;
pub mod host;
mod screen;
mod world;

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

pub use self::console::FakeConsoles;
pub use self::door::FakeDoor;
pub use self::host::{FakeHost, Fault};
use super::hypervisor::{
    Answer, CloneRequest, Domain, Event, Golden, Hypervisor, HypervisorError, Mark, Resources, Start, Ticket,
};
use crate::clock;

/// How many events wait for the manager.
const EVENTS: usize = 256;
/// How often the made-up host is asked what happened.
const POLL: Duration = Duration::from_millis(20);

/// How long the made-up hypervisor takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delays {
    /// For defining a VM.
    pub create: Duration,
    /// For booting it.
    pub cold: Duration,
    /// For starting it from a memory image.
    pub instant: Duration,
    /// For ending it.
    pub destroy: Duration,
}

impl Delays {
    /// As long as libvirt takes on a small machine.
    pub const REAL: Self = Self {
        create: Duration::from_millis(20),
        cold: Duration::from_millis(800),
        instant: Duration::from_millis(250),
        destroy: Duration::from_millis(200),
    };
    /// None.
    pub const NONE: Self = Self {
        create: Duration::ZERO,
        cold: Duration::ZERO,
        instant: Duration::ZERO,
        destroy: Duration::ZERO,
    };
}

/// The made-up host behind the trait.
#[derive(Debug, Clone)]
pub struct FakeHypervisor {
    host: Arc<FakeHost>,
    delays: Delays,
    consoles: Option<Arc<FakeConsoles>>,
}

impl FakeHypervisor {
    /// Waits around a host whose VMs have no consoles.
    #[must_use]
    pub const fn new(host: Arc<FakeHost>, delays: Delays) -> Self {
        Self { host, delays, consoles: None }
    }

    /// Waits around a host whose VMs have consoles that a broker can reach.
    #[must_use]
    pub const fn with_consoles(host: Arc<FakeHost>, delays: Delays, consoles: Arc<FakeConsoles>) -> Self {
        Self { host, delays, consoles: Some(consoles) }
    }
}

impl Hypervisor for FakeHypervisor {
    async fn domains(&self) -> Answer<Vec<Domain>> {
        self.host.domains()
    }

    async fn overlays(&self) -> Answer<Vec<PathBuf>> {
        self.host.overlays()
    }

    async fn create(&self, clone: &CloneRequest) -> Answer<()> {
        tokio::time::sleep(self.delays.create).await;
        self.host.create(clone)
    }

    async fn start(&self, name: &str, how: Start) -> Answer<Start> {
        let delay = if how == Start::Instant { self.delays.instant } else { self.delays.cold };
        tokio::time::sleep(delay).await;
        let started = self.host.start(name, how)?;
        if let (Some(consoles), Some(port)) = (&self.consoles, self.host.port(name)) {
            consoles.open(name, port).await.map_err(|error| HypervisorError::Refused {
                call: "start",
                message: format!("the console's port {port}: {error}"),
            })?;
        }
        Ok(started)
    }

    async fn set_mark(&self, name: &str, mark: &Mark) -> Answer<()> {
        self.host.set_mark(name, mark)
    }

    async fn destroy(&self, name: &str) -> Answer<()> {
        tokio::time::sleep(self.delays.destroy).await;
        self.host.destroy(name)?;
        if let Some(consoles) = &self.consoles {
            consoles.close(name);
        }
        Ok(())
    }

    async fn undefine(&self, name: &str) -> Answer<()> {
        self.host.undefine(name)
    }

    async fn delete_overlay(&self, overlay: &Path) -> Answer<()> {
        self.host.delete_overlay(overlay)
    }

    async fn set_ticket(&self, name: &str, ticket: &Ticket) -> Answer<()> {
        self.host.set_ticket(name, ticket)?;
        if let Some(consoles) = &self.consoles {
            let over = ticket.until.is_some_and(|until| until <= clock::now());
            consoles.set_password(name, (!over).then_some(ticket.password.as_str()));
        }
        Ok(())
    }

    async fn open_console(&self, name: &str) -> Answer<OwnedFd> {
        let domain = self.host.domains()?.into_iter().find(|domain| domain.name == name);
        if domain.and_then(|domain| domain.console).is_none() {
            return Err(HypervisorError::NotFound(name.to_owned()));
        }
        let pair = UnixStream::pair();
        let (console, _) = pair
            .map_err(|error| HypervisorError::Refused { call: "open_console", message: error.to_string() })?;
        Ok(console.into())
    }

    async fn golden(&self) -> Answer<Golden> {
        self.host.golden()
    }

    async fn resources(&self) -> Answer<Resources> {
        self.host.resources()
    }

    async fn define_network(&self, xml: &str) -> Answer<()> {
        self.host.define_network(xml)
    }

    fn events(&self) -> mpsc::Receiver<Event> {
        let (sender, receiver) = mpsc::channel(EVENTS);
        let host = self.host.clone();
        tokio::spawn(async move {
            // There is room: the channel is new.
            let _ = sender.try_send(Event::Opened);
            while !sender.is_closed() {
                for event in host.take_events() {
                    if sender.send(event).await.is_err() {
                        return;
                    }
                }
                tokio::time::sleep(POLL).await;
            }
        });
        receiver
    }
}
