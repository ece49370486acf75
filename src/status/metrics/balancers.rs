//! What balancers and their backends count, as metrics.
//!
//! A backend has a latency histogram from its first request on: most of what a scrape would hold otherwise is zeros.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::registry::Unit;

use super::out::{Labels, Out, number, one_of};
use crate::balancer::{
    BackendState, BackendStatistics, BalancerState, BalancerStatistics, PoolStatistics, Requests, Statistics,
    Traffic,
};

/// The classes of statuses, in the order in which they are counted.
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

#[derive(Debug)]
pub(super) struct OfBalancers(pub(super) Statistics);

/// Takes one sample.
type Sample<'a> = &'a mut dyn FnMut(Labels<'_>, f64) -> fmt::Result;

impl Collector for OfBalancers {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut out = Out(&mut encoder);
        self.balancers(&mut out)?;
        self.pools(&mut out)?;
        self.backends(&mut out)?;
        let help = "When each certificate ends, in Unix time";
        out.gauge("certificate_expiry", help, Some(Unit::Seconds), |sample| {
            self.0.certificates.iter().try_for_each(|(id, certificate)| {
                sample(&[("certificate", id.as_str())], number(certificate.not_after.seconds()))
            })
        })
    }
}

impl OfBalancers {
    fn balancers(&self, out: &mut Out<'_, '_>) -> fmt::Result {
        out.gauge("balancer_state", "How each balancer does: 1 at its state", None, |sample| {
            self.each_balancer(|labels, balancer| {
                one_of(BalancerState::ALL.map(BalancerState::name), balancer.state.name(), |state, value| {
                    sample(&[labels, &[("state", state)]].concat(), value)
                })
            })
        })?;
        let refused = "Connections that were turned away by each balancer";
        out.counter("balancer_refused", refused, None, |sample| {
            self.each_balancer(|labels, balancer| sample(labels, number(balancer.refused)))
        })?;
        traffic(out, "balancer", |sample| {
            self.each_balancer(|labels, balancer| sample(labels, &balancer.traffic))
        })?;
        requests(out, "balancer", |sample| {
            self.each_balancer(|labels, balancer| {
                balancer.requests.iter().try_for_each(|requests| sample(labels, requests))
            })
        })
    }

    fn pools(&self, out: &mut Out<'_, '_>) -> fmt::Result {
        out.gauge("balancer_pool_state", "How each pool does: 1 at its state", None, |sample| {
            self.each_pool(|labels, pool| {
                one_of(BalancerState::ALL.map(BalancerState::name), pool.state.name(), |state, value| {
                    sample(&[labels, &[("state", state)]].concat(), value)
                })
            })
        })?;
        out.gauge("balancer_queued", "Who waits for a backend of each pool", None, |sample| {
            self.each_pool(|labels, pool| sample(labels, number(pool.queued)))
        })?;
        let help = "Who waited in vain for a backend of each pool";
        out.counter("balancer_queue_failures", help, None, |sample| {
            self.each_pool(|labels, pool| sample(labels, number(pool.queue_failures)))
        })
    }

    fn backends(&self, out: &mut Out<'_, '_>) -> fmt::Result {
        out.gauge("backend_state", "How each backend does: 1 at its state", None, |sample| {
            self.each_backend(|labels, backend| {
                one_of(BackendState::ALL.map(BackendState::name), backend.state.name(), |state, value| {
                    sample(&[labels, &[("state", state)]].concat(), value)
                })
            })
        })?;
        let check = "What the last check of each backend took";
        out.gauge("backend_check", check, Some(Unit::Seconds), |sample| {
            self.each_backend(|labels, backend| {
                backend.check_ms.iter().try_for_each(|took| sample(labels, took / 1e3))
            })
        })?;
        let failures = "How often each backend could not be reached or broke off";
        out.counter("backend_failures", failures, None, |sample| {
            self.each_backend(|labels, backend| sample(labels, number(backend.failures)))
        })?;
        let retries = "How often another backend served in the place of each";
        out.counter("backend_retries", retries, None, |sample| {
            self.each_backend(|labels, backend| sample(labels, number(backend.retries)))
        })?;
        traffic(out, "backend", |sample| {
            self.each_backend(|labels, backend| sample(labels, &backend.traffic))
        })?;
        requests(out, "backend", |sample| {
            self.each_backend(|labels, backend| {
                backend.requests.iter().try_for_each(|requests| sample(labels, requests))
            })
        })
    }

