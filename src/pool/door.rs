//! What the pool asks of the console broker, and what it is told by it. Implemented by the broker's control socket and by
//! a stateful fake; called by the manager alone.
//!
//! The broker outlives the manager: sessions go on while nobody listens, and a manager that starts asks what there is.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::Duration;

use tokio::sync::mpsc;

/// A station that may reach a console from now on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    /// What it is known by: the VM's name, `@` and a number of its own.
    pub id: String,
    /// Where the station's connections come from.
    pub station: IpAddr,
    /// Where the console listens.
    pub console: SocketAddr,
    /// What the console is opened with.
    pub password: String,
    /// What the station has to know, if anything.
    pub ticket: Option<String>,
    /// How long the station has to connect.
    pub reserved: Duration,
    /// How long a viewer that is gone may come back.
    pub grace: Duration,
}

/// A binding as the broker has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DoorSession {
    /// The binding.
    pub id: String,
    /// Its station.
    pub station: IpAddr,
    /// Whether anything was ever relayed.
    pub used: bool,
    /// How long nobody touches keyboard, mouse and USB.
    pub idle: Duration,
    /// Octets from the station.
    pub sent: u64,
    /// Octets to the station.
    pub received: u64,
}

/// What the broker tells by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DoorEvent {
    /// The first octet is about to be relayed.
    Used {
        /// The binding.
        id: String,
    },
    /// The binding is gone.
    Ended {
        /// The binding.
        id: String,
        /// Why, for an operator.
        why: String,
        /// Whether anything was ever relayed; if not, the console is untouched.
        used: bool,
        /// Octets from the station.
        sent: u64,
        /// Octets to the station.
        received: u64,
    },
    /// A channel waits for a connection to its console.
    Wanted {
        /// What the connection is handed over for.
        request: u64,
        /// The binding.
        id: String,
    },
    /// A connection was turned away.
    Refused {
        /// Where it came from.
        station: IpAddr,
        /// Why.
        why: String,
    },
    /// The broker is reached again, or events were lost: everything is to be listed.
    Opened,
    /// The broker is not reached.
    Closed,
}

/// Why the broker did not do it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DoorError {
    /// It is not reached, or does not answer in time. Whether it acts is not known.
    #[error("the broker is not reached: {0}")]
    Disconnected(String),
    /// It says no.
    #[error("the broker refused: {0}")]
    Refused(String),
}

/// A broker. Every call comes back within a few seconds.
pub trait Door: Send + Sync + 'static {
    /// Lets a station in.
    ///
    /// # Errors
    /// The broker refuses, as where the station has a binding already; or is not reached.
    fn bind(&self, binding: &Binding) -> impl Future<Output = Result<(), DoorError>> + Send;

    /// Takes a binding back unless it was used. Says whether it was: then its session goes on, else nothing is ever relayed
    /// by it. Nothing where the broker knows no such binding.
    ///
    /// # Errors
    /// The broker is not reached.
    fn unbind(&self, id: &str) -> impl Future<Output = Result<Option<bool>, DoorError>> + Send;

    /// Ends a binding and cuts its connections. What is not there is ended.
    ///
    /// # Errors
    /// The broker is not reached.
    fn kick(&self, id: &str) -> impl Future<Output = Result<(), DoorError>> + Send;

    /// Every binding that there is.
    ///
    /// # Errors
    /// The broker is not reached.
    fn sessions(&self) -> impl Future<Output = Result<Vec<DoorSession>, DoorError>> + Send;

    /// Hands over a connection to a console.
    ///
    /// # Errors
    /// The broker is not reached.
    fn hand_over(&self, request: u64, console: OwnedFd)
    -> impl Future<Output = Result<(), DoorError>> + Send;

    /// What happens from now on, in order. The latest caller gets all.
    fn events(&self) -> mpsc::Receiver<DoorEvent>;
}

/// The VM that a binding is of.
#[must_use]
pub fn vm_of(id: &str) -> &str {
    id.rsplit_once('@').map_or(id, |(name, _)| name)
}
