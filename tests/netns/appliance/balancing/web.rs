//! A web server on a station that can be made ill, killed and revived, and that counts what it was asked.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::lab::Lab;

/// The server. It answers every request with its name, and `/healthz` with 503 while it is ill.
#[derive(Debug)]
pub(crate) struct Web {
    station: String,
    port: u16,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    name: String,
    ill: AtomicBool,
    dead: AtomicBool,
    served: AtomicU64,
    listener: Mutex<Option<TcpListener>>,
    open: Mutex<Vec<TcpStream>>,
}

impl Web {
    /// Starts a server on a station; its name is the station's.
    pub(crate) fn start(lab: &Lab, station: &str, port: u16) -> Self {
        let web = Self {
            station: station.to_owned(),
            port,
            state: Arc::new(State { name: station.to_owned(), ..State::default() }),
        };
        web.revive(lab);
        web
    }

    /// Whether checks are told that it is well.
    pub(crate) fn set_well(&self, well: bool) {
        self.state.ill.store(!well, Ordering::SeqCst);
    }

    /// How many requests it has answered, checks aside.
    pub(crate) fn served(&self) -> u64 {
        self.state.served.load(Ordering::SeqCst)
    }

    /// Ends it at once, with every connection that it has; says how many those were.
    pub(crate) fn kill(&self) -> usize {
        self.state.dead.store(true, Ordering::SeqCst);
        if let Some(listener) = self.state.listener.lock().unwrap().take() {
            // Whoever waits in `accept` wakes up.
            let _ = nix::sys::socket::shutdown(
                std::os::fd::AsRawFd::as_raw_fd(&listener),
                nix::sys::socket::Shutdown::Both,
            );
        }
        let open: Vec<TcpStream> = self.state.open.lock().unwrap().drain(..).collect();
        open.iter().filter(|stream| stream.shutdown(Shutdown::Both).is_ok()).count()
    }

    /// Starts it again after its death.
    pub(crate) fn revive(&self, lab: &Lab) {
        self.state.dead.store(false, Ordering::SeqCst);
        let (state, port) = (self.state.clone(), self.port);
        lab.inside(&self.station, || {
            let listener =
                crate::lab::until("the port is free again", || TcpListener::bind(("0.0.0.0", port)).ok());
            lab.ends_with(&listener);
            *state.listener.lock().unwrap() = Some(listener.try_clone().unwrap());
            thread::spawn(move || {
                while let Ok((stream, _)) = listener.accept() {
                    if state.dead.load(Ordering::SeqCst) {
                        return;
                    }
                    state.open.lock().unwrap().push(stream.try_clone().unwrap());
                    let state = state.clone();
                    thread::spawn(move || state.serve(&stream));
                }
            });
        });
    }
}

impl State {
    fn serve(&self, stream: &TcpStream) {
        let _ = stream.set_nodelay(true);
        let mut reader = BufReader::new(stream);
        while let Some((path, length)) = head(&mut reader) {
            let read = std::io::copy(&mut (&mut reader).take(length), &mut std::io::sink());
            if read.is_err() || self.dead.load(Ordering::SeqCst) {
                break;
            }
            let well = path != "/healthz" || !self.ill.load(Ordering::SeqCst);
            let status = if well { "200 OK" } else { "503 Service Unavailable" };
            let body = format!("{}\n", self.name);
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            let mut writer = stream;
            if writer.write_all(answer.as_bytes()).is_err() {
                break;
            }
            if path != "/healthz" {
                self.served.fetch_add(1, Ordering::SeqCst);
            }
        }
        let _ = stream.shutdown(Shutdown::Both);
        let mut open = self.open.lock().unwrap();
        let peer = stream.peer_addr().ok();
        open.retain(|other| peer.is_some() && other.peer_addr().ok() != peer);
    }
}

/// The path of a request and the length of its body; nothing where the client is gone.
fn head(reader: &mut impl BufRead) -> Option<(String, u64)> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|count| *count > 0)?;
    let path = line.split(' ').nth(1)?.to_owned();
    let mut length = 0;
    loop {
        let mut field = String::new();
        reader.read_line(&mut field).ok().filter(|count| *count > 0)?;
        let field = field.trim_end();
        if field.is_empty() {
            return Some((path, length));
        }
        if let Some((name, value)) = field.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().ok()?;
        }
    }
}
