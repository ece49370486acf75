//! What the kernel counts of the balancers that it serves, put beside what is known of them. Called by the status room.

use std::collections::BTreeMap;

use super::{BalancerStatistics, Statistics, Traffic};
use crate::config::load_balancer::DataPath;
use crate::plan::facts::{Balanced, BalancedTotals, BalancedTraffic};

/// What the kernel counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KernelTraffic {
    /// Connections that are open, and what went over them so far.
    pub open: BalancedTotals,
    /// Connections that ended.
    pub ended: BalancedTotals,
    /// The most that were open at once whenever somebody looked.
    pub peaks: BTreeMap<Balanced, u64>,
}

impl Statistics {
    /// Fills in what the kernel counts.
    pub fn count_kernel(&mut self, counted: &KernelTraffic) {
        for balancer in self.balancers.values_mut().filter(|one| one.path == DataPath::Kernel.as_str()) {
            balancer.count_kernel(counted);
        }
    }
}

impl BalancerStatistics {
    fn count_kernel(&mut self, counted: &KernelTraffic) {
        let protocol = if self.protocol == "udp" { 17 } else { 6 };
        let key = |backend: std::net::SocketAddrV4| Balanced {
            address: *self.endpoint.ip(),
            protocol,
            port: self.endpoint.port(),
            backend: *backend.ip(),
            backend_port: backend.port(),
        };
        for backend in self.pools.values_mut().flat_map(|pool| pool.backends.values_mut()) {
            backend.traffic = counted.of(&key(backend.endpoint));
        }
        // Backends that are gone had their part in what went through the balancer.
        let [lowest, highest] = [(0, 0), (u32::MAX, u16::MAX)].map(|(address, port)| Balanced {
            backend: address.into(),
            backend_port: port,
            ..key(self.endpoint)
        });
        let sum = |totals: &BalancedTotals| {
            let mut sum = BalancedTraffic::default();
            totals.range(lowest..=highest).for_each(|(_, traffic)| sum += *traffic);
            sum
        };
        let peaks = counted.peaks.range(lowest..=highest).map(|(_, peak)| *peak);
        self.traffic = traffic(sum(&counted.open), sum(&counted.ended), peaks.sum());
    }
}

impl KernelTraffic {
    fn of(&self, balanced: &Balanced) -> Traffic {
        let of = |totals: &BalancedTotals| totals.get(balanced).copied().unwrap_or_default();
        traffic(of(&self.open), of(&self.ended), self.peaks.get(balanced).copied().unwrap_or_default())
    }
}

fn traffic(open: BalancedTraffic, ended: BalancedTraffic, peak: u64) -> Traffic {
    let mut all = open;
    all += ended;
    Traffic {
        current: open.connections,
        peak: peak.max(open.connections),
        connections: all.connections,
        bytes_in: all.received_bytes,
        bytes_out: all.sent_bytes,
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::balancer::BalancerState;
    use crate::clock::Timestamp;

    #[test]
    fn what_ended_and_what_is_open_add_up() {
        let key = |port, backend| Balanced {
            address: Ipv4Addr::new(198, 51, 100, 8),
            protocol: 6,
            port,
            backend: Ipv4Addr::new(10, 1, 1, backend),
            backend_port: 80,
        };
        let went = |connections, octets| BalancedTraffic {
            connections,
            received_bytes: octets,
            sent_bytes: octets * 2,
        };
        let counted = KernelTraffic {
            open: BTreeMap::from([
                (key(80, 20), went(2, 10)),
                (key(80, 21), went(1, 5)),
                (key(81, 20), went(9, 9)),
            ]),
            ended: BTreeMap::from([(key(80, 20), went(3, 100)), (key(80, 99), went(4, 1))]),
            peaks: BTreeMap::from([(key(80, 20), 7)]),
        };
        let mut statistics = Statistics::default();
        let own = BalancerStatistics {
            endpoint: "198.51.100.8:80".parse().unwrap(),
            protocol: "tcp",
            path: "kernel",
            state: BalancerState::Up,
            reason: None,
            since: Timestamp::from_seconds(7),
            traffic: Traffic::default(),
            refused: 0,
            requests: None,
            pools: BTreeMap::new(),
        };
        statistics.balancers.insert("db".parse().unwrap(), own);
        statistics.count_kernel(&counted);
        let all = Traffic { current: 3, peak: 7, connections: 10, bytes_in: 116, bytes_out: 232 };
        assert_eq!(statistics.balancers["db"].traffic, all);
        assert_eq!(counted.of(&key(80, 20)).connections, 5);
        assert_eq!(counted.of(&key(80, 22)), Traffic::default());
    }
}
