//! The pool's status as tables for a terminal.

use comfy_table::{Table, presets};
use serde_json::Value;

/// How far columns stand apart.
const GAP: u16 = 2;

/// A status, as the API gives it, for people.
pub(super) fn status(status: &Value) -> String {
    let mut text = format!(
        "pool {}, golden image {} version {}\n",
        cell(status, "pool"),
        cell(status, "base"),
        cell(status, "golden")
    );
    let faults = [
        (status.get("known") == Some(&Value::Bool(false)), "it is starting"),
        (status.get("draining") == Some(&Value::Bool(true)), "it is drained and hands nothing out"),
        (status.get("hypervisor") == Some(&Value::Bool(false)), "the hypervisor does not answer"),
        (status.get("broker") == Some(&Value::Bool(false)), "the console broker does not answer"),
    ];
    for (_, fault) in faults.iter().filter(|(is, _)| *is) {
        text.push_str(&format!("! {fault}\n"));
    }
    if let Some(hindrance) = status.get("hindrance").and_then(Value::as_str) {
        text.push_str(&format!("! no VM can be made: {}\n", plain(hindrance)));
    }
    text.push('\n');
    let slot = ["port", "state", "list", "since", "station", "golden", "idle_seconds", "why"];
    text.push_str(&table(
        &["SLOT", "STATE", "LIST", "SINCE", "STATION", "GOLDEN", "IDLE", "WHY"],
        status.get("slots"),
        &slot,
    ));
    if status.get("stations").and_then(Value::as_array).is_some_and(|stations| !stations.is_empty()) {
        text.push('\n');
        let station = ["station", "seconds", "told"];
        text.push_str(&table(&["STATION", "SECONDS", "TOLD"], status.get("stations"), &station));
    }
    text
}

fn table(headings: &[&str], rows: Option<&Value>, keys: &[&str]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(headings);
    for row in rows.and_then(Value::as_array).into_iter().flatten() {
        table.add_row(keys.iter().map(|key| cell(row, key)));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, GAP));
    }
    table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

fn cell(row: &Value, key: &str) -> String {
    match row.get(key) {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) => plain(text),
        Some(other) => other.to_string(),
    }
}

/// Text without anything that a terminal would obey.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_slot_and_station_has_a_line_and_no_terminal_is_harmed() {
        let value = serde_json::json!({
            "pool": "kiosk", "base": "kiosk", "golden": null, "known": true, "draining": true, "hypervisor": true,
            "broker": true, "hindrance": "no memory\u{1b}[2J",
            "slots": [{"port": 5921, "state": "clean", "list": "clear", "since": "2026-01-01T00:00:00Z"}],
            "stations": [{"station": "192.0.2.1", "seconds": 3, "told": "waits"}],
        });
        let text = status(&value);
        assert!(text.contains("5921  clean  clear  2026-01-01T00:00:00Z"), "{text}");
        assert!(text.contains("192.0.2.1  3"), "{text}");
        assert!(text.contains("! it is drained") && !text.contains('\u{1b}'), "{text}");
    }
}
