//! A channel that is through: octets both ways until one side ends. Called by `mod.rs`.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf, split};

use super::counters::Counters;
use super::event::EndReason;
use super::link::Opened;
use super::socket::{Wire, is_silence};

/// Octets that are read at once from a station.
const FROM_STATION: usize = 16 * 1024;
/// Octets that are read at once from a console: pictures.
const FROM_CONSOLE: usize = 64 * 1024;

/// Relays until one side ends, and says which. `now` is the time since the broker's start; `session` is told the number
/// of the session when a main channel tells it.
pub(super) async fn run(
    opened: Opened,
    counters: &Counters,
    now: impl Fn() -> Duration,
    session: impl Fn(u32),
) -> EndReason {
    let Opened { station, console, mut finder, .. } = opened;
    let (from_station, to_station) = split(station);
    let (from_console, to_console) = split(console);
    let up = pump(from_station, to_console, FROM_STATION, |octets| counters.count_sent(octets.len(), now()));
    let down = pump(from_console, to_station, FROM_CONSOLE, |octets| {
        counters.count_received(octets.len());
        if let Some(found) = finder.as_mut().and_then(|finder| finder.feed(octets)) {
            finder = None;
            found.into_iter().for_each(&session);
        }
    });
    tokio::select! {
        // Where both ends are gone at once, the console went first: a viewer closes nothing that it has not seen end.
        biased;
        ended = down => match ended {
            Ended::Read(_) => EndReason::ConsoleClosed,
            Ended::Write(error) => of_station(Some(&error)),
        },
        ended = up => match ended {
            Ended::Read(error) => of_station(error.as_ref()),
            Ended::Write(_) => EndReason::ConsoleClosed,
        },
    }
}

/// Which end of a pump gave out.
enum Ended {
    /// Nothing more comes; with the error if it was one.
    Read(Option<io::Error>),
    /// Nothing more is taken.
    Write(io::Error),
}

fn of_station(error: Option<&io::Error>) -> EndReason {
    match error {
        Some(error) if is_silence(error) => EndReason::StationLost,
        _ => EndReason::ViewerLeft,
    }
}

async fn pump(
    mut from: ReadHalf<Box<dyn Wire>>,
    mut to: WriteHalf<Box<dyn Wire>>,
    size: usize,
    mut observe: impl FnMut(&[u8]),
) -> Ended {
    let mut buffer = vec![0; size];
    loop {
        let octets = match from.read(&mut buffer).await {
            Ok(0) => return Ended::Read(None),
            Ok(read) => buffer.get(..read).unwrap_or_default(),
            Err(error) => return Ended::Read(Some(error)),
        };
        observe(octets);
        // Octets inside TLS leave only when they are flushed.
        let written = async {
            to.write_all(octets).await?;
            to.flush().await
        };
        if let Err(error) = written.await {
            return Ended::Write(error);
        }
    }
}
