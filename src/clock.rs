//! Time and chance: the only module that reads a clock or draws a random number.
//!
//! Everything that decides takes both as arguments, so that a test can say what time it is. Called by the loop and by
//! the engines' sockets, never by pure code.

#[cfg(feature = "router")]
mod steady;

#[cfg(feature = "router")]
use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

#[cfg(feature = "router")]
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

#[cfg(feature = "router")]
pub use self::steady::Steady;

/// The last second that RFC 3339 can say: the end of the year 9999.
const LAST: i64 = 253_402_300_799;

/// Wall-clock time in whole seconds since 1970 UTC: what outlives a reboot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The time of these seconds since 1970.
    #[must_use]
    pub const fn from_seconds(seconds: u64) -> Self {
        Self(seconds)
    }

    /// Seconds since 1970.
    #[must_use]
    pub const fn seconds(self) -> u64 {
        self.0
    }

    /// This time and so many seconds more; the end of time is not passed.
    #[must_use]
    pub const fn after(self, seconds: u64) -> Self {
        Self(self.0.saturating_add(seconds))
    }

    /// How many seconds `self` is later than `earlier`; 0 where it is not.
    #[must_use]
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC; what lies behind the year 9999 is shown as its end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = i64::try_from(self.0).unwrap_or(LAST).min(LAST);
        let time = OffsetDateTime::from_unix_timestamp(seconds).map_err(|_| fmt::Error)?;
        f.write_str(&time.format(&Rfc3339).map_err(|_| fmt::Error)?)
    }
}

impl FromStr for Timestamp {
    type Err = time::error::Parse;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let time = OffsetDateTime::parse(text, &Rfc3339)?;
        // What lies before 1970 is older than anything that is remembered.
        Ok(Self(u64::try_from(time.unix_timestamp()).unwrap_or_default()))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(feature = "router")]
impl JsonSchema for Timestamp {
    fn schema_name() -> Cow<'static, str> {
        "Timestamp".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "format": "date-time", "description": "RFC 3339, in UTC."})
    }
}

/// What time it is.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
pub fn now() -> Timestamp {
    Timestamp(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs())
}

/// A moment of the monotonic clock, to measure how long something took.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the one place that reads the monotonic clock")]
pub fn moment() -> Instant {
    Instant::now()
}

/// How long the machine runs, sleep included (`/proc/uptime`, proc(5)). Where that cannot be read, it has run for ever:
/// what is allowed only after a start is not allowed then.
#[must_use]
pub fn uptime() -> Duration {
    let text = std::fs::read_to_string("/proc/uptime").unwrap_or_default();
    parse_uptime(&text).unwrap_or(Duration::MAX)
}

fn parse_uptime(text: &str) -> Option<Duration> {
    Duration::try_from_secs_f64(text.split_whitespace().next()?.parse().ok()?).ok()
}

/// A moment that another run of the process, or of the machine, can tell its age of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// The wall clock.
    pub time: Timestamp,
    /// Which run of the machine this is (random(4): `boot_id`); empty where the kernel does not say.
    pub boot: String,
    /// How long it had run, in milliseconds.
    pub uptime_ms: u64,
}

/// The moment that is now.
#[must_use]
pub fn mark() -> Mark {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let uptime_ms = u64::try_from(uptime().as_millis()).unwrap_or(u64::MAX);
    Mark { time: now(), boot: boot.trim().to_owned(), uptime_ms }
}

impl Mark {
    /// How long ago this was, at least; nothing where the clocks do not tell. Within one run of the machine nobody can set
    /// the clock that is asked; over several it is the wall clock, which is believed unless it goes backwards.
    #[must_use]
    pub fn age(&self, now: &Self) -> Option<Duration> {
        if self.boot.is_empty() || self.uptime_ms == u64::MAX {
            return None;
        }
        let gone = if self.boot == now.boot {
            now.uptime_ms.checked_sub(self.uptime_ms)?
        } else if now.time >= self.time {
            // Whole seconds were cut off.
            now.time.since(self.time).saturating_add(1).saturating_mul(1000).max(now.uptime_ms)
        } else {
            return None;
        };
        Some(Duration::from_millis(gone))
    }
}

/// A random number that others cannot guess, from the kernel.
///
/// # Errors
/// The kernel has no randomness to give, which happens only in a sandbox without the system call.
pub fn random_u64() -> Result<u64, getrandom::Error> {
    random_octets().map(u64::from_ne_bytes)
}

/// Random octets that others cannot guess, from the kernel: enough of them are a key.
///
/// # Errors
/// As [`random_u64`].
#[expect(clippy::disallowed_methods, reason = "the one place that draws a random number")]
pub fn random_octets<const N: usize>() -> Result<[u8; N], getrandom::Error> {
    let mut octets = [0; N];
    getrandom::fill(&mut octets)?;
    Ok(octets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_uptime_is_the_first_number() {
        assert_eq!(parse_uptime("350735.47 234388.90\n"), Some(Duration::from_millis(350_735_470)));
        assert_eq!((parse_uptime(""), parse_uptime("-1 0"), parse_uptime("x")), (None, None, None));
        assert!(uptime() > Duration::ZERO);
    }

    #[test]
    fn the_age_of_a_mark_is_never_told_too_small() {
        let mark = |seconds, boot: &str, uptime_ms| Mark {
            time: Timestamp::from_seconds(seconds),
            boot: boot.to_owned(),
            uptime_ms,
        };
        let then = mark(1000, "a", 5000);
        let age = |now: Mark| then.age(&now).map(|age| age.as_millis());
        assert_eq!(age(mark(1, "a", 7500)), Some(2500), "whatever the wall clock was set to");
        assert_eq!(age(mark(1000, "a", 4999)), None, "that cannot be");
        assert_eq!(age(mark(1010, "b", 3000)), Some(11_000));
        assert_eq!(age(mark(1001, "b", 60_000)), Some(60_000), "the machine runs for longer already");
        assert_eq!(age(mark(999, "b", 1)), None, "the wall clock went backwards");
        assert_eq!(mark(1000, "", 5000).age(&mark(2000, "", 6000)), None);
        let now = super::mark();
        assert!(!now.boot.is_empty() && now.age(&super::mark()).unwrap() < Duration::from_secs(5));
    }

    #[test]
    fn times_are_written_and_read_as_rfc_3339_in_utc() {
        let cases = [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_795_219_200, "2026-11-21T00:00:00Z"),
        ];
        for (seconds, text) in cases {
            assert_eq!(Timestamp(seconds).to_string(), text);
            assert_eq!(text.parse(), Ok(Timestamp(seconds)));
        }
        assert_eq!(Timestamp(u64::MAX).to_string(), "9999-12-31T23:59:59Z");
    }
}
