//! Where a service's own log goes: to the journal with the priority that systemd reads from a line, else to standard error
//! with time and colours. Called by `bin/vrouterd.rs` and `bin/vrouter-pool.rs`, once.
//!
//! The journal shows a line's text and hides fields that are handed to it apart, so everything stands in the text.

use std::fmt;
use std::io::IsTerminal;

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// What is written unless `RUST_LOG` says otherwise. rustls and russh complain of clients: whoever can connect could fill the
/// journal.
const LOG: &str = "info,rustls=error,h2=error,russh=off";

/// Starts the log. `to_journal` is whether systemd reads standard error.
pub fn start(to_journal: bool) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(LOG));
    let lines = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal() && !to_journal);
    if to_journal { lines.event_format(JournalLine).init() } else { lines.init() }
}

/// A line as sd-daemon(3) wants it: `<6>a message field=value`. One event is one entry, also where it has several lines.
#[derive(Debug)]
struct JournalLine;

impl<S, N> FormatEvent<S, N> for JournalLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut text = String::new();
        context.format_fields(Writer::new(&mut text), event)?;
        let metadata = event.metadata();
        // What was changed by whom is looked for by this word.
        let of = if metadata.target() == "audit" { "audit: " } else { "" };
        writeln!(writer, "<{}>{of}{}", priority(*metadata.level()), text.replace('\n', "; "))
    }
}

/// The priority of syslog(3).
const fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        _ => 7,
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(octets)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn an_entry_of_the_journal_is_one_line_with_its_priority_and_its_fields() {
        let written = Written::default();
        let writer = written.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(move || writer.clone())
            .with_ansi(false)
            .event_format(JournalLine)
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            tracing::warn!(generation = 7, "two\nlines");
            tracing::error!(why = %"gone", "failed");
            tracing::info!(target: "audit", generation = 8, "changed");
        });
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text, "<4>two; lines generation=7\n<3>failed why=gone\n<6>audit: changed generation=8\n");
    }
}
