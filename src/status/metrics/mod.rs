//! The status as metrics in the OpenMetrics text format, which Prometheus reads. Called by the API at `/metrics`.
//!
//! Nothing is kept between two scrapes: every number is one of the status or of the balancers' statistics, so that they
//! can never differ. Labels are ids and names of a fixed set; nothing that a client sends becomes one.

mod balancers;
mod firmware;
mod out;
mod ssh;

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::registry::{Registry, Unit};

use self::out::{Out, count, counts, number, one_of};
use super::interface::{InterfaceState, InterfaceStatus};
use super::{Health, Status};
use crate::balancer::Statistics;
use crate::config::Id;
use crate::dhcp::{Reason, Received, Sent};
use crate::plan::facts::Traffic;

/// Writes the status, what balancers count, and what the API turned away by reason, as text.
///
/// # Errors
/// It cannot be written.
pub fn encode(
    text: &mut impl fmt::Write,
    status: Status,
    balancers: Statistics,
    refused: Vec<(&'static str, u64)>,
) -> fmt::Result {
    let mut registry = Registry::with_prefix("vrouter");
    registry.register_collector(Box::new(OfStatus(status)));
    registry.register_collector(Box::new(balancers::OfBalancers(balancers)));
    registry.register_collector(Box::new(OfDoor(refused)));
    prometheus_client::encoding::text::encode(text, &registry)
}

#[derive(Debug)]
struct OfDoor(Vec<(&'static str, u64)>);

impl Collector for OfDoor {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let help = "Connections and requests that the API turned away, by reason";
        Out(&mut encoder).counter("api_refused", help, None, |sample| {
            self.0.iter().try_for_each(|(reason, value)| sample(&[("reason", reason)], number(*value)))
        })
    }
}

#[derive(Debug)]
struct OfStatus(Status);

/// A number of a device's traffic: its name, what it is, its unit, and how it is read for each direction.
type TrafficFamily = (&'static str, &'static str, Option<Unit>, [(&'static str, fn(&Traffic) -> u64); 2]);

impl Collector for OfStatus {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut out = Out(&mut encoder);
        self.router(&mut out)?;
        firmware::encode(&self.0.system, &mut out)?;
        self.kernel(&mut out)?;
        self.interfaces(&mut out)?;
        self.services(&mut out)?;
        self.dhcp(&mut out)?;
        self.dns(&mut out)?;
        ssh::encode(&self.0.services.ssh.detail, &mut out)
    }
}

impl OfStatus {
    fn router(&self, out: &mut Out<'_, '_>) -> fmt::Result {
        let Self(status) = self;
        out.gauge("build", "The version that runs; always 1", None, |sample| {
            sample(&[("version", status.version)], 1.0)
        })?;
        out.gauge("state", "How the router does: 1 at the state that it is in", None, |sample| {
            one_of(Health::ALL.map(Health::name), status.state.name(), |state, value| {
                sample(&[("state", state)], value)
            })
        })?;
        out.gauge("generation", "The generation that runs", None, |sample| {
            sample(&[], number(status.generation))
        })?;
        out.gauge("start_time", "When the service started, in Unix time", Some(Unit::Seconds), |sample| {
            sample(&[], number(status.started.seconds()))
        })?;
        out.counter(
            "repairs",
            "How often something was put right that somebody else had changed",
            None,
            |sample| sample(&[], number(status.repairs)),
        )?;
        let drift = &status.drift;
        out.counter(
            "drift",
            "How often something of ours in the kernel was not as it should be",
            None,
            |sample| sample(&[], number(drift.total)),
        )?;
        let help = "What of ours in the kernel differs now, and is left so";
        out.gauge("drift_present", help, None, |sample| sample(&[], count(drift.present)))?;
        let help = "Whether somebody changes what is ours faster than it is put back";
        out.gauge("drift_fight", help, None, |sample| {
            sample(&[], if drift.fight_since.is_some() { 1.0 } else { 0.0 })
        })?;
        out.gauge("unconfirmed", "Whether a change waits to be confirmed", None, |sample| {
            sample(&[], if status.unconfirmed.is_some() { 1.0 } else { 0.0 })
        })?;
        let Some(last) = status.last_change else { return Ok(()) };
        let help = "What the last change took, carried out, read back and durable";
        out.gauge("last_change", help, Some(Unit::Seconds), |sample| sample(&[], last.took_ms / 1e3))
    }

    fn kernel(&self, out: &mut Out<'_, '_>) -> fmt::Result {
        let Self(Status { kernel, .. }) = self;
        out.gauge("kernel_missing", "What the kernel lacks; always 1", None, |sample| {
            kernel.missing.iter().try_for_each(|missing| sample(&[("feature", missing.feature)], 1.0))
        })?;
        let Some(connections) = kernel.connections else { return Ok(()) };
        out.gauge("connections", "Connections that are tracked", None, |sample| {
            sample(&[], number(connections.count))
        })?;
        out.gauge("connections_limit", "Connections that may be tracked", None, |sample| {
            sample(&[], number(connections.limit))
        })
    }

    fn interfaces(&self, out: &mut Out<'_, '_>) -> fmt::Result {
        let Self(Status { interfaces, .. }) = self;
        out.gauge("interface_state", "How each interface does: 1 at its state", None, |sample| {
            interfaces.iter().try_for_each(|(id, interface)| {
                one_of(
                    InterfaceState::ALL.map(InterfaceState::name),
                    interface.state.name(),
                    |state, value| sample(&[("interface", id.as_str()), ("state", state)], value),
                )
            })
        })?;
        let counters: [TrafficFamily; 4] = [
            (
                "interface_traffic",
                "Octets through each interface",
                Some(Unit::Bytes),
                [("in", |traffic| traffic.received_bytes), ("out", |traffic| traffic.sent_bytes)],
            ),
            (
                "interface_packets",
                "Packets through each interface",
                None,
                [("in", |traffic| traffic.received_packets), ("out", |traffic| traffic.sent_packets)],
            ),
            (
                "interface_errors",
                "Packets that were broken or could not be sent",
                None,
                [("in", |traffic| traffic.received_errors), ("out", |traffic| traffic.sent_errors)],
            ),
            (
                "interface_dropped",
                "Packets that found no room",
                None,
                [("in", |traffic| traffic.received_dropped), ("out", |traffic| traffic.sent_dropped)],
            ),
        ];
        for (name, help, unit, directions) in counters {
            out.counter(name, help, unit, |sample| {
                let known = |(id, interface): (&'_ Id, &'_ InterfaceStatus)| {
                    interface.traffic.map(|traffic| (id.clone(), traffic))
                };
                interfaces.iter().filter_map(known).try_for_each(|(id, traffic)| {
                    directions.iter().try_for_each(|(direction, read)| {
                        let labels = [("interface", id.as_str()), ("direction", *direction)];
                        sample(&labels, number(read(&traffic)))
                    })
                })
            })?;
        }
        Ok(())
    }

    fn services(&self, out: &mut Out<'_, '_>) -> fmt::Result {
        let heads = self.0.services.heads();
        out.gauge("service_state", "How each service does: 1 at its state", None, |sample| {
            heads.iter().try_for_each(|(service, head)| {
                one_of(Health::ALL.map(Health::name), head.state.name(), |state, value| {
                    sample(&[("service", service), ("state", state)], value)
                })
            })
        })?;
        out.gauge("wanted", "Objects of each service that are configured", None, |sample| {
            heads.iter().try_for_each(|(service, head)| sample(&[("service", service)], count(head.wanted)))
        })?;
        out.gauge("observed", "Objects of each service that are there", None, |sample| {
            let known = heads.iter().filter_map(|(service, head)| Some((service, head.observed?)));
            known
                .into_iter()
                .try_for_each(|(service, observed)| sample(&[("service", service)], count(observed)))
        })
    }

    fn dhcp(&self, out: &mut Out<'_, '_>) -> fmt::Result {
        let dhcp = &self.0.services.dhcp.detail;
        out.counter("dhcp_received", "DHCP messages from clients and relays", None, |sample| {
            dhcp.listeners.iter().try_for_each(|listener| {
                let of = ("interface", listener.interface.as_str());
                counts(
                    sample,
                    of,
                    "type",
                    Received::ALL.map(|kind| (kind.name(), listener.received.get(&kind))),
                )
            })
        })?;
        out.counter("dhcp_ignored", "DHCP messages that got no answer, by reason", None, |sample| {
            dhcp.listeners.iter().try_for_each(|listener| {
                let of = ("interface", listener.interface.as_str());
                counts(
                    sample,
                    of,
                    "reason",
                    Reason::ALL.map(|kind| (kind.name(), listener.ignored.get(&kind))),
                )
            })
        })?;
        out.counter("dhcp_sent", "DHCP messages to clients and relays", None, |sample| {
            dhcp.networks.iter().try_for_each(|network| {
                let of = ("network", network.network.as_str());
                counts(sample, of, "type", Sent::ALL.map(|kind| (kind.name(), network.sent.get(&kind))))
            })
        })?;
        out.gauge("dhcp_leases", "Addresses that are held, or kept from everybody", None, |sample| {
            dhcp.networks.iter().try_for_each(|network| {
                let states = [
                    ("static", network.static_leases),
                    ("dynamic", network.dynamic_leases),
                    ("quarantined", network.quarantined),
                ];
                states.into_iter().try_for_each(|(state, leases)| {
                    sample(&[("network", network.network.as_str()), ("state", state)], number(leases))
                })
            })
        })?;
        out.gauge("dhcp_range_addresses", "Addresses of the ranges", None, |sample| {
            dhcp.networks.iter().try_for_each(|network| {
                sample(&[("network", network.network.as_str())], number(network.range_addresses))
            })
        })?;
        out.gauge("dhcp_storage_fault", "Whether leases cannot be stored", None, |sample| {
            sample(&[], if dhcp.storage_fault.is_some() { 1.0 } else { 0.0 })
        })
    }

    fn dns(&self, out: &mut Out<'_, '_>) -> fmt::Result {
        let dns = &self.0.services.dns.detail;
        let counts = &dns.counts;
        out.counter("dns_answers", "DNS answers by the type that was asked for", None, |sample| {
            counts
                .answers_by_type
                .iter()
                .try_for_each(|(kind, value)| sample(&[("type", kind)], number(*value)))
        })?;
        out.counter("dns_responses", "DNS answers by response code", None, |sample| {
            counts
                .answers_by_rcode
                .iter()
                .try_for_each(|(code, value)| sample(&[("rcode", code)], number(*value)))
        })?;
        out.counter("dns_messages", "DNS messages by transport", None, |sample| {
            sample(&[("transport", "udp")], number(counts.udp_messages))?;
            sample(&[("transport", "tcp")], number(counts.tcp_messages))
        })?;
        out.counter("dns_answers_from", "DNS answers by where they are from", None, |sample| {
            let from =
                [("local", counts.local), ("forwarders", counts.forwarded), ("refused", counts.refused)];
            from.into_iter().try_for_each(|(source, value)| sample(&[("source", source)], number(value)))
        })?;
        out.counter(
            "dns_cache",
            "Questions for forwarders, by whether the answer was kept",
            None,
            |sample| {
                sample(&[("result", "hit")], number(counts.cache_hits))?;
                sample(&[("result", "miss")], number(counts.cache_misses))
            },
        )?;
        out.counter("dns_ignored", "DNS messages that were no queries", None, |sample| {
            sample(&[], number(counts.ignored))
        })?;
        out.counter("dns_unsent", "DNS answers that the system did not take", None, |sample| {
            sample(&[], number(counts.unsent))
        })?;
        out.counter("dns_connections_refused", "DNS connections that were not taken", None, |sample| {
            sample(&[], number(counts.connections_refused))
        })?;
        out.gauge("dns_cache_entries", "Answers of forwarders that are kept", None, |sample| {
            sample(&[], count(dns.cache_entries))
        })?;
        out.gauge("dns_names", "Names of this site", None, |sample| sample(&[], count(dns.names)))?;
        out.gauge(
            "dns_upstream_up",
            "Whether a forwarder answers; absent until it was asked",
            None,
            |sample| {
                let known =
                    dns.upstreams.iter().filter_map(|upstream| Some((upstream.address, upstream.reachable?)));
                known.into_iter().try_for_each(|(address, reachable)| {
                    sample(&[("upstream", &address.to_string())], if reachable { 1.0 } else { 0.0 })
                })
            },
        )?;
        out.counter("dns_upstream_queries", "Questions that a forwarder was asked", None, |sample| {
            dns.upstreams.iter().try_for_each(|upstream| {
                sample(&[("upstream", &upstream.address.to_string())], number(upstream.queries))
            })
        })?;
        out.counter("dns_upstream_failures", "Questions that a forwarder did not answer", None, |sample| {
            dns.upstreams.iter().try_for_each(|upstream| {
                sample(&[("upstream", &upstream.address.to_string())], number(upstream.failures))
            })
        })
    }
}
