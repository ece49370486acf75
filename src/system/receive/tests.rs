//! Wherever an update is cut, a whole version starts: the one that ran, or all of the new one.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use proptest::prelude::*;

use super::super::entry::{Tries, next};
use super::super::file::tests::{keys, update};
use super::super::hands::Each;
use super::*;

const RUNS: Version = Version::new(1, 0, 0);
const OLD_UKI: &[u8] = b"the kernel that runs";

/// Disks that lose their power, or refuse something, at a certain call. What is not synced by then is there or not.
#[derive(Debug, Default)]
struct World {
    slot: Vec<u8>,
    /// What was written to the slot and is nowhere yet, by its place.
    unsynced: Vec<(usize, Vec<u8>)>,
    position: usize,
    files: BTreeMap<String, Vec<u8>>,
    open: Option<(String, Vec<u8>)>,
    /// How many calls succeed.
    left: usize,
    /// Whether there is no power after that, or only that one call fails.
    cut: bool,
    dead: bool,
    /// What chance says, bit by bit.
    chance: u64,
    /// An octet of the slot that the disk changes.
    flaw: Option<usize>,
}

impl World {
    fn toss(&mut self) -> bool {
        self.chance = self.chance.rotate_left(1);
        self.chance & 1 == 1
    }

    /// Whether a call is done; one that fails may be done as well.
    fn call(&mut self) -> (bool, io::Result<()>) {
        let refused = || Err(io::Error::other("no power"));
        if self.dead {
            return (false, refused());
        }
        if self.left > 0 {
            self.left -= 1;
            return (true, Ok(()));
        }
        self.left = usize::MAX;
        self.dead = self.cut;
        if !self.cut {
            return (false, refused());
        }
        for (at, octets) in std::mem::take(&mut self.unsynced) {
            if self.toss() {
                self.store(at, &octets);
            }
        }
        if let Some((name, octets)) = self.open.take()
            && self.toss()
        {
            let length = usize::try_from(self.chance % (octets.len() as u64 + 1)).unwrap();
            self.files.insert(name, octets[..length].to_vec());
        }
        (self.toss(), refused())
    }

    fn store(&mut self, at: usize, octets: &[u8]) {
        self.slot.resize(self.slot.len().max(at + octets.len()), 0);
        self.slot[at..at + octets.len()].copy_from_slice(octets);
    }

    fn entries(&self) -> Vec<Entry> {
        self.files.keys().filter_map(|name| Entry::parse(name)).collect()
    }
}

#[derive(Debug, Clone, Default)]
struct Disk(Rc<RefCell<World>>);

impl Hands for Disk {
    fn write_slot(&mut self, octets: &[u8]) -> io::Result<()> {
        let mut world = self.0.borrow_mut();
        let (done, said) = world.call();
        if done {
            let at = world.position;
            world.unsynced.push((at, octets.to_vec()));
            world.position += octets.len();
        }
        said
    }

    fn sync_slot(&mut self) -> io::Result<()> {
        let mut world = self.0.borrow_mut();
        let (done, said) = world.call();
        if done {
            for (at, octets) in std::mem::take(&mut world.unsynced) {
                world.store(at, &octets);
            }
            if let Some(octet) = world.flaw.and_then(|at| world.slot.get_mut(at)) {
                *octet ^= 1;
            }
        }
        said
    }

    fn read_slot(&mut self, octets: u64, each: Each<'_>) -> io::Result<()> {
        let mut world = self.0.borrow_mut();
        let (_, said) = world.call();
        said.map(|()| each(&world.slot[..usize::try_from(octets).unwrap()]))
    }

    fn create(&mut self, name: &str) -> io::Result<()> {
        let mut world = self.0.borrow_mut();
        let (done, said) = world.call();
        if done {
            world.open = Some((name.to_owned(), Vec::new()));
        }
        said
    }

