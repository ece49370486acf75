//! What the pool asks of a hypervisor, and the mark by which it knows its own. Implemented for libvirt and by a stateful
//! fake, both held to one conformance suite; called by the manager alone.
//!
//! Everything the pool must not forget stands in the marks: a state is written there before the act that it allows. Whoever
//! implements this touches nothing that carries no mark of this pool, whatever its name is.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::clock::Timestamp;

/// The XML namespace of the mark in a domain's `<metadata>`. The element is called `slot`, its text is a [`Mark`] as JSON.
pub const MARK_NAMESPACE: &str = "urn:vrouter:pool:1";
/// The prefix under which libvirt shows that element.
pub const MARK_PREFIX: &str = "vrouter-pool";
/// How the files of overlays end; nothing else in their directory is ever touched.
pub const OVERLAY_SUFFIX: &str = ".vrouter-pool.qcow2";

/// What a VM was last allowed to be. It is written before the act, so after a crash it tells the worst that may have been.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MarkState {
    /// It is being made; nobody has seen it.
    Creating,
    /// It runs and nobody has seen it.
    Clean,
    /// A station may connect to it.
    Reserved,
    /// A station has, or may have, worked in it. There is no way back.
    Used,
    /// It is being removed.
    Deleting,
    /// An operator keeps it as it is, to look at it.
    Quarantined,
}

/// What the pool wrote on a domain of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// The pool's name ([`crate::pool::config::Config::name`]): several pools on a host do not touch each other's VMs.
    pub pool: String,
    /// The UUID of the VM that it was written for: a call that hung and acts late cannot speak of a later VM of that name.
    pub uuid: String,
    /// The slot, which is known by the TCP port of its console.
    pub port: u16,
    /// What the VM may have been since the mark was written.
    pub state: MarkState,
    /// Since when.
    pub since: Timestamp,
    /// The station that it is reserved for or was used by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub station: Option<IpAddr>,
    /// The version of the golden image that it was made from, as [`Golden::version`] said.
    pub golden: String,
    /// The file that holds what is written to its disk.
    pub overlay: PathBuf,
}

/// Whether a domain runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Power {
    /// It runs.
    Running,
    /// It is shut off.
    Off,
    /// Neither: paused, crashed, being saved. No visitor can work in it.
    Other,
}

/// A domain that carries our mark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Domain {
    /// Its name, `<base>-<port>`.
    pub name: String,
    /// Its UUID, which tells a VM from a later one of the same name.
    pub uuid: String,
    /// Whether it runs.
    pub power: Power,
    /// What is written on it; nothing where the mark is ours by its namespace but cannot be
    /// read, or was written for another UUID.
    pub mark: Option<Mark>,
    /// Where its console listens, if it runs and listens.
    pub console: Option<SocketAddr>,
}

/// A VM to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloneRequest {
    /// Its name, `<base>-<port>`.
    pub name: String,
    /// Its UUID, RFC 9562, lower case with hyphens.
    pub uuid: String,
    /// Its first interface's MAC, unicast and locally administered; further interfaces count up from it.
    pub mac: [u8; 6],
    /// Where its console shall listen; always on loopback.
    pub console: SocketAddr,
    /// The console's password, which is set as expired long ago: nobody enters before a ticket is issued.
    pub password: String,
    /// The most octets that its overlay may take; none where the configuration sets no cap.
    pub overlay_limit: Option<u64>,
    /// What is written on it from its first moment. It names the overlay and the golden version.
    pub mark: Mark,
}

/// How a VM comes to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// It boots.
    Cold,
    /// From the saved memory image of its golden version, or by booting where that cannot be.
    Instant,
}

/// A ticket for a console.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ticket {
    /// The password, at most 60 characters (SPICE's limit).
    pub password: String,
    /// When it stops being taken; where no time is named, never.
    pub until: Option<Timestamp>,
}

/// What is known of the golden domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Golden {
    /// Names the content: a new one means that clean VMs are to be replaced.
    pub version: String,
    /// Octets of memory that one clone takes.
    pub memory: u64,
    /// Why it cannot be cloned now, in words for an operator: it runs, has internal snapshots, is itself a clone, and so on.
    pub fault: Option<String>,
}

/// What is left of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Resources {
    /// Octets of memory that can be had without swapping.
    pub memory: u64,
    /// Octets left where overlays are.
    pub disk: u64,
}

/// What happened to a domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifecycle {
    /// It runs.
    Started,
    /// It ended: by its guest, by us, or by crashing.
    Stopped,
    /// Its guest restarted it, where the hypervisor tells.
    Rebooted,
    /// It is defined no more.
    Undefined,
}

/// How far a viewer's connection to a console is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GraphicsPhase {
    /// Something connected; a port scan does as much.
    Connected,
    /// It is authenticated.
    Initialized,
    /// It is gone.
    Disconnected,
}

/// What the hypervisor tells by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Of a domain.
    Lifecycle {
        /// The domain's name; whether it is ours is for the receiver to look up.
        name: String,
        /// What happened.
        what: Lifecycle,
    },
    /// Of a console.
    Graphics {
        /// The domain's name.
        name: String,
        /// How far the connection is.
        phase: GraphicsPhase,
        /// Where it comes from: on a broker's host, loopback.
        peer: Option<IpAddr>,
    },
    /// The connection to the hypervisor is gone; it is being opened again.
    Closed,
    /// It is open again. What happened meanwhile was not told: everything has to be listed.
    Opened,
    /// Events were dropped because nobody took them. Everything has to be listed.
    Lost,
}

