//! Wall-clock time that nobody sets: it begins as the wall clock, and goes on with the time that the machine runs, sleep
//! included. What was promised for an hour lasts an hour, whatever the clock of the machine is set to meanwhile.
//!
//! Where it began is remembered for as long as the machine runs, so that a service which is started again reads the same
//! clock. Called by DHCP, whose leases are such promises.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{Mark, Timestamp, mark, moment, now, uptime};

/// How long a reading of the machine's time counts: what is told are whole seconds.
const READING: Duration = Duration::from_secs(1);
/// How far this clock and the wall clock are apart without anybody having set one, in seconds.
const ROUNDING: u64 = 2;

/// Wall-clock time that nobody sets.
#[derive(Debug)]
pub struct Steady {
    begin: Mark,
    last: Mutex<(Instant, Timestamp)>,
}

impl Steady {
    /// The clock that `path` remembers, where this run of the machine wrote it; otherwise one that begins now, which is
    /// written there. A disk that refuses costs only that a later service begins anew.
    #[must_use]
    pub fn remembered(path: &Path) -> Self {
        let now = mark();
        let known = fs::read(path).ok().and_then(|octets| serde_json::from_slice::<Mark>(&octets).ok());
        if let Some(begin) = known.filter(|begin| begin.boot == now.boot && begin.age(&now).is_some()) {
            return Self::begun(begin);
        }
        if let Err(error) = write(path, &now) {
            tracing::warn!(%error, path = %path.display(), "where the clock began is not remembered");
        }
        Self::begun(now)
    }

    /// The clock that began there.
    #[must_use]
    pub fn begun(begin: Mark) -> Self {
        let time = read(&begin);
        Self { begin, last: Mutex::new((moment(), time)) }
    }

    /// What time it is.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        let at = moment();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if at.saturating_duration_since(last.0) >= READING {
            *last = (at, read(&self.begin));
        }
        last.1
    }

    /// A time of this clock as the wall clock says it now.
    #[must_use]
    pub fn on_the_wall(&self, time: Timestamp) -> Timestamp {
        apart(time, self.now(), now())
    }
}

/// A time of a clock that is at `steady` as one that is at `wall` says it.
fn apart(time: Timestamp, steady: Timestamp, wall: Timestamp) -> Timestamp {
    let (steady, wall) = (steady.seconds(), wall.seconds());
    match steady.abs_diff(wall) > ROUNDING {
        true => Timestamp(time.seconds().saturating_add(wall).saturating_sub(steady)),
        false => time,
    }
}

fn read(begin: &Mark) -> Timestamp {
    let ran = u64::try_from(uptime().as_millis()).unwrap_or(u64::MAX);
    match ran.checked_sub(begin.uptime_ms) {
        Some(gone) if ran != u64::MAX => begin.time.after(gone / 1000),
        // Nobody knows how long the machine runs.
        _ => now(),
    }
}

/// Writes it whole or not at all. It need not outlive power: another run of the machine begins anew.
fn write(path: &Path, mark: &Mark) -> io::Result<()> {
    let new = path.with_extension("new");
    fs::write(&new, serde_json::to_vec(mark)?)?;
    fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_goes_on_whatever_the_wall_clock_says() {
        let now = mark();
        let begin = Mark { time: Timestamp(1000), uptime_ms: now.uptime_ms - 5000, ..now };
        let clock = Steady::begun(begin);
        assert!((1005..1010).contains(&clock.now().seconds()), "{}", clock.now());
        let wall = clock.on_the_wall(Timestamp(1005)).seconds();
        assert!(wall.abs_diff(super::now().seconds()) < 10, "{wall}");
    }

    #[test]
    fn a_time_is_told_as_the_wall_clock_has_it() {
        let told = |time, steady, wall| apart(Timestamp(time), Timestamp(steady), Timestamp(wall)).seconds();
        assert_eq!(told(1100, 1000, 1000), 1100);
        assert_eq!(told(1100, 1000, 1002), 1100, "seconds are cut off");
        assert_eq!(told(1100, 1000, 5000), 5100);
        assert_eq!(told(1100, 1000, 500), 600);
        assert_eq!(told(100, 1000, 500), 0);
    }

    #[test]
    fn a_service_that_is_started_again_reads_the_same_clock_until_the_machine_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("clock");
        let first = Steady::remembered(&path);
        assert_eq!(Steady::remembered(&path).begin, first.begin);
        let other = Mark { boot: "another".to_owned(), time: Timestamp(5), uptime_ms: 1 };
        write(&path, &other).unwrap();
        assert!(Steady::remembered(&path).now() > Timestamp(1_000_000));
        fs::write(&path, "{").unwrap();
        assert!(Steady::remembered(&path).now() > Timestamp(1_000_000));
        assert!(Steady::remembered(Path::new("/nowhere/clock")).now() > Timestamp(1_000_000));
    }
}
