//! Where metrics are written: families of samples with labels. Called by the rest of this folder.

use std::fmt;

use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

use crate::balancer::LatencyHistogram;

/// The labels of one sample.
pub(super) type Labels<'a> = &'a [(&'a str, &'a str)];

/// Where metrics are written.
pub(super) struct Out<'a, 'b>(pub(super) &'a mut DescriptorEncoder<'b>);

impl Out<'_, '_> {
    pub(super) fn gauge(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<Unit>,
        samples: impl Fn(&mut dyn FnMut(Labels<'_>, f64) -> fmt::Result) -> fmt::Result,
    ) -> fmt::Result {
        self.family(name, help, unit.as_ref(), MetricType::Gauge, samples)
    }

    pub(super) fn counter(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<Unit>,
        samples: impl Fn(&mut dyn FnMut(Labels<'_>, f64) -> fmt::Result) -> fmt::Result,
    ) -> fmt::Result {
        self.family(name, help, unit.as_ref(), MetricType::Counter, samples)
    }

    fn family(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        kind: MetricType,
        samples: impl Fn(&mut dyn FnMut(Labels<'_>, f64) -> fmt::Result) -> fmt::Result,
    ) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, unit, kind)?;
        samples(&mut |labels, value| {
            if labels.is_empty() {
                return write_value(&mut metric, kind, value);
            }
            write_value(&mut metric.encode_family(&labels)?, kind, value)
        })
    }

    /// How long something took, in seconds.
    pub(super) fn latency(
        &mut self,
        name: &str,
        help: &str,
        samples: impl Fn(&mut dyn FnMut(Labels<'_>, &LatencyHistogram) -> fmt::Result) -> fmt::Result,
    ) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Histogram)?;
        samples(&mut |labels, histogram| {
            // The last bucket has no bound.
            let bounds = LatencyHistogram::BOUNDS_MS.iter().map(|bound| bound / 1e3).chain([f64::INFINITY]);
            let buckets: Vec<(f64, u64)> = bounds.zip(histogram.buckets).collect();
            let mut family = metric.encode_family(&labels)?;
            family.encode_histogram::<NoLabelSet>(histogram.sum_ms / 1e3, histogram.count(), &buckets, None)
        })
    }
}

fn write_value(encoder: &mut MetricEncoder<'_>, kind: MetricType, value: f64) -> fmt::Result {
    match kind {
        MetricType::Counter => encoder.encode_counter::<NoLabelSet, f64, f64>(&value, None),
        _ => encoder.encode_gauge(&value),
    }
}

/// Counts of one owner by kind; what never happened is 0.
pub(super) fn counts<const N: usize>(
    sample: &mut dyn FnMut(Labels<'_>, f64) -> fmt::Result,
    owner: (&str, &str),
    label: &str,
    kinds: [(&'static str, Option<&u64>); N],
) -> fmt::Result {
    kinds.into_iter().try_for_each(|(kind, counted)| {
        sample(&[owner, (label, kind)], number(counted.copied().unwrap_or_default()))
    })
}

/// Tells of each state whether it is the one.
pub(super) fn one_of<const N: usize>(
    all: [&'static str; N],
    current: &str,
    mut sample: impl FnMut(&'static str, f64) -> fmt::Result,
) -> fmt::Result {
    all.into_iter().try_for_each(|state| sample(state, if state == current { 1.0 } else { 0.0 }))
}

/// Numbers are doubles in the format; beyond 2^53 they lose their last digits.
#[expect(clippy::cast_precision_loss, reason = "the format has no other numbers")]
pub(super) const fn number(value: u64) -> f64 {
    value as f64
}

#[expect(clippy::cast_precision_loss, reason = "the format has no other numbers")]
pub(super) const fn count(value: usize) -> f64 {
    value as f64
}
