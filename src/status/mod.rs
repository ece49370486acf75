//! How the router does: for each interface and service what is wanted, what is observed, since when, and why not.
//!
//! ```text
//! the loop, the engines, the kernel's counters ──Reporter──▶ Inputs ──▶ Status ──▶ JSON, metrics, the journal
//!                                                              Board (since when) ──┘
//! ```
//!
//! What is decided here is pure: [`Status::new`] takes everything as arguments. The [`Reporter`] gathers it, once for each
//! request and once a second, so that the journal hears when something fails or recovers though nobody asks.

mod board;
mod connection;
mod interface;
mod kernel;
mod load_balancers;
mod metrics;
mod reporter;
mod service;
mod system;
#[cfg(test)]
mod tests;
mod told;
mod wanted;

use std::collections::BTreeMap;
use std::net::SocketAddr;

use schemars::JsonSchema;
use serde::Serialize;

pub use board::{Board, Transition};
pub use connection::{
    ConnectionList, ConnectionQuestion, ConnectionTraffic, ConnectionView, EndsView, PortsView,
};
pub use interface::{InterfaceState, InterfaceStatus};
pub use kernel::{KernelStatus, Missing};
pub use load_balancers::{LoadBalancerDetail, LoadBalancersStatus};
pub use metrics::encode as metrics;
pub use reporter::{KernelReadings, Reporter};
use service::Said;
pub use service::{ServiceStatus, Services};
pub use system::SystemStatus;
pub use told::{Start, Told, ToldOutcome};
pub use wanted::Wanted;

use crate::balancer::statistics::Overview;
use crate::clock::Timestamp;
use crate::config::Id;
use crate::plan::facts::Counters;
use crate::reconcile::{DriftSeen, Published, Unconfirmed, WentBack};
use crate::store::generations::Number;
use crate::{dhcp, dns, ssh};

/// How the router, or a part of it, does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// Everything is as wanted.
    Ok,
    /// Nothing is wanted of it.
    Off,
    /// It is not carried out yet.
    Starting,
    /// Some of it is not as wanted; the rest works.
    Degraded,
    /// It is not carried out.
    Failed,
}

impl Health {
    /// Every state.
    pub const ALL: [Self; 5] = [Self::Ok, Self::Off, Self::Starting, Self::Degraded, Self::Failed];

    /// Its name, as JSON and metrics have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Off => "off",
            Self::Starting => "starting",
            Self::Degraded => "degraded",
            Self::Failed => "failed",
        }
    }
}

/// How the router does.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Status {
    /// The version of the router.
    pub version: &'static str,
    /// Its configured name.
    pub hostname: Option<String>,
    /// What time it is here.
    pub time: Timestamp,
    /// When the service started.
    pub started: Timestamp,
    /// The generation that runs; 0 where nothing was ever configured.
    pub generation: Number,
    /// When it was carried out and read back; absent until it is for the first time since the start.
    pub verified: Option<Timestamp>,
    /// The worst of what follows; an interface that is not up degrades.
    pub state: Health,
    /// Why it is not ok.
    pub reasons: Vec<String>,
    /// What the last change took; absent before the first since the start.
    pub last_change: Option<LastChange>,
    /// How often something was put right that somebody else had changed.
    pub repairs: u64,
    /// What others did to ours in the kernel.
    pub drift: DriftSeen,
    /// What comes back, and when, unless it is confirmed.
    pub unconfirmed: Option<Unconfirmed>,
    /// The last change that went back by itself since the start.
    pub went_back: Option<WentBack>,
    /// What the machine was told at its start, by a credential or a seed disk.
    pub told: Option<Told>,
    /// Where the API answers; off loopback, on management interfaces alone.
    #[schemars(with = "Vec<String>")]
    pub api: Vec<SocketAddr>,
    /// What the kernel can do, and how full its connection table is.
    pub kernel: KernelStatus,
    /// The firmware.
    pub system: SystemStatus,
    /// The interfaces of the configuration.
    pub interfaces: BTreeMap<Id, InterfaceStatus>,
    /// The services.
    pub services: Services,
}

