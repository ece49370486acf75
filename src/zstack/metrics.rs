//! What ZStack's monitoring reads at the port: its own names and labels for balancers, and what the port itself counts.
//!
//! Every sample of a balancer is a gauge, as the management node's dashboards expect: they take rates themselves.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::{callback, door, worker};
use crate::balancer::{BackendState, BackendStatistics, Statistics};
use crate::config::{Config, Id};
use crate::plan::facts::AddressTraffic;
use crate::plan::facts::counters::WaysCounted;

/// What the text is: OpenMetrics, which Prometheus reads.
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What the numbers come from.
#[derive(Debug)]
pub(super) struct Readings<'a> {
    /// The configuration that runs.
    pub(super) config: Config,
    /// The balancer that each listener belongs to, by the listener's id.
    pub(super) balancer_uuids: BTreeMap<String, String>,
    /// What balancers count.
    pub(super) balancers: Statistics,
    /// What the kernel counts of VIPs.
    pub(super) addresses: AddressTraffic,
    /// What came to the door.
    pub(super) door: &'a door::Counts,
    /// What was carried out.
    pub(super) worked: &'a worker::Counts,
    /// What has become of answers.
    pub(super) delivered: &'a callback::Counts,
    /// How many tasks are remembered, and how many of them are open.
    pub(super) tasks: (usize, usize),
    /// How many were hung up on.
    pub(super) hung_up: u64,
}

/// The numbers as text.
///
/// # Errors
/// None that a number can cause.
pub(super) fn encode(readings: Readings<'_>) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix("zstack");
    registry.register_collector(Box::new(Numbers::of(readings)));
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry)?;
    Ok(text)
}

