//! A backend that does what the path asks for, and remembers what it got, octet by octet.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// A request as it came.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    /// The head, with its empty line.
    pub(crate) head: String,
    /// The body, in the framing that it came in.
    pub(crate) body: Vec<u8>,
    /// Which of the backend's connections it came on.
    pub(crate) connection: usize,
}

impl Seen {
    /// All values of a field.
    pub(crate) fn fields(&self, name: &str) -> Vec<&str> {
        let lines = self.head.split("\r\n").skip(1).filter_map(|line| line.split_once(": "));
        lines.filter(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect()
    }

    /// The first line.
    pub(crate) fn line(&self) -> &str {
        self.head.split("\r\n").next().unwrap()
    }
}

/// A backend on a port of its own.
pub(crate) struct Backend {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    seen: Mutex<Vec<Seen>>,
    connections: AtomicUsize,
    stopped: AtomicBool,
    open: Mutex<Vec<(usize, TcpStream)>>,
}

impl Backend {
    /// Starts one at an address.
    pub(crate) fn start(address: &str) -> Self {
        Self::on(TcpListener::bind((address, 0)).unwrap())
    }

    fn on(listener: TcpListener) -> Self {
        let address = listener.local_addr().unwrap();
        let shared = Arc::<Shared>::default();
        let own = shared.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                if own.stopped.load(Ordering::SeqCst) {
                    return;
                }
                let number = own.connections.fetch_add(1, Ordering::SeqCst);
                own.open.lock().unwrap().push((number, stream.try_clone().unwrap()));
                let own = own.clone();
                thread::spawn(move || {
                    let end = stream.try_clone().unwrap();
                    serve(stream, number, &own);
                    let _ = end.shutdown(std::net::Shutdown::Both);
                    own.open.lock().unwrap().retain(|(open, _)| *open != number);
                });
            }
        });
        Self { address, shared }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it got since the last time that it was asked.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        std::mem::take(&mut self.shared.seen.lock().unwrap())
    }

    /// How many connections it ever had.
    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Ends: its port is closed, and with it every connection.
    pub(crate) fn stop(&self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        // Wakes the listener, which then closes: until it has, the kernel takes connections for it.
        while TcpStream::connect(self.address).is_ok() {
            thread::yield_now();
        }
        for (_, stream) in self.shared.open.lock().unwrap().drain(..) {
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.stop();
    }
}

fn serve(mut stream: TcpStream, number: usize, shared: &Shared) {
    stream.set_nodelay(true).unwrap();
    let mut read = Vec::new();
    loop {
        let Some(end) = until(&mut stream, &mut read, b"\r\n\r\n") else { return };
        let head = String::from_utf8_lossy(&read.drain(..end).collect::<Vec<u8>>()).into_owned();
        let mut seen = Seen { head, connection: number, ..Seen::default() };
        let path = seen.line().split(' ').nth(1).unwrap_or_default().to_owned();
        if path.starts_with("/early") {
            shared.seen.lock().unwrap().push(seen);
            let _ = stream.write_all(b"HTTP/1.1 413 Too Long\r\ncontent-length: 5\r\n\r\nearly");
            thread::sleep(Duration::from_millis(200));
            return;
        }
        if path.starts_with("/die") {
            shared.seen.lock().unwrap().push(seen);
            return;
        }
        if path.starts_with("/continue") {
            let _ = stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n");
        }
        if let Some(length) = seen.fields("content-length").first() {
            let length: usize = length.parse().unwrap();
            while read.len() < length {
                if more(&mut stream, &mut read).is_none() {
                    return;
                }
            }
            seen.body = read.drain(..length).collect();
        } else if !seen.fields("transfer-encoding").is_empty() {
            loop {
                let Some(end) = until(&mut stream, &mut read, b"\r\n") else { return };
                let line: Vec<u8> = read.drain(..end).collect();
                seen.body.extend(&line);
                let size = usize::from_str_radix(String::from_utf8_lossy(&line).trim(), 16).unwrap();
                if size == 0 {
                    break;
                }
                while read.len() < size + 2 {
                    if more(&mut stream, &mut read).is_none() {
                        return;
                    }
                }
                seen.body.extend(read.drain(..size + 2));
            }
            loop {
                let Some(end) = until(&mut stream, &mut read, b"\r\n") else { return };
                let line: Vec<u8> = read.drain(..end).collect();
                seen.body.extend(&line);
                if line == b"\r\n" {
                    break;
                }
            }
        }
        shared.seen.lock().unwrap().push(seen.clone());
        if !answer(&mut stream, &mut read, &path, &seen) {
            return;
        }
    }
}

