//! Documents: what is accepted is read again as it was written, posting it again changes nothing, and a patch ends where
//! merging the JSON and reading it whole ends, accepted or refused.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};
use vrouter::config::{Config, changes, json};
use vrouter::merge_patch;

/// A router with something of everything.
static BASE: LazyLock<Config> = LazyLock::new(|| {
    let document = json::parse(include_bytes!("../seeds/config/base.json")).expect("JSON");
    Config::default().replace(document).unwrap_or_else(|faults| panic!("{faults}"))
});

fuzz_target!(|data: &[u8]| {
    let Ok(value) = json::parse(data) else { return };
    // Members in another order are the same document; keys that stand twice were refused.
    assert_eq!(serde_json::from_slice::<Value>(data).ok().as_ref(), Some(&value));
    match Config::default().replace(value.clone()) {
        Ok(config) => laws(&config),
        Err(faults) => assert!(!faults.to_string().is_empty()),
    }
    patch(value);
});

/// The whole document, keys included.
fn document(config: &Config) -> Value {
    serde_json::to_value(config.document()).expect("a document is JSON")
}

fn laws(config: &Config) {
    let written = document(config);
    let again =
        Config::default().replace(written.clone()).unwrap_or_else(|faults| panic!("{faults}\n{written:#}"));
    assert_eq!(&again, config);
    assert_eq!(document(&again), written);
    let same = config.replace(config.to_json()).unwrap_or_else(|faults| panic!("{faults}\n{written:#}"));
    assert_eq!(&same, config);
    assert!(changes(config, &same).objects.is_empty());
}

fn patch(patch: Value) {
    if patch.get("version").is_some() {
        return;
    }
    let mut merged = document(&BASE);
    merge_patch::merge(&mut merged, patch.clone());
    if merged.is_object() {
        merged["version"] = json!(1);
    }
    match (BASE.patch(patch.clone()), Config::default().replace(merged.clone())) {
        (Ok(patched), Ok(replaced)) => {
            assert_eq!(patched, replaced);
            laws(&patched);
        }
        (Err(_), Err(_)) => {}
        (Ok(_), Err(faults)) => panic!("only the patch was accepted: {faults}\n{patch:#}\n{merged:#}"),
        // A patch of what is no object is none, whatever it would make.
        (Err(faults), Ok(_)) if patch.is_object() => {
            panic!("only the patch was refused: {faults}\n{patch:#}")
        }
        (Err(_), Ok(_)) => {}
    }
}
