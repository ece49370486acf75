//! The first program of the appliance: from the kernel's initramfs to systemd on the read-only root.
//!
//! The kernel starts it as `/init`. It loads the modules that reaching the disks needs, mounts the root that it finds
//! and gives it a `/var` that can be written: the data disk where there is one, memory otherwise. The files of a disk that
//! says what the machine is are handed to the router. Then it becomes systemd. It has no shell beside it and starts no
//! program; whatever keeps the root from being mounted is said on the console, and the kernel's `panic=` decides what
//! follows.
//!
//! Where the command line says `vrouter.verity=`, the root is the one of the disk's two slots that holds what is named
//! there, every block of it checked by the kernel, and nothing else is ever mounted in its place.

mod firmware;
mod mapper;
mod modules;
mod mounts;
mod partitions;
mod seed;
mod slots;
mod superblock;
mod verity;

use std::convert::Infallible;
use std::ffi::CString;
use std::fs::OpenOptions;
use std::io::Write;
use std::process::ExitCode;

/// What keeps the appliance from starting.
#[derive(Debug, thiserror::Error)]
enum InitError {
    /// The kernel refused a step.
    #[error("cannot {action} {subject}: {reason}")]
    Refused {
        /// What was tried.
        action: &'static str,
        /// On what.
        subject: String,
        /// The kernel's words.
        reason: String,
    },
    /// There is no root.
    #[error("no disk holds an erofs root; disks seen: {seen}")]
    NoRoot {
        /// The names of all disks.
        seen: String,
    },
    /// No slot holds the root that the command line names.
    #[error("no slot holds the root that the command line names: {seen}")]
    NoSlot {
        /// All slots, and why each is not the one.
        seen: String,
    },
}

impl InitError {
    /// A refusal, ready for `map_err`.
    fn refused<E: std::fmt::Display>(
        action: &'static str,
        subject: impl Into<String>,
    ) -> impl FnOnce(E) -> Self {
        let subject = subject.into();
        move |error| Self::Refused { action, subject, reason: error.to_string() }
    }
}

fn main() -> ExitCode {
    match boot() {
        Ok(never) => match never {},
        Err(error) => {
            say(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

/// Goes all the way; only an obstacle returns.
fn boot() -> Result<Infallible, InitError> {
    mounts::kernel_interfaces()?;
    modules::load_all()?;
    if let Some(wanted) = slots::wanted()? {
        let (root, slot) = slots::open(&wanted)?;
        mounts::root(&root)?;
        say(&format!("the root is {} on {}", slot.name, slot.device.display()));
        for obstacle in
            [firmware::partition(&slot), firmware::variables()].into_iter().filter_map(Result::err)
        {
            say(&format!("no update can be taken: {obstacle}"));
        }
    } else {
        let root = mounts::find_root()?;
        mounts::root(&root)?;
    }
    say(&mounts::state()?);
    seed::hand_over().iter().for_each(|sentence| say(sentence));
    mounts::switch_root()?;
    let systemd = c"/usr/lib/systemd/systemd";
    let arguments: Vec<CString> = vec![c"/sbin/init".to_owned()];
    nix::unistd::execv(systemd, &arguments).map_err(InitError::refused("start", "/usr/lib/systemd/systemd"))
}

/// One line on the console, and in the kernel's log for the journal. A console that cannot be written stops nothing.
fn say(line: &str) {
    for (device, level) in [("/dev/console", ""), ("/dev/kmsg", "<6>")] {
        if let Ok(mut device) = OpenOptions::new().write(true).open(device) {
            let _ = device.write_all(format!("{level}vrouter: {line}\n").as_bytes());
        }
    }
}
