//! The life of a version: received, started, on trial, good; or not good, and gone again.

use std::fs;

use bytes::Bytes;
use tempfile::TempDir;
use tokio::sync::mpsc;

use super::super::file::tests::update;
use super::super::machine::tests::{machine, select};
use super::super::receive::{Cut, ReceiveError};
use super::super::{Installed, Order, Piece, UpdateError};
use super::*;
use crate::clock::moment;

const TRIAL: Duration = Duration::from_secs(180);
const ENTRIES: &str = "efi/EFI/Linux";

/// A machine that is started again and again.
struct House {
    root: TempDir,
    boots: u64,
}

impl House {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        machine(root.path(), Slot::A, &["vrouter_0.1.0.efi"], "vrouter_0.1.0.efi");
        Self { root, boots: 0 }
    }

    fn mark(&self) -> Mark {
        let time = Timestamp::from_seconds(1000 * self.boots);
        Mark { time, boot: format!("boot {}", self.boots), uptime_ms: 9 }
    }

    /// Starts what the boot loader prefers, and counts as it does.
    fn boot(&mut self, slot: Slot) -> System {
        self.boots += 1;
        let _ = fs::remove_dir_all(self.root.path().join("run"));
        let mut entries: Vec<Entry> = self.names().iter().filter_map(|name| Entry::parse(name)).collect();
        entries.sort_by_key(Entry::to_string);
        let next = *entry::next(&entries).unwrap();
        let folder = self.root.path().join(ENTRIES);
        if let Some(tries) = next.tries {
            let tries = entry::Tries { left: tries.left.saturating_sub(1), done: tries.done + 1 };
            let counted = Entry { tries: Some(tries), ..next };
            fs::rename(folder.join(next.to_string()), folder.join(counted.to_string())).unwrap();
        }
        machine(self.root.path(), slot, &[], &next.to_string());
        self.open()
    }

    fn open(&self) -> System {
        let root = self.root.path();
        let machine = Machine::new(root.to_owned(), Some(root.join("run/vrouter/reboot")));
        System::open(machine, &root.join("state"), "9.9.9", TRIAL, (moment(), &self.mark())).unwrap()
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.root.path().join(ENTRIES)).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn is_there(&self, name: &str) -> bool {
        self.root.path().join("run/vrouter").join(name).exists()
    }

    fn send(&self, system: &System, file: &[u8], order: &Order) -> Result<Installed, UpdateError> {
        let (sender, pieces) = mpsc::channel(4);
        let file = Bytes::copy_from_slice(file);
        std::thread::scope(|scope| {
            scope.spawn(move || {
                for start in (0..file.len()).step_by(700) {
                    let piece = file.slice(start..file.len().min(start + 700));
                    if sender.blocking_send(Piece::Octets(piece)).is_err() {
                        return;
                    }
                }
                let _ = sender.blocking_send(Piece::End);
            });
            system.receive(order, self.mark().time, pieces, || self.mark())
        })
    }
}

fn order() -> Order {
    Order { interfaces: vec!["guest".to_owned()], ..Order::default() }
}

fn at(begin: Instant, seconds: u64) -> (Instant, Timestamp) {
    (begin + Duration::from_secs(seconds), Timestamp::from_seconds(5000 + seconds))
}

fn last(system: &System) -> (Outcome, Option<String>) {
    let last = system.brief().last.unwrap();
    (last.outcome, last.why)
}

#[test]
fn an_update_runs_and_shows_that_it_is_good() {
    let mut house = House::new();
    let system = house.boot(Slot::A);
    assert_eq!((system.brief().trial, system.on_trial()), (TrialState::Good, None));
    let installed = house.send(&system, &update("0.2.0", &[7; 9000], &[8; 5000]), &order()).unwrap();
    assert_eq!((installed.slot, installed.entry.as_str()), (Slot::B, "vrouter_0.2.0+3.efi"));
    assert!(fs::read(house.root.path().join("dev/vda3")).unwrap().starts_with(&[7; 9000]));
    assert_eq!(fs::read(house.root.path().join(ENTRIES).join("vrouter_0.2.0+3.efi")).unwrap(), [8; 5000]);
    let view = system.view(moment());
    assert_eq!(
        (view.entries[0].name.as_str(), view.entries[0].next, view.version.as_str()),
        ("vrouter_0.2.0+3.efi", true, "0.1.0")
    );
    assert_eq!(last(&house.open()).0, Outcome::Waits, "the service alone was started again");

    let system = house.boot(Slot::B);
    assert_eq!((system.brief().version.as_str(), system.brief().trial), ("0.2.0", TrialState::Trial));
    assert_eq!((system.on_trial(), last(&system).0), (Some(vec!["guest".to_owned()]), Outcome::Trial));
    let refused = house.send(&system, &update("0.3.0", b"r", b"u"), &order()).unwrap_err();
    assert!(matches!(refused, UpdateError::OnTrial(_)), "{refused}");
    let begin = moment();
    for seconds in 0..6 {
        assert!(!house.is_there("trial-over"));
        system.look(at(begin, seconds), Ok(()));
    }
    assert_eq!(house.names(), ["vrouter_0.1.0.efi", "vrouter_0.2.0.efi"]);
    assert!(house.is_there("trial-over") && !house.is_there("reboot"));
    assert_eq!(
        (system.brief().trial, last(&system).0, system.on_trial()),
        (TrialState::Good, Outcome::Good, None)
    );
    let again = house.open();
    assert_eq!((again.brief().trial, last(&again).0), (TrialState::Good, Outcome::Good));
    let next = house.send(&again, &update("0.3.0", b"r", b"u"), &order()).unwrap();
    assert_eq!(next.slot, Slot::A);
    assert_eq!(house.names(), ["vrouter_0.2.0.efi", "vrouter_0.3.0+3.efi"]);
}

