//! What the kernel counts of the balancers that it serves: read when somebody asks, and added up as connections end.
//! Called by the daemon, which runs [`KernelCounts::listen`], and by status.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::balancer::statistics::KernelTraffic;
use crate::config::Config;
use crate::config::load_balancer::DataPath;
use crate::config::port_forward::Transport;
use crate::kernel::{self, EndedConnections};
use crate::reconcile::Handle;

/// How often it is asked whether there is a balancer to listen for.
const ROUND: Duration = Duration::from_secs(1);
/// How long connections that end are left to gather: then many are read for the price of one.
const GATHER: Duration = Duration::from_millis(20);

/// The counts, with what is remembered of connections that ended.
#[derive(Debug)]
pub(super) struct KernelCounts {
    handle: Handle,
    known: Mutex<KernelTraffic>,
}

type Endpoint = (Ipv4Addr, u8, u16);

impl KernelCounts {
    pub(super) fn new(handle: Handle) -> Arc<Self> {
        Arc::new(Self { handle, known: Mutex::default() })
    }

    /// What is counted by this moment.
    pub(super) fn read(&self) -> KernelTraffic {
        let meant = endpoints(&self.handle.published().config);
        if meant.is_empty() {
            return KernelTraffic::default();
        }
        let open = kernel::balanced(|address, protocol, port| meant.contains(&(address, protocol, port)))
            .inspect_err(|error| tracing::warn!(%error, "connections of balancers cannot be counted"))
            .unwrap_or_default();
        let mut known = self.known.lock();
        for (balanced, traffic) in &open {
            let peak = known.peaks.entry(*balanced).or_default();
            *peak = (*peak).max(traffic.connections);
        }
        KernelTraffic { open, ..known.clone() }
    }

    /// Hears of connections that end, while the kernel serves any balancer. Never ends by itself.
    pub(super) async fn listen(self: Arc<Self>) {
        let mut rounds = interval(ROUND);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut events = None;
        loop {
            tokio::select! {
                _ = rounds.tick() => {
                    let meant = endpoints(&self.handle.published().config);
                    self.forget(&meant);
                    if meant.is_empty() {
                        events = None;
                    } else if events.is_none() {
                        events = EndedConnections::open()
                            .inspect_err(|error| tracing::warn!(%error, "connections that end are not counted"))
                            .ok();
                    }
                }
                goes_on = self.hear(&mut events), if events.is_some() => {
                    if !goes_on {
                        events = None;
                    }
                }
            }
        }
    }

    /// Takes in what ended next; whether there is more to be heard.
    async fn hear(&self, events: &mut Option<EndedConnections>) -> bool {
        let Some(events) = events else { return false };
        sleep(GATHER).await;
        // Whoever is meant may change while this waits; what is nobody's is forgotten with the next round.
        match events.next(|_, _, _| true).await {
            Ok(ended) => {
                if ended.lost {
                    tracing::debug!("more connections ended than could be told");
                }
                let mut known = self.known.lock();
                for (balanced, traffic) in ended.totals {
                    *known.ended.entry(balanced).or_default() += traffic;
                }
                true
            }
            Err(error) => {
                tracing::warn!(%error, "connections that end are not counted for a while");
                false
            }
        }
    }

    /// Forgets what is no balancer's any more.
    fn forget(&self, meant: &BTreeSet<Endpoint>) {
        let mut known = self.known.lock();
        known.ended.retain(|one, _| meant.contains(&(one.address, one.protocol, one.port)));
        known.peaks.retain(|one, _| meant.contains(&(one.address, one.protocol, one.port)));
    }
}

/// Where the balancers are that the kernel serves.
fn endpoints(config: &Config) -> BTreeSet<Endpoint> {
    let served = config.load_balancers().values().filter(|balancer| balancer.path() == DataPath::Kernel);
    let protocol = |transport| match transport {
        Transport::Tcp => 6,
        Transport::Udp => 17,
    };
    served.map(|balancer| (balancer.address.get(), protocol(balancer.transport()), balancer.port)).collect()
}
