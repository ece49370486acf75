//! The engines side by side: what the loop hands a configuration to, and what status and the API ask how they do.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::Path;
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::balancer::BalancerError;
use crate::config::{Config, Faults, Id};
use crate::plan::Availability;
use crate::plan::facts::Link;
use crate::reconcile::{EngineError, Engines};
use crate::ssh::{self, SshError};
use crate::{balancer, dhcp, dns};

/// DHCP, DNS, the balancers and SSH.
#[derive(Debug)]
pub struct Services {
    dhcp: Arc<dhcp::Service>,
    dns: Arc<dns::Service>,
    balancer: Arc<balancer::Service>,
    ssh: Arc<ssh::Service>,
}

impl Services {
    /// Starts the engines with what they remember, serving nothing yet. Has to be called on a runtime.
    ///
    /// # Errors
    /// The leases cannot be read, or the system gives no thread.
    pub fn open(state_dir: &Path) -> Result<Self, EngineError> {
        Ok(Self {
            dhcp: Arc::new(dhcp::Service::open(state_dir).map_err(failed("dhcp"))?),
            dns: Arc::new(dns::Service::new().map_err(failed("dns"))?),
            balancer: Arc::new(balancer::Service::open(state_dir).map_err(failed("load_balancers"))?),
            ssh: Arc::new(ssh::Service::new(state_dir)),
        })
    }

    /// The engines for a caller on another thread; what they start runs on `runtime`.
    #[must_use]
    pub fn on(&self, runtime: Handle) -> RunningOn {
        let Self { dhcp, dns, balancer, ssh } = self;
        let (dhcp, dns, balancer, ssh) = (dhcp.clone(), dns.clone(), balancer.clone(), ssh.clone());
        RunningOn { dhcp, dns, balancer, ssh, dns_snapshot: Arc::default(), runtime }
    }

    /// The balancers.
    #[must_use]
    pub fn balancer(&self) -> &balancer::Service {
        &self.balancer
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

    /// SSH.
    #[must_use]
    pub fn ssh(&self) -> &ssh::Service {
        &self.ssh
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
        match Arc::try_unwrap(self.balancer) {
            Ok(balancer) => balancer.close().await,
            Err(_) => tracing::warn!("the balancers are still in use and end with the process"),
        }
    }
}

/// The engines, with the runtime that their tasks run on.
#[derive(Debug)]
pub struct RunningOn {
    dhcp: Arc<dhcp::Service>,
    dns: Arc<dns::Service>,
    balancer: Arc<balancer::Service>,
    ssh: Arc<ssh::Service>,
    /// What DNS serves: the next snapshot costs what differs from it.
    dns_snapshot: Arc<dns::Snapshot>,
    runtime: Handle,
}

impl Engines for RunningOn {
    async fn apply(&mut self, config: &Config, links: &BTreeMap<Id, Link>) -> Result<(), EngineError> {
        let dhcp_snapshot = Arc::new(dhcp::Snapshot::new(config, links));
        let dns_snapshot = Arc::new(self.dns_snapshot.next(config, links));
        let balanced = Arc::new(balancer::Snapshot::new(config, links));
        let (dhcp, dns, for_dns) = (self.dhcp.clone(), self.dns.clone(), dns_snapshot.clone());
        let (balancer, ssh) = (self.balancer.clone(), self.ssh.clone());
        let operators = Arc::new(ssh::Snapshot::new(config));
        // The tasks that this starts belong to the runtime of the engines, not to the caller's.
        let applied = self.runtime.spawn(async move {
            // What it lets go of may be wanted by another.
            ssh.release(&operators).await;
            dhcp.apply(dhcp_snapshot).await.map_err(failed("dhcp"))?;
            dns.apply(for_dns).await.map_err(failed("dns"))?;
            balancer.apply(balanced).await.map_err(unserved)?;
            ssh.apply(operators).await.map_err(unheard)
        });
        applied.await.map_err(failed("engines"))??;
        self.dns_snapshot = dns_snapshot;
        Ok(())
    }

    fn availability(&self) -> watch::Receiver<Arc<Availability>> {
        self.balancer.availability()
    }
}

fn failed<E: Display>(service: &'static str) -> impl FnOnce(E) -> EngineError {
    move |error| EngineError { service, reason: error.to_string(), faults: Faults::default() }
}

fn unserved(error: BalancerError) -> EngineError {
    let faults = match &error {
        BalancerError::Unserved(unserved) => unserved.faults(),
        _ => Faults::default(),
    };
    EngineError { faults, ..failed("load_balancers")(error) }
}

fn unheard(error: SshError) -> EngineError {
    EngineError { faults: error.faults(), ..failed("ssh")(error) }
}
