//! The units: sound and shut in as systemd itself sees it, and at work under a systemd beside a libvirtd whose QEMU is a user
//! of its own, as packages bring them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::desk::{define, golden_files, ok, picture, station, viewer};
use crate::lab::skip;
use crate::trouble::{gone, used};
use crate::whole::{ask, end, until, uuids};
use crate::within::{installed, under_systemd};

/// The highest exposure that `systemd-analyze security` may see in a unit, in tenths.
const EXPOSURE: [(&str, u8); 2] = [("vrouter-pool.service", 23), ("vrouter-pool-broker.service", 19)];

fn units() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd")
}

#[test]
fn the_units_are_sound_and_shut_in() {
    if !installed("systemd-analyze") {
        return skip("the pool's units: there is no systemd-analyze");
    }
    // A root with what the units name, so that whatever they name wrongly is missed.
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("usr/lib/systemd/system");
    fs::create_dir_all(root.path().join("usr/bin")).unwrap();
    fs::create_dir_all(&folder).unwrap();
    fs::copy(env!("CARGO_BIN_EXE_vrouter-pool"), root.path().join("usr/bin/vrouter-pool")).unwrap();
    for target in ["sysinit", "basic", "shutdown", "network", "multi-user"] {
        fs::write(folder.join(format!("{target}.target")), "[Unit]\nDescription=Nothing\n").unwrap();
    }
    for (unit, exposure) in EXPOSURE {
        fs::copy(units().join(unit), folder.join(unit)).unwrap();
        let output = Command::new("systemd-analyze")
            .args(["security", "--offline=yes", "--no-pager", &format!("--threshold={exposure}")])
            .arg(units().join(unit))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{unit} is above {exposure} tenths: {said}");
    }
    let output = Command::new("systemd-analyze")
        .arg(format!("--root={}", root.path().display()))
        .args(["--man=no", "verify", EXPOSURE[0].0, EXPOSURE[1].0])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.trim().is_empty(), "{said}");
}

#[test]
fn the_services_work_under_a_systemd() {
    under_systemd("units::inside_units");
}

/// What systemd says of a service.
fn says(unit: &str, property: &str) -> String {
    ok(&format!("systemctl show --property {property} --value {unit}")).trim().to_owned()
}

fn clean(count: usize) -> Option<()> {
    let text = Command::new("vrouter-pool").arg("status").output().unwrap().stdout;
    (String::from_utf8_lossy(&text).matches(" clean ").count() == count).then_some(())
}

/// Whether the viewer's session goes on: the broker is the same process and has the station's connections.
fn goes_on(broker: &str, uuid: &str) {
    assert_eq!(says("vrouter-pool-broker", "MainPID"), broker, "the broker was restarted");
    let established = ok("ss -Htn state established sport = :5906 | wc -l");
    assert!(established.trim().parse::<u32>().unwrap() >= 2, "the session ended: {established}");
    assert_eq!(used().1, uuid);
}

