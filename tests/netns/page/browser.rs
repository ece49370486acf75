//! A headless Chromium in a namespace, driven by WebDriver (W3C) over plain HTTP.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::lab::{Lab, PATIENCE, until};

/// Where chromedriver listens in the namespace.
const PORT: u16 = 9515;
const CHROMIUM: &str = "/usr/bin/chromium";
const CHROMEDRIVER: &str = "/usr/bin/chromedriver";
/// What keeps Chromium from asking for anything by itself, and what root and a machine without a screen need.
const ARGUMENTS: [&str; 11] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-sync",
    "--window-size=1680,1050",
];

/// What this machine lacks for such tests.
pub(crate) fn missing() -> Option<&'static str> {
    [CHROMIUM, CHROMEDRIVER].into_iter().find(|path| !Path::new(path).exists())
}

/// A browser with one window. It ends before its lab.
#[derive(Debug)]
pub(crate) struct Browser<'a> {
    lab: &'a Lab,
    namespace: &'a str,
    session: String,
    _profile: TempDir,
}

impl<'a> Browser<'a> {
    /// Starts the driver, which runs until the lab ends.
    pub(crate) fn prepare(lab: &mut Lab, namespace: &str) {
        lab.start(namespace, &format!("{CHROMEDRIVER} --port={PORT} --log-level=OFF"));
    }

    /// Opens a window; the driver has to be there.
    pub(crate) fn open(lab: &'a Lab, namespace: &'a str) -> Self {
        let profile = tempfile::tempdir().unwrap();
        until("the driver is ready", || {
            let said = exchange(lab, namespace, "GET", "/status", &Value::Null).ok()?;
            (said["value"]["ready"] == true).then_some(())
        });
        let folder = format!("--user-data-dir={}", profile.path().display());
        let mut arguments = ARGUMENTS.to_vec();
        arguments.push(&folder);
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": {"binary": CHROMIUM, "args": arguments},
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        }}});
        let said = exchange(lab, namespace, "POST", "/session", &wanted).unwrap();
        let session = said["value"]["sessionId"].as_str().unwrap_or_else(|| panic!("{said:#}")).to_owned();
        Self { lab, namespace, session, _profile: profile }
    }

    /// One command of the session.
    fn command(&self, method: &str, path: &str, body: &Value) -> Value {
        let path = format!("/session/{}{path}", self.session);
        let mut said = exchange(self.lab, self.namespace, method, &path, body).unwrap();
        assert!(said["value"].get("error").is_none(), "{path} {body}: {said:#}");
        said["value"].take()
    }

    /// Goes to an address and waits until it is loaded.
    pub(crate) fn go(&self, url: &str) {
        self.command("POST", "/url", &json!({"url": url}));
    }

    /// What a function with this body returns in the page.
    pub(crate) fn run(&self, body: &str) -> Value {
        self.command("POST", "/execute/sync", &json!({"script": body, "args": []}))
    }

    /// The text of what a selector finds, piece by piece; of hidden pieces too.
    pub(crate) fn texts(&self, selector: &str) -> Vec<String> {
        let script =
            format!("return [...document.querySelectorAll({})].map((it) => it.textContent)", json!(selector));
        serde_json::from_value(self.run(&script)).unwrap()
    }

    fn element(&self, selector: &str) -> String {
        let found = self.command("POST", "/element", &json!({"using": "css selector", "value": selector}));
        found.as_object().unwrap().values().next().unwrap().as_str().unwrap().to_owned()
    }

    /// Clicks on something that can be clicked on.
    pub(crate) fn click(&self, selector: &str) {
        self.command("POST", &format!("/element/{}/click", self.element(selector)), &json!({}));
    }

    /// Presses keys with something in focus.
    pub(crate) fn press(&self, selector: &str, keys: &str) {
        self.command("POST", &format!("/element/{}/value", self.element(selector)), &json!({"text": keys}));
    }

    /// What was logged since this was asked last: `browser`, the console; `performance`, events of the protocol.
    pub(crate) fn log(&self, kind: &str) -> Vec<Value> {
        self.command("POST", "/se/log", &json!({"type": kind})).as_array().unwrap().clone()
    }

    /// The requests that were made since this was asked last: method and address. The browser's own first page is none
    /// of them.
    pub(crate) fn requests(&self) -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let events = self.log("performance").into_iter().filter_map(|entry| {
            let message: Value = serde_json::from_str(entry["message"].as_str()?).ok()?;
            let event = &message["message"];
            let (request, document) = (&event["params"]["request"], event["params"]["documentURL"].as_str());
            let own = document.is_some_and(|document| document.starts_with("chrome://"));
            (event["method"] == "Network.requestWillBeSent" && !own)
                .then(|| (text(&request["method"]), text(&request["url"])))
        });
        events.collect()
    }

    /// A command of the browser's own protocol.
    pub(crate) fn protocol(&self, command: &str, parameters: &Value) -> Value {
        self.command("POST", "/goog/cdp/execute", &json!({"cmd": command, "params": parameters}))
    }
}

impl Drop for Browser<'_> {
    fn drop(&mut self) {
        // The driver ends the browser with the session; a driver that is gone took it along.
        let path = format!("/session/{}", self.session);
        let _ = exchange(self.lab, self.namespace, "DELETE", &path, &Value::Null);
    }
}

/// One request in the namespace, on a connection of its own.
fn exchange(lab: &Lab, namespace: &str, method: &str, path: &str, body: &Value) -> std::io::Result<Value> {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let said = lab.inside(namespace, || send(PORT, method, path, &body))?;
    let start = said.windows(4).position(|four| four == b"\r\n\r\n").map_or(0, |end| end + 4);
    serde_json::from_slice(&said[start..]).map_err(std::io::Error::other)
}

/// What a server on loopback says, octet by octet.
pub(crate) fn send(port: u16, method: &str, path: &str, body: &str) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(2 * PATIENCE))?;
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    )?;
    // The driver keeps connections whatever it is asked for, so the end is where the head says.
    let mut reader = BufReader::new(stream);
    let (mut said, mut length) = (String::new(), 0);
    while !said.ends_with("\r\n\r\n") {
        let start = said.len();
        if reader.read_line(&mut said)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(value) = said[start..].to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().map_err(std::io::Error::other)?;
        }
    }
    let mut said = said.into_bytes();
    let head = said.len();
    said.resize(head + length, 0);
    reader.read_exact(&mut said[head..])?;
    Ok(said)
}
