//! A lab of network namespaces: networks that are bridges, stations that are plugged into them.
//!
//! What a lab made is gone when it is dropped: the programs it started by their pid, then its namespaces.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How long anything that must happen may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

static LABS: AtomicU32 = AtomicU32::new(0);

/// Namespaces and programs in them.
#[derive(Debug)]
pub(crate) struct Lab {
    prefix: String,
    namespaces: Vec<String>,
    ports: u32,
    children: Vec<Child>,
    sockets: Mutex<Vec<OwnedFd>>,
}

/// Takes note that this machine cannot show something; `tests/run` counts such lines.
pub(crate) fn skip(reason: &str) {
    eprintln!("skipped: {reason}");
    if let Some(path) = std::env::var_os("VROUTER_SKIPS") {
        let mut file = File::options().create(true).append(true).open(path).unwrap();
        writeln!(file, "{reason}").unwrap();
    }
}

/// What a program said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) success: bool,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        Self {
            success: output.status.success(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Lab {
    /// A lab with nothing in it.
    pub(crate) fn new() -> Self {
        let number = LABS.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("vr{}-{number}", std::process::id());
        Self { prefix, namespaces: Vec::new(), ports: 0, children: Vec::new(), sockets: Mutex::default() }
    }

    /// The kernel's name of a namespace of this lab.
    pub(crate) fn name(&self, namespace: &str) -> String {
        format!("{}-{namespace}", self.prefix)
    }

    /// Makes a namespace with its loopback up.
    pub(crate) fn namespace(&mut self, namespace: &str) {
        let name = self.name(namespace);
        command(&["ip", "netns", "add", &name]);
        self.namespaces.push(namespace.to_owned());
        self.ok(namespace, "ip link set lo up");
    }

    /// Makes a network: a bridge in a namespace of its own that speaks no protocol by itself.
    pub(crate) fn network(&mut self, network: &str) {
        self.namespace(network);
        self.ok(network, "ip link add br0 type bridge forward_delay 0 mcast_snooping 0");
        self.ok(network, "ip link set br0 up");
    }

    /// Plugs a device of a namespace into a network. The namespace has to be there; the device is left down.
    pub(crate) fn plug(&mut self, namespace: &str, device: &str, mac: &str, network: &str) {
        self.ports += 1;
        let port = format!("port{}", self.ports);
        let peer = self.name(namespace);
        self.ok(
            network,
            &format!("ip link add {port} type veth peer name {device} address {mac} netns {peer}"),
        );
        self.ok(network, &format!("ip link set {port} master br0 up"));
    }

    /// Makes a station with one device, `eth0`, and perhaps an address.
    pub(crate) fn station(&mut self, station: &str, network: &str, mac: &str, address: Option<&str>) {
        self.namespace(station);
        self.plug(station, "eth0", mac, network);
        self.ok(station, "ip link set eth0 up");
        if let Some(address) = address {
            self.ok(station, &format!("ip address add {address} dev eth0"));
        }
    }

    /// Runs a program in a namespace to its end. Arguments are split at spaces; use [`Lab::run_all`] where they hold some.
    pub(crate) fn run(&self, namespace: &str, line: &str) -> Said {
        self.run_all(namespace, &line.split_whitespace().collect::<Vec<_>>())
    }

    /// Runs a program in a namespace to its end.
    pub(crate) fn run_all(&self, namespace: &str, arguments: &[&str]) -> Said {
        self.command(namespace, arguments).stdin(Stdio::null()).output().unwrap().into()
    }

    /// Runs a program that has to succeed, and returns what it printed.
    pub(crate) fn ok(&self, namespace: &str, line: &str) -> String {
        let said = self.run(namespace, line);
        if !said.success {
            panic!("`{line}` in {namespace} failed:\n{}{}\n{}", said.stdout, said.stderr, self.picture());
        }
        said.stdout
    }

    /// A program to be run in a namespace.
    pub(crate) fn command(&self, namespace: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name(namespace)]).args(arguments);
        command
    }

    /// Starts a program that runs until the lab is dropped, or until [`Lab::kill`].
    pub(crate) fn start(&mut self, namespace: &str, line: &str) -> u32 {
        let arguments: Vec<&str> = line.split_whitespace().collect();
        let child = self.command(namespace, &arguments).stdin(Stdio::null()).spawn().unwrap();
        let pid = child.id();
        self.children.push(child);
        pid
    }

    /// Ends a program that was started here, at once.
    pub(crate) fn kill(&mut self, pid: u32) {
        if let Some(index) = self.children.iter().position(|child| child.id() == pid) {
            let mut child = self.children.swap_remove(index);
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Runs `work` on a thread of its own that stands in a namespace; threads that it starts stand there too.
    pub(crate) fn inside<T: Send>(&self, namespace: &str, work: impl FnOnce() -> T + Send) -> T {
        let path = format!("/run/netns/{}", self.name(namespace));
        thread::scope(|scope| {
            let worker = scope.spawn(|| {
                let file = File::open(path).unwrap();
                nix::sched::setns(file, nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
                work()
            });
            worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Shuts a socket down when the lab is dropped, so that whoever waits on it ends.
    pub(crate) fn ends_with(&self, socket: &impl AsFd) {
        self.sockets.lock().unwrap().push(socket.as_fd().try_clone_to_owned().unwrap());
    }

    /// Links, addresses, routes and rules of every namespace, for the message of a test that failed.
    pub(crate) fn picture(&self) -> String {
        let mut picture = String::new();
        for namespace in &self.namespaces {
            let _ = writeln!(picture, "=== {namespace}");
            for line in ["ip -br address", "ip route show table all", "ip rule", "nft list ruleset"] {
                let said = self.run(namespace, line);
                let _ = writeln!(picture, "--- {line}\n{}", said.stdout);
            }
        }
        picture
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("{}", self.picture());
        }
        for socket in self.sockets.lock().iter().flat_map(|sockets| sockets.iter()) {
            let _ = socket2::SockRef::from(socket).shutdown(std::net::Shutdown::Both);
        }
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
        for namespace in &self.namespaces {
            let _ = Command::new("ip").args(["netns", "del", &self.name(namespace)]).status();
        }
    }
}

/// Waits until `probe` has something; panics with `what` where it never does.
pub(crate) fn until<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "waited in vain: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

fn command(arguments: &[&str]) {
    let output = Command::new(arguments[0]).args(&arguments[1..]).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}
