//! The pool's metrics in the text format of Prometheus. Made from a status when somebody asks.

use std::fmt;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::registry::Registry;

use super::slot::State;
use super::status::Status;

/// The content type of [`render`]'s text.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A status as metrics.
///
/// # Errors
/// None in practice: a `String` takes everything.
pub fn render(status: &Status) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix("vrouter_pool");
    let slots = Family::<Vec<(&'static str, &'static str)>, Gauge<u64, AtomicU64>>::default();
    for state in State::ALL {
        let labels = vec![("state", state.name())];
        slots.get_or_create(&labels).set(count(status.count(state)));
    }
    registry.register("slots", "Slots by what they are", slots);
    let gauges = [
        ("spare_wanted", "Clean VMs that are wanted", u64::from(status.spare)),
        ("stations_waiting", "Stations at the signal port", count(status.stations.len())),
        ("hypervisor_up", "Whether the hypervisor is reached", u64::from(status.hypervisor)),
        ("broker_up", "Whether the console broker is reached", u64::from(status.broker)),
        ("draining", "Whether the pool hands nothing out", u64::from(status.draining)),
        ("hindered", "Whether no VM can be made now", u64::from(status.hindrance.is_some())),
    ];
    for (name, help, value) in gauges {
        registry.register(name, help, ConstGauge::new(value));
    }
    for (name, value) in status.counters.named() {
        registry.register(name, "Counted since the start", ConstCounter::new(value));
    }
    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(text)
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