#[test]
#[ignore = "runs inside of namespaces that another test makes"]
fn inside_units() {
    // QEMU is no superuser here, so everything of a VM is where its user may read.
    let images = Path::new("/var/lib/libvirt/images");
    fs::set_permissions("/run", std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    for file in ["kernel", "initrd"] {
        fs::copy(golden_files().join(file), images.join(file)).unwrap();
    }
    define("kiosk", "/var/lib/libvirt/images/golden.raw");
    ok(&format!(
        "virsh dumpxml --inactive kiosk | sed 's#{}#{}#' >/run/kiosk.xml && virsh --quiet define /run/kiosk.xml",
        golden_files().display(),
        images.display()
    ));
    // Every path is at its default: the units are made for those.
    let text = "base = 'kiosk'\n[slots]\nsize = 2\n[clones]\nmemory_reserve = 0\ndisk_reserve = 0\n\
                [hypervisor]\ncall_seconds = 60\nstart_seconds = 120\n[session]\nidle_seconds = 0\n[signal]\ntries = 60\n";
    fs::write("/etc/vrouter-pool.toml", text).unwrap();
    std::os::unix::fs::symlink("/etc/vrouter-pool.toml", "/run/pool.toml").unwrap();
    for number in 1..=2 {
        station(number);
    }
    // It comes back once the service says that it is ready; the broker comes with it.
    ok("systemctl start vrouter-pool.service");
    assert_eq!(says("vrouter-pool", "ActiveState"), "active");
    assert_eq!(says("vrouter-pool-broker", "ActiveState"), "active");
    until("two clean VMs", || clean(2));
    until("systemd is told so", || says("vrouter-pool", "StatusText").starts_with("2 clean").then_some(()));
    let modes = ok("stat -c '%a %n' /run/vrouter-pool /run/vrouter-pool/*.sock /var/lib/vrouter-pool");
    for line in ["750 /run/vrouter-pool\n", "660 /run/vrouter-pool/api.sock\n", "711 /var/lib/vrouter-pool\n"]
    {
        assert!(modes.contains(line), "{modes}");
    }
    let owners = ok("ps -o user:20= -C qemu-system-x86_64 | sort -u");
    assert_eq!(owners.trim(), "libvirt-qemu", "QEMU is not the user that packages run it as");

    let nc = ask(1);
    assert!(picture(1, "10.9.1.1:5906", None), "{}", ok("journalctl --no-pager -o cat -u vrouter-pool*"));
    end(nc);
    until("the used VM is replaced", || clean(2));

    // Restarting, killing and hanging the manager end no session.
    let nc = ask(1);
    let left = viewer(1);
    let (_, uuid, _) = used();
    end(nc);
    let broker = says("vrouter-pool-broker", "MainPID");
    ok("systemctl restart vrouter-pool.service");
    goes_on(&broker, &uuid);
    let killed = says("vrouter-pool", "MainPID");
    ok("systemctl kill --signal KILL vrouter-pool.service");
    until("a killed manager is started again", || {
        (says("vrouter-pool", "MainPID") != killed && says("vrouter-pool", "ActiveState") == "active")
            .then_some(())
    });
    goes_on(&broker, &uuid);
    hangs();
    goes_on(&broker, &uuid);
    end(left);
    until("the session is over", || gone(&uuid));
    until("two clean VMs", || clean(2));
    let audited =
        ok("journalctl --no-pager -o cat -u vrouter-pool.service | grep '^audit: a session is over'");
    assert!(audited.contains(&uuid) && audited.contains("10.9.1.2"), "{audited}");

    // Stopped in order: the manager leaves its VMs for the next one, and nothing of the services is left.
    let before = uuids();
    ok("systemctl stop vrouter-pool.service vrouter-pool-broker.service");
    for unit in ["vrouter-pool", "vrouter-pool-broker"] {
        assert_eq!(
            (says(unit, "Result"), says(unit, "ActiveState")),
            ("success".into(), "inactive".into()),
            "{unit}"
        );
    }
    assert!(!Path::new("/run/vrouter-pool/api.sock").exists() || uuids() == before);
    ok("systemctl start vrouter-pool.service");
    until("two clean VMs", || clean(2));
    assert_eq!(uuids(), before, "VMs that nobody was in were replaced");
    ok(
        "vrouter-pool drain && systemctl stop vrouter-pool.service vrouter-pool-broker.service && vrouter-pool clear",
    );
    assert_eq!(ok("virsh list --all --name").trim(), "kiosk");
    assert_eq!(ok("find /var/lib/vrouter-pool -name '*.qcow2'"), "");
    assert_eq!(ok("journalctl --no-pager -o cat -u vrouter-pool* | grep -ciE 'operation not permitted|permission denied' || :").trim(), "0");
}

/// The manager's loop hangs on a file: systemd misses the watchdog, ends it and starts it again.
fn hangs() {
    // The unit's own half minute, shortened.
    ok("mkdir -p /etc/systemd/system/vrouter-pool.service.d && \
        printf '[Service]\\nWatchdogSec=4s\\n' >/etc/systemd/system/vrouter-pool.service.d/sooner.conf && \
        systemctl daemon-reload && systemctl restart vrouter-pool.service");
    until("two VMs are clean or used", || clean(1));
    let before = says("vrouter-pool", "NRestarts").parse::<u32>().unwrap();
    let journal = Path::new("/var/lib/vrouter-pool/sessions.jsonl");
    let kept = journal.with_extension("kept");
    fs::rename(journal, &kept).unwrap();
    mkfifo(journal, Mode::S_IRWXU).unwrap();
    let nc = ask(2);
    assert!(picture(2, "10.9.2.1:5906", None));
    end(nc);
    until("a manager that hangs is started again", || {
        let restarts = says("vrouter-pool", "NRestarts").parse::<u32>().unwrap();
        (restarts > before).then_some(())
    });
    fs::rename(&kept, journal).unwrap();
    until("the session that it could not write down is on record", || {
        fs::read_to_string(journal).unwrap_or_default().contains("10.9.2.2").then_some(())
    });
    let said = ok("journalctl --no-pager -o cat | grep -c 'Watchdog timeout' || :");
    assert_ne!(said.trim(), "0", "it was something else that ended it");
    until("another is clean again", || clean(1));
}
