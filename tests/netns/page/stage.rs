//! A server on loopback that shows the router's page, as the router sends it, with statistics that a test thought of.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::Value;

use super::browser;
use crate::lab::Lab;

/// Where the stage listens, beside the router.
pub(crate) const PORT: u16 = 7271;

/// What is on the stage.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stage(Arc<Mutex<Said>>);

#[derive(Debug, Default)]
struct Said {
    page: Vec<u8>,
    status: String,
    statistics: String,
}

impl Stage {
    /// Opens a stage in the namespace of a router, which is asked for its page.
    pub(crate) fn open(lab: &Lab, namespace: &str, router: u16) -> Self {
        let stage = Self::default();
        let listener = lab.inside(namespace, || {
            stage.0.lock().unwrap().page = browser::send(router, "GET", "/", "").unwrap();
            TcpListener::bind((Ipv4Addr::LOCALHOST, PORT)).unwrap()
        });
        lab.ends_with(&listener);
        let serving = stage.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                let stage = serving.clone();
                thread::spawn(move || stage.serve(&stream));
            }
        });
        stage
    }

    /// Has the page show this from now on.
    pub(crate) fn show(&self, status: &Value, statistics: &impl serde::Serialize) {
        let mut said = self.0.lock().unwrap();
        said.status = status.to_string();
        said.statistics = serde_json::to_string(statistics).unwrap();
    }

    fn serve(&self, mut stream: &TcpStream) {
        let mut reader = BufReader::new(stream);
        let mut first = String::new();
        let mut line = String::new();
        if reader.read_line(&mut first).is_err() {
            return;
        }
        while line != "\r\n" {
            line.clear();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
        }
        let said = {
            let said = self.0.lock().unwrap();
            match first.split(' ').nth(1) {
                Some("/") => said.page.clone(),
                Some("/v1/status") => json(&said.status),
                Some("/v1/balancers") => json(&said.statistics),
                _ => b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_vec(),
            }
        };
        // Whoever asked may have gone.
        let _ = stream.write_all(&said);
    }
}

fn json(body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
    .into_bytes()
}
