//! What operators see and order: metrics with every value that is in them, an audit line for each session and each order, and
//! refusals that say what is wrong.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::lab::until;
use crate::service::free_port;
use crate::spice::{MAIN, view};

/// A pool of two made-up VMs whose log is kept.
struct Program {
    folder: tempfile::TempDir,
    child: Child,
    signal: SocketAddr,
    console: SocketAddr,
    metrics: SocketAddr,
}

impl Program {
    fn start(first_port: u16) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let [signal, console, metrics] =
            [free_port(), free_port(), free_port()].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        let text = format!(
            "base = \"kiosk\"\n[slots]\nsize = 2\nstart_port = {first_port}\n[signal]\nlisten = \"{signal}\"\n\
             tries = 60\n[console]\nlisten = \"{console}\"\nbroker_socket = {:?}\n[control]\nsocket = {:?}\n\
             metrics_listen = \"{metrics}\"\nstate_dir = {path:?}\n[clones]\ninstant = true\n",
            path.join("broker.sock"),
            path.join("api.sock"),
        );
        fs::write(path.join("pool.toml"), text).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_vrouter-pool"))
            .arg("--config")
            .arg(path.join("pool.toml"))
            .args(["run", "--fake"])
            // The form that the journal takes.
            .env("JOURNAL_STREAM", "1:1")
            .stdin(Stdio::null())
            .stderr(fs::File::create(path.join("log")).unwrap())
            .spawn()
            .unwrap();
        let program = Self { folder, child, signal, console, metrics };
        until("two clean VMs", || program.metrics().contains("slots{state=\"clean\"} 2\n").then_some(()));
        program
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    fn api(&self) -> PathBuf {
        self.folder.path().join("api.sock")
    }

    /// One request at the API: the answer's status line and headers, and its body.
    fn ask(&self, method: &str, path: &str) -> (String, String) {
        let Ok(stream) = UnixStream::connect(self.api()) else { return Default::default() };
        exchange(stream, method, path)
    }

    fn metrics(&self) -> String {
        self.ask("GET", "/metrics").1
    }

