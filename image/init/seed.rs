//! A disk by which a cloud or a host tells the machine what it is: found by its label, mounted for a moment, its files left
//! where the service manager looks for credentials of services (`/run/credstore`, systemd.exec(5)), for root alone.
//!
//! What the files mean is the router's business. Whatever is wrong with such a disk keeps no machine from starting.

#[allow(
    dead_code,
    unreachable_pub,
    reason = "the router builds this file as well, and reads what is written here"
)]
#[path = "../../src/seed/bundle.rs"]
mod bundle;

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::mount::{MsFlags, mount, umount};

use self::bundle::{Bundle, Kind, MOST};
use crate::InitError;
use crate::mounts::disks;

/// Where the disk is looked at.
const HERE: &str = "/seed";
/// Where the service manager looks for credentials that a unit asks for by name.
const STORE: &str = "/root/run/credstore";
/// What the router asks for.
const CREDENTIAL: &str = "vrouter.seed";

/// Where a volume descriptor of ISO 9660 stands, and its label in it (ECMA-119 sections 6.2.1, 8.4).
const ISO_DESCRIPTOR: u64 = 32_768;
const ISO_MAGIC: &[u8] = b"\x01CD001\x01";
const ISO_LABEL: std::ops::Range<usize> = 40..72;
/// Where FAT says what it is and how it is labelled: FAT32, then FAT12 and FAT16.
const FAT: [(usize, &[u8], std::ops::Range<usize>); 2] =
    [(0x52, b"FAT32", 0x47..0x52), (0x36, b"FAT1", 0x2b..0x36)];
const FAT_SECTOR: usize = 512;

/// Hands over what a seed disk holds, and says so in a sentence; nothing where there is no such disk.
pub(crate) fn hand_over() -> Option<String> {
    let seeds: Vec<_> = disks().into_iter().filter_map(|disk| Some((recognise(&disk)?, disk))).collect();
    let (kind, system, disk) = Kind::ALL.into_iter().find_map(|kind| {
        let ((_, system), disk) = seeds.iter().find(|((of, _), _)| *of == kind)?;
        Some((kind, *system, disk.display().to_string()))
    })?;
    let others: Vec<_> =
        seeds.iter().map(|(_, other)| other.display().to_string()).filter(|other| *other != disk).collect();
    let left = match others.is_empty() {
        true => String::new(),
        false => format!("; left alone: {}", others.join(", ")),
    };
    Some(match take(kind, system, &disk).and_then(|bundle| store(&bundle).map(|()| bundle)) {
        Ok(bundle) => {
            let names: Vec<_> = bundle.files.iter().map(|(name, _)| name.as_str()).collect();
            let names = if names.is_empty() { "nothing".to_owned() } else { names.join(", ") };
            format!("the seed disk {disk} ({}) holds {names}{left}", kind.label())
        }
        Err(error) => format!("the seed disk {disk} ({}) is of no use: {error}{left}", kind.label()),
    })
}

/// Reads the files of a disk.
fn take(kind: Kind, system: &'static str, disk: &str) -> Result<Bundle, InitError> {
    fs::create_dir_all(HERE).map_err(InitError::refused("create", HERE))?;
    let flags = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    // The names of all files that are read are ASCII.
    let options = if system == "vfat" { "codepage=437,iocharset=iso8859-1" } else { "iocharset=iso8859-1" };
    mount(Some(disk), HERE, Some(system), flags, Some(options))
        .map_err(InitError::refused("mount", format!("{disk} as {system}")))?;
    let bundle = File::open(HERE).map(|folder| read_files(kind, disk, &folder));
    umount(HERE).map_err(InitError::refused("let go of", disk))?;
    let _ = fs::remove_dir(HERE);
    bundle.map_err(InitError::refused("read", disk))
}

fn read_files(kind: Kind, disk: &str, folder: &File) -> Bundle {
    let mut bundle = Bundle { kind, disk: disk.to_owned(), files: Vec::new(), left: Vec::new() };
    let mut room = MOST;
    for path in kind.files() {
        let name = path.rsplit('/').next().unwrap_or(path).to_owned();
        match read_file(folder, path, room) {
            Ok(None) => {}
            Ok(Some(content)) => {
                room -= content.len();
                bundle.files.push((name, content));
            }
            Err(error) => bundle.left.push((name, error.to_string())),
        }
    }
    bundle
}

