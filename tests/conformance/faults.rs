//! Documents that are refused, and every fault that is found in them.

use std::fs;
use std::path::Path;

use serde_json::Value;
use vrouter::config::{Config, json};

/// Input: `input.json`, posted to an empty router, or `base.json` and then `patch.json`.
/// Output: `faults.json`, each fault with pointer, rule and sentence.
#[test]
fn every_fault_is_reported_with_its_place_and_rule() {
    super::run("faults", |case| {
        let faults = if case.join("base.json").exists() {
            let base = Config::default().replace(document(&case.join("base.json"))).unwrap();
            base.patch(document(&case.join("patch.json"))).map(drop)
        } else {
            let bytes = fs::read(case.join("input.json")).unwrap();
            json::parse(&bytes).and_then(|document| Config::default().replace(document)).map(drop)
        };
        let faults = faults.err().ok_or_else(|| format!("{} was accepted", case.display()))?;
        let text = serde_json::to_string_pretty(faults.as_slice()).unwrap();
        super::expect(case, "faults.json", &(text + "\n"))
    });
}

fn document(path: &Path) -> Value {
    json::parse(&fs::read(path).unwrap()).unwrap()
}

/// The example that the documentation shows is accepted as it stands.
#[test]
fn the_example_is_accepted() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/examples/router.json");
    let config = Config::default().replace(document(&path)).unwrap_or_else(|faults| panic!("{faults}"));
    assert_eq!(config.eips().len(), 1);
    let mut written = document(&path);
    written["dns"]["cache_entries"] = 10_000.into();
    for record in ["srv", "txt"] {
        written["dns"]["records"][record]["ttl_seconds"] = 60.into();
    }
    written["firewall"]["defaults"]["between_guests"] = "drop".into();
    assert_eq!(
        config.to_json(),
        written,
        "it comes back as it was written, with the numbers that were left out"
    );
}

/// So is the whole of what can be said, its PEM bodies filled in; and what comes back is it, key aside.
#[test]
fn the_full_example_is_accepted() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/examples/full.json");
    let mut written = document(&path);
    assert!(Config::default().replace(written.clone()).is_err(), "without PEM bodies it is refused");
    fill_in(&mut written);
    let config = Config::default().replace(written).unwrap_or_else(|faults| panic!("{faults}"));
    let paths: Vec<_> =
        config.load_balancers().iter().map(|(id, own)| (id.as_str(), own.path().as_str())).collect();
    assert_eq!(paths, [("tcp-db", "kernel"), ("web", "proxy")]);
    let shown = config.to_json();
    assert_eq!(config.replace(shown.clone()).unwrap(), config);
    assert_eq!(config.ssh().map(|ssh| ssh.keys.len()), Some(2));
    assert_eq!(shown["load_balancers"]["web"]["rules"]["old"]["action"]["redirect"]["status"], 301);
}

/// Puts a real pair where an example has none.
fn fill_in(document: &mut Value) {
    let key = rcgen::KeyPair::generate().unwrap();
    let parameters = rcgen::CertificateParams::new(["demo.local".to_owned()]).unwrap();
    document["certificates"]["demo"]["chain_pem"] = parameters.self_signed(&key).unwrap().pem().into();
    document["certificates"]["demo"]["key_pem"] = key.serialize_pem().into();
}

/// So is everything else that a newcomer is shown, and the patch of the demonstration on top of its document.
#[test]
fn what_newcomers_are_shown_is_accepted() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let accepted = |name: &str, bytes: &[u8]| {
        json::parse(bytes)
            .and_then(|document| Config::default().replace(document))
            .unwrap_or_else(|faults| panic!("{name}: {faults}"))
    };
    let text = fs::read_to_string(root.join("README.md")).unwrap();
    let blocks: Vec<&str> =
        text.split("```json\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    let [whole, balancers] = blocks.as_slice() else {
        panic!("the README shows {} configurations", blocks.len())
    };
    let shown = accepted("README.md", whole.as_bytes());
    let mut patch = json::parse(balancers.as_bytes()).unwrap();
    fill_in(&mut patch);
    let shown = shown.patch(patch).unwrap_or_else(|faults| panic!("README.md: {faults}"));
    assert_eq!(shown.load_balancers().len(), 3);
    let file = |name: &str| fs::read(root.join("image").join(name)).unwrap();
    accepted("bootstrap.json", &file("bootstrap.json"));
    let demo = accepted("demo.json", &file("demo.json"));
    let patch = document(&root.join("image/demo-patch.json"));
    assert_ne!(demo.patch(patch).unwrap_or_else(|faults| panic!("{faults}")), demo);
}