    /// A visit: the signal, a viewer that sends and gets so many octets, and its end.
    fn visit(&self, octets: usize) {
        let stream = TcpStream::connect(self.signal).unwrap();
        let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
        assert!(lines.any(|line| line == "RULE ADDED, CONNECT NOW!"), "the signal port closed");
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let station = IpAddr::from([127, 0, 0, 1]);
        let mut main = runtime.block_on(view(self.console, station, 0, MAIN, None)).unwrap();
        runtime.block_on(main.echo(&vec![7; octets])).unwrap();
        until("the session is seen", || self.metrics().contains("slots{state=\"used\"} 1\n").then_some(()));
        runtime.block_on(async { drop(main) });
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn exchange(mut stream: impl std::io::Read + std::io::Write, method: &str, path: &str) -> (String, String) {
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: pool\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    )
    .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    (head.to_owned(), body.to_owned())
}

/// The value of a metric.
fn value(metrics: &str, name: &str) -> Option<u64> {
    let line = metrics
        .lines()
        .find_map(|line| line.strip_prefix("vrouter_pool_")?.strip_prefix(name)?.strip_prefix(' '));
    line.and_then(|value| value.parse().ok())
}

/// Input: a visit of 1,000 octets each way, one viewer that nobody asked for. Output: every metric has the value that this
/// makes, in the form that Prometheus takes, at the socket and at the port.
#[test]
fn metrics_say_what_happened() {
    let program = Program::start(23_500);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let stranger = IpAddr::from([127, 0, 0, 9]);
    assert!(runtime.block_on(view(program.console, stranger, 0, MAIN, None)).is_err());
    program.visit(1000);
    let settled = until("the session is counted and its VM renewed", || {
        let text = program.metrics();
        (value(&text, "sessions_total") == Some(1) && value(&text, "slots{state=\"clean\"}") == Some(2))
            .then_some(text)
    });
    for (name, wanted) in [
        ("slots{state=\"empty\"}", 0),
        ("slots{state=\"creating\"}", 0),
        ("slots{state=\"reserved\"}", 0),
        ("slots{state=\"used\"}", 0),
        ("slots{state=\"deleting\"}", 0),
        ("slots{state=\"quarantined\"}", 0),
        ("spare_wanted", 2),
        ("stations_waiting", 0),
        ("hypervisor_up", 1),
        ("broker_up", 1),
        ("draining", 0),
        ("hindered", 0),
        ("vms_created_total", 3),
        ("vms_reserved_total", 1),
        ("stations_connected_total", 1),
        ("stations_not_come_total", 0),
        ("stations_too_long_total", 0),
        ("connections_refused_total", 1),
        ("session_octets_sent_total", 1000),
        ("session_octets_received_total", 1038),
        ("calls_failed_total", 0),
    ] {
        assert_eq!(value(&settled, name), Some(wanted), "{name} in\n{settled}");
    }
    assert!(settled.ends_with("# EOF\n"), "{settled}");
    let (head, at_port) = exchange(TcpStream::connect(program.metrics).unwrap(), "GET", "/metrics");
    assert!(head.starts_with("HTTP/1.1 200") && head.contains("application/openmetrics-text"), "{head}");
    let sorted = |text: &str| {
        let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(sorted(&at_port), sorted(&settled), "the port shows something else than the socket");
    // Whoever may fetch metrics over the network may do nothing else.
    for (method, path) in [("POST", "/v1/clear"), ("GET", "/v1/status")] {
        let (head, _) = exchange(TcpStream::connect(program.metrics).unwrap(), method, path);
        assert!(head.starts_with("HTTP/1.1 404"), "{path}: {head}");
    }
    program.ask("POST", "/v1/drain");
    until("drained", || {
        let text = program.metrics();
        (value(&text, "draining") == Some(1) && value(&text, "slots{state=\"empty\"}") == Some(2))
            .then_some(())
    });
    assert_eq!(value(&program.metrics(), "hindered"), Some(1));
}

/// Input: a session, and every order. Output: one line each, marked as audit, that says who, which VM, when and why; and the
/// session's record beside it.
#[test]
fn sessions_and_orders_leave_an_audit_line_each() {
    let program = Program::start(23_600);
    program.visit(500);
    let journal = program.folder.path().join("sessions.jsonl");
    let record = until("a record", || fs::read_to_string(&journal).ok().filter(|text| text.ends_with('\n')));
    assert_eq!(record.lines().count(), 1);
    let record: Value = serde_json::from_str(&record).unwrap();
    assert_eq!((record["station"].as_str(), record["sent"].as_u64()), (Some("127.0.0.1"), Some(500)));
    let uuid = record["uuid"].as_str().unwrap().to_owned();
    let begun = record["begun"].as_str().unwrap();
    assert!(begun <= record["gone"].as_str().unwrap(), "{record}");
    until("its VM is renewed", || program.metrics().contains("slots{state=\"clean\"} 2\n").then_some(()));
    for (method, path) in [
        ("POST", "/v1/slots/23601/quarantine"),
        ("POST", "/v1/slots/23601/recycle"),
        ("POST", "/v1/drain"),
        ("POST", "/v1/resume"),
        ("POST", "/v1/clear"),
    ] {
        until("the order is taken", || program.ask(method, path).0.starts_with("HTTP/1.1 202").then_some(()));
    }
    let audited: Vec<String> = program
        .log()
        .lines()
        .filter_map(|line| line.split_once(">audit: ").map(|(_, text)| text.to_owned()))
        .collect();
    let session: Vec<_> = audited.iter().filter(|line| line.contains("a session is over")).collect();
    assert_eq!(session.len(), 1, "{audited:#?}");
    for part in [
        uuid.as_str(),
        "station=127.0.0.1",
        begun,
        "sent=500",
        "received=538",
        "the viewer",
        "its VM and overlay are gone",
    ] {
        assert!(session[0].contains(part), "{part} is not in {}", session[0]);
    }
    for part in ["keeps a slot's VM", "recycles a slot", "draining=true", "draining=false", "clears the pool"]
    {
        assert_eq!(audited.iter().filter(|line| line.contains(part)).count(), 1, "{part} in {audited:#?}");
    }
}

#[test]
fn what_cannot_be_ordered_is_refused_with_a_reason() {
    let program = Program::start(23_700);
    let mode = fs::metadata(program.api()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660, "whoever is no operator can speak there");
    for (method, path, status, part) in [
        ("POST", "/v1/slots/9/recycle", "404", "there is no slot 9"),
        ("POST", "/v1/slots/kiosk/quarantine", "404", "there is no slot kiosk"),
        ("GET", "/v1/drain", "405", "POST alone"),
        ("POST", "/v1/status", "405", "GET alone"),
        ("GET", "/nowhere", "404", "nothing at this path"),
    ] {
        let (head, body) = program.ask(method, path);
        assert!(head.starts_with(&format!("HTTP/1.1 {status}")), "{path}: {head}");
        assert!(head.contains("application/problem+json") && body.contains(part), "{path}: {head}\n{body}");
    }
    program.ask("POST", "/v1/drain");
    until("empty", || program.metrics().contains("slots{state=\"empty\"} 2\n").then_some(()));
    let (head, body) = program.ask("POST", "/v1/slots/23701/quarantine");
    assert!(head.starts_with("HTTP/1.1 409") && body.contains("slot 23701 is empty"), "{head}\n{body}");
}
