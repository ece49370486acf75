//! The audit: a line for each change, whoever asked for it and by whichever door. Called by the loop.

use super::change::{ChangeError, ChangeSummary};
use crate::config::{Change, ChangeKind};
use crate::store::generations::Number;
use crate::store::{Author, Generation};

/// How many objects a line names.
const NAMED: usize = 5;
/// How much of a reason a line tells, in characters: what was posted may stand in it.
const REASON: usize = 300;

/// A change that was made.
pub(super) fn changed(generation: &Generation, changes: &ChangeSummary) {
    let Generation { generation: number, origin, author, .. } = generation;
    let ChangeSummary { added, changed, removed, objects } = changes;
    tracing::info!(
        target: "audit",
        who = who(author),
        from = author.from,
        generation = number,
        origin,
        added,
        changed,
        removed,
        objects = named(objects, added + changed + removed),
        "the configuration was changed"
    );
}

/// A change that waited, and stays.
pub(super) fn confirmed(author: &Author, generation: Number) {
    tracing::info!(target: "audit", who = who(author), from = author.from, generation, "a change was confirmed");
}

/// A change that was refused.
pub(super) fn refused(author: &Author, error: &ChangeError) {
    let why = match error {
        ChangeError::Faults(faults) => {
            let first = faults.as_slice().first().map(ToString::to_string).unwrap_or_default();
            format!("{} faults, the first: {first}", faults.as_slice().len())
        }
        other => other.to_string(),
    };
    let why: String = why.chars().take(REASON).collect();
    tracing::info!(target: "audit", who = who(author), from = author.from, why, "a change was refused");
}

fn who(author: &Author) -> &str {
    if author.name.is_empty() { "nobody was asked" } else { &author.name }
}

fn named(objects: &[Change], total: usize) -> String {
    let mut words: Vec<String> = objects
        .iter()
        .take(NAMED)
        .map(|Change { pointer, change }| {
            let sign = match change {
                ChangeKind::Added => '+',
                ChangeKind::Changed => '~',
                ChangeKind::Removed => '-',
            };
            format!("{sign}{pointer}")
        })
        .collect();
    let more = total.saturating_sub(words.len());
    if more > 0 {
        words.push(format!("and {more} more"));
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Faults, Pointer, Rule};

    #[test]
    fn a_line_names_the_first_objects_and_counts_the_others() {
        let object = |key: &str, change| Change { pointer: Pointer::root().key("eips").key(key), change };
        let two = [object("a", ChangeKind::Added), object("b", ChangeKind::Removed)];
        assert_eq!(named(&two, 2), "+/eips/a -/eips/b");
        let many = vec![object("a", ChangeKind::Changed); 9];
        assert_eq!(named(&many, 1000).split(' ').count(), 5 + 3);
        assert!(named(&many, 1000).ends_with(" and 995 more"));
        let mut faults = Faults::default();
        faults.add(Pointer::root(), Rule::Syntax, "no");
        refused(&Author::default(), &ChangeError::Faults(faults));
    }
}
