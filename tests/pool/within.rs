//! Stories in namespaces of their own, beside a libvirtd or a systemd of their own. A test starts this program again inside
//! of them for the one story that it names; those are ignored otherwise.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::desk::golden_files;
use crate::lab::skip;

/// Programs that the stories run.
const PROGRAMS: &[&str] =
    &["libvirtd", "qemu-system-x86_64", "virsh", "spicy-screenshot", "spicy-stats", "nc", "cpio"];
/// The status of the scripts here when a libvirtd or a systemd does not start.
const DOES_NOT_START: i32 = 77;

fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pool")
}

/// Whether a program of this name is installed, where one that manages a host is too.
pub(crate) fn installed(program: &str) -> bool {
    ["/usr/bin", "/usr/sbin", "/bin", "/sbin", "/lib/systemd"]
        .iter()
        .any(|folder| Path::new(folder).join(program).exists())
}

/// Whether the stories can be run at all; a skip is told where not.
fn ready(programs: &[&str]) -> bool {
    if let Some(missing) = programs.iter().find(|program| !installed(program)) {
        skip(&format!("VMs of a pool: there is no {missing}"));
        return false;
    }
    let golden = Command::new("flock")
        .arg("/tmp/vrouter-pool-golden.lock")
        .arg(scripts().join("golden"))
        .arg(golden_files())
        .output()
        .unwrap();
    if !golden.status.success() {
        let words = String::from_utf8_lossy(&golden.stderr).into_owned();
        skip(&format!("VMs of a pool: no kernel for guests: {}", words.trim()));
    }
    golden.status.success()
}

fn run(mut command: Command, story: &str, what: &str) {
    let command = command.arg(std::env::current_exe().unwrap());
    let command = command.args(["--ignored", "--exact", "--nocapture", story]);
    let status = command.stdin(Stdio::null()).status().unwrap();
    if status.code() == Some(DOES_NOT_START) {
        return skip(&format!("VMs of a pool: {what} does not start here"));
    }
    assert!(status.success(), "{story}: {status}");
}

/// Runs a story beside a libvirtd.
pub(crate) fn within(story: &str) {
    if ready(PROGRAMS) {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--net", "--pid", "--fork", "--kill-child", "--propagation", "private"]);
        command.arg(scripts().join("libvirtd"));
        run(command, story, "libvirtd");
    }
}

/// Runs a story beside a systemd that has the pool's units and libvirt's.
pub(crate) fn under_systemd(story: &str) {
    if ready(&[PROGRAMS, &["systemd", "systemctl", "journalctl"]].concat()) {
        let mut command = Command::new(scripts().join("systemd"));
        command.arg(env!("CARGO_BIN_EXE_vrouter-pool"));
        run(command, story, "systemd");
    }
}