    fn write(&mut self, octets: &[u8]) -> io::Result<()> {
        let mut world = self.0.borrow_mut();
        let (done, said) = world.call();
        if done && let Some((_, file)) = &mut world.open {
            file.extend_from_slice(octets);
        }
        said
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut world = self.0.borrow_mut();
        let (done, said) = world.call();
        if done && let Some((name, octets)) = world.open.take() {
            world.files.insert(name, octets);
        }
        said
    }

    fn read(&mut self, name: &str, each: Each<'_>) -> io::Result<()> {
        let mut world = self.0.borrow_mut();
        let (_, said) = world.call();
        said.map(|()| each(&world.files[name]))
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        let mut world = self.0.borrow_mut();
        let (done, said) = world.call();
        if done {
            let octets = world.files.remove(from).unwrap();
            world.files.insert(to.to_owned(), octets);
        }
        said
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        let mut world = self.0.borrow_mut();
        let (done, said) = world.call();
        if done {
            world.files.remove(name);
            // A file that is open and was never synced has its name in memory alone.
            world.open.take_if(|(open, _)| open == name);
        }
        said
    }
}

/// Disks with a version that runs, and an older one and a torn file beside it.
fn disk() -> Disk {
    let disk = Disk::default();
    let mut world = disk.0.borrow_mut();
    world.left = usize::MAX;
    for (name, octets) in [
        ("vrouter_1.0.0.efi", OLD_UKI),
        ("vrouter_0.9.0.efi", b"before that".as_slice()),
        (".vrouter_0.9.9.tmp", b"torn"),
    ] {
        world.files.insert(name.to_owned(), octets.to_vec());
    }
    drop(world);
    disk
}

fn steps(version: Version) -> Steps {
    let running = Entry { version: RUNS, tries: None };
    let remove = [".vrouter_0.9.9.tmp", "vrouter_0.9.0.efi"].map(str::to_owned).into();
    Steps { version, remove, becomes_last: (version < RUNS).then_some(running) }
}

fn bring_to(disk: &Disk, file: &[u8], piece: usize, end: Result<(), Cut>) -> Result<Version, ReceiveError> {
    let (keys, mut pieces) = (keys(), file.chunks(piece));
    let next = || match pieces.next() {
        Some(piece) => Ok(Some(piece)),
        None => end.clone().map(|()| None),
    };
    receive(&keys, next, |manifest| Ok((steps(manifest.version), disk.clone())))
}

/// What starts next is a whole version, and every entry of the new one is whole.
fn holds(world: &World, new: Version, root: &[u8], uki: &[u8]) {
    let entries = world.entries();
    let mut versions: Vec<Version> = entries.iter().map(|entry| entry.version).collect();
    versions.sort();
    versions.dedup();
    assert_eq!(versions.len(), entries.len(), "no version twice: {entries:?}");
    for entry in &entries {
        let octets = &world.files[&entry.to_string()];
        if entry.version == new {
            assert_eq!((octets.as_slice(), &world.slot[..root.len()]), (uki, root));
        }
        if entry.version == RUNS {
            assert_eq!(octets, OLD_UKI);
        }
    }
    assert!(versions.contains(&RUNS), "what runs can always come back: {entries:?}");
    let next = next(&entries).unwrap();
    assert!(next.version == RUNS || next.version == new, "{next}");
}

#[test]
fn a_whole_update_starts_next_and_what_runs_stays_behind_it() {
    let (root, uki) = (vec![7; 5000], vec![8; 3000]);
    let disk = disk();
    let version = bring_to(&disk, &update("1.1.0", &root, &uki), 1000, Ok(())).unwrap();
    let world = disk.0.borrow();
    holds(&world, version, &root, &uki);
    assert_eq!(world.files.keys().collect::<Vec<_>>(), ["vrouter_1.0.0.efi", "vrouter_1.1.0+3.efi"]);
    assert_eq!(next(&world.entries()).unwrap().version, version);
}