/// One number with its labels.
type Sample = (Vec<(&'static str, String)>, f64);

/// Families of numbers, in the order of the text.
#[derive(Debug, Default)]
struct Numbers(Vec<Family>);

#[derive(Debug)]
struct Family {
    name: &'static str,
    help: &'static str,
    kind: MetricType,
    samples: Vec<Sample>,
}

/// What is told of a backend: name, meaning and where it is.
type OfBackend = (&'static str, &'static str, fn(&BackendStatistics) -> Option<u64>);

const OF_BACKENDS: [OfBackend; 13] = [
    ("lb_status", "Whether the backend takes connections", |one| Some(is_up(one.state).into())),
    ("lb_cur_session_num", "Open connections of the backend", |one| Some(one.traffic.current)),
    ("lb_in_bytes", "Octets from clients to the backend", |one| Some(one.traffic.bytes_in)),
    ("lb_out_bytes", "Octets from the backend to clients", |one| Some(one.traffic.bytes_out)),
    ("lb_refused_session_num", "How often the backend could not be reached", |one| Some(one.failures)),
    ("lb_total_session_num", "Connections of the backend since the beginning", |one| {
        Some(one.traffic.connections)
    }),
    ("lb_concurrent_session_num", "Open connections of the backend", |one| Some(one.traffic.current)),
    ("lb_hrsp1xx", "Answers 1xx of the backend", |one| class(one, 0)),
    ("lb_hrsp2xx", "Answers 2xx of the backend", |one| class(one, 1)),
    ("lb_hrsp3xx", "Answers 3xx of the backend", |one| class(one, 2)),
    ("lb_hrsp4xx", "Answers 4xx of the backend", |one| class(one, 3)),
    ("lb_hrsp5xx", "Answers 5xx of the backend", |one| class(one, 4)),
    ("lb_hrspOther", "Requests of the backend that ended without an answer of these classes", |one| {
        let requests = one.requests?;
        let answered: u64 = requests.by_class.iter().sum();
        Some(requests.total.saturating_sub(requests.current).saturating_sub(answered))
    }),
];

/// What is told of a VIP: name, meaning and which of the numbers.
type OfVip = (&'static str, &'static str, fn(&WaysCounted) -> u64);

const OF_VIPS: [OfVip; 4] = [
    ("vip_in_bytes", "Octets of IP packets to the VIP", |counted| counted.incoming.bytes),
    ("vip_in_packages", "Packets to the VIP", |counted| counted.incoming.packets),
    ("vip_out_bytes", "Octets of IP packets from the VIP", |counted| counted.outgoing.bytes),
    ("vip_out_packages", "Packets from the VIP", |counted| counted.outgoing.packets),
];

impl Numbers {
    fn of(readings: Readings<'_>) -> Self {
        let mut numbers = Self::default();
        numbers.balancers(&readings);
        numbers.vips(&readings);
        numbers.port(&readings);
        numbers
    }

    fn balancers(&mut self, readings: &Readings<'_>) {
        let uuid =
            |listener: &Id| readings.balancer_uuids.get(listener.as_str()).cloned().unwrap_or_default();
        for (name, help, read) in OF_BACKENDS {
            let mut samples = Vec::new();
            for (listener, balancer) in &readings.balancers.balancers {
                for backend in balancer.pools.values().flat_map(|pool| pool.backends.values()) {
                    let Some(value) = read(backend) else { continue };
                    let labels = vec![
                        ("ListenerUuid", listener.to_string()),
                        ("NicIpAddress", backend.endpoint.ip().to_string()),
                        ("LbUuid", uuid(listener)),
                    ];
                    // A backend of two pools is one machine to the management node.
                    match samples.iter_mut().find(|(known, _): &&mut Sample| *known == labels) {
                        Some((_, sum)) if name == "lb_status" => *sum = number(value).max(*sum),
                        Some((_, sum)) => *sum += number(value),
                        None => samples.push((labels, number(value))),
                    }
                }
            }
            self.0.push(Family { name, help, kind: MetricType::Gauge, samples });
        }
        let usage = readings.balancers.balancers.iter().filter_map(|(listener, balancer)| {
            let most = readings.config.load_balancers().get(listener)?.max_connections?;
            let labels = vec![("ListenerUuid", listener.to_string()), ("LbUuid", uuid(listener))];
            Some((labels, (number(balancer.traffic.current) * 100.0 / number(most.into())).floor()))
        });
        self.0.push(Family {
            name: "lb_cur_session_usage",
            help: "Open connections of the listener in percent of those it may have",
            kind: MetricType::Gauge,
            samples: usage.collect(),
        });
    }

    fn vips(&mut self, readings: &Readings<'_>) {
        let zstack = readings.config.owner().and_then(|owner| owner.zstack.as_ref());
        for (name, help, read) in OF_VIPS {
            let vips = zstack.into_iter().flat_map(|zstack| zstack.vips.iter());
            let samples = vips.filter_map(|(id, vip)| {
                let counted = readings.addresses.get(&vip.address.address())?;
                let uuid = vip.uuid.as_ref().unwrap_or(id).to_string();
                Some((vec![("VipUUID", uuid)], number(read(counted))))
            });
            self.0.push(Family { name, help, kind: MetricType::Gauge, samples: samples.collect() });
        }
    }

    fn port(&mut self, readings: &Readings<'_>) {
        let Readings { door, worked, delivered, tasks: (remembered, open), hung_up, .. } = readings;
        let of = |label: &'static str, value: &str, count: &AtomicU64| {
            (vec![(label, value.to_owned())], number(count.load(Ordering::Relaxed)))
        };
        let counter = |name, help, samples| Family { name, help, kind: MetricType::Counter, samples };
        let alone = |value: f64| vec![(Vec::new(), value)];
        let loaded = |count: &AtomicU64| number(count.load(Ordering::Relaxed));
        let families = [
            counter(
                "commands",
                "Commands of the management node by what became of them",
                vec![
                    of("outcome", "taken", &door.taken),
                    of("outcome", "repeated", &door.repeated),
                    of("outcome", "done", &worked.done),
                    of("outcome", "failed", &worked.failed),
                ],
            ),
            counter(
                "requests_refused",
                "Requests that were no command, or could not be taken",
                alone(loaded(&door.refused)),
            ),
            counter("pings", "Pings of the management node", alone(loaded(&door.pings))),
            counter(
                "connections_refused",
                "Connections from outside of the management network, which were hung up on",
                alone(number(*hung_up)),
            ),
            counter(
                "changes",
                "Changes of the configuration that commands became",
                alone(loaded(&worked.changes)),
            ),
            counter(
                "work_seconds",
                "How long commands took, from their turn to their answers",
                alone(loaded(&worked.micros) / 1e6),
            ),
            counter(
                "callbacks",
                "Answers to the management node by what became of them",
                vec![
                    of("outcome", "delivered", &delivered.delivered),
                    of("outcome", "unwanted", &delivered.unwanted),
                    of("outcome", "given_up", &delivered.given_up),
                    of("outcome", "failed_try", &delivered.failed_tries),
                ],
            ),
            Family {
                name: "tasks",
                help: "Tasks that are remembered, and those whose answers did not arrive yet",
                kind: MetricType::Gauge,
                samples: vec![
                    (vec![("state", "remembered".to_owned())], count(*remembered)),
                    (vec![("state", "open".to_owned())], count(*open)),
                ],
            },
        ];
        self.0.extend(families);
    }
}

impl Collector for Numbers {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for Family { name, help, kind, samples } in &self.0 {
            let mut family = encoder.encode_descriptor(name, help, None, *kind)?;
            for (labels, value) in samples {
                let labels: Vec<(&str, &str)> =
                    labels.iter().map(|(name, value)| (*name, value.as_str())).collect();
                let labels = labels.as_slice();
                let write = |metric: &mut prometheus_client::encoding::MetricEncoder<'_>| match kind {
                    MetricType::Counter => metric.encode_counter::<NoLabelSet, f64, f64>(value, None),
                    _ => metric.encode_gauge(value),
                };
                match labels {
                    [] => write(&mut family)?,
                    labels => write(&mut family.encode_family(&labels)?)?,
                }
            }
        }
        Ok(())
    }
}

const fn is_up(state: BackendState) -> bool {
    matches!(state, BackendState::Up | BackendState::Unchecked)
}

fn class(backend: &BackendStatistics, class: usize) -> Option<u64> {
    backend.requests?.by_class.get(class).copied()
}

/// Numbers are doubles in the format.
#[expect(clippy::cast_precision_loss, reason = "the format has no other numbers")]
const fn number(value: u64) -> f64 {
    value as f64
}

#[expect(clippy::cast_precision_loss, reason = "the format has no other numbers")]
const fn count(value: usize) -> f64 {
    value as f64
}