/// Why a call failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HypervisorError {
    /// It did not answer in time; whether it will still act is not known.
    #[error("{call} has not answered within {} ms; is libvirtd alive?", after.as_millis())]
    Deadline {
        /// Which call.
        call: &'static str,
        /// How long it was waited for.
        after: Duration,
    },
    /// There is no connection.
    #[error("the hypervisor is not reached: {0}")]
    Disconnected(String),
    /// There is no such domain, overlay or network.
    #[error("there is no {0}")]
    NotFound(String),
    /// There is one already.
    #[error("{0} exists already")]
    Exists(String),
    /// It does not carry the mark of this pool, so it is left alone.
    #[error("{0} is not of this pool and is left alone")]
    NotOurs(String),
    /// The host has no room for it.
    #[error("no room: {0}")]
    NoRoom(String),
    /// Anything else, in the hypervisor's words.
    #[error("{call}: {message}")]
    Refused {
        /// Which call.
        call: &'static str,
        /// The hypervisor's words.
        message: String,
    },
}

impl HypervisorError {
    /// Whether the same call may succeed later without anybody doing anything.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Deadline { .. } | Self::Disconnected(_) | Self::NoRoom(_))
    }
}

/// What every call comes back with.
pub type Answer<T> = Result<T, HypervisorError>;

/// A hypervisor.
///
/// Each call comes back within the deadline that the implementation was opened with, also when the hypervisor never
/// answers; calls that hang are bounded in number, and while too many hang, further ones are refused as `Disconnected`.
/// A call whose future is dropped may still act. Removing what is not there is no failure: those calls say `Ok`.
pub trait Hypervisor: Send + Sync + 'static {
    /// Every domain that carries a mark of our namespace and this pool, or one of our namespace that cannot be read. An
    /// unreadable mark is ours only if the domain's name is one of this pool's.
    ///
    /// # Errors
    /// Any.
    fn domains(&self) -> impl Future<Output = Answer<Vec<Domain>>> + Send;

    /// Every file that ends in [`OVERLAY_SUFFIX`] in the overlay directory and begins with a name of this pool.
    ///
    /// # Errors
    /// Any.
    fn overlays(&self) -> impl Future<Output = Answer<Vec<PathBuf>>> + Send;

    /// Makes a VM that does not run yet: its overlay, then the domain, which carries its mark from its first moment.
    /// Whatever fails, nothing of it is left but what a crash leaves.
    ///
    /// # Errors
    /// `Exists` where there is a domain of that name, ours or not; `NoRoom` where the disk is full; any.
    fn create(&self, clone: &CloneRequest) -> impl Future<Output = Answer<()>> + Send;

    /// Lets a VM run. It runs when this comes back. Says how it was started in the end.
    ///
    /// # Errors
    /// `NotFound`, `NotOurs`; any.
    fn start(&self, name: &str, how: Start) -> impl Future<Output = Answer<Start>> + Send;

    /// Writes a mark; it is durable against the end of this process and of the hypervisor's when this comes back.
    ///
    /// # Errors
    /// `NotFound`; `NotOurs`, also where the mark names another VM than the one of that name; any.
    fn set_mark(&self, name: &str, mark: &Mark) -> impl Future<Output = Answer<()>> + Send;

    /// Ends a VM at once, as pulling its plug does.
    ///
    /// # Errors
    /// `NotOurs`; any.
    fn destroy(&self, name: &str) -> impl Future<Output = Answer<()>> + Send;

    /// Forgets a VM that does not run, with its saved state, its snapshots' metadata and its NVRAM.
    ///
    /// # Errors
    /// `NotOurs`; any.
    fn undefine(&self, name: &str) -> impl Future<Output = Answer<()>> + Send;

    /// Removes an overlay, which has to be one that [`Hypervisor::overlays`] would list.
    ///
    /// # Errors
    /// `NotOurs`; any.
    fn delete_overlay(&self, overlay: &Path) -> impl Future<Output = Answer<()>> + Send;

    /// Says who may enter a console.
    ///
    /// # Errors
    /// `NotFound`, `NotOurs`; any.
    fn set_ticket(&self, name: &str, ticket: &Ticket) -> impl Future<Output = Answer<()>> + Send;

    /// A fresh connection to a VM's console, which needs no password (virDomainOpenGraphicsFD).
    ///
    /// # Errors
    /// `NotFound`, `NotOurs`; any.
    fn open_console(&self, name: &str) -> impl Future<Output = Answer<OwnedFd>> + Send;

    /// What is known of the golden domain now.
    ///
    /// # Errors
    /// `NotFound` where there is none; any.
    fn golden(&self) -> impl Future<Output = Answer<Golden>> + Send;

    /// What is left of the host.
    ///
    /// # Errors
    /// Any.
    fn resources(&self) -> impl Future<Output = Answer<Resources>> + Send;

    /// Defines, starts and lets start by itself the network that this XML describes.
    ///
    /// # Errors
    /// `Exists` where one of that name is there; any.
    fn define_network(&self, xml: &str) -> impl Future<Output = Answer<()>> + Send;

    /// What happens from now on, in order. The latest caller gets all; the channel is bounded and `Lost` tells what was
    /// dropped.
    fn events(&self) -> mpsc::Receiver<Event>;
}
