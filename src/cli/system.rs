//! `system`: the firmware: what runs, an update, a start of the machine.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use clap::Subcommand;
use hyper::Method;
use serde_json::Value;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::client::{Answer, Client, Question};
use super::error::{CliError, Exit};
use super::field::{NOTHING, octets, since, text};
use super::input::Input;
use super::output::Output;
use super::table::Table;
use crate::clock::Timestamp;

/// How often is said how much of an update went out.
const ROUND: Duration = Duration::from_millis(500);
/// How long nothing may happen.
const PATIENCE: Duration = Duration::from_secs(90);

/// What can be done with the firmware.
#[derive(Debug, Subcommand)]
pub enum SystemCommand {
    /// Show which version runs, from where, whether it is good, and what became of the last update.
    #[command(after_help = "\
Example:
  vrctl system show")]
    Show,
    /// Send a signed update file. It is written beside what runs and starts with the machine's next start.
    ///
    /// A new version has three tries to show that it is good; otherwise the version that runs now comes back by itself.
    /// The file is refused where it is not signed by a key that the router trusts, or brings no newer version.
    #[command(after_help = "\
Examples:
  vrctl system update vrouter-0.2.0.update
  vrctl system update vrouter-0.2.0.update --reboot
  vrctl system update vrouter-0.1.0.update --force      back to an older version")]
    Update {
        /// The file, as `image/update` makes it.
        #[arg(value_name = "FILE")]
        file: std::path::PathBuf,
        /// Take it though it brings an older version.
        #[arg(long)]
        force: bool,
        /// Start the machine again once it is there.
        #[arg(long)]
        reboot: bool,
    },
    /// Start the machine again, in order: connections through it stop meanwhile.
    #[command(after_help = "\
Example:
  vrctl system reboot")]
    Reboot,
}

/// Does it.
pub(super) async fn run(
    command: SystemCommand,
    json: bool,
    (client, input): (&Client, &Input),
    output: &mut Output<'_>,
) -> Result<Exit, CliError> {
    match command {
        SystemCommand::Show => {
            let answer = client.ask(Question::get("/v1/system")).await?;
            let lines = if json { answer.pretty()? } else { page(&answer.value, answer.time) };
            output.print(&lines)?;
        }
        SystemCommand::Update { file, force, reboot } => {
            let answer = send((&file, force), json, (client, input), output).await?;
            let lines = if json { answer.pretty()? } else { installed(&answer.value) };
            output.print(&lines)?;
            if reboot {
                start_again(json, client, output).await?;
            }
        }
        SystemCommand::Reboot => start_again(json, client, output).await?,
    }
    Ok(Exit::Done)
}

async fn send(
    (file, force): (&Path, bool),
    json: bool,
    (client, input): (&Client, &Input),
    output: &mut Output<'_>,
) -> Result<Answer, CliError> {
    let upload = input.upload(file)?;
    let (all, sent) = (upload.octets(), upload.sent());
    let target = if force { "/v1/system/update?force=true" } else { "/v1/system/update" };
    let mut asking = std::pin::pin!(client.ask(Question::upload(target, upload)));
    let mut rounds = interval(ROUND);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut before, mut since) = (0, Instant::now());
    let answered = loop {
        tokio::select! {
            answered = &mut asking => break answered,
            _ = rounds.tick() => {
                let now = sent.load(Ordering::Relaxed);
                if now != before {
                    (before, since) = (now, Instant::now());
                }
                if since.elapsed() >= PATIENCE {
                    let seconds = PATIENCE.as_secs();
                    break Err(client.no_answer(format!("nothing happened for {seconds} seconds")));
                }
                if !json {
                    let of = all.map_or_else(String::new, |all| format!(" of {}", octets(all)));
                    output.progress(&format!("{}{of}", octets(now)))?;
                }
            }
        }
    };
    if !json {
        output.progress("")?;
    }
    answered
}

async fn start_again(json: bool, client: &Client, output: &mut Output<'_>) -> Result<(), CliError> {
    let question = Question::send(Method::POST, "/v1/system/reboot", super::client::JSON, Vec::new());
    let answer = client.ask(question).await?;
    let lines = match (json, text(&answer.value, "starts").as_str()) {
        (true, _) => answer.pretty()?,
        (false, NOTHING) => "the machine starts again\n".to_owned(),
        (false, entry) => format!("the machine starts again, with {entry}\n"),
    };
    Ok(output.print(&lines)?)
}

fn installed(answer: &Value) -> String {
    let [version, slot, runs] = ["version", "slot", "runs"].map(|name| text(answer, name));
    format!("{version} is in slot {slot} and starts with the machine's next start; {runs} runs until then\n")
}

