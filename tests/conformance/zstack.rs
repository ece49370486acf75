//! Commands of a ZStack management node, one after the other, and what becomes of the document.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use vrouter::config::{Config, json as reader};
use vrouter::merge_patch;
use vrouter::zstack::{Facts, Nic, command, failure, first_document, result};

/// Input: `commands.json`, a list of paths and bodies; they are given to a router that booted with `bootstrap.json` beside
/// the folders, or that runs `document.json`.
/// Output: `outcomes.json`, for each command its result and the merge patch that the document took.
#[test]
fn commands_lead_to_these_documents() {
    let bootstrap =
        read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance/zstack/bootstrap.json"));
    super::run("zstack", |case| {
        let own = case.join("document.json");
        let first = if own.exists() {
            read(&own)
        } else {
            first_document(&bootstrap).map_err(|error| error.to_string())?
        };
        let mut config =
            Config::default().replace(first).map_err(|faults| format!("{}: {faults}", case.display()))?;
        let mut outcomes = Vec::new();
        for entry in read(&case.join("commands.json")).as_array().unwrap() {
            let path = entry[0].as_str().unwrap();
            let document = serde_json::to_value(config.document()).unwrap();
            let outcome = match command(path, &entry[1], &document, &facts()) {
                Err(refusal) => json!({ "path": path, "result": failure(&refusal.to_string()) }),
                Ok(done) => match config.replace(done.document.unwrap_or_else(|| document.clone())) {
                    Err(faults) => json!({ "path": path, "result": failure(&faults.to_string()) }),
                    Ok(next) => {
                        let after = serde_json::to_value(next.document()).unwrap();
                        config = next;
                        let patch = merge_patch::difference(&document, &after);
                        json!({ "path": path, "result": result(done.reply), "patch": patch })
                    }
                },
            };
            outcomes.push(outcome);
        }
        let text = serde_json::to_string_pretty(&outcomes).unwrap();
        super::expect(case, "outcomes.json", &(text + "\n"))
    });
}

fn read(path: &Path) -> Value {
    reader::parse(&fs::read(path).unwrap()).unwrap()
}

fn facts() -> Facts {
    let nic = |number: u8| Nic {
        mac: format!("fa:00:00:00:00:{number:02x}").parse().unwrap(),
        device: format!("eth{number}"),
    };
    Facts {
        nics: (0..6).map(nic).collect(),
        management: Some("fa:00:00:00:00:00".parse().unwrap()),
        node: Some("192.0.2.2".parse().unwrap()),
        version: "0.1.0".to_owned(),
        kernel: "6.12.0".to_owned(),
    }
}