/// Answers as the path asks; false ends the connection.
fn answer(stream: &mut TcpStream, read: &mut Vec<u8>, path: &str, seen: &Seen) -> bool {
    let head_only = seen.head.starts_with("HEAD");
    let mut say = |text: &[u8]| stream.write_all(text).is_ok();
    match path.split(['?', '#']).next().unwrap() {
        "/chunked" => say(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n5\r\nhello\r\n6;ext=1\r\n world\r\n0\r\nx-sum: 11\r\n\r\n"),
        "/until-close" => {
            say(b"HTTP/1.1 200 OK\r\n\r\nhello until the end");
            false
        }
        "/old" => {
            say(b"HTTP/1.0 200 OK\r\ncontent-length: 3\r\n\r\nold");
            false
        }
        "/hints" => {
            say(b"HTTP/1.1 103 Early Hints\r\nlink: </style.css>\r\n\r\n");
            say(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
        }
        "/hops" => say(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: keep-alive, x-hop\r\nkeep-alive: timeout=5\r\nx-hop: 1\r\nx-end: 2\r\nproxy-authenticate: Basic\r\n\r\nok"),
        "/empty" => say(b"HTTP/1.1 204 No Content\r\n\r\n"),
        "/unmodified" => say(b"HTTP/1.1 304 Not Modified\r\netag: \"1\"\r\ncontent-length: 100\r\n\r\n"),
        "/silent" => {
            while more(stream, read).is_some() {}
            false
        }
        "/cut" => {
            say(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf");
            false
        }
        "/cut-chunk" => {
            say(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n");
            false
        }
        "/garbage" => {
            say(b"this is no answer\r\n\r\n");
            false
        }
        "/both" => say(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
        "/two-lengths" => say(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello!"),
        "/extra" => say(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nwrong"),
        "/unasked-switch" => say(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n"),
        "/socket" => {
            say(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: echo\r\nconnection: Upgrade\r\n\r\nwelcome");
            loop {
                if !read.is_empty() && stream.write_all(&std::mem::take(read)).is_err() {
                    return false;
                }
                if more(stream, read).is_none() {
                    return false;
                }
            }
        }
        "/refused-socket" => say(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nno"),
        "/big" => {
            let length = 20_000_000_usize;
            let _ = write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
            stream.write_all(&vec![b'x'; length]).is_ok()
        }
        "/fail" => say(b"HTTP/1.1 500 No\r\ncontent-length: 2\r\n\r\nno"),
        _ if head_only => say(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n"),
        _ => {
            let body = format!("{} octets", seen.body.len());
            let _ = write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nx-backend: {}\r\n\r\n{body}", body.len(), stream.local_addr().unwrap());
            true
        }
    }
}

/// Where `end` ends in what is read.
fn until(stream: &mut TcpStream, read: &mut Vec<u8>, end: &[u8]) -> Option<usize> {
    loop {
        if let Some(at) = read.windows(end.len()).position(|octets| octets == end) {
            return Some(at + end.len());
        }
        more(stream, read)?;
    }
}

fn more(stream: &mut TcpStream, read: &mut Vec<u8>) -> Option<()> {
    let mut buffer = [0; 65536];
    match stream.read(&mut buffer) {
        Ok(count) if count > 0 => {
            read.extend(&buffer[..count]);
            Some(())
        }
        _ => None,
    }
}
