//! The management node: commands posted to the router, answers heard at the callback, by the task's uuid.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::lab::{Lab, PATIENCE, until};

/// Where the router is commanded by the station `admin`.
pub(crate) const ROUTER: &str = "192.168.0.188:7272";
/// Where its answers are wanted.
pub(crate) const CALLBACK: &str = "http://192.168.0.10:8080/zstack/asyncrest/callback";
/// How long the management node waits for an echo.
const ECHO: Duration = Duration::from_secs(2);
/// The uuid of the router.
pub(crate) const UUID: &str = "9a3c1d5e7f0b42c68d9e0f1a2b3c4d5e";

/// The node, on a station.
#[derive(Debug)]
pub(crate) struct Node {
    station: &'static str,
    router: String,
    callback: String,
    heard: Arc<Heard>,
    next: AtomicU64,
}

/// What came to the callback.
#[derive(Debug, Default)]
struct Heard {
    /// Answers by task, in the order of arrival.
    answers: Mutex<BTreeMap<String, Vec<Value>>>,
    /// How often the next posts are to be refused, and with what.
    refusing: AtomicUsize,
    refusal: Mutex<&'static str>,
    refused: AtomicUsize,
}

/// What the router said to a request.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) body: String,
}

impl Node {
    /// Starts the node on the station `admin`; it hears for as long as the lab lives.
    pub(crate) fn start(lab: &Lab) -> Self {
        Self::at(lab, "admin", "192.168.0.10", "192.168.0.188")
    }

    /// Starts the node on a station that has this address; it finds the router at another.
    pub(crate) fn at(lab: &Lab, station: &'static str, address: &str, router: &str) -> Self {
        let listener = lab.inside(station, || TcpListener::bind(format!("{address}:8080")).unwrap());
        lab.ends_with(&listener);
        let heard = Arc::new(Heard::default());
        let ear = heard.clone();
        thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                let ear = ear.clone();
                thread::spawn(move || ear.hear(stream));
            }
        });
        let callback = format!("http://{address}:8080/zstack/asyncrest/callback");
        Self { station, router: format!("{router}:7272"), callback, heard, next: AtomicU64::new(1) }
    }

    /// A uuid that no task has.
    pub(crate) fn fresh(&self) -> String {
        format!("{:032x}", self.next.fetch_add(1, Ordering::Relaxed))
    }

    /// Posts a command with these headers and says what the router answered, if it did.
    pub(crate) fn post(
        &self,
        lab: &Lab,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> io::Result<Response> {
        request(lab, (self.station, &self.router), "POST", path, headers, body)
    }

    /// Waits until somebody answers, with the little patience that the management node has for each try.
    pub(crate) fn until_there(&self, lab: &Lab) {
        until("somebody answers", || {
            let stream = lab.connect(self.station, &self.router, ECHO).ok()?;
            let answer = exchange(stream, &self.router, "POST", "/echo", &[], "").ok()?;
            (answer.status == 200).then_some(())
        });
    }

    /// Posts a command as a task; the router has to take it.
    pub(crate) fn send_as(&self, lab: &Lab, uuid: &str, path: &str, body: &Value) {
        let headers = [("taskuuid", uuid), ("callbackurl", self.callback.as_str())];
        let response = self.post(lab, path, &headers, &body.to_string()).unwrap();
        assert_eq!(response.status, 200, "{path}: {response:?}");
    }

    /// Posts a command; the task's uuid.
    pub(crate) fn send(&self, lab: &Lab, path: &str, body: &Value) -> String {
        let uuid = self.fresh();
        self.send_as(lab, &uuid, path, body);
        uuid
    }

    /// The answer to a task, which has to come.
    pub(crate) fn wait(&self, uuid: &str) -> Value {
        until(&format!("the answer to task {uuid}"), || self.answers(uuid).first().cloned())
    }

    /// Every answer to a task that came so far.
    pub(crate) fn answers(&self, uuid: &str) -> Vec<Value> {
        self.heard.answers.lock().unwrap().get(uuid).cloned().unwrap_or_default()
    }

    /// Posts a command and waits for its answer.
    pub(crate) fn ask(&self, lab: &Lab, path: &str, body: &Value) -> Value {
        self.wait(&self.send(lab, path, body))
    }

    /// Posts a command that has to succeed; what else the answer says.
    pub(crate) fn call(&self, lab: &Lab, path: &str, body: &Value) -> Value {
        let answer = self.ask(lab, path, body);
        assert_eq!(answer["success"], true, "{path} {body:#}\n{answer:#}");
        answer
    }

    /// Posts a command that has to fail; why it did.
    pub(crate) fn fails(&self, lab: &Lab, path: &str, body: &Value) -> String {
        let answer = self.ask(lab, path, body);
        assert_eq!(answer["success"], false, "{path} {body:#}\n{answer:#}");
        let why = answer["error"].as_str().unwrap().to_owned();
        assert!(!why.is_empty());
        why
    }

    /// What a ping is answered.
    pub(crate) fn ping(&self, lab: &Lab) -> Value {
        self.call(lab, "/ping", &json!({"uuid": UUID}))
    }

    /// Answers the next `count` posts to the callback with this status line.
    pub(crate) fn refuse(&self, count: usize, status: &'static str) {
        *self.heard.refusal.lock().unwrap() = status;
        self.heard.refused.store(0, Ordering::SeqCst);
        self.heard.refusing.store(count, Ordering::SeqCst);
    }

    /// How many posts were refused since [`Node::refuse`].
    pub(crate) fn refused(&self) -> usize {
        self.heard.refused.load(Ordering::SeqCst)
    }

    /// A number of the router's metrics, by the text before it.
    pub(crate) fn metric(&self, lab: &Lab, name: &str) -> f64 {
        let text = request(lab, (self.station, &self.router), "GET", "/metrics", &[], "").unwrap().body;
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("{name} is not in\n{text}")).parse().unwrap()
    }
}

