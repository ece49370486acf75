//! `vrouterd` in a namespace of a lab: started, asked over its socket, killed, and started again with what it remembers.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use crate::lab::{Lab, PATIENCE, until};

/// The token that a service takes which can be reached from elsewhere.
pub(crate) const TOKEN: &str = "token-of-the-tests-0123456789";
/// What curl is told to present it.
pub(crate) const WITH_TOKEN: &str = "--oauth2-bearer token-of-the-tests-0123456789";

/// The service and the folder of its memory.
#[derive(Debug)]
pub(crate) struct Router {
    namespace: String,
    listen: String,
    /// Further arguments of the service.
    arguments: Vec<String>,
    folder: TempDir,
    child: Option<Child>,
}

/// A folder in memory: what is tested is what is synced when, and not how long a busy disk takes for it.
fn memory() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// What the API answered.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    /// JSON, or the text as a string where it is none.
    pub(crate) body: Value,
}

impl Answer {
    /// The generation that runs, as a change that was made tells it.
    pub(crate) fn generation(&self) -> u64 {
        assert_eq!(self.status, 200, "{self:#?}");
        self.body["generation"].as_u64().unwrap()
    }

    /// The pointers of the faults, in their order.
    pub(crate) fn faults(&self) -> Vec<&str> {
        let faults = self.body["faults"].as_array().unwrap_or_else(|| panic!("{self:#?}"));
        faults.iter().map(|fault| fault["pointer"].as_str().unwrap()).collect()
    }
}

impl Router {
    /// Starts the service with nothing remembered.
    pub(crate) fn start(lab: &Lab, namespace: &str) -> Self {
        Self::listening(lab, namespace, "127.0.0.1:7270")
    }

    /// Starts the service with nothing remembered on a disk of so many octets.
    pub(crate) fn on_small_disk(lab: &Lab, namespace: &str, octets: usize) -> Self {
        let mut router = Self::prepared(lab, namespace, "127.0.0.1:7270");
        fs::create_dir(router.state()).unwrap();
        let size = format!("size={octets}");
        let said = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
            .arg(router.state())
            .output()
            .unwrap();
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
        router.launch();
        router
    }

    /// Starts the service with nothing remembered and its API on this address; off loopback it takes [`TOKEN`].
    pub(crate) fn listening(lab: &Lab, namespace: &str, listen: &str) -> Self {
        let mut router = Self::prepared(lab, namespace, listen);
        if !listen.starts_with("127.") {
            let file = router.write("tokens", &format!("tests write {TOKEN}\n"));
            router.arguments = vec!["--token-file".to_owned(), file];
        }
        router.launch();
        router
    }

    /// A service that a ZStack host starts: its port is open, and its machine learns what it is by the file of
    /// [`Router::vport`]. It is not started yet.
    pub(crate) fn for_zstack(lab: &Lab, namespace: &str) -> Self {
        let mut router = Self::prepared(lab, namespace, "127.0.0.1:7270");
        let vport = router.vport().display().to_string();
        router.arguments =
            ["--zstack-listen", "0.0.0.0:7272", "--zstack-vport", &vport].map(str::to_owned).into();
        router
    }

    /// What stands for the virtio-serial port of a machine under ZStack.
    pub(crate) fn vport(&self) -> PathBuf {
        self.path("applianceVm.vport")
    }

    /// A service that is not started yet.
    pub(crate) fn prepared(lab: &Lab, namespace: &str, listen: &str) -> Self {
        let (namespace, listen) = (lab.name(namespace), listen.to_owned());
        Self { namespace, listen, arguments: Vec::new(), folder: memory(), child: None }
    }

    /// What more the service is started with from now on.
    pub(crate) fn give(&mut self, arguments: &[&str]) {
        self.arguments.extend(arguments.iter().map(|argument| (*argument).to_owned()));
    }

    /// Writes a file beside the service's memory; where it is.
    pub(crate) fn write(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    /// Tells the service to look at everything again.
    pub(crate) fn hang_up(&self) {
        let child = self.child.as_ref().unwrap();
        kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGHUP).unwrap();
    }