/// The firmware on a page.
fn page(system: &Value, now: Timestamp) -> String {
    let mut table = Table::new([]);
    let mut line = |name: &str, said: String| table.row([name.to_owned(), said]);
    let slot = match text(system, "slot").as_str() {
        NOTHING => String::new(),
        slot => format!(", slot {slot}"),
    };
    line("version", format!("{} for {}{slot}", text(system, "version"), text(system, "architecture")));
    let trial = system.get("trial").unwrap_or(&Value::Null);
    let left = trial.get("seconds_left").and_then(Value::as_u64);
    let left = left.map(|seconds| format!(", {seconds} s left")).unwrap_or_default();
    line("trial", format!("{} for {}{left}", text(trial, "state"), since(trial, "since", now)));
    if let Some(why) = trial.get("why").and_then(Value::as_str) {
        line("", why.to_owned());
    }
    if let Some(why) = system.get("no_updates").and_then(Value::as_str) {
        line("updates", format!("none: {why}"));
    }
    if let Some(receiving) = system.get("receiving").filter(|receiving| receiving.is_object()) {
        let came = octets(super::field::count(receiving, "octets"));
        line(
            "receiving",
            format!("{}, {came} in {}", text(receiving, "version"), since(receiving, "since", now)),
        );
    }
    if let Some(last) = system.get("last_update").filter(|last| last.is_object()) {
        let [from, version, outcome] = ["from", "version", "outcome"].map(|name| text(last, name));
        let said = format!(
            "from {from} to {version}, {} ago: {}",
            since(last, "time", now),
            outcome.replace('_', " ")
        );
        line("last update", said);
        if let Some(why) = last.get("why").and_then(Value::as_str) {
            line("", why.to_owned());
        }
    }
    if system.get("reboots") == Some(&Value::Bool(true)) {
        line("", "the machine starts again".to_owned());
    }
    let entries = system.get("entries").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    if entries.is_empty() {
        return table.text();
    }
    let mut list = Table::new(["", "ENTRY", "TRIES LEFT", "NEXT START"]);
    for entry in entries {
        let is = |name: &str| entry.get(name) == Some(&Value::Bool(true));
        let tries = match text(entry, "tries_left").as_str() {
            NOTHING => "good".to_owned(),
            tries => tries.to_owned(),
        };
        let mark = |there: bool| (if there { "*" } else { "" }).to_owned();
        list.row([mark(is("runs")), text(entry, "name"), tries, mark(is("next"))]);
    }
    format!("{}\n{}", table.text(), list.text())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_trial_is_shown_with_what_it_waits_for() {
        let system = json!({
            "version": "0.2.0", "architecture": "x86_64", "slot": "b", "no_updates": null,
            "trial": {"state": "trial", "since": "2026-11-21T00:00:00Z", "why": "dns: no socket", "seconds_left": 170},
            "last_update": {"version": "0.2.0", "from": "0.1.0", "time": "2026-11-20T23:59:00Z", "outcome": "trial"},
            "entries": [
                {"name": "vrouter_0.2.0+2-1.efi", "tries_left": 2, "runs": true, "next": true},
                {"name": "vrouter_0.1.0.efi", "tries_left": null, "runs": false, "next": false},
            ],
        });
        let expected = "\
version      0.2.0 for x86_64, slot b
trial        trial for 10s, 170 s left
             dns: no socket
last update  from 0.1.0 to 0.2.0, 1m 10s ago: trial

   ENTRY                  TRIES LEFT  NEXT START
*  vrouter_0.2.0+2-1.efi  2           *
   vrouter_0.1.0.efi      good
";
        assert_eq!(page(&system, "2026-11-21T00:00:10Z".parse().unwrap()), expected);
    }

    #[test]
    fn a_machine_without_slots_says_why() {
        let system = json!({"version": "0.1.0", "architecture": "x86_64", "no_updates": "there is no other slot",
                            "trial": {"state": "off", "since": "2026-11-21T00:00:00Z"}, "entries": []});
        let page = page(&system, "2026-11-21T00:00:10Z".parse().unwrap());
        assert_eq!(
            page,
            "version  0.1.0 for x86_64\ntrial    off for 10s\nupdates  none: there is no other slot\n"
        );
    }

    #[test]
    fn an_update_says_when_it_starts() {
        let said = installed(&json!({"version": "0.2.0", "slot": "b", "runs": "0.1.0"}));
        assert_eq!(
            said,
            "0.2.0 is in slot b and starts with the machine's next start; 0.1.0 runs until then\n"
        );
    }
}
