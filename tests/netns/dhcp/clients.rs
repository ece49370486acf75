//! Real clients: busybox's udhcpc and ISC's dhclient, and what they tell their scripts.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use tempfile::TempDir;

use crate::lab::{Lab, until};

/// What a client tells its script, by variable.
pub(crate) type Told = BTreeMap<String, String>;

/// udhcpc on `eth0` until it has a lease, or gives up. Its script sets the address where `sets` is true.
pub(crate) fn udhcpc(lab: &Lab, namespace: &str, arguments: &str, sets: bool) -> Option<Told> {
    let folder = tempfile::tempdir().unwrap();
    let set = if sets { "ip address replace $ip/$mask dev $interface" } else { "true" };
    let script =
        script(folder.path(), &format!("case $1 in bound|renew) env; echo event=$1; {set} >&2;; esac"));
    let line = format!("udhcpc -i eth0 -f -q -n -t 8 -T 2 -s {} {arguments}", script.display());
    let said = lab.run(namespace, &line);
    let told = told(&said.stdout);
    assert_eq!(said.success, told.contains_key("ip"), "{}", said.stderr);
    said.success.then_some(told)
}

/// A dhclient that goes on until it is dropped.
pub(crate) struct Dhclient {
    folder: TempDir,
    child: Child,
}

impl Dhclient {
    /// Starts dhclient on `eth0`, with what it remembers in `leases` and this configuration.
    pub(crate) fn start(lab: &Lab, namespace: &str, leases: &Path, configuration: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let events = folder.path().join("events");
        fs::create_dir(&events).unwrap();
        // Each event is one file, whole when it has its name.
        let script = script(
            folder.path(),
            &format!(
                "f=$(mktemp {0}/.XXXXXX); env > $f; \
                 case $reason in BOUND|RENEW|REBIND|REBOOT) \
                 ip address replace $new_ip_address/$new_subnet_mask dev $interface;; \
                 EXPIRE|FAIL|RELEASE|STOP) ip address flush dev $interface;; esac; \
                 n=$(ls {0} | wc -l); mv $f {0}/$(printf %04d $n)",
                events.display()
            ),
        );
        let conf = folder.path().join("conf");
        fs::write(&conf, configuration).unwrap();
        let pid = folder.path().join("pid");
        let line = format!(
            "dhclient -4 -d -v -sf {} -cf {} -lf {} -pf {} eth0",
            script.display(),
            conf.display(),
            leases.display(),
            pid.display()
        );
        let arguments: Vec<&str> = line.split_whitespace().collect();
        let mut command = lab.command(namespace, &arguments);
        let log = fs::File::create(folder.path().join("log")).unwrap();
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        Self { folder, child }
    }

    /// Waits for the next event of this kind behind those that are known, and returns it with its place.
    pub(crate) fn event(&self, reason: &str, after: usize) -> (usize, Told) {
        until(&format!("dhclient's {reason}\n{}", self.log()), || {
            let mut names: Vec<PathBuf> = fs::read_dir(self.folder.path().join("events"))
                .unwrap()
                .map(|entry| entry.unwrap().path())
                .filter(|path| !path.file_name().unwrap().to_string_lossy().starts_with('.'))
                .collect();
            names.sort();
            let events = names.iter().map(|name| told(&fs::read_to_string(name).unwrap())).enumerate();
            events.skip(after).find(|(_, told)| told.get("reason").is_some_and(|said| said == reason))
        })
    }

    /// Ends it, and gives its address back.
    pub(crate) fn release(mut self, lab: &Lab, namespace: &str, leases: &Path) {
        // It writes down what it has behind its event, and gives back what is written.
        until("dhclient remembers its lease", || {
            fs::read_to_string(leases).is_ok_and(|text| text.trim_end().ends_with('}')).then_some(())
        });
        let _ = self.child.kill();
        let _ = self.child.wait();
        let line = format!(
            "dhclient -4 -r -sf /bin/true -lf {} -pf {} eth0",
            leases.display(),
            self.folder.path().join("pid").display()
        );
        lab.ok(namespace, &line);
    }

    /// What it said so far.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Dhclient {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn script(folder: &Path, body: &str) -> PathBuf {
    let path = folder.join("script");
    fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

fn told(environment: &str) -> Told {
    let pairs = environment.lines().filter_map(|line| line.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}