    fn each_balancer(
        &self,
        mut with: impl FnMut(Labels<'_>, &BalancerStatistics) -> fmt::Result,
    ) -> fmt::Result {
        self.0.balancers.iter().try_for_each(|(id, balancer)| with(&[("balancer", id.as_str())], balancer))
    }

    fn each_pool(&self, mut with: impl FnMut(Labels<'_>, &PoolStatistics) -> fmt::Result) -> fmt::Result {
        self.each_balancer(|labels, balancer| {
            balancer
                .pools
                .iter()
                .try_for_each(|(id, pool)| with(&[labels, &[("pool", id.as_str())]].concat(), pool))
        })
    }

    fn each_backend(
        &self,
        mut with: impl FnMut(Labels<'_>, &BackendStatistics) -> fmt::Result,
    ) -> fmt::Result {
        self.each_pool(|labels, pool| {
            pool.backends
                .iter()
                .try_for_each(|(id, backend)| with(&[labels, &[("backend", id.as_str())]].concat(), backend))
        })
    }
}

/// Connections and octets of each owner that `each` tells.
fn traffic(
    out: &mut Out<'_, '_>,
    owner: &str,
    each: impl Fn(&mut dyn FnMut(Labels<'_>, &Traffic) -> fmt::Result) -> fmt::Result,
) -> fmt::Result {
    let name = |what: &str| format!("{owner}_{what}");
    let help = |what: &str| format!("{what} of each {owner}");
    out.gauge(&name("connections"), &help("Open connections"), None, |sample| {
        each(&mut |labels, traffic| sample(labels, number(traffic.current)))
    })?;
    out.gauge(&name("connections_peak"), &help("The most open connections"), None, |sample| {
        each(&mut |labels, traffic| sample(labels, number(traffic.peak)))
    })?;
    out.counter(&name("accepted"), &help("Connections since the beginning"), None, |sample| {
        each(&mut |labels, traffic| sample(labels, number(traffic.connections)))
    })?;
    out.counter(&name("traffic"), &help("Octets from and to clients"), Some(Unit::Bytes), |sample| {
        each(&mut |labels, traffic| {
            let mut one =
                |direction, value| sample(&[labels, &[("direction", direction)]].concat(), number(value));
            one("in", traffic.bytes_in)?;
            one("out", traffic.bytes_out)
        })
    })
}

/// Requests and answers of each owner that `each` tells.
fn requests(
    out: &mut Out<'_, '_>,
    owner: &str,
    each: impl Fn(&mut dyn FnMut(Labels<'_>, &Requests) -> fmt::Result) -> fmt::Result,
) -> fmt::Result {
    let name = |what: &str| format!("{owner}_{what}");
    let help = |what: &str| format!("{what} of each {owner}");
    out.gauge(&name("requests_current"), &help("Requests that are being answered"), None, |sample| {
        each(&mut |labels, requests| sample(labels, number(requests.current)))
    })?;
    out.counter(&name("requests"), &help("Requests since the beginning"), None, |sample| {
        each(&mut |labels, requests| sample(labels, number(requests.total)))
    })?;
    out.counter(&name("responses"), &help("Answers by class of status"), None, |sample: Sample<'_>| {
        each(&mut |labels, requests| {
            CLASSES
                .into_iter()
                .zip(requests.by_class)
                .try_for_each(|(class, value)| sample(&[labels, &[("class", class)]].concat(), number(value)))
        })
    })?;
    out.latency(&name("latency"), &help("From a request's head to its answer's end"), |sample| {
        each(&mut |labels, requests| match requests.latency.count() {
            0 => Ok(()),
            _ => sample(labels, &requests.latency),
        })
    })
}
