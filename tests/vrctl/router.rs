//! A router that says what a test wants, and remembers what it was asked.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use tempfile::TempDir;

/// A router on a socket in a folder of its own. Its thread ends with the test's process.
#[derive(Debug)]
pub(crate) struct Router {
    _folder: TempDir,
    socket: PathBuf,
    heard: Receiver<String>,
}

impl Router {
    /// One that always says the same.
    pub(crate) fn new(said: &str) -> Self {
        Self::saying(vec![said.to_owned()])
    }

    /// One that says one thing after the other, and the last one for ever.
    pub(crate) fn saying(all: Vec<String>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("api.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let (hear, heard) = channel();
        thread::spawn(move || {
            for (index, stream) in listener.incoming().enumerate() {
                let said = all.get(index).or(all.last()).unwrap();
                serve(stream.unwrap(), said, &hear);
            }
        });
        Self { _folder: folder, socket, heard }
    }

    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    /// The first request that was not yet told: head, an empty line, body.
    pub(crate) fn heard(&self) -> String {
        self.heard.recv().unwrap()
    }
}

fn serve(stream: UnixStream, said: &str, hear: &Sender<String>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let (mut head, mut length) = (String::new(), 0);
    while !head.ends_with("\r\n\r\n") {
        let start = head.len();
        if reader.read_line(&mut head).unwrap() == 0 {
            return;
        }
        if let Some(value) = head[start..].strip_prefix("content-length: ") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    // The test may have no use for it.
    let _ = hear.send(head + std::str::from_utf8(&body).unwrap());
    // Nor may the program, which can be gone.
    let _ = (&stream).write_all(said.as_bytes());
}

/// A whole answer.
pub(crate) fn answer(status: u16, kind: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status} Said\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n{body}")
}
