//! The house holds its shape: which room sees which, how files open, and what each feature may link.

#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test says what went wrong by panicking"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Each room with the rooms that it may see besides itself. Whoever is not listed sees everything.
const ROOMS: &[(&str, &[&str])] = &[
    ("merge_patch", &[]),
    ("config", &["merge_patch"]),
    ("clock", &[]),
    ("log", &[]),
    ("store", &["clock", "merge_patch"]),
    ("plan", &["config"]),
    ("kernel", &["plan", "clock"]),
    ("trace", &["config", "merge_patch", "plan"]),
    ("seed", &["config"]),
    ("dhcp", &["config", "plan", "store", "clock"]),
    ("dns", &["config", "plan", "clock"]),
    ("balancer", &["config", "plan", "store", "clock"]),
    ("ssh", &["config", "clock"]),
    ("reconcile", &["config", "plan", "kernel", "trace", "store", "clock"]),
    ("engines", &["balancer", "clock", "config", "plan", "dhcp", "dns", "reconcile", "ssh"]),
    ("system", &["store", "clock"]),
    (
        "status",
        &[
            "balancer",
            "config",
            "plan",
            "dhcp",
            "dns",
            "reconcile",
            "engines",
            "ssh",
            "store",
            "system",
            "clock",
        ],
    ),
    (
        "api",
        &[
            "balancer",
            "clock",
            "config",
            "dhcp",
            "engines",
            "reconcile",
            "store",
            "status",
            "system",
            "trace",
        ],
    ),
    (
        "zstack",
        &[
            "api",
            "balancer",
            "clock",
            "config",
            "engines",
            "merge_patch",
            "plan",
            "reconcile",
            "status",
            "store",
        ],
    ),
    ("cli", &["clock"]),
    // The host's companion sees no room of the router.
    ("pool", &["clock", "log"]),
];
/// The kernel room sees facts of the plan and nothing of how they were decided.
const KERNEL_SEES_OF_PLAN: &[&str] = &["facts", "step"];
/// No file of the house is longer than this without saying why.
const MAX_LINES: usize = 400;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn sources() -> Vec<(String, String)> {
    let mut found = Vec::new();
    files(&root().join("src"), &mut found);
    found.sort();
    let name = |path: &Path| path.strip_prefix(root()).unwrap().display().to_string();
    found.iter().map(|path| (name(path), fs::read_to_string(path).unwrap())).collect()
}

/// The room of a file: the folder or the file right under `src`.
fn room(file: &str) -> String {
    let inside = file.strip_prefix("src/").unwrap();
    inside.split('/').next().unwrap().trim_end_matches(".rs").to_owned()
}

/// The rooms that a file names by `crate::room`, with what follows.
fn seen(text: &str) -> BTreeSet<(String, String)> {
    let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    let mut found = BTreeSet::new();
    for line in code {
        for (index, _) in line.match_indices("crate::") {
            let path: String = line[index + 7..]
                .chars()
                .take_while(|c| c.is_alphanumeric() || matches!(c, '_' | ':'))
                .collect();
            let mut parts = path.split("::");
            found.insert((parts.next().unwrap().to_owned(), parts.next().unwrap_or_default().to_owned()));
        }
    }
    found
}

#[test]
fn a_room_sees_only_the_rooms_above_it() {
    let allowed: BTreeMap<&str, &[&str]> = ROOMS.iter().copied().collect();
    let mut wrong = Vec::new();
    for (file, text) in sources() {
        let room = room(&file);
        let Some(visible) = allowed.get(room.as_str()) else { continue };
        for (other, inside) in seen(&text) {
            let known = allowed.contains_key(other.as_str()) || other == "daemon";
            if known && other != room && !visible.contains(&other.as_str()) {
                wrong.push(format!("{file} sees `{other}`"));
            }
            if room == "kernel" && other == "plan" && !KERNEL_SEES_OF_PLAN.contains(&inside.as_str()) {
                wrong.push(format!("{file} sees `plan::{inside}`, which is not a fact"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_file_says_what_it_is_for_and_stays_readable() {
    let mut wrong = Vec::new();
    for (file, text) in sources() {
        if !text.starts_with("//!") {
            wrong.push(format!("{file} does not open with //!"));
        }
        let lines = text.lines().count();
        if lines > MAX_LINES {
            wrong.push(format!("{file} has {lines} lines"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The crates that a feature links into the program, by `cargo tree`.
fn linked(features: &[&str]) -> BTreeSet<String> {
    let output = Command::new(env!("CARGO"))
        .current_dir(root())
        .args(["tree", "--offline", "--locked", "--edges", "normal", "--prefix", "none", "--format", "{p}"])
        .args(features)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .filter_map(|line| line.split_whitespace().next().map(str::to_owned))
        .collect()
}

#[test]
fn the_router_links_no_libvirt_and_the_pool_nothing_of_the_router() {
    let router = linked(&[]);
    for crate_name in ["virt", "virt-sys"] {
        assert!(!router.contains(crate_name), "the router links {crate_name}");
    }
    let companion = linked(&["--no-default-features", "--features", "companion"]);
    assert!(!companion.contains("virt-sys"), "the companion without libvirt links it");
    let pool = linked(&["--no-default-features", "--features", "pool"]);
    assert!(pool.contains("virt-sys"), "the pool links no libvirt");
    let own: BTreeSet<&str> = [
        "rustables",
        "rtnetlink",
        "dhcproto",
        "hickory-server",
        "hickory-resolver",
        "pingora",
        "axum",
        "imbl",
    ]
    .into();
    let both: Vec<_> = pool.iter().filter(|name| own.contains(name.as_str())).collect();
    assert!(both.is_empty(), "the pool links {both:?}");
}
