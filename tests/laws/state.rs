//! State directories outlive versions. `tests/state/VERSION` is what that version left, and is read for ever; what this one
//! writes is read though a later version added to it. A folder there is never changed, and each release adds one.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;
use vrouter::config::Config;
use vrouter::store::backends::BackendFile;
use vrouter::store::confirm::ConfirmFile;
use vrouter::store::leases::LeaseFile;
use vrouter::store::{Generations, Journal, UpdateFile};

fn folders() -> Vec<PathBuf> {
    let all = fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/state")).unwrap();
    let mut folders: Vec<PathBuf> = all.map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    folders
}

/// A copy that may be written to.
fn copy(folder: &Path) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    for file in fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        fs::copy(&path, copy.path().join(path.file_name().unwrap())).unwrap();
    }
    copy
}

/// What is read of a state directory.
#[derive(Debug, PartialEq)]
struct State {
    generations: Vec<(u64, Value)>,
    leases: usize,
    backends: usize,
    waits: bool,
    update: Option<String>,
}

fn read(folder: &Path) -> State {
    let (store, document) = Generations::open(folder).unwrap();
    let known = store.known().iter().map(|known| known.generation);
    let generations: Vec<(u64, Value)> =
        known.map(|number| (number, store.document(number).unwrap().unwrap())).collect();
    assert_eq!(generations.last().map(|(_, document)| document), document.as_ref());
    for (number, document) in &generations {
        let config = Config::default().replace(document.clone());
        config.unwrap_or_else(|faults| panic!("generation {number} of {}: {faults}", folder.display()));
    }
    drop(store);
    State {
        generations,
        leases: LeaseFile::open(folder).unwrap().1.len(),
        backends: BackendFile::open(folder).unwrap().1.len(),
        waits: ConfirmFile::open(folder).unwrap().take().is_some(),
        update: UpdateFile::open(folder).unwrap().1.map(|update| update.version),
    }
}

#[test]
fn what_any_version_left_is_read() {
    assert!(!folders().is_empty());
    for folder in folders() {
        let state = read(copy(&folder).path());
        let expected = fs::read(folder.join("expected.json")).unwrap();
        let expected: Value = serde_json::from_slice(&expected).unwrap();
        let found = serde_json::json!({
            "generations": state.generations.iter().map(|(number, _)| number).collect::<Vec<_>>(),
            "document": state.generations.last().unwrap().1,
            "leases": state.leases, "backends": state.backends, "waits": state.waits, "update": state.update,
        });
        assert_eq!(found, expected, "{}", folder.display());
    }
}

/// A record with one member more wherever an object stands at its top, as a later version may write it.
fn grown(record: &[u8]) -> Vec<u8> {
    let tab = record.iter().position(|octet| *octet == b'\t');
    let (head, rest) = record.split_at(tab.unwrap_or(record.len()));
    let Ok(mut value) = serde_json::from_slice::<Value>(head) else { return record.to_vec() };
    let add = |value: &mut Value| {
        if let Some(object) = value.as_object_mut() {
            object.insert("of_a_later_version".to_owned(), serde_json::json!({"any": ["thing"]}));
        }
    };
    match &mut value {
        Value::Array(entries) => entries.iter_mut().for_each(|entry| match entry.as_object_mut() {
            // An entry that is one of several kinds has its own members further in.
            Some(object) if object.len() == 1 => object.values_mut().for_each(add),
            _ => add(entry),
        }),
        other => add(other),
    }
    [value.to_string().as_bytes(), rest].concat()
}

#[tokio::test]
async fn what_a_later_version_adds_is_passed_over() {
    for folder in folders() {
        let plain = copy(&folder);
        let before = read(plain.path());
        let later = copy(&folder);
        for name in ["generations", "leases", "backends", "update"] {
            let path = later.path().join(format!("{name}.journal"));
            let (journal, records) = Journal::open(&path).unwrap();
            let grown: Vec<Vec<u8>> = records.iter().map(|record| grown(record)).collect();
            assert!(records.is_empty() || grown != records, "{name} has something that can grow");
            let unknown = br#"[{"of_a_later_kind":{}}]"#.to_vec();
            // The last word on an update is the one that counts, so a kind that is not known is none there.
            let more = (name != "generations" && name != "update").then_some(unknown);
            journal.rewrite(grown.into_iter().chain(more).collect()).await.unwrap();
        }
        // The first record of what waits is a document, which is the older version's; the others may grow.
        let path = later.path().join("confirm.journal");
        let (journal, records) = Journal::open(&path).unwrap();
        let grown = records
            .iter()
            .enumerate()
            .map(|(at, record)| if at == 0 { record.clone() } else { grown(record) });
        journal.rewrite(grown.collect()).await.unwrap();
        drop(journal);
        assert_eq!(read(later.path()), before, "{}", folder.display());
    }
}
