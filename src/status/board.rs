//! Since when each part is as it is, and what has changed: the memory of the status. Pure; kept by the reporter.

use std::collections::BTreeMap;
use std::mem;

use crate::clock::Timestamp;

/// The last state of each part that was ever told.
#[derive(Debug, Default)]
pub struct Board {
    entries: BTreeMap<String, Entry>,
    transitions: Vec<Transition>,
}

#[derive(Debug)]
struct Entry {
    state: &'static str,
    why: Option<String>,
    since: Timestamp,
    /// Whether it was told of in this round.
    told: bool,
}

/// A part that is not as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transition {
    /// The part, such as `interface guest`.
    pub part: String,
    /// Its state before; absent where it is new.
    pub before: Option<&'static str>,
    /// Its state now.
    pub state: &'static str,
    /// Why, where it is not as wanted.
    pub why: Option<String>,
}

impl Board {
    /// Takes note of a part's state and says since when it is so. Another reason for the same state is no other state.
    pub(super) fn settle(
        &mut self,
        part: &str,
        state: &'static str,
        why: Option<&str>,
        now: Timestamp,
    ) -> Timestamp {
        let before = self.entries.get_mut(part);
        if let Some(entry) = before {
            entry.told = true;
            if entry.state == state {
                entry.why = why.map(str::to_owned);
                return entry.since;
            }
        }
        let entry = Entry { state, why: why.map(str::to_owned), since: now, told: true };
        let before = self.entries.insert(part.to_owned(), entry);
        self.transitions.push(Transition {
            part: part.to_owned(),
            before: before.map(|entry| entry.state),
            state,
            why: why.map(str::to_owned),
        });
        now
    }

    /// Ends a round: what was not told of in it is not there any more.
    pub(super) fn forget_others(&mut self) {
        self.entries.retain(|_, entry| mem::take(&mut entry.told));
    }

    /// What has changed since this was asked last.
    pub fn transitions(&mut self) -> Vec<Transition> {
        mem::take(&mut self.transitions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Timestamp {
        Timestamp::from_seconds(seconds)
    }

    #[test]
    fn a_state_keeps_its_time_until_it_is_another_one() {
        let mut board = Board::default();
        assert_eq!(board.settle("dns", "ok", None, at(1)), at(1));
        board.forget_others();
        assert_eq!(board.settle("dns", "ok", None, at(2)), at(1));
        board.forget_others();
        assert_eq!(board.settle("dns", "degraded", Some("slow"), at(3)), at(3));
        assert_eq!(board.settle("dns", "degraded", Some("slower"), at(4)), at(3));
        let told: Vec<_> = board.transitions().into_iter().map(|t| (t.before, t.state, t.why)).collect();
        assert_eq!(told, [(None, "ok", None), (Some("ok"), "degraded", Some("slow".to_owned()))]);
        assert!(board.transitions().is_empty());
    }

    #[test]
    fn what_went_and_came_again_is_new() {
        let mut board = Board::default();
        board.settle("interface a", "up", None, at(1));
        board.forget_others();
        board.forget_others();
        assert_eq!(board.settle("interface a", "up", None, at(9)), at(9));
    }
}
