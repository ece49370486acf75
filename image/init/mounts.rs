//! The mounts that systemd finds ready: kernel interfaces, the read-only root, `/var`, `/tmp`, `/run`.

use std::env;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::{chroot, symlink};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use nix::mount::{MsFlags, mount, umount};

use crate::InitError;
use crate::superblock::{Content, PROBE, recognise};

/// Where the root is put together before it becomes `/`.
pub(crate) const NEW_ROOT: &str = "/root";
/// A disk that is plugged in while the machine starts may be this late.
const ROOT_TRIES: u32 = 1000;
const ROOT_PAUSE: Duration = Duration::from_millis(10);

/// What a move or a bind has to say about kind and options.
const NOTHING: Option<&str> = None;

/// Nothing on a writable file system is ever run or opened as a device.
pub(crate) const DATA_ONLY: MsFlags = MsFlags::MS_NOSUID.union(MsFlags::MS_NODEV).union(MsFlags::MS_NOEXEC);

/// Mounts /dev, /proc and /sys.
///
/// # Errors
/// The kernel refuses one of them.
pub(crate) fn kernel_interfaces() -> Result<(), InitError> {
    let not_data = MsFlags::MS_NOSUID.union(MsFlags::MS_NOEXEC);
    for (kind, target, flags) in [
        ("devtmpfs", "/dev", not_data),
        ("proc", "/proc", not_data.union(MsFlags::MS_NODEV)),
        ("sysfs", "/sys", not_data.union(MsFlags::MS_NODEV)),
    ] {
        attach(kind, kind, target, flags, "")?;
    }
    Ok(())
}

/// As many tries to find a disk as one that appears late is waited for, with a pause between two.
pub(crate) fn tries() -> impl Iterator<Item = ()> {
    (0..ROOT_TRIES).map(|number| {
        if number > 0 {
            thread::sleep(ROOT_PAUSE);
        }
    })
}

/// The disk or partition that holds the root; waits a while for one to appear.
///
/// # Errors
/// None appears.
pub(crate) fn find_root() -> Result<PathBuf, InitError> {
    for () in tries() {
        if let Some(root) = disks().into_iter().find(|disk| content(disk) == Content::Root) {
            return Ok(root);
        }
    }
    let seen: Vec<_> = disks().iter().map(|disk| disk.display().to_string()).collect();
    Err(InitError::NoRoot { seen: if seen.is_empty() { "none".to_owned() } else { seen.join(", ") } })
}

/// Mounts the root, read-only for ever: nobody can change what runs, and a power cut cannot tear it.
///
/// # Errors
/// The kernel refuses it.
pub(crate) fn root(disk: &Path) -> Result<(), InitError> {
    attach(&disk.display().to_string(), "erofs", NEW_ROOT, MsFlags::MS_RDONLY.union(MsFlags::MS_NODEV), "")
}

/// Gives the root its `/var`, `/tmp` and `/run`, and says in a sentence where the router's state lives.
///
/// A router whose data disk is missing or broken starts all the same, on memory: it can be reached and told what to
/// be, which a machine that waits on its console cannot.
///
/// # Errors
/// The kernel refuses even memory.
pub(crate) fn state() -> Result<String, InitError> {
    let [var, tmp, run] = ["var", "tmp", "run"].map(|name| format!("{NEW_ROOT}/{name}"));
    attach("tmpfs", "tmpfs", &tmp, DATA_ONLY, "mode=1777,size=10%")?;
    // The service manager takes it as it finds it, and would have programs run from there.
    attach("tmpfs", "tmpfs", &run, DATA_ONLY, "mode=0755,size=20%,nr_inodes=800k")?;
    let reason = match disks().into_iter().find(|disk| content(disk) == Content::State) {
        Some(disk) => match state_on(&disk, &var) {
            Ok(()) => return Ok(format!("state is kept on {}", disk.display())),
            Err(error) => error.to_string(),
        },
        None => "no disk is labelled vrouter-data".to_owned(),
    };
    attach("tmpfs", "tmpfs", &var, DATA_ONLY, "mode=0755,size=25%")?;
    folders(&var)?;
    Ok(format!("state is in memory and ends with this run: {reason}"))
}

/// Mounts a data disk that can be used; one that cannot is not left mounted.
fn state_on(disk: &Path, var: &str) -> Result<(), InitError> {
    let flags = DATA_ONLY.union(MsFlags::MS_NOATIME);
    // An error in the file system makes it read-only: the router then reports a disk that refuses, and routes on.
    attach(&disk.display().to_string(), "ext4", var, flags, "errors=remount-ro")?;
    folders(var).inspect_err(|_| {
        let _ = umount(var);
    })
}

/// Makes the root `/`, with the kernel's interfaces moved into it and the initramfs emptied, whose memory that frees.
///
/// # Errors
/// The kernel refuses a step.
pub(crate) fn switch_root() -> Result<(), InitError> {
    for target in ["/dev", "/proc", "/sys"] {
        let moved = format!("{NEW_ROOT}{target}");
        mount(Some(target), moved.as_str(), NOTHING, MsFlags::MS_MOVE, NOTHING)
            .map_err(InitError::refused("move", target))?;
    }
    for leftover in ["/init", "/modules"] {
        let _ = fs::remove_file(leftover);
    }
    let _ = fs::remove_dir_all("/lib");
    env::set_current_dir(NEW_ROOT).map_err(InitError::refused("enter", NEW_ROOT))?;
    mount(Some("."), "/", NOTHING, MsFlags::MS_MOVE, NOTHING)
        .map_err(InitError::refused("switch to", NEW_ROOT))?;
    chroot(".").map_err(InitError::refused("enter", "the new root"))?;
    env::set_current_dir("/").map_err(InitError::refused("enter", "/"))
}

/// What programs expect to find in a `/var`; a data disk keeps what it has. Temporary files are in memory either way, so
/// that those which a power cut orphaned do not fill the disk.
fn folders(var: &str) -> Result<(), InitError> {
    for name in ["lib", "log", "tmp"] {
        let path = format!("{var}/{name}");
        fs::create_dir_all(&path).map_err(InitError::refused("create", path))?;
    }
    let run = format!("{var}/run");
    if fs::symlink_metadata(&run).is_err() {
        symlink("/run", &run).map_err(InitError::refused("create", run))?;
    }
    let (tmp, var_tmp) = (format!("{NEW_ROOT}/tmp"), format!("{var}/tmp"));
    mount(Some(tmp.as_str()), var_tmp.as_str(), NOTHING, MsFlags::MS_BIND, NOTHING)
        .map_err(InitError::refused("mount", var_tmp))
}

/// Every disk and partition that the kernel knows, in a stable order.
pub(crate) fn disks() -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir("/sys/class/block") else { return Vec::new() };
    let mut disks: Vec<_> =
        entries.flatten().map(|entry| Path::new("/dev").join(entry.file_name())).collect();
    disks.sort();
    disks
}

/// What a disk holds; one that cannot be read holds something else.
fn content(disk: &Path) -> Content {
    let mut start = Vec::with_capacity(PROBE);
    let read = File::open(disk).and_then(|file| file.take(PROBE as u64).read_to_end(&mut start));
    if read.is_ok() { recognise(&start) } else { Content::Other }
}

/// Mounts with the subject of a refusal.
pub(crate) fn attach(
    source: &str,
    kind: &str,
    target: &str,
    flags: MsFlags,
    options: &str,
) -> Result<(), InitError> {
    mount(Some(source), target, Some(kind), flags, Some(options))
        .map_err(InitError::refused("mount", format!("{source} on {target}")))
}