/// A file; nothing where it is not there. No link of the disk leads out of it.
fn read_file(folder: &File, path: &str, room: usize) -> io::Result<Option<Vec<u8>>> {
    let how = OpenHow::new()
        .flags(OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_XDEV);
    let file = match openat2(folder, path, how) {
        Ok(file) => File::from(file),
        Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    let mut content = Vec::new();
    file.take(room as u64 + 1).read_to_end(&mut content)?;
    if content.len() > room {
        return Err(io::Error::other(format!("the files of a seed disk are at most {MOST} octets together")));
    }
    Ok(Some(content))
}

/// Leaves what was read for the service manager.
fn store(bundle: &Bundle) -> Result<(), InitError> {
    DirBuilder::new().mode(0o700).create(STORE).map_err(InitError::refused("create", STORE))?;
    let path = format!("{STORE}/{CREDENTIAL}");
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
    let write = |mut file: File| file.write_all(&bundle.write());
    file.and_then(write).map_err(InitError::refused("write", path))
}

/// Which kind of seed a disk is, and its file system; nothing where it is none or cannot be read.
fn recognise(disk: &Path) -> Option<(Kind, &'static str)> {
    let mut file = File::open(disk).ok()?;
    let mut start = [0; FAT_SECTOR];
    file.read_exact(&mut start).ok()?;
    if let Some(kind) = fat_label(&start).and_then(kind) {
        return Some((kind, "vfat"));
    }
    file.seek(SeekFrom::Start(ISO_DESCRIPTOR)).ok()?;
    let mut descriptor = [0; ISO_LABEL.end];
    file.read_exact(&mut descriptor).ok()?;
    Some((iso_label(&descriptor).and_then(kind)?, "iso9660"))
}

fn fat_label(sector: &[u8]) -> Option<&[u8]> {
    if sector.get(FAT_SECTOR - 2..)? != [0x55, 0xaa] {
        return None;
    }
    let is_of =
        |(at, magic, _): &&(usize, &[u8], _)| sector.get(*at..).is_some_and(|rest| rest.starts_with(magic));
    FAT.iter().find(is_of).and_then(|(.., label)| sector.get(label.clone()))
}

fn iso_label(descriptor: &[u8]) -> Option<&[u8]> {
    descriptor.starts_with(ISO_MAGIC).then(|| descriptor.get(ISO_LABEL))?
}

fn kind(label: &[u8]) -> Option<Kind> {
    let label = label.trim_ascii_end();
    Kind::ALL.into_iter().find(|kind| kind.label().as_bytes().eq_ignore_ascii_case(label))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn iso(label: &str) -> Vec<u8> {
        let mut descriptor = ISO_MAGIC.to_vec();
        descriptor.resize(ISO_LABEL.start, 0);
        descriptor.extend(format!("{label:32}").bytes());
        descriptor
    }

    fn fat(at: usize, magic: &[u8], label_at: usize, label: &str) -> Vec<u8> {
        let mut sector = vec![0; FAT_SECTOR];
        sector[at..at + magic.len()].copy_from_slice(magic);
        sector[label_at..label_at + 11].copy_from_slice(format!("{label:11}").as_bytes());
        sector[FAT_SECTOR - 2..].copy_from_slice(&[0x55, 0xaa]);
        sector
    }

    #[test]
    fn a_seed_is_known_by_its_label_in_whatever_letters() {
        for (label, expected) in [
            ("cidata", Some(Kind::NoCloud)),
            ("CIDATA", Some(Kind::NoCloud)),
            ("config-2", Some(Kind::ConfigDrive)),
            ("CONFIG-2", Some(Kind::ConfigDrive)),
            ("cidata2", None),
            ("", None),
        ] {
            assert_eq!(iso_label(&iso(label)).and_then(kind), expected, "{label}");
            assert_eq!(fat_label(&fat(0x52, b"FAT32   ", 0x47, label)).and_then(kind), expected, "{label}");
            assert_eq!(fat_label(&fat(0x36, b"FAT12   ", 0x2b, label)).and_then(kind), expected, "{label}");
            assert_eq!(fat_label(&fat(0x36, b"FAT16   ", 0x2b, label)).and_then(kind), expected, "{label}");
        }
    }

    #[test]
    fn what_ends_early_or_is_something_else_is_no_seed() {
        let (iso, fat) = (iso("cidata"), fat(0x36, b"FAT16   ", 0x2b, "cidata"));
        for length in 0..ISO_LABEL.end {
            assert_eq!(iso_label(&iso[..length]), None);
        }
        for length in 0..FAT_SECTOR {
            assert_eq!(fat_label(&fat[..length]), None);
        }
        let mut other = fat;
        other[FAT_SECTOR - 1] = 0;
        assert_eq!(fat_label(&other), None);
    }

    #[test]
    fn files_are_read_within_bounds_and_no_link_leads_out() {
        let folder = std::env::temp_dir().join(format!("vrouter-seed-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("meta-data"), "a: b").unwrap();
        fs::write(folder.join("user-data"), vec![b'x'; MOST]).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", folder.join("network-config")).unwrap();
        let bundle = read_files(Kind::NoCloud, "/dev/x", &File::open(&folder).unwrap());
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(bundle.files, [("meta-data".to_owned(), b"a: b".to_vec())]);
        let names: Vec<_> = bundle.left.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["network-config", "user-data"]);
    }
}
