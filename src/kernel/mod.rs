//! Hands: the only room that writes to the kernel, and the one that reads back what came of it.
//!
//! It sees facts and steps and holds no opinion. What it fails to do it reports, step by step; what to do about that is
//! the loop's to decide. Called by the loop; status reads what the kernel counts.

mod announce;
mod attribute;
mod balanced;
mod capabilities;
mod connection;
mod conntrack;
mod counters;
mod events;
pub mod fake;
mod link;
mod linux;
mod log;
mod netlink;
mod nftables;
mod route;
mod sysctl;
mod way;

use std::collections::BTreeMap;
use std::future::Future;
use std::net::Ipv4Addr;
use std::time::Duration;

pub use balanced::{EndedConnections, balanced};
pub use connection::connections;
pub use counters::{address_traffic, counters};
pub use events::{Events, Happened, OwnPorts};
pub use linux::Linux;
pub use log::FirewallLog;

use crate::plan::facts::{Name, Observed, Sysctl, TableSeen, WayAnswer, WayQuestion};
use crate::plan::step::Plan;

/// What the loop asks of a kernel: the real one, or a fake in a test.
pub trait Kernel {
    /// What the kernel is, as far as it is ours, without `/proc/sys`.
    ///
    /// # Errors
    /// The kernel does not answer, or what it says makes no sense.
    fn observe(&mut self) -> impl Future<Output = Result<Observed, KernelError>>;

    /// The same around a table that is known: [`Kernel::is_stale`] says whether it still is.
    ///
    /// # Errors
    /// As [`Kernel::observe`].
    fn observe_around(
        &mut self,
        table: Option<TableSeen>,
    ) -> impl Future<Output = Result<Observed, KernelError>>;

    /// What [`Kernel::observe`] tells, by the way: [`Kernel::is_stale`] says afterwards what it said before.
    ///
    /// # Errors
    /// As [`Kernel::observe`].
    fn look(&mut self) -> impl Future<Output = Result<Observed, KernelError>> {
        self.observe()
    }

    /// Values of `/proc/sys`, of those that are there.
    ///
    /// # Errors
    /// A value that is there cannot be read.
    fn read_sysctls(&mut self, sysctls: &[Sysctl]) -> Result<BTreeMap<Sysctl, String>, KernelError>;

    /// Whether somebody changed the kernel's ruleset since it was last read here.
    ///
    /// # Errors
    /// As [`Kernel::observe`].
    fn is_stale(&mut self) -> Result<bool, KernelError>;

    /// Where the kernel itself says that a packet goes, by all of its routes; nothing where it is not there to be asked.
    ///
    /// # Errors
    /// As [`Kernel::observe`].
    fn way(&mut self, _question: &WayQuestion) -> Result<Option<WayAnswer>, KernelError> {
        Ok(None)
    }

    /// Where a source went before, as a map that packets fill remembers it.
    ///
    /// # Errors
    /// As [`Kernel::observe`].
    fn remembered(&mut self, _map: &Name, _source: Ipv4Addr) -> Result<Option<(Ipv4Addr, u16)>, KernelError> {
        Ok(None)
    }

    /// Takes the steps in order, up to the first that fails.
    fn execute(&mut self, plan: &Plan) -> impl Future<Output = Vec<StepResult>>;

    /// What the kernel is after a plan: `before`, and anew whatever the plan touched.
    ///
    /// # Errors
    /// As [`Kernel::observe`].
    fn read_back(
        &mut self,
        before: &Observed,
        plan: &Plan,
    ) -> impl Future<Output = Result<Observed, KernelError>>;
}

/// What keeps the kernel room from reading or writing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KernelError {
    /// A netlink socket cannot be had or used.
    #[error("cannot {action} over netlink: {reason}")]
    Netlink {
        /// What was tried.
        action: String,
        /// The system's words.
        reason: String,
    },
    /// The kernel refused a message.
    #[error("the kernel refused to {action}: {reason}")]
    Refused {
        /// What was asked.
        action: String,
        /// The kernel's error, and its own words where it has some.
        reason: String,
    },
    /// The ruleset that a transaction was made for is not the kernel's any more; another attempt may do.
    #[error("somebody else changed the ruleset meanwhile")]
    Disturbed,
    /// A file below `/proc/sys` cannot be read or written.
    #[error("cannot {action} /proc/sys/{path}: {reason}")]
    Sysctl {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: String,
        /// The system's words.
        reason: String,
    },
    /// What was read cannot be understood.
    #[error("the kernel's answer about {what} cannot be read: {reason}")]
    Unreadable {
        /// What it was about.
        what: &'static str,
        /// Why.
        reason: String,
    },
}

/// What became of a step.
#[derive(Debug, Clone)]
pub struct StepResult {
    /// The step, in a few words.
    pub step: String,
    /// How many things it does.
    pub count: usize,
    /// How long it took.
    pub took: Duration,
    /// Why it failed, if it did.
    pub error: Option<KernelError>,
}