/// What the last change took.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, JsonSchema)]
pub struct LastChange {
    /// From its arrival until it was carried out, read back and durable, in milliseconds.
    pub took_ms: f64,
    /// How many things were done in the kernel.
    pub steps: usize,
}

/// Everything that the status is made of.
#[derive(Debug)]
pub struct Inputs<'a> {
    /// What the loop says.
    pub published: &'a Published,
    /// How much is wanted and observed of each noun of that configuration.
    pub wanted: &'a Wanted,
    /// What DHCP says.
    pub dhcp: dhcp::Status,
    /// What DNS says.
    pub dns: dns::Status,
    /// What the balancers say.
    pub balancers: &'a Overview,
    /// What SSH says.
    pub ssh: ssh::Status,
    /// What the kernel counts.
    pub counters: Counters,
    /// What is said of the firmware.
    pub system: SystemStatus,
    /// What was settled at its start.
    pub start: &'a Start,
}

impl Status {
    /// The status at `now`; `board` remembers since when each part is as it is.
    #[must_use]
    pub fn new(inputs: Inputs<'_>, board: &mut Board, now: Timestamp) -> Self {
        let Inputs { published, wanted, dhcp, dns, balancers, ssh, counters, system, start } = inputs;
        let kernel = KernelStatus::new(published.capabilities, counters.connections);
        let interfaces = interface::all(published, &counters, board, now);
        let services = Services::new(published, wanted, Said { dhcp, dns, balancers, ssh }, board, now);
        let mut reasons = Vec::new();
        if let Some(trouble) = &published.trouble {
            reasons.push(trouble.why.clone());
        }
        let not_up = interfaces.iter().filter_map(|(id, interface)| Some((id, interface.why.as_ref()?)));
        reasons.extend(not_up.map(|(id, why)| format!("interface `{id}`: {why}")));
        let ailing = services.heads().into_iter().filter(|(_, head)| head.state == Health::Degraded);
        reasons.extend(ailing.filter_map(|(name, head)| Some(format!("{name}: {}", head.why.as_ref()?))));
        reasons.extend(kernel.full());
        reasons.extend(loops(published));
        reasons.extend(start.told.as_ref().filter(|_| published.generation == 0).and_then(Told::reason));
        let state = match (&published.trouble, published.verified) {
            (Some(_), _) => Health::Failed,
            (None, None) => Health::Starting,
            (None, Some(_)) if reasons.is_empty() => Health::Ok,
            (None, Some(_)) => Health::Degraded,
        };
        board.settle("router", state.name(), reasons.first().map(String::as_str), now);
        board.forget_others();
        Self {
            version: env!("CARGO_PKG_VERSION"),
            hostname: published.config.hostname().map(ToString::to_string),
            time: now,
            started: published.started,
            generation: published.generation,
            verified: published.verified,
            state,
            reasons,
            last_change: published
                .last_change
                .map(|(took, steps)| LastChange { took_ms: took.as_secs_f64() * 1e3, steps }),
            repairs: published.repairs,
            drift: DriftSeen::clone(&published.drift),
            unconfirmed: published.unconfirmed.clone(),
            went_back: published.went_back.clone(),
            told: start.told.clone(),
            api: start.api.clone(),
            kernel,
            system,
            interfaces,
            services,
        }
    }
}

/// What the loop finds wrong that it cannot put right.
fn loops(published: &Published) -> Vec<String> {
    let (drift, generation) = (&published.drift, published.generation);
    let present = (drift.present > 0).then(|| {
        format!("the kernel differs from generation {generation} in {} and is left so", drift.present)
    });
    let fight = drift
        .fight_since
        .map(|since| format!("since {since} somebody changes what is ours faster than it is put back"));
    let went = published.went_back.as_ref().and_then(|went| {
        let why = went.not_stored.as_ref()?;
        Some(format!("generation {} came back and is not stored: {why}", went.back_to))
    });
    [present, fight, went].into_iter().flatten().collect()
}
