//! How pools and balancers do, from how their backends do, and in which words.

use std::collections::BTreeMap;

use super::{BackendState, BackendStatistics, BalancerState, PoolStatistics};
use crate::config::Id;

/// How many backends or pools a reason names.
const NAMED: usize = 3;

/// How a pool with these backends does, and why it is not up.
///
/// A backend that is disabled or drains is not missed: somebody wants it so.
#[must_use]
pub fn pool_state(backends: &BTreeMap<Id, BackendStatistics>) -> (BalancerState, Option<String>) {
    let serves = |one: &&BackendStatistics| {
        one.weight > 0 && matches!(one.state, BackendState::Up | BackendState::Unchecked)
    };
    let missed = |one: &BackendStatistics| matches!(one.state, BackendState::Down | BackendState::Ejected);
    let mut missing = backends.iter().filter(|(_, one)| missed(one)).peekable();
    let state = match backends.values().find(serves) {
        None => BalancerState::Down,
        Some(_) if missing.peek().is_some() => BalancerState::Degraded,
        Some(_) => return (BalancerState::Up, None),
    };
    let reason = match (missing.peek(), state) {
        (None, _) if backends.is_empty() => "it has no backend".to_owned(),
        (None, _) => "no backend takes anything new".to_owned(),
        (Some(_), _) => {
            let of = backends.len();
            let (named, count) =
                some(missing.map(|(id, one)| format!("`{id}` is {} ({})", one.state.name(), one.reason)));
            format!("{count} of {of} backends: {named}")
        }
    };
    (state, Some(reason))
}

/// How a balancer with these pools does, and why it is not up. One without any serves by its rules alone.
#[must_use]
pub fn balancer_state(pools: &BTreeMap<Id, PoolStatistics>) -> (BalancerState, Option<String>) {
    let ailing = pools.iter().filter_map(|(id, pool)| {
        let why = pool.reason.as_deref()?;
        Some(format!("pool `{id}` is {}, {why}", pool.state.name()))
    });
    let (named, count) = some(ailing);
    let down = pools.values().filter(|pool| pool.state == BalancerState::Down).count();
    match count {
        0 => (BalancerState::Up, None),
        _ if down == pools.len() => (BalancerState::Down, Some(named)),
        _ => (BalancerState::Degraded, Some(named)),
    }
}

/// The first few of these in a sentence, and how many they are in all.
pub(crate) fn some(all: impl Iterator<Item = String>) -> (String, usize) {
    let (mut named, mut count) = (Vec::new(), 0_usize);
    for one in all {
        count += 1;
        if count <= NAMED {
            named.push(one);
        }
    }
    let mut sentence = named.join("; ");
    if count > NAMED {
        sentence.push_str(&format!("; and {} more", count - NAMED));
    }
    (sentence, count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balancer::statistics::Traffic;
    use crate::clock::Timestamp;

    fn backend(state: BackendState) -> BackendStatistics {
        BackendStatistics {
            endpoint: "10.1.1.20:80".parse().unwrap(),
            weight: 100,
            backup: false,
            state,
            reason: "well".to_owned(),
            since: Timestamp::from_seconds(7),
            checked: None,
            check_ms: None,
            traffic: Traffic::default(),
            failures: 0,
            retries: 0,
            requests: None,
        }
    }

    fn pool(backends: &[(&str, BackendState)]) -> PoolStatistics {
        let id = |id: &str| id.parse::<Id>().unwrap();
        let backends = backends.iter().map(|(name, state)| (id(name), backend(*state))).collect();
        let (state, reason) = pool_state(&backends);
        let since = Timestamp::from_seconds(7);
        PoolStatistics { state, reason, since, queued: 0, queue_failures: 0, backends }
    }

    #[test]
    fn a_balancer_does_as_its_pools_and_these_as_their_backends() {
        use BackendState::{Disabled, Unchecked, Up};
        let id = |id: &str| id.parse::<Id>().unwrap();
        let mut pools = BTreeMap::from([
            (id("app"), pool(&[("a", Unchecked), ("b", Disabled), ("c", Unchecked)])),
            (id("api"), pool(&[("a", Up)])),
        ]);
        assert_eq!(balancer_state(&pools), (BalancerState::Up, None));
        let mut after = |pool: &str, backend: &str, state: BackendState| {
            let pool = pools.get_mut(pool).unwrap();
            let one = pool.backends.get_mut(backend).unwrap();
            (one.state, one.reason) = (state, "refused".to_owned());
            (pool.state, pool.reason) = pool_state(&pool.backends);
            balancer_state(&pools)
        };
        let (state, why) = after("app", "a", BackendState::Down);
        assert_eq!(state, BalancerState::Degraded);
        assert_eq!(why.unwrap(), "pool `app` is degraded, 1 of 3 backends: `a` is down (refused)");
        // A backend that somebody takes out is not missed, but without another one nobody is served.
        assert_eq!(after("app", "a", BackendState::Draining).0, BalancerState::Up);
        let (state, why) = after("app", "c", Disabled);
        assert_eq!(state, BalancerState::Degraded);
        assert_eq!(why.unwrap(), "pool `app` is down, no backend takes anything new");
        assert_eq!(after("api", "a", BackendState::Ejected).0, BalancerState::Down);
        assert_eq!(balancer_state(&BTreeMap::new()), (BalancerState::Up, None));
        assert_eq!(pool_state(&BTreeMap::new()).0, BalancerState::Down);
    }

    #[test]
    fn a_reason_stays_short() {
        let many = || (1..=9).map(|number| number.to_string());
        assert_eq!(some(many()), ("1; 2; 3; and 6 more".to_owned(), 9));
        assert_eq!(some(many().take(3)), ("1; 2; 3".to_owned(), 3));
        assert_eq!(some(std::iter::empty()), (String::new(), 0));
    }
}
