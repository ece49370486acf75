//! The real hypervisor: libvirt through its own bindings.
//!
//! The library blocks, and a hung libvirtd blocks it for ever, so every call runs on a thread of its own with a deadline,
//! and only so many may hang. The connection is kept by a task that opens it again when it breaks; events come from the
//! library's own loop.
//!
//! - `call`: a call with a deadline, and what errors mean.
//! - `cap`: the most that one overlay takes.
//! - `connection`: opened, watched, opened again.
//! - `events`: from C to a channel.
//! - `domains`: what is done to domains, blocking.
//! - `host`: golden domain, overlays, room, network.
//! - `instant`: clones that wake from a saved memory image.
//!
//! Called by the manager through [`Hypervisor`].

mod call;
mod cap;
mod connection;
mod domains;
mod events;
mod host;
mod instant;

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use self::connection::{Held, Link, Shared};
use super::config::Config;
use super::hypervisor::{
    Answer, CloneRequest, Domain, Event, Golden, Hypervisor, HypervisorError, Mark, Resources, Start, Ticket,
};

/// The most calls that hang at a time.
const CALLS: usize = 16;

/// A connection to libvirt that is kept up until it is dropped.
#[derive(Debug)]
pub struct Libvirt {
    config: Arc<Config>,
    shared: Arc<Shared>,
    room: Arc<Semaphore>,
    tasks: [JoinHandle<()>; 2],
}

impl Libvirt {
    /// Begins to connect and comes back at once. Calls wait for the first try; while the connection is broken they are refused
    /// as `Disconnected`.
    ///
    /// # Errors
    /// The library cannot be initialised, or the directory of overlays cannot be made.
    pub fn open(config: &Arc<Config>) -> Answer<Self> {
        events::start()?;
        std::fs::create_dir_all(&config.clones.overlay_dir).map_err(|error| HypervisorError::Refused {
            call: "making the directory of overlays",
            message: error.to_string(),
        })?;
        let shared = Arc::new(Shared::default());
        let room = Arc::new(Semaphore::new(CALLS));
        let full = shared.events.full();
        let tasks = [
            tokio::spawn(connection::keep(config.clone(), shared.clone())),
            tokio::spawn(cap::end_full(config.clone(), shared.clone(), room.clone(), full)),
        ];
        Ok(Self { config: config.clone(), shared, room, tasks })
    }

    /// Waits until the connection is there.
    pub async fn connected(&self) {
        // The sender lives as long as we do.
        let _ = self.shared.link().wait_for(|link| *link == Link::Open).await;
    }

    /// Calls libvirt with the ordinary deadline.
    async fn call<T: Send + 'static>(
        &self,
        name: &'static str,
        act: impl FnOnce(&Arc<Held>, &Arc<Config>) -> Answer<T> + Send + 'static,
    ) -> Answer<T> {
        self.within(name, Duration::from_secs(self.config.hypervisor.call_seconds), act).await
    }

    /// Calls libvirt with the deadline of what makes and starts VMs.
    async fn long<T: Send + 'static>(
        &self,
        name: &'static str,
        act: impl FnOnce(&Arc<Held>, &Arc<Config>) -> Answer<T> + Send + 'static,
    ) -> Answer<T> {
        self.within(name, Duration::from_secs(self.config.hypervisor.start_seconds), act).await
    }

    async fn within<T: Send + 'static>(
        &self,
        name: &'static str,
        deadline: Duration,
        act: impl FnOnce(&Arc<Held>, &Arc<Config>) -> Answer<T> + Send + 'static,
    ) -> Answer<T> {
        // A program that has just begun gives the first try its time; what breaks later is told at once.
        let mut link = self.shared.link();
        let _ = timeout(deadline, link.wait_for(|link| *link != Link::Opening)).await;
        let connection = self.shared.connection()?;
        let config = self.config.clone();
        call::run(&self.room, name, deadline, move || act(&connection, &config)).await
    }
}

impl Drop for Libvirt {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Hypervisor for Libvirt {
    async fn domains(&self) -> Answer<Vec<Domain>> {
        self.call("listing domains", |connection, config| domains::list(connection, config)).await
    }

    async fn overlays(&self) -> Answer<Vec<PathBuf>> {
        self.call("listing overlays", |_, config| host::overlays(config)).await
    }

    async fn create(&self, clone: &CloneRequest) -> Answer<()> {
        let clone = clone.clone();
        self.long("making a VM", move |connection, config| domains::create(connection, config, &clone)).await
    }

    async fn start(&self, name: &str, how: Start) -> Answer<Start> {
        let name = name.to_owned();
        let shared = self.shared.clone();
        self.long("starting a VM", move |connection, config| match how {
            Start::Cold => domains::start(connection, config, &name).map(|()| Start::Cold),
            Start::Instant => instant::start(connection, config, &shared.image, &name),
        })
        .await
    }

    async fn set_mark(&self, name: &str, mark: &Mark) -> Answer<()> {
        let (name, mark) = (name.to_owned(), mark.clone());
        self.call("marking a VM", move |connection, config| domains::mark(connection, config, &name, &mark))
            .await
    }

    async fn destroy(&self, name: &str) -> Answer<()> {
        let name = name.to_owned();
        self.call("ending a VM", move |connection, config| domains::destroy(connection, config, &name)).await
    }

    async fn undefine(&self, name: &str) -> Answer<()> {
        let name = name.to_owned();
        self.call("forgetting a VM", move |connection, config| domains::undefine(connection, config, &name))
            .await
    }

    async fn delete_overlay(&self, overlay: &Path) -> Answer<()> {
        let overlay = overlay.to_owned();
        self.call("removing an overlay", move |_, config| host::delete_overlay(config, &overlay)).await
    }

    async fn set_ticket(&self, name: &str, ticket: &Ticket) -> Answer<()> {
        let (name, ticket) = (name.to_owned(), ticket.clone());
        self.call("issuing a ticket", move |connection, config| {
            domains::set_ticket(connection, config, &name, &ticket)
        })
        .await
    }

    async fn open_console(&self, name: &str) -> Answer<OwnedFd> {
        let name = name.to_owned();
        self.call("opening a console", move |connection, config| {
            domains::open_console(connection, config, &name)
        })
        .await
    }

    async fn golden(&self) -> Answer<Golden> {
        self.call("looking at the golden domain", |connection, config| host::golden(connection, config)).await
    }

    async fn resources(&self) -> Answer<Resources> {
        self.call("looking at the host", |_, config| host::resources(config)).await
    }

    async fn define_network(&self, xml: &str) -> Answer<()> {
        let xml = xml.to_owned();
        self.call("defining a network", move |connection, _| host::define_network(connection, &xml)).await
    }

    fn events(&self) -> mpsc::Receiver<Event> {
        self.shared.events.subscribe()
    }
}
