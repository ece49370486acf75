//! What the services tell the one that manages them: when they are ready, that they are alive, and nothing of the kind while
//! the loop hangs.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, mkfifo};

use crate::lab::{PATIENCE, until};
use crate::service::free_port;
use crate::spice::{MAIN, view};

/// How long a service that is alive is silent at most: the manager feeds the watchdog twice a second, and its units give it
/// thirty.
const SILENCE: Duration = Duration::from_secs(5);

/// A service with somebody who listens to what it tells.
struct Told {
    child: Child,
    socket: UnixDatagram,
    folder: tempfile::TempDir,
    signal: u16,
    console: u16,
}

impl Told {
    fn start(command: &[&str], first_port: u16) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let (signal, console) = (free_port(), free_port());
        let text = format!(
            "base = \"kiosk\"\n[slots]\nsize = 1\nstart_port = {first_port}\n[signal]\nlisten = \"127.0.0.1:{signal}\"\n\
             [console]\nlisten = \"127.0.0.1:{console}\"\nbroker_socket = {:?}\n[control]\nsocket = {:?}\n\
             state_dir = {path:?}\n[clones]\ninstant = true\n",
            path.join("broker.sock"),
            path.join("api.sock"),
        );
        fs::write(path.join("pool.toml"), text).unwrap();
        let address = path.join("notify.sock");
        let socket = UnixDatagram::bind(&address).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_vrouter-pool"))
            .arg("--config")
            .arg(path.join("pool.toml"))
            .args(command)
            .env("NOTIFY_SOCKET", &address)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        Self { child, socket, folder, signal, console }
    }

    /// What is told next; nothing where there is silence for so long.
    fn next(&self, silence: Duration) -> Option<Vec<String>> {
        self.socket.set_read_timeout(Some(silence)).unwrap();
        let mut octets = [0; 4096];
        let count = self.socket.recv(&mut octets).ok()?;
        Some(String::from_utf8_lossy(&octets[..count]).lines().map(str::to_owned).collect())
    }

    fn told(&self, word: &str) -> Vec<String> {
        let began = Instant::now();
        while let Some(lines) = self.next(PATIENCE) {
            if lines.iter().any(|line| line == word) {
                return lines;
            }
            assert!(began.elapsed() < PATIENCE, "never told: {word}");
        }
        panic!("never told: {word}");
    }

    /// Tells it to end; it says that it does, and ends well.
    fn end(mut self, says: bool) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), Signal::SIGTERM).unwrap();
        if says {
            self.told("STOPPING=1");
        }
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        // A test that failed leaves it running; one that passed has ended it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether somebody listens: a connection is taken.
fn listens(port: u16) -> bool {
    std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
}

/// Input: a manager, healthy; then one whose loop hangs, because the file that it writes a session's record to does not let it.
/// Output: ready once the ports are listened on, alive all the time, with a line on how the pool is; then no word more,
/// though the process is there, and its signal port answers.
#[test]
fn a_manager_tells_that_it_is_ready_and_alive_and_nothing_while_its_loop_hangs() {
    let told = Told::start(&["run", "--fake"], 23_200);
    told.told("READY=1");
    assert!(listens(told.signal) && listens(told.console), "it is ready before its ports are");
    assert!(told.folder.path().join("api.sock").exists());
    for _ in 0..3 {
        let lines = told.told("WATCHDOG=1");
        assert!(lines.iter().any(|line| line.starts_with("STATUS=")), "{lines:?}");
    }
    until("a clean VM is told of", || {
        told.told("WATCHDOG=1").iter().any(|line| line.starts_with("STATUS=1 clean, 0 used")).then_some(())
    });

    // A pipe that nobody reads is not opened for writing, as a disk that hangs does not come back.
    mkfifo(&told.folder.path().join("sessions.jsonl"), Mode::S_IRWXU).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let lines = std::net::TcpStream::connect(("127.0.0.1", told.signal)).unwrap();
    let mut reader = std::io::BufReader::new(lines);
    let ready = std::io::BufRead::lines(&mut reader)
        .map_while(Result::ok)
        .any(|line| line == "RULE ADDED, CONNECT NOW!");
    assert!(ready, "the signal port closed");
    let console = ([127, 0, 0, 1], told.console).into();
    let main = runtime.block_on(view(console, [127, 0, 0, 1].into(), 0, MAIN, None)).unwrap();
    drop(main);
    let began = Instant::now();
    while told.next(SILENCE).is_some() {
        assert!(began.elapsed() < PATIENCE, "its loop hangs, and it says that it is alive");
    }
    assert!(Path::new(&format!("/proc/{}", told.child.id())).exists(), "it ended");
    assert!(listens(told.signal));
}

#[test]
fn a_manager_says_that_it_ends() {
    let told = Told::start(&["run", "--fake"], 23_300);
    told.told("READY=1");
    told.end(true);
}

#[test]
fn a_broker_tells_that_it_is_ready_and_alive() {
    let told = Told::start(&["broker"], 23_400);
    told.told("READY=1");
    assert!(listens(told.console) && told.folder.path().join("broker.sock").exists());
    for _ in 0..2 {
        let lines = told.told("WATCHDOG=1");
        assert!(lines.contains(&"STATUS=0 stations are bound".to_owned()), "{lines:?}");
    }
    told.end(false);
}
