//! The program itself: `vrouter-pool run --fake` with stations, a viewer and an operator, as the README shows it.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

use crate::lab::until;
use crate::spice::{MAIN, view};

/// A pool of made-up VMs on ports that were free a moment ago.
struct Program {
    folder: tempfile::TempDir,
    child: Child,
    signal: SocketAddr,
    console: SocketAddr,
}

pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn command(config: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_vrouter-pool"))
        .arg("--config")
        .arg(config)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

impl Program {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        // Below the ports that the system hands out by itself.
        let (signal, console, first) = (free_port(), free_port(), 23_100);
        let text = format!(
            "base = \"kiosk\"\n[slots]\nsize = 2\nstart_port = {first}\n[signal]\nlisten = \"127.0.0.1:{signal}\"\n\
             tries = 60\n[console]\nlisten = \"127.0.0.1:{console}\"\nbroker_socket = {:?}\n[control]\nsocket = {:?}\n\
             state_dir = {path:?}\n[clones]\ninstant = true\n",
            path.join("broker.sock"),
            path.join("api.sock"),
        );
        std::fs::write(path.join("pool.toml"), text).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_vrouter-pool"))
            .arg("--config")
            .arg(path.join("pool.toml"))
            .args(["run", "--fake"])
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let at = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
        Self { child, signal: at(signal), console: at(console), folder }
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("pool.toml")
    }

    fn say(&self, arguments: &[&str]) -> Output {
        command(&self.config(), arguments)
    }

    /// How many slots are in a state.
    fn count(&self, state: &str) -> usize {
        let status: Value =
            serde_json::from_slice(&self.say(&["status", "--json"]).stdout).unwrap_or_default();
        let slots = status["slots"].as_array().cloned().unwrap_or_default();
        slots.iter().filter(|slot| slot["state"] == state).count()
    }

    fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        until(what, || holds(self).then_some(()));
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // A test that failed leaves it running; one that passed has ended it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A visitor's whole visit through the program: signal, console, end, and what operators see of it.
#[test]
fn the_program_shows_the_whole_pool_without_libvirt() {
    let mut program = Program::start();
    program.until("clean", |program| program.count("clean") == 2);
    let station = IpAddr::from([127, 0, 0, 1]);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let console = program.console;
    let turned = runtime.block_on(view(console, station, 0, MAIN, None));
    assert!(turned.is_err(), "somebody who asked for nothing came in");
    let stream = TcpStream::connect(program.signal).unwrap();
    let mut lines = BufReader::new(stream);
    let mut line = String::new();
    while line != "RULE ADDED, CONNECT NOW!\n" {
        line.clear();
        assert!(lines.read_line(&mut line).unwrap() > 0, "the signal port closed");
    }
    let mut main = runtime.block_on(view(console, station, 0, MAIN, None)).unwrap();
    runtime.block_on(main.echo(b"at work")).unwrap();
    let mut rest = String::new();
    lines.read_to_string(&mut rest).unwrap();
    assert!(rest.ends_with("CONNECTED\n"), "{rest}");
    program.until("used", |program| program.count("used") == 1);
    let table = String::from_utf8(program.say(&["status"]).stdout).unwrap();
    assert!(table.contains("waste") && table.contains("127.0.0.1"), "{table}");
    runtime.block_on(async { drop(main) });
    program.until("renewed", |program| program.count("clean") == 2);
    let journal = std::fs::read_to_string(program.folder.path().join("sessions.jsonl")).unwrap();
    assert_eq!(journal.lines().count(), 1, "{journal}");

    for (arguments, good) in [
        (&["check-config"][..], true),
        (&["network"], true),
        (&["quarantine", "1"], false),
        (&["drain"], true),
    ] {
        let output = program.say(arguments);
        assert_eq!(output.status.success(), good, "{arguments:?}: {output:?}");
    }
    program.until("drained", |program| program.count("empty") == 2);
    assert!(program.say(&["resume"]).status.success());
    program.until("clean again", |program| program.count("clean") == 2);

    // A second one is kept out, and the first one ends when it is told to.
    let second = program.say(&["run", "--fake"]);
    assert!(!second.status.success(), "{second:?}");
    let pid = nix::unistd::Pid::from_raw(i32::try_from(program.child.id()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::SIGTERM).unwrap();
    assert!(program.child.wait().unwrap().success());
    let gone = program.say(&["status"]);
    assert!(String::from_utf8_lossy(&gone.stderr).contains("does vrouter-pool run?"), "{gone:?}");
}

/// The commands of the README's demonstration, as they stand there, without what installs and builds.
fn demonstration() -> Vec<String> {
    let text = include_str!("../../README.md");
    let (_, section) = text.split_once("## vrouter-pool\n").unwrap();
    let (block, _) = section.split_once("On a KVM host with libvirt").unwrap();
    let commands = block.lines().filter_map(|line| line.strip_prefix("    "));
    let commands = commands.map(|line| line.split("   ").next().unwrap().trim().to_owned());
    let commands = commands.filter(|line| !line.starts_with("apt ") && !line.starts_with("cargo "));
    commands
        .map(|line| line.replace("target/debug/vrouter-pool", env!("CARGO_BIN_EXE_vrouter-pool")))
        .collect()
}

/// Input: the README's commands, one after another in one shell, each once the one before shows what it says. Output: both
/// stations are told to connect, the viewer gets its picture, and the status shows a session that is over or goes on.
#[test]
fn the_readme_shows_the_pool_on_a_machine_of_its_own() {
    for program in ["/usr/bin/spicy-screenshot", "/usr/bin/nc", "/usr/bin/unshare"] {
        if !Path::new(program).exists() {
            return crate::lab::skip(&format!("the README's pool: there is no {program}"));
        }
    }
    let commands = demonstration();
    let [run, first, second, viewer, status] = commands.as_slice() else { panic!("{commands:?}") };
    let folder = tempfile::tempdir().unwrap();
    let ready = "RULE ADDED, CONNECT NOW!";
    let script = format!(
        "ip link set lo up
         {run}
         pool=$!
         until {status} >before 2>&1 && grep -q ' clean ' before; do sleep 0.1; done
         {{ {first} }} >first
         {{ {second} }} >second
         until grep -q '{ready}' first && grep -q '{ready}' second; do sleep 0.1; done
         timeout 20 {viewer} || echo the viewer failed
         {status}
         kill $pool"
    );
    let output = Command::new("unshare")
        .args(["--net", "timeout", "60", "sh", "-c", &script])
        .current_dir(&folder)
        .env("TMPDIR", folder.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && !said.contains("the viewer failed"), "{script}\n{output:?}");
    assert!(said.contains("127.0.0.2") && said.contains("5921"), "{said}");
    let picture = std::fs::read(folder.path().join("spicy-screenshot.ppm")).unwrap();
    assert!(
        picture.starts_with(b"P6\n640 480\n") && picture.ends_with(&[0x20, 0x40, 0x80]),
        "no picture: {said}"
    );
}
