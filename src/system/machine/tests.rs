//! A machine in a folder: what is found there, and what is done to it.

use std::os::unix::fs::symlink;

use super::super::keys::tests::{key, pem};
use super::super::layout::Slot;
use super::*;

/// The octets of a slot.
pub(crate) const SLOT: usize = 64 << 10;

/// A folder that looks like a machine with the disk of the image, running this entry's version from this slot.
pub(crate) fn machine(root: &Path, slot: Slot, files: &[&str], selected: &str) -> Machine {
    let devices = root.join("sys/devices/pci/block/vda");
    let class = root.join(BLOCK);
    fs::create_dir_all(&class).unwrap();
    for (number, label) in ["esp", "root-a", "root-b", "data"].iter().enumerate() {
        let device = format!("vda{}", number + 1);
        fs::create_dir_all(devices.join(&device)).unwrap();
        let event = format!(
            "MAJOR=254\nDEVNAME={device}\nDEVTYPE=partition\nPARTN={}\nPARTNAME={label}\n",
            number + 1
        );
        fs::write(devices.join(&device).join("uevent"), event).unwrap();
        fs::write(devices.join(&device).join("size"), format!("{}\n", SLOT as u64 / SECTOR)).unwrap();
        let _ = symlink(devices.join(&device), class.join(&device));
        fs::create_dir_all(root.join("dev")).unwrap();
        let node = root.join("dev").join(&device);
        if !node.exists() {
            fs::write(node, vec![0xee; SLOT]).unwrap();
        }
    }
    let slaves = class.join(VERITY).join("slaves");
    let _ = fs::remove_dir_all(&slaves);
    fs::create_dir_all(&slaves).unwrap();
    let device = if slot == Slot::A { "vda2" } else { "vda3" };
    symlink(devices.join(device), slaves.join(device)).unwrap();
    fs::create_dir_all(root.join(ENTRIES)).unwrap();
    for name in files {
        fs::write(root.join(ENTRIES).join(name), name).unwrap();
    }
    select(root, selected);
    fs::create_dir_all(root.join("usr/share/vrouter")).unwrap();
    fs::write(root.join(KEYS), pem(&key(1))).unwrap();
    Machine::new(root.to_owned(), Some(root.join("run/vrouter/reboot")))
}

/// What the boot loader says that it started.
pub(crate) fn select(root: &Path, selected: &str) {
    let variables = root.join(VARIABLES);
    fs::create_dir_all(&variables).unwrap();
    let octets =
        [6, 0, 0, 0].into_iter().chain(selected.encode_utf16().chain([0]).flat_map(u16::to_le_bytes));
    fs::write(variables.join(format!("{SELECTED}-{VENDOR}")), octets.collect::<Vec<u8>>()).unwrap();
}

#[test]
fn a_machine_is_found_as_its_kernel_shows_it() {
    let folder = tempfile::tempdir().unwrap();
    let machine = machine(
        folder.path(),
        Slot::B,
        &["vrouter_0.2.0+2-1.efi", "vrouter_0.1.0.efi"],
        "vrouter_0.2.0+3.efi",
    );
    let layout = Layout::new(&machine.facts()).unwrap();
    assert_eq!((layout.slot, &*layout.running.device, &*layout.idle.device), (Slot::B, "vda3", "vda2"));
    assert_eq!((layout.idle.octets, &*layout.idle.disk), (SLOT as u64, "vda"));
    assert_eq!(layout.entry.to_string(), "vrouter_0.2.0+2-1.efi");
    machine.rename(&layout.entry, &layout.entry.good()).unwrap();
    assert!(!Layout::new(&machine.facts()).unwrap().on_trial());
    assert!(machine.keys().is_ok());
    machine.say_decided().unwrap();
    machine.reboot().unwrap();
    for name in ["trial-over", "reboot"] {
        assert!(folder.path().join("run/vrouter").join(name).exists());
    }
}

#[test]
fn a_machine_without_any_of_it_says_what_it_lacks() {
    let folder = tempfile::tempdir().unwrap();
    let machine = Machine::new(folder.path().to_owned(), None);
    let why = Layout::new(&machine.facts()).unwrap_err().to_string();
    assert!(why.starts_with("its root is not one of two slots"), "{why}");
    let why = machine.keys().unwrap_err();
    assert!(why.contains("/usr/share/vrouter/update.pub: No such file"), "{why}");
    assert!(machine.reboot().is_err() && !machine.can_reboot());
    machine.hand_over("root").unwrap();
    assert!(machine.hand_over("nobody-of-this-name").is_err());
}

#[test]
fn what_is_written_to_disks_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let machine = machine(folder.path(), Slot::A, &["vrouter_0.1.0.efi"], "vrouter_0.1.0.efi");
    let layout = Layout::new(&machine.facts()).unwrap();
    let mut disks = machine.disks(&layout).unwrap();
    disks.write_slot(b"first ").unwrap();
    disks.write_slot(b"second").unwrap();
    disks.sync_slot().unwrap();
    let mut read = Vec::new();
    disks.read_slot(12, &mut |octets| read.extend_from_slice(octets)).unwrap();
    assert_eq!(read, b"first second");
    let device = fs::read(folder.path().join("dev/vda3")).unwrap();
    assert!(device.starts_with(b"first second\xee") && device.len() == SLOT);
    disks.create(".part").unwrap();
    disks.write(b"kernel").unwrap();
    disks.sync().unwrap();
    read.clear();
    disks.read(".part", &mut |octets| read.extend_from_slice(octets)).unwrap();
    assert_eq!(read, b"kernel");
    disks.rename(".part", "entry").unwrap();
    disks.remove("entry").unwrap();
    disks.remove("entry").unwrap();
    assert_eq!(names(&folder.path().join(ENTRIES)).unwrap(), ["vrouter_0.1.0.efi"]);
}
