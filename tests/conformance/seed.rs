//! Files of seed disks, and the first configurations that they come to.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use vrouter::config::Config;
use vrouter::seed;
use vrouter::seed::bundle::{Bundle, Kind};

/// Input: the files of a disk by their names on it; those of `OpenStack` are a config drive's, the others NoCloud's.
/// Output: `expected.json`: the document, or why it is refused; tokens; what is said to be left out.
#[test]
fn disks_come_to_these_configurations() {
    super::run("seed", |case| {
        let kind = Kind::ALL
            .into_iter()
            .find(|kind| names(*kind).any(|name| case.join(name).exists()))
            .ok_or_else(|| format!("{} has no file of a seed disk", case.display()))?;
        let files = names(kind).filter_map(|name| Some((name.to_owned(), fs::read(case.join(name)).ok()?)));
        let bundle = Bundle { kind, disk: "/dev/vdb".to_owned(), files: files.collect(), left: Vec::new() };
        let read = seed::read(&bundle.write());
        let (document, refused) = match read.document {
            Ok(None) => (Value::Null, Value::Null),
            Err(faults) => (Value::Null, faults.into()),
            Ok(Some(document)) => {
                let refused =
                    Config::default().replace(document.clone()).err().map(|faults| faults.to_string());
                (document, refused.into())
            }
        };
        let outcome = json!({
            "source": read.source, "document": document, "refused": refused, "tokens": read.tokens,
            "left_out": read.notes,
        });
        super::expect(case, "expected.json", &(serde_json::to_string_pretty(&outcome).unwrap() + "\n"))
    });
}

/// The names of files as they stand in a bundle.
fn names(kind: Kind) -> impl Iterator<Item = &'static str> {
    kind.files().into_iter().filter_map(|path| Path::new(path).file_name()?.to_str())
}
