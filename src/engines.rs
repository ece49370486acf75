//! The engines side by side: what the loop hands a configuration to, and what status and the API ask how they do.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::runtime::Handle;

use crate::balancer::Statistics;
use crate::balancer::statistics::Overview;
use crate::clock::{self, Timestamp};
use crate::config::{Config, Id};
use crate::plan::facts::Link;
use crate::reconcile::{EngineError, Engines};
use crate::{dhcp, dns};

/// DHCP and DNS.
#[derive(Debug)]
pub struct Services {
    dhcp: Arc<dhcp::Service>,
    dns: Arc<dns::Service>,
    balancers: Arc<Balancers>,
}

/// The configuration whose balancers are told of, and since when it runs.
type Balancers = ArcSwap<(Config, Timestamp)>;

impl Services {
    /// Starts the engines with what they remember, serving nothing yet. Has to be called on a runtime.
    ///
    /// # Errors
    /// The leases cannot be read, or the system gives no thread.
    pub fn open(state_dir: &Path) -> Result<Self, EngineError> {
        Ok(Self {
            dhcp: Arc::new(dhcp::Service::open(state_dir).map_err(failed("dhcp"))?),
            dns: Arc::new(dns::Service::new().map_err(failed("dns"))?),
            balancers: Arc::default(),
        })
    }

    /// The engines for a caller on another thread; what they start runs on `runtime`.
    #[must_use]
    pub fn on(&self, runtime: Handle) -> RunningOn {
        let Self { dhcp, dns, balancers } = self;
        let (dhcp, dns, balancers) = (dhcp.clone(), dns.clone(), balancers.clone());
        RunningOn { dhcp, dns, balancers, dns_snapshot: Arc::default(), runtime }
    }

    /// What balancers count and know.
    #[must_use]
    pub fn balancer_statistics(&self) -> Statistics {
        let (config, since) = &**self.balancers.load();
        Statistics::configured(config, *since)
    }

    /// How balancers do; asked once a second.
    #[must_use]
    pub fn balancer_overview(&self) -> Overview {
        self.balancer_statistics().overview()
    }

    /// DHCP.
    #[must_use]
    pub fn dhcp(&self) -> &dhcp::Service {
        &self.dhcp
    }

    /// DNS.
    #[must_use]
    pub fn dns(&self) -> &dns::Service {
        &self.dns
    }

    /// Ends the engines once nobody else has them: every promised lease is on disk when this returns.
    pub async fn close(self) {
        match Arc::try_unwrap(self.dhcp) {
            Ok(dhcp) => dhcp.close().await,
            Err(_) => tracing::warn!("DHCP is still in use and ends with the process"),
        }
        match Arc::try_unwrap(self.dns) {
            Ok(dns) => dns.close().await,
            Err(_) => tracing::warn!("DNS is still in use and ends with the process"),
        }
    }
}

/// The engines, with the runtime that their tasks run on.
#[derive(Debug)]
pub struct RunningOn {
    dhcp: Arc<dhcp::Service>,
    dns: Arc<dns::Service>,
    balancers: Arc<Balancers>,
    /// What DNS serves: the next snapshot costs what differs from it.
    dns_snapshot: Arc<dns::Snapshot>,
    runtime: Handle,
}

impl Engines for RunningOn {
    async fn apply(&mut self, config: &Config, links: &BTreeMap<Id, Link>) -> Result<(), EngineError> {
        let dhcp_snapshot = Arc::new(dhcp::Snapshot::new(config, links));
        let dns_snapshot = Arc::new(self.dns_snapshot.next(config, links));
        let (dhcp, dns, for_dns) = (self.dhcp.clone(), self.dns.clone(), dns_snapshot.clone());
        // The tasks that this starts belong to the runtime of the engines, not to the caller's.
        let applied = self.runtime.spawn(async move {
            dhcp.apply(dhcp_snapshot).await.map_err(failed("dhcp"))?;
            dns.apply(for_dns).await.map_err(failed("dns"))
        });
        applied.await.map_err(failed("engines"))??;
        self.dns_snapshot = dns_snapshot;
        self.balancers.store(Arc::new((config.clone(), clock::now())));
        Ok(())
    }
}

fn failed<E: Display>(service: &'static str) -> impl FnOnce(E) -> EngineError {
    move |error| EngineError { service, reason: error.to_string() }
}
