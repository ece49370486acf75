//! Folders of input and expected output, one loop each.
//!
//! `VROUTER_UPDATE=1` writes what comes out as what is expected; a change of these files is a change of behaviour and
//! is reviewed as one.

#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod faults;
mod plan;
mod seed;
mod zstack;

use std::fs;
use std::path::{Path, PathBuf};

/// The folders of one kind of case, in order.
fn cases(kind: &str) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance").join(kind);
    let mut cases: Vec<PathBuf> = fs::read_dir(&root)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .collect();
    cases.sort();
    assert!(!cases.is_empty(), "no cases in {}", root.display());
    cases
}

/// Compares what came out with the file that says what was expected.
fn expect(case: &Path, file: &str, actual: &str) -> Result<(), String> {
    let path = case.join(file);
    if std::env::var_os("VROUTER_UPDATE").is_some() {
        fs::write(&path, actual).unwrap();
        return Ok(());
    }
    let expected = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    if expected == actual {
        return Ok(());
    }
    let first = expected.lines().zip(actual.lines()).position(|(a, b)| a != b);
    let line = first.unwrap_or(expected.lines().count().min(actual.lines().count()));
    Err(format!(
        "{} line {}:\n  expected: {}\n  actual:   {}",
        path.display(),
        line + 1,
        expected.lines().nth(line).unwrap_or("(end)"),
        actual.lines().nth(line).unwrap_or("(end)"),
    ))
}

/// Runs every case of a kind and reports all that differ.
fn run(kind: &str, case: impl Fn(&Path) -> Result<(), String>) {
    let failures: Vec<String> = cases(kind).iter().filter_map(|path| case(path).err()).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
