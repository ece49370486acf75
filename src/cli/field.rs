//! Members of the router's answers: whatever is not there, or is of another kind, is a `-`.

use serde_json::Value;

use crate::clock::Timestamp;

/// What stands where nothing is known.
pub(super) const NOTHING: &str = "-";

/// A member for people.
pub(super) fn text(object: &Value, name: &str) -> String {
    object.get(name).map_or_else(|| NOTHING.to_owned(), shown)
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => NOTHING.to_owned(),
        Value::Bool(value) => (if *value { "yes" } else { "no" }).to_owned(),
        Value::String(text) if text.is_empty() => NOTHING.to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) if items.is_empty() => NOTHING.to_owned(),
        Value::Array(items) => items.iter().map(shown).collect::<Vec<_>>().join(", "),
        Value::Number(_) | Value::Object(_) => value.to_string(),
    }
}

/// A number of things; 0 where it is not told.
pub(super) fn count(object: &Value, name: &str) -> u64 {
    object.get(name).and_then(Value::as_u64).unwrap_or(0)
}

/// A point in time, if it is told.
pub(super) fn time(object: &Value, name: &str) -> Option<Timestamp> {
    object.get(name)?.as_str()?.parse().ok()
}

/// How long something has been so.
pub(super) fn since(object: &Value, name: &str, now: Timestamp) -> String {
    time(object, name).map_or_else(|| NOTHING.to_owned(), |then| span(now.since(then)))
}

/// How long something took, from a member in milliseconds.
pub(super) fn took(object: &Value, name: &str) -> String {
    let milliseconds = object.get(name).and_then(Value::as_f64);
    milliseconds.map_or_else(|| NOTHING.to_owned(), |value| format!("{value:.1} ms"))
}

/// A time in its two largest units.
pub(super) fn span(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m {}s", seconds % 60),
        (0, _, _) => format!("{hours}h {}m", minutes % 60),
        (_, _, _) => format!("{days}d {}h", hours % 24),
    }
}

/// Octets in the unit that keeps the number short (IEC 80000-13).
pub(super) fn octets(value: u64) -> String {
    const UNITS: [&str; 6] = ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
    let (mut tenths, mut unit) = (u128::from(value) * 10, "");
    for next in UNITS {
        if tenths < 10_240 {
            break;
        }
        (tenths, unit) = (tenths / 1024, next);
    }
    match unit {
        "" => format!("{value} B"),
        _ => format!("{}.{} {unit}B", tenths / 10, tenths % 10),
    }
}

/// A number of things in words: `1 step`, `2 steps`.
pub(super) fn several(count: u64, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_time_is_told_in_its_two_largest_units() {
        let told = [0, 59, 60, 3599, 3600, 86_399, 86_400, 266_400].map(span);
        assert_eq!(told, ["0s", "59s", "1m 0s", "59m 59s", "1h 0m", "23h 59m", "1d 0h", "3d 2h"]);
    }

    #[test]
    fn octets_are_told_in_short() {
        let told = [0, 1023, 1024, 1536, 10 << 20, u64::MAX].map(octets);
        assert_eq!(told, ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "10.0 MiB", "15.9 EiB"]);
    }

    #[test]
    fn whatever_is_not_there_is_a_dash() {
        let object =
            json!({"a": null, "b": [], "c": "", "d": ["x", 1], "e": true, "f": {"g": 1}, "h": "soon"});
        let shown = ["a", "b", "c", "d", "e", "f", "h", "z"].map(|name| text(&object, name));
        assert_eq!(shown, ["-", "-", "-", "x, 1", "yes", "{\"g\":1}", "soon", "-"]);
        assert_eq!(text(&json!([1]), "a"), "-");
        assert_eq!((time(&object, "h"), took(&object, "h"), count(&object, "h")), (None, "-".into(), 0));
    }
}