/// One request on a connection of its own, from a station to the router there.
pub(crate) fn request(
    lab: &Lab,
    (station, router): (&str, &str),
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> io::Result<Response> {
    let stream = lab.connect(station, router, PATIENCE)?;
    exchange(stream, router, method, path, headers, body)
}

fn exchange(
    mut stream: TcpStream,
    router: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> io::Result<Response> {
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {router}\r\nConnection: close\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str(&format!(
        "Content-Type: application/json; charset=UTF-8\r\nContent-Length: {}\r\n\r\n",
        body.len()
    ));
    stream.write_all(head.as_bytes())?;
    // A refusal may come before all of the body was taken.
    let _ = stream.write_all(body.as_bytes());
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    let text = String::from_utf8_lossy(&answer).into_owned();
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        read?;
        return Err(io::ErrorKind::UnexpectedEof.into());
    };
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| io::Error::other(head.to_owned()))?;
    Ok(Response { status, body: body.to_owned() })
}

impl Heard {
    fn hear(&self, stream: TcpStream) {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut reader = BufReader::new(&stream);
        let Some((uuid, body)) = posted(&mut reader) else { return };
        let refuses = self
            .refusing
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1))
            .is_ok();
        let status = if refuses {
            self.refused.fetch_add(1, Ordering::SeqCst);
            *self.refusal.lock().unwrap()
        } else {
            self.answers.lock().unwrap().entry(uuid).or_default().push(body);
            "200 OK"
        };
        let _ = (&stream).write_all(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").as_bytes());
    }
}

/// The task and the result of a post to the callback.
fn posted(reader: &mut impl BufRead) -> Option<(String, Value)> {
    let (mut uuid, mut length, mut line) = (None, 0, String::new());
    reader.read_line(&mut line).ok().filter(|length| *length > 0)?;
    assert!(line.starts_with("POST /zstack/asyncrest/callback HTTP/1.1"), "{line}");
    loop {
        line.clear();
        if reader.read_line(&mut line).ok()? <= 2 {
            break;
        }
        let (name, value) = line.trim().split_once(": ")?;
        match name.to_lowercase().as_str() {
            "taskuuid" => uuid = Some(value.to_owned()),
            "content-length" => length = value.parse().ok()?,
            "content-type" => assert_eq!(value, "application/json"),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((uuid?, serde_json::from_slice(&body).ok()?))
}