#[test]
fn an_older_version_starts_next_where_it_is_forced_and_the_newer_one_comes_back() {
    let disk = disk();
    let version = bring_to(&disk, &update("0.9.5", b"root", b"uki"), 9, Ok(())).unwrap();
    let world = disk.0.borrow();
    holds(&world, version, b"root", b"uki");
    assert_eq!(world.files.keys().collect::<Vec<_>>(), ["vrouter_0.9.5+3.efi", "vrouter_1.0.0+0.efi"]);
    assert_eq!(next(&world.entries()).unwrap().version, version);
    let mut tried = world.entries();
    tried[0].tries = Some(Tries { left: 0, done: 3 });
    assert_eq!(next(&tried).unwrap().version, RUNS);
}

#[test]
fn what_is_cut_off_leaves_no_entry_and_no_file() {
    let file = update("1.1.0", &[7; 500], &[8; 300]);
    for length in [0, 5, 40, file.len() - 400, file.len() - 300, file.len() - 1] {
        for end in [Ok(()), Err(Cut::Gone), Err(Cut::Slow("3 octets".to_owned()))] {
            let disk = disk();
            let error = bring_to(&disk, &file[..length], 64, end.clone()).unwrap_err();
            assert!(
                matches!(error, ReceiveError::File(FileFault::Short(_)) | ReceiveError::Cut(_)),
                "{error}"
            );
            let world = disk.0.borrow();
            assert!(world.files.contains_key("vrouter_1.0.0.efi") && world.open.is_none());
            assert!(!world.files.keys().any(|name| name.contains("1.1.0")), "{:?}", world.files);
        }
    }
}

#[test]
fn nothing_is_touched_before_the_manifest_is_believed() {
    let mut file = update("1.1.0", b"root", b"uki");
    file[30] ^= 1;
    let disk = disk();
    let before = disk.0.borrow().files.clone();
    let error = bring_to(&disk, &file, 64, Ok(())).unwrap_err();
    assert!(matches!(error, ReceiveError::File(FileFault::Signature)), "{error}");
    assert_eq!(disk.0.borrow().files, before);
    let keys = keys();
    let mut whole = Some(update("1.1.0", b"root", b"uki"));
    let refusal =
        receive(&keys, || Ok(whole.take()), |_| Err::<(Steps, Disk), _>(Unsuitable::Same(RUNS).into()));
    assert!(matches!(refusal, Err(ReceiveError::File(FileFault::Unsuitable(_)))));
    assert_eq!(disk.0.borrow().files, before);
}

#[test]
fn a_disk_that_changes_what_it_holds_is_found_out() {
    let disk = disk();
    disk.0.borrow_mut().flaw = Some(1234);
    let error = bring_to(&disk, &update("1.1.0", &[7; 5000], b"uki"), 512, Ok(())).unwrap_err();
    assert!(matches!(error, ReceiveError::ReadBack(Part::Root)), "{error}");
    assert_eq!(disk.0.borrow().entries().len(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Power that goes, or a call that fails, at any moment; what was on its way to the disk is there or not.
    #[test]
    fn a_whole_version_starts_wherever_it_is_cut(
        left in 0usize..40, cut: bool, chance: u64, older: bool, piece in 100usize..700,
        root in prop::collection::vec(any::<u8>(), 1..1500), uki in prop::collection::vec(any::<u8>(), 1..900),
    ) {
        let disk = disk();
        {
            let mut world = disk.0.borrow_mut();
            (world.left, world.cut, world.chance) = (left, cut, chance);
            // Whatever the slot held before.
            world.slot = vec![0xee; 1500];
        }
        let text = if older { "0.9.5" } else { "1.1.0" };
        let new: Version = text.parse().unwrap();
        let brought = bring_to(&disk, &update(text, &root, &uki), piece, Ok(()));
        let world = disk.0.borrow();
        holds(&world, new, &root, &uki);
        match brought {
            Ok(_) => prop_assert_eq!(next(&world.entries()).unwrap().version, new),
            Err(_) if !cut => {
                let next = *next(&world.entries()).unwrap();
                prop_assert_eq!(next, Entry { version: RUNS, tries: None });
                prop_assert!(!world.files.contains_key(&part(new)) && world.open.is_none());
            }
            Err(_) => {}
        }
    }
}
