//! Laws of seed disks: whatever stands in their files, they are read to an end, always the same, and what is said of them
//! has bounds.

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use proptest::sample::{Index, select};
use vrouter::config::Config;
use vrouter::seed;
use vrouter::seed::bundle::{Bundle, Kind};

/// How much is said of one disk, in lines, and how long a line may be, in octets.
const MOST: usize = 42;
const LONGEST: usize = 400;
/// What is put where it does not belong.
const PIECES: &[&str] = &[
    "\0",
    "\n",
    "  ",
    "- ",
    "{",
    "}",
    "[",
    "]",
    ":",
    "'",
    "\"",
    "&a ",
    "*a",
    "!!str ",
    "---\n",
    "\t",
    "null",
    "::/0",
    "0.0.0.0/0",
    "300",
    "-1",
    "default",
    "version: 1\n",
    "version: 2\n",
    "\u{feff}",
    "é",
    "99999999999999999999",
    "#cloud-config\n",
    "|\n",
    ">-\n",
];

/// A disk's kind, and its files by name.
type Disk = (Kind, Vec<(String, Vec<u8>)>);

/// The files of every case of the conformance tests.
fn cases() -> Vec<Disk> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance/seed");
    let mut cases = Vec::new();
    for entry in fs::read_dir(root).unwrap() {
        let folder = entry.unwrap().path();
        for kind in Kind::ALL {
            let names = kind.files().map(|path| path.rsplit('/').next().unwrap().to_owned());
            let read = |name: String| Some((name.clone(), fs::read(folder.join(name)).ok()?));
            let files: Vec<_> = names.into_iter().filter_map(read).collect();
            if !files.is_empty() {
                cases.push((kind, files));
            }
        }
    }
    cases
}

/// A disk of which something was cut out, doubled or put in.
fn disk() -> impl Strategy<Value = Bundle> {
    let edit = (any::<Index>(), any::<Index>(), 0..40_usize, select(PIECES), 0..3_u8);
    (select(cases()), prop::collection::vec(edit, 0..6)).prop_map(|((kind, mut files), edits)| {
        for (file, at, length, piece, what) in edits {
            let content = &mut file.get_mut(&mut files).1;
            let at = at.index(content.len() + 1);
            let end = (at + length).min(content.len());
            match what {
                0 => drop(content.splice(at..end, [])),
                1 => drop(content.splice(at..at, piece.bytes())),
                _ => {
                    let again = content[at..end].to_vec();
                    drop(content.splice(end..end, again));
                }
            }
        }
        Bundle { kind, disk: "/dev/vdb".to_owned(), files, left: Vec::new() }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_seed_disk_is_read_to_an_end(bundle in disk()) {
        let octets = bundle.write();
        prop_assert_eq!(Bundle::read(&octets), Some(bundle));
        let found = seed::read(&octets);
        prop_assert_eq!(&seed::read(&octets), &found);
        prop_assert!(found.notes.len() <= MOST);
        prop_assert!(found.notes.iter().all(|note| note.len() <= LONGEST && !note.contains('\n')));
        match found.document {
            Err(why) => prop_assert!(!why.is_empty() && why.lines().count() <= MOST),
            Ok(Some(document)) => if let Err(faults) = Config::default().replace(document) {
                prop_assert!(!faults.to_string().is_empty());
            },
            Ok(None) => {}
        }
    }

    #[test]
    fn what_is_no_bundle_is_refused(octets in prop::collection::vec(any::<u8>(), 0..200)) {
        let found = seed::read(&octets);
        prop_assert!(found.document.is_err());
    }
}
