//! The house of the balancer tests: a namespace with the balancers' addresses and their backends' on its loopback, and
//! clients that speak HTTP octet by octet.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::runtime::Runtime;
use vrouter::balancer::{BalancerError, BalancerStatistics, Service, Snapshot, Statistics};
use vrouter::config::Config;
use vrouter::merge_patch;

use super::backend::Backend;
use crate::lab::Lab;

/// The address of the balancers.
pub(crate) const VIP: &str = "192.0.2.7";
/// The address of the backends.
pub(crate) const GUEST: &str = "10.1.1.20";
/// How long a client waits for whatever has to come.
const PATIENCE: Duration = Duration::from_secs(15);

/// Balancers that run in a namespace.
pub(crate) struct House<'a> {
    pub(crate) lab: &'a Lab,
    runtime: Runtime,
    service: Service,
}

/// A lab with one namespace in it, `router`.
pub(crate) fn lab() -> Lab {
    let mut lab = Lab::new();
    lab.namespace("router");
    for line in ["link set lo up", "address add 192.0.2.7/32 dev lo", "address add 10.1.1.20/32 dev lo"] {
        lab.ok("router", &format!("ip {line}"));
    }
    lab
}

impl House<'_> {
    /// Runs a test in a lab of its own while balancers can be served there.
    pub(crate) fn run(test: impl FnOnce(&House<'_>) + Send) {
        let lab = lab();
        lab.inside("router", || {
            let runtime =
                tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
            let state = tempfile::tempdir().unwrap();
            let service = {
                let _on = runtime.enter();
                Service::open(state.path()).unwrap()
            };
            let house = House { lab: &lab, runtime, service };
            test(&house);
            let House { runtime, service, .. } = house;
            runtime.block_on(service.close());
        });
    }

    /// Runs a test with one http balancer on port 80 in front of one backend; `patch` changes the balancer.
    pub(crate) fn one(patch: Value, test: impl FnOnce(&House<'_>, &Backend) + Send) {
        House::run(|house| {
            let backend = Backend::start(GUEST);
            house.serve(http(&[&backend], patch)).unwrap();
            test(house, &backend);
        });
    }

    /// Puts a document with this one balancer under the service.
    pub(crate) fn serve(&self, balancer: Value) -> Result<(), BalancerError> {
        self.apply(json!({"load_balancers": {"web": balancer}}))
    }

    /// Puts a document under the service: interfaces, and whatever `patch` adds.
    pub(crate) fn apply(&self, patch: Value) -> Result<(), BalancerError> {
        let mut document = json!({"version": 1, "interfaces": {
            "public": {"device": "eth0", "roles": ["public"], "addresses": ["192.0.2.1/24"]},
            "guest": {"device": "eth1", "roles": ["guest"], "addresses": ["10.1.1.1/24"]},
        }});
        merge_patch::merge(&mut document, patch);
        let config = Config::default().replace(document).unwrap_or_else(|faults| panic!("{faults}"));
        let snapshot = Arc::new(Snapshot::new(&config, &BTreeMap::new()));
        self.runtime.block_on(self.service.apply(snapshot))
    }

    pub(crate) fn statistics(&self) -> Statistics {
        self.service.statistics()
    }

    /// The balancer `web`.
    pub(crate) fn balancer(&self) -> BalancerStatistics {
        self.statistics().balancers["web"].clone()
    }

    /// How many listeners are on their way out.
    pub(crate) fn ending(&self) -> usize {
        self.service.ending_listeners()
    }

    /// A client of the balancer on port 80.
    pub(crate) fn client(&self) -> Client {
        Client::connect(80)
    }
}

/// An http balancer on port 80 with these backends.
pub(crate) fn http(backends: &[&Backend], patch: Value) -> Value {
    let backends: serde_json::Map<String, Value> = backends
        .iter()
        .enumerate()
        .map(|(number, backend)| {
            let address = backend.address();
            (format!("b{number}"), json!({"address": address.ip().to_string(), "port": address.port()}))
        })
        .collect();
    let mut balancer = json!({
        "address": VIP, "port": 80, "protocol": "http", "pools": {"main": {"backends": backends}},
    });
    merge_patch::merge(&mut balancer, patch);
    balancer
}

/// A client that sends what it is told to.
pub(crate) struct Client {
    stream: TcpStream,
    read: Vec<u8>,
}

/// An answer.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Names in lower case.
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Vec<(String, String)>,
}

