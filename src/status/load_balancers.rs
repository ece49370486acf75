//! The load balancers: how many serve, which do not and why, and certificates that end.
//!
//! Looks at every balancer once a second, and at none of their backends: [`Overview`] holds what that takes.

use schemars::JsonSchema;
use serde::Serialize;

use super::Board;
use super::service::ServiceStatus;
use super::wanted::Count;
use crate::balancer::BalancerState;
use crate::balancer::statistics::{Overview, some};
use crate::clock::Timestamp;

/// How long before its end a certificate is told of, in seconds: time enough for whoever renews it by hand.
const EXPIRES_SOON: u64 = 14 * 24 * 60 * 60;
/// How many reasons are told; `/v1/balancers` has all of them.
const REASONS: usize = 16;

/// Load balancers with what they say themselves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct LoadBalancersStatus {
    /// How they do.
    #[serde(flatten)]
    pub head: ServiceStatus,
    /// How many do how, and which do not serve.
    #[serde(flatten)]
    pub detail: LoadBalancerDetail,
}

/// How many balancers do how, and which do not serve.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, JsonSchema)]
pub struct LoadBalancerDetail {
    /// Balancers that are configured.
    pub configured: usize,
    /// Those that serve, with all that is wanted of them.
    pub up: usize,
    /// Those that serve without a backend that should be there.
    pub degraded: usize,
    /// Those that can serve nobody.
    pub down: usize,
    /// Certificates that have expired.
    pub certificates_expired: usize,
    /// Certificates that expire within 14 days.
    pub certificates_expiring: usize,
    /// What ails, the worst first: balancers that are down, expired certificates, balancers that are degraded,
    /// certificates that expire soon. The first 16 of them; `/v1/balancers` has all.
    pub reasons: Vec<String>,
}

impl LoadBalancerDetail {
    pub(super) fn count(&self) -> Count {
        Count { wanted: self.configured, placed: self.up + self.degraded, ..Count::default() }
    }

    /// What ails, in a sentence.
    pub(super) fn ails(&self) -> Option<String> {
        let all = self.degraded + self.down + self.certificates_expired + self.certificates_expiring;
        let untold = all.saturating_sub(self.reasons.len());
        let (mut sentence, _) = some(self.reasons.iter().cloned().chain((0..untold).map(|_| String::new())));
        if all > self.down && self.down > 0 || self.down > 1 {
            sentence = format!("{} of {} down: {sentence}", self.down, self.configured);
        }
        (all > 0).then_some(sentence)
    }
}

/// What is to be said of the balancers; `board` takes note of each.
pub(super) fn detail(overview: &Overview, board: &mut Board, now: Timestamp) -> LoadBalancerDetail {
    let mut detail = LoadBalancerDetail { configured: overview.balancers.len(), ..Default::default() };
    let mut reasons = Vec::new();
    for (id, (state, why)) in &overview.balancers {
        let part = format!("balancer `{id}`");
        board.settle(&part, state.name(), why.as_deref(), now);
        let (counted, rank) = match state {
            BalancerState::Up => (&mut detail.up, None),
            BalancerState::Degraded => (&mut detail.degraded, Some(2)),
            BalancerState::Down => (&mut detail.down, Some(0)),
        };
        *counted += 1;
        if let Some(rank) = rank {
            let why = why.as_deref().unwrap_or("no reason is known");
            reasons.push((rank, format!("{part} is {}: {why}", state.name())));
        }
    }
    for (id, not_after) in &overview.certificates {
        let part = format!("certificate `{id}`");
        let (state, rank, why) = if *not_after < now {
            detail.certificates_expired += 1;
            ("expired", 1, format!("it ended {not_after}"))
        } else if not_after.since(now) < EXPIRES_SOON {
            detail.certificates_expiring += 1;
            ("expiring", 3, format!("it ends {not_after}"))
        } else {
            board.settle(&part, "ok", None, now);
            continue;
        };
        board.settle(&part, state, Some(&why), now);
        reasons.push((rank, format!("{part} is {state}: {why}")));
    }
    // Among equals the ids are in order already.
    reasons.sort_by_key(|(rank, _)| *rank);
    detail.reasons = reasons.into_iter().map(|(_, reason)| reason).take(REASONS).collect();
    detail
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

    fn overview(balancers: &[(&str, BalancerState)], certificates: &[(&str, Timestamp)]) -> Overview {
        let why = |state| (state != BalancerState::Up).then(|| "pool `app` ails".to_owned());
        let balancer = |(id, state): &(&str, BalancerState)| (id.parse().unwrap(), (*state, why(*state)));
        Overview {
            balancers: balancers.iter().map(balancer).collect(),
            certificates: certificates.iter().map(|(id, end)| (id.parse().unwrap(), *end)).collect(),
        }
    }

    #[test]
    fn the_worst_is_told_first() {
        use BalancerState::{Degraded, Down, Up};
        let ends = |seconds| Timestamp::from_seconds(NOW.seconds() + seconds);
        let past = Timestamp::from_seconds(NOW.seconds() - 1);
        let overview = overview(
            &[("a", Up), ("b", Degraded), ("c", Down)],
            &[
                ("fine", ends(EXPIRES_SOON)),
                ("last", ends(0)),
                ("old", past),
                ("soon", ends(EXPIRES_SOON - 1)),
            ],
        );
        let mut board = Board::default();
        let detail = detail(&overview, &mut board, NOW);
        assert_eq!((detail.configured, detail.up, detail.degraded, detail.down), (3, 1, 1, 1));
        assert_eq!((detail.certificates_expired, detail.certificates_expiring), (1, 2));
        assert_eq!(
            detail.reasons,
            [
                "balancer `c` is down: pool `app` ails",
                "certificate `old` is expired: it ended 2027-01-15T07:59:59Z",
                "balancer `b` is degraded: pool `app` ails",
                "certificate `last` is expiring: it ends 2027-01-15T08:00:00Z",
                "certificate `soon` is expiring: it ends 2027-01-29T07:59:59Z",
            ]
        );
        let ails = detail.ails().unwrap();
        assert!(
            ails.starts_with("1 of 3 down: balancer `c` is down") && ails.ends_with("; and 2 more"),
            "{ails}"
        );
        let heard: Vec<_> = board.transitions().into_iter().map(|one| (one.part, one.state)).collect();
        assert!(heard.contains(&("certificate `old`".to_owned(), "expired")), "{heard:?}");
        assert!(heard.contains(&("balancer `b`".to_owned(), "degraded")), "{heard:?}");
    }

    #[test]
    fn a_thousand_that_are_down_are_a_sentence() {
        let ids: Vec<String> = (0..1000).map(|number| format!("lb{number:04}")).collect();
        let all: Vec<_> = ids.iter().map(|id| (id.as_str(), BalancerState::Down)).collect();
        let detail = detail(&overview(&all, &[]), &mut Board::default(), NOW);
        assert_eq!((detail.down, detail.reasons.len()), (1000, REASONS));
        let ails = detail.ails().unwrap();
        assert!(ails.starts_with("1000 of 1000 down: ") && ails.ends_with("; and 997 more"), "{ails}");
        assert!(ails.len() < 300, "{ails}");
    }

    #[test]
    fn nothing_ails_where_all_is_up() {
        let detail = detail(&overview(&[("a", BalancerState::Up)], &[]), &mut Board::default(), NOW);
        assert_eq!((detail.ails(), detail.reasons.len(), detail.count().placed), (None, 0, 1));
    }
}
