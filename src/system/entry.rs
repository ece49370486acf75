//! Entries of the boot loader: their names with the tries that are left, which of them it starts, and what to do with them.
//! Pure.
//!
//! systemd-boot counts in the name of an entry (Boot Loader Specification, boot counting): `vrouter_0.2.0+2-1.efi` has been
//! tried once and has two tries left. One without a counter is good. One without a try left comes last.

use std::cmp::Reverse;
use std::fmt;

use super::version::Version;

/// How an entry's name begins and ends.
const PREFIX: &str = "vrouter_";
const SUFFIX: &str = ".efi";
/// How the name of what is being written begins and ends: nothing that the boot loader would take for an entry.
const PART_PREFIX: &str = ".vrouter_";
const PART_SUFFIX: &str = ".tmp";
/// How often a new entry is tried before the old one comes back.
const TRIES: u32 = 3;

/// An entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// The version that it starts.
    pub version: Version,
    /// How often it has been tried; absent where it is good.
    pub tries: Option<Tries>,
}

/// A counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tries {
    /// How many are left.
    pub left: u32,
    /// How many there were.
    pub done: u32,
}

impl Entry {
    /// The entry of a file of this name, if it is one of a vrouter. Firmware may have changed the case of letters.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let name = name.to_ascii_lowercase();
        let inner = name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
        let Some((version, counter)) = inner.split_once('+') else {
            return Some(Self { version: inner.parse().ok()?, tries: None });
        };
        let (left, done) = counter.split_once('-').unwrap_or((counter, "0"));
        let tries = Tries { left: digits(left)?, done: digits(done)? };
        Some(Self { version: version.parse().ok()?, tries: Some(tries) })
    }

    /// What a new version begins as.
    #[must_use]
    pub const fn fresh(version: Version) -> Self {
        Self { version, tries: Some(Tries { left: TRIES, done: 0 }) }
    }

    /// The same, good.
    #[must_use]
    pub const fn good(self) -> Self {
        Self { tries: None, ..self }
    }

    /// The same with no try left: every other one that has some comes before it.
    #[must_use]
    pub const fn last(self) -> Self {
        Self { tries: Some(Tries { left: 0, done: 0 }), ..self }
    }

    /// What the boot loader prefers is greater (systemd-boot(7)).
    fn rank(&self) -> (Reverse<bool>, Version) {
        (Reverse(self.tries.is_some_and(|tries| tries.left == 0)), self.version)
    }
}

/// A number of a counter.
fn digits(text: &str) -> Option<u32> {
    text.bytes().all(|octet| octet.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

impl fmt::Display for Entry {
    /// The name of its file.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", self.version)?;
        match self.tries {
            Some(Tries { left, done: 0 }) => write!(f, "+{left}")?,
            Some(Tries { left, done }) => write!(f, "+{left}-{done}")?,
            None => {}
        }
        f.write_str(SUFFIX)
    }
}

/// The name of a version's entry while it is being written.
#[must_use]
pub fn part(version: Version) -> String {
    format!("{PART_PREFIX}{version}{PART_SUFFIX}")
}

/// Whether a file of this name is one that was being written.
#[must_use]
pub fn is_part(name: &str) -> bool {
    name.starts_with(PART_PREFIX) && name.ends_with(PART_SUFFIX)
}

/// The one that the boot loader starts next.
#[must_use]
pub fn next<'e>(entries: impl IntoIterator<Item = &'e Entry>) -> Option<&'e Entry> {
    entries.into_iter().max_by_key(|entry| entry.rank())
}

/// Whether a start of the machine may bring anything else than the same once more: a try that is counted down, or another
/// entry.
#[must_use]
pub fn is_worth_a_start(running: &Entry, all: &[Entry]) -> bool {
    let counted_down = running.tries.is_some_and(|tries| tries.left > 0);
    counted_down || next(all).is_some_and(|next| next.version != running.version)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(names: &[&str]) -> Vec<Entry> {
        names.iter().map(|name| Entry::parse(name).unwrap()).collect()
    }

    fn starts(names: &[&str]) -> String {
        next(&of(names)).unwrap().to_string()
    }

    #[test]
    fn a_name_says_version_and_tries() {
        let tries = |left, done| Some(Tries { left, done });
        for (name, counter) in [
            ("vrouter_0.2.0.efi", None),
            ("vrouter_0.2.0+3.efi", tries(3, 0)),
            ("vrouter_0.2.0+2-1.efi", tries(2, 1)),
            ("vrouter_0.2.0+0-3.efi", tries(0, 3)),
            ("vrouter_0.2.0+0.efi", tries(0, 0)),
        ] {
            let entry = Entry::parse(name).unwrap();
            assert_eq!(entry, Entry { version: Version::new(0, 2, 0), tries: counter });
            assert_eq!(entry.to_string(), name);
            assert_eq!(Entry::parse(&name.to_uppercase()), Some(entry));
        }
    }

    #[test]
    fn files_of_others_are_no_entries() {
        for name in [
            "vrouter.efi",
            "vrouter_0.2.0",
            "vrouter_0.2.efi",
            "vrouter_0.2.0+.efi",
            "vrouter_0.2.0+x.efi",
            "vrouter_0.2.0+3-.efi",
            "vrouter_0.2.0+3-1-1.efi",
            "vrouter_0.2.0++3.efi",
            "linux_0.2.0.efi",
            ".vrouter_0.2.0.tmp",
            "é.efi",
        ] {
            assert_eq!(Entry::parse(name), None, "{name}");
        }
        assert!(is_part(&part(Version::new(0, 2, 0))) && !is_part("vrouter_0.2.0+3.efi"));
    }

    #[test]
    fn the_highest_version_with_a_try_left_is_started() {
        assert_eq!(starts(&["vrouter_0.1.0.efi", "vrouter_0.2.0+3.efi"]), "vrouter_0.2.0+3.efi");
        assert_eq!(starts(&["vrouter_0.1.0.efi", "vrouter_0.2.0+1-2.efi"]), "vrouter_0.2.0+1-2.efi");
        assert_eq!(starts(&["vrouter_0.1.0.efi", "vrouter_0.2.0+0-3.efi"]), "vrouter_0.1.0.efi");
        // A forced downgrade, and what it comes to when it fails.
        assert_eq!(starts(&["vrouter_0.1.0+3.efi", "vrouter_0.2.0+0.efi"]), "vrouter_0.1.0+3.efi");
        assert_eq!(starts(&["vrouter_0.1.0+0-3.efi", "vrouter_0.2.0+0.efi"]), "vrouter_0.2.0+0.efi");
        assert_eq!(next(&[]), None);
    }

    #[test]
    fn the_machine_is_not_started_again_where_only_the_same_would_come() {
        let worth = |running: &str, others: &[&str]| {
            let all = of(&[&[running], others].concat());
            is_worth_a_start(&all[0], &all)
        };
        assert!(worth("vrouter_0.2.0+2-1.efi", &["vrouter_0.1.0.efi"]));
        assert!(worth("vrouter_0.2.0+2-1.efi", &[]), "it may have been an accident");
        assert!(worth("vrouter_0.2.0+0-3.efi", &["vrouter_0.1.0.efi"]));
        assert!(worth("vrouter_0.1.0+0-3.efi", &["vrouter_0.2.0+0.efi"]), "the forced downgrade failed");
        assert!(!worth("vrouter_0.2.0+0-1.efi", &["vrouter_0.1.0+0-3.efi"]));
        assert!(!worth("vrouter_0.2.0+0-3.efi", &[]));
        assert!(!worth("vrouter_0.2.0.efi", &["vrouter_0.1.0.efi"]));
    }
}