impl Answer {
    /// The value of a field, empty where it is not there.
    pub(crate) fn field(&self, name: &str) -> &str {
        self.fields.iter().find(|(own, _)| own == name).map_or("", |(_, value)| value)
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Client {
    pub(crate) fn connect(port: u16) -> Self {
        let address: SocketAddr = format!("{VIP}:{port}").parse().unwrap();
        let stream = TcpStream::connect_timeout(&address, PATIENCE).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, read: Vec::new() }
    }

    /// Sends octets. Whether the other side takes them does not matter: it may have closed by right.
    pub(crate) fn send(&mut self, octets: impl AsRef<[u8]>) -> &mut Self {
        let _ = self.stream.write_all(octets.as_ref());
        self
    }

    /// Sends nothing more.
    pub(crate) fn finish(&mut self) -> &mut Self {
        let _ = self.stream.shutdown(Shutdown::Write);
        self
    }

    /// The next answer to a request with a body in it.
    #[track_caller]
    pub(crate) fn answer(&mut self) -> Answer {
        self.answer_to("GET").expect("an answer")
    }

    /// The next answer, if there is one before the connection ends.
    pub(crate) fn answer_to(&mut self, method: &str) -> Option<Answer> {
        while !self.read.windows(4).any(|octets| octets == b"\r\n\r\n") {
            self.more()?;
        }
        let end = self.read.windows(4).position(|octets| octets == b"\r\n\r\n")? + 4;
        let head = String::from_utf8(self.read.drain(..end).collect()).unwrap();
        let mut lines = head.split("\r\n");
        let status = lines.next()?.split(' ').nth(1)?.parse().unwrap();
        let mut answer = Answer { status, fields: fields(lines), ..Answer::default() };
        let bodiless = method == "HEAD" || status < 200 || status == 204 || status == 304;
        if bodiless {
            return Some(answer);
        }
        if answer.field("transfer-encoding") == "chunked" {
            loop {
                let size = usize::from_str_radix(&self.line()?, 16).unwrap();
                if size == 0 {
                    break;
                }
                let chunk = self.exactly(size)?;
                answer.body.extend(chunk);
                assert_eq!(self.line()?, "");
            }
            let mut lines = Vec::new();
            loop {
                let line = self.line()?;
                if line.is_empty() {
                    break;
                }
                lines.push(line);
            }
            answer.trailers = fields(lines.iter().map(String::as_str));
        } else if let Ok(length) = answer.field("content-length").parse() {
            answer.body = self.exactly(length)?;
        } else {
            while self.more().is_some() {}
            answer.body = std::mem::take(&mut self.read);
        }
        Some(answer)
    }

    /// Whether the other side ends the connection without another octet.
    #[track_caller]
    pub(crate) fn is_closed(&mut self) {
        assert!(self.more().is_none(), "more came: {:?}", String::from_utf8_lossy(&self.read));
        assert!(self.read.is_empty(), "more came: {:?}", String::from_utf8_lossy(&self.read));
    }

    /// So many octets.
    pub(crate) fn exactly(&mut self, length: usize) -> Option<Vec<u8>> {
        while self.read.len() < length {
            self.more()?;
        }
        Some(self.read.drain(..length).collect())
    }

    fn line(&mut self) -> Option<String> {
        while !self.read.windows(2).any(|octets| octets == b"\r\n") {
            self.more()?;
        }
        let end = self.read.windows(2).position(|octets| octets == b"\r\n")?;
        let line: Vec<u8> = self.read.drain(..end + 2).take(end).collect();
        Some(String::from_utf8(line).unwrap())
    }

    fn more(&mut self) -> Option<()> {
        let mut buffer = [0; 65536];
        match self.stream.read(&mut buffer) {
            Ok(0) => None,
            Ok(count) => {
                self.read.extend(&buffer[..count]);
                Some(())
            }
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => None,
            Err(error) => {
                panic!("nothing came: {error}; read so far: {:?}", String::from_utf8_lossy(&self.read))
            }
        }
    }
}

fn fields<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<(String, String)> {
    lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect()
}