#[test]
fn an_update_that_is_not_good_goes_back_and_says_why() {
    let mut house = House::new();
    let system = house.boot(Slot::A);
    house.send(&system, &update("0.2.0", &[7; 900], &[8; 500]), &order()).unwrap();
    for tried in 1..=3 {
        let system = house.boot(Slot::B);
        assert_eq!(system.brief().version, "0.2.0", "try {tried}");
        let begin = moment();
        system.look(at(begin, 1), Err("dns: no socket".to_owned()));
        assert!(!house.is_there("reboot"));
        system.look(at(begin, 181), Err("dns: no socket".to_owned()));
        assert!(house.is_there("reboot") && house.is_there("trial-over"), "try {tried}");
        assert_eq!((system.brief().trial, system.on_trial()), (TrialState::Failed, None));
    }
    let system = house.boot(Slot::A);
    assert_eq!(system.brief().version, "0.1.0");
    assert_eq!(last(&system), (Outcome::WentBack, Some("dns: no socket".to_owned())));
    assert_eq!(last(&house.open()).0, Outcome::WentBack);
    // The same version may come again, mended.
    house.send(&system, &update("0.2.0", b"r", b"u"), &order()).unwrap();
    assert_eq!(house.names(), ["vrouter_0.1.0.efi", "vrouter_0.2.0+3.efi"]);
}

#[test]
fn a_version_that_never_says_anything_is_told_of() {
    let mut house = House::new();
    let system = house.boot(Slot::A);
    house.send(&system, &update("0.2.0", b"r", b"u"), &order()).unwrap();
    let folder = house.root.path().join(ENTRIES);
    fs::rename(folder.join("vrouter_0.2.0+3.efi"), folder.join("vrouter_0.2.0+0-3.efi")).unwrap();
    assert_eq!(last(&house.boot(Slot::A)), (Outcome::WentBack, Some(SILENT.to_owned())));
}

#[test]
fn a_forced_older_version_that_fails_gives_way_to_the_newer_one_again() {
    let mut house = House::new();
    let system = house.boot(Slot::A);
    let older = update("0.0.9", b"r", b"u");
    assert!(house.send(&system, &older, &order()).is_err());
    house.send(&system, &older, &Order { force: true, ..order() }).unwrap();
    assert_eq!(house.names(), ["vrouter_0.0.9+3.efi", "vrouter_0.1.0+0.efi"]);
    for _ in 0..3 {
        assert_eq!(house.boot(Slot::B).brief().version, "0.0.9");
    }
    let system = house.boot(Slot::A);
    assert_eq!((system.brief().version.as_str(), system.brief().trial), ("0.1.0", TrialState::Trial));
    let begin = moment();
    // Even if it is ill as well, there is nothing to go back to: it stays, and takes updates.
    system.look(at(begin, 181), Err("a disk is gone".to_owned()));
    assert!(!house.is_there("reboot"));
    let why = system.brief().why.unwrap();
    assert!(why.starts_with("a disk is gone; the machine goes on with it"), "{why}");
    house.send(&system, &update("0.2.0", b"r", b"u"), &order()).unwrap();
}

#[test]
fn one_update_at_a_time_and_no_start_in_the_middle() {
    let mut house = House::new();
    let system = house.boot(Slot::A);
    let (sender, pieces) = mpsc::channel(4);
    std::thread::scope(|scope| {
        let first = scope.spawn(|| system.receive(&order(), Timestamp::default(), pieces, || house.mark()));
        let file = update("0.2.0", &[7; 900], b"u");
        sender.blocking_send(Piece::Octets(Bytes::copy_from_slice(&file[..700]))).unwrap();
        while system.view(moment()).receiving.is_none_or(|receiving| receiving.octets < 700) {
            std::thread::yield_now();
        }
        let second = house.send(&system, &file, &order()).unwrap_err();
        assert!(matches!(second, UpdateError::Busy), "{second}");
        assert!(matches!(system.reboot(&Author::default()), Err(RebootError::Busy)));
        drop(sender);
        assert!(matches!(first.join().unwrap(), Err(UpdateError::Receive(ReceiveError::Cut(Cut::Gone)))));
    });
    assert_eq!(house.names(), ["vrouter_0.1.0.efi"]);
    assert!(system.view(moment()).receiving.is_none());
    system.reboot(&Author::default()).unwrap();
    assert!(house.is_there("reboot") && system.view(moment()).reboots);
}

#[test]
fn a_machine_that_takes_no_updates_still_says_what_runs() {
    let house = House::new();
    fs::remove_dir_all(house.root.path().join("efi")).unwrap();
    let system = house.open();
    let view = system.view(moment());
    assert_eq!((view.version.as_str(), view.trial.state), ("9.9.9", TrialState::Off));
    let refusal = house.send(&system, &update("0.2.0", b"r", b"u"), &order()).unwrap_err().to_string();
    assert!(
        refusal.starts_with("this machine takes no updates: the entries of the boot loader"),
        "{refusal}"
    );
    select(house.root.path(), "vrouter_0.1.0.efi");
    assert!(!house.is_there("trial-over"), "nobody waits for it");
    let nobody = Machine::new(house.root.path().to_owned(), None);
    let system =
        System::open(nobody, &house.root.path().join("other"), "9.9.9", TRIAL, (moment(), &house.mark()))
            .unwrap();
    assert!(matches!(system.reboot(&Author::default()), Err(RebootError::Nobody)));
}