    /// The process of the service.
    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// A number of its memory, in KiB (proc(5)): `VmRSS` is what it has, `VmHWM` the most it ever had.
    pub(crate) fn memory(&self, field: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':')).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    }

    /// Where its socket is.
    pub(crate) fn socket(&self) -> String {
        self.path("api.sock").display().to_string()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Where generations and leases are.
    pub(crate) fn state(&self) -> PathBuf {
        self.path("state")
    }

    /// The command that starts the service; a test may start another of it.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", &self.namespace, env!("CARGO_BIN_EXE_vrouterd"), "--state-dir"])
            .arg(self.state())
            .args(["--listen", &self.listen, "--socket"])
            .arg(self.path("api.sock"))
            .args(&self.arguments)
            .stdin(Stdio::null());
        command
    }

    fn spawn(&mut self) {
        assert!(self.child.is_none(), "it runs");
        let log = File::options().create(true).append(true).open(self.path("log")).unwrap();
        self.child = Some(self.command().stderr(log).spawn().unwrap());
    }

    /// Starts the service and ends it at once when so much time has gone by, wherever it is by then.
    pub(crate) fn launch_and_kill(&mut self, after: Duration) {
        self.spawn();
        thread::sleep(after);
        self.kill();
    }

    /// Starts the service and waits until its API answers.
    pub(crate) fn launch(&mut self) {
        // What a killed predecessor left is no answer of this one.
        let _ = fs::remove_file(self.path("api.sock"));
        self.spawn();
        until("the API answers", || {
            let ended = self.child.as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none(), "it ended: {ended:?}\n{}", self.log());
            self.request("GET", "/v1/config", &[], b"").ok()
        });
    }

    /// Starts the service and waits until what it remembers is carried out.
    pub(crate) fn relaunch(&mut self) {
        let before = self.log().len();
        self.launch();
        until("the generation is restored", || self.asked_of_loop().then_some(()));
        let log = self.log();
        assert!(!log[before..].contains("ERROR"), "{}", &log[before..]);
    }

    /// Whether the loop has come round to an answer, which it does once what it remembers is carried out.
    fn asked_of_loop(&self) -> bool {
        self.request("POST", "/v1/plan", &[("Content-Type", "application/merge-patch+json")], b"{}")
            .is_ok_and(|answer| answer.status == 200)
    }

    /// Ends the service at once.
    pub(crate) fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Tells the service to end, and waits until it did: in order, with nobody left who would ask it something.
    pub(crate) fn terminate(&mut self) -> ExitStatus {
        let mut child = self.child.take().unwrap();
        kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGTERM).unwrap();
        let begin = Instant::now();
        loop {
            if let Some(status) = child.try_wait().unwrap() {
                let log = self.log();
                assert!(!log.contains("is still busy") && !log.contains("still in use"), "{log}");
                return status;
            }
            assert!(begin.elapsed() < PATIENCE, "it does not end:\n{}", self.log());
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// What the service wrote, over all of its lives.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// Replaces the configuration.
    pub(crate) fn post(&self, document: &Value) -> Answer {
        self.ask("POST", "/v1/config", document.to_string().as_bytes())
    }

    /// Replaces the configuration by one without faults; the new generation.
    pub(crate) fn configure(&self, document: &Value) -> u64 {
        self.post(document).generation()
    }

    /// Applies a merge patch.
    pub(crate) fn patch(&self, patch: &Value) -> Answer {
        self.ask("PATCH", "/v1/config", patch.to_string().as_bytes())
    }

    /// Applies a merge patch without faults; the new generation.
    pub(crate) fn change(&self, patch: Value) -> u64 {
        self.patch(&patch).generation()
    }

    /// Reads something.
    pub(crate) fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, b"")
    }

    /// The configuration that the service says it runs.
    pub(crate) fn document(&self) -> Value {
        self.get("/v1/config").body
    }

    /// Asks, and is answered.
    pub(crate) fn ask(&self, method: &str, path: &str, body: &[u8]) -> Answer {
        self.request(method, path, &[], body).unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    /// One request on a connection of its own.
    pub(crate) fn request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> io::Result<Answer> {
        Door(self.path("api.sock")).request(method, path, headers, body)
    }

    /// What `vrctl` says of this router: its code, its output and its errors.
    pub(crate) fn vrctl(&self, lab: &Lab, arguments: &[&str]) -> (Option<i32>, String, String) {
        let socket = self.socket();
        let line = [&[env!("CARGO_BIN_EXE_vrctl"), "--socket", &socket], arguments].concat();
        let output = lab.command("router", &line).output().unwrap();
        let text = |octets: Vec<u8>| String::from_utf8(octets).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    }

    /// The way to the API, for another thread.
    pub(crate) fn door(&self) -> Door {
        Door(self.path("api.sock"))
    }
}

/// The way to an API.
#[derive(Debug, Clone)]
pub(crate) struct Door(PathBuf);

impl Door {
    /// One request on a connection of its own.
    pub(crate) fn request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> io::Result<Answer> {
        let mut stream = UnixStream::connect(&self.0)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: router\r\nConnection: close\r\n");
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
        stream.write_all(head.as_bytes())?;
        // A refusal may come before all of the body was taken.
        let written = stream.write_all(body);
        let mut answer = Vec::new();
        let read = stream.read_to_end(&mut answer);
        if answer.is_empty() {
            written.and(read)?;
        }
        parse(&answer).ok_or_else(|| io::Error::other("the answer is cut off"))
    }
}

/// An answer, if it is whole.
fn parse(answer: &[u8]) -> Option<Answer> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&answer[..end]).to_lowercase();
    let body = &answer[end + 4..];
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    if length.is_some_and(|length: usize| body.len() < length) {
        return None;
    }
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let text = || Value::String(String::from_utf8_lossy(body).into_owned());
    Some(Answer { status, head, body: serde_json::from_slice(body).unwrap_or_else(|_| text()) })
}

impl Drop for Router {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
        // Where it is a disk of its own.
        let _ = nix::mount::umount2(&self.state(), nix::mount::MntFlags::MNT_DETACH);
        if thread::panicking() {
            eprintln!("=== vrouterd in {}\n{}", self.namespace, self.log());
        }
    }
}
