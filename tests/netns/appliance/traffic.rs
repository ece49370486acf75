//! Traffic between stations: servers that say whom they see, questions with every way they can end, streams whose bytes
//! are verified, and pings that are counted.
//!
//! A socket stays in the namespace that it was made in, so sockets are made there and used from the test's own threads.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::lab::{Lab, PATIENCE, until};

/// How long an answer may take that must not come. What must come is given all patience.
pub(crate) const SILENCE: Duration = Duration::from_millis(500);
/// How much of a stream is on its way at once.
const BLOCK: usize = 8192;
/// How long a stream rests between blocks, so that others get to run.
const BREATH: Duration = Duration::from_micros(500);

/// What becomes of a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It is answered by a server that saw it come from here.
    Answered(Ipv4Addr),
    /// Somebody takes the connection and says nothing.
    Connected,
    /// The connection is reset, or the port is said to be closed.
    Refused,
    /// A router says that it does not pass.
    Prohibited,
    /// Nothing comes back.
    Silence,
}

impl Outcome {
    fn of(error: &io::Error) -> Self {
        match error.kind() {
            ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset => Self::Refused,
            ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable | ErrorKind::PermissionDenied => {
                Self::Prohibited
            }
            ErrorKind::TimedOut | ErrorKind::WouldBlock => Self::Silence,
            other => panic!("{other}: {error}"),
        }
    }
}

impl Lab {
    /// Serves TCP and UDP on a port of a station for as long as the test lasts: each connection and each datagram is first
    /// told where it is seen to come from; what comes over a connection goes back.
    pub(crate) fn serve(&self, station: &str, port: u16) {
        let (listener, socket) = self.inside(station, || {
            let any = (Ipv4Addr::UNSPECIFIED, port);
            (TcpListener::bind(any).unwrap(), UdpSocket::bind(any).unwrap())
        });
        self.ends_with(&listener);
        self.ends_with(&socket);
        thread::spawn(move || {
            while let Ok((stream, from)) = listener.accept() {
                thread::spawn(move || echo(stream, from));
            }
        });
        thread::spawn(move || {
            let mut buffer = [0; 2048];
            while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                if length == 0 || socket.send_to(from.ip().to_string().as_bytes(), from).is_err() {
                    break;
                }
            }
        });
    }

    /// Connects from a station.
    pub(crate) fn connect(&self, station: &str, to: &str, patience: Duration) -> io::Result<TcpStream> {
        let to: SocketAddr = to.parse().unwrap();
        let stream = self.inside(station, || TcpStream::connect_timeout(&to, patience))?;
        stream.set_read_timeout(Some(patience))?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// What becomes of a connection from a station that may take so long.
    fn tcp_within(&self, station: &str, to: &str, patience: Duration) -> Outcome {
        match self.connect(station, to, patience) {
            Ok(stream) => greeting(&stream).map_or(Outcome::Connected, |from| Outcome::Answered(*from.ip())),
            Err(error) => Outcome::of(&error),
        }
    }

    /// What becomes of a datagram from a station that may take so long.
    fn udp_within(&self, station: &str, to: &str, patience: Duration) -> Outcome {
        let socket = self.inside(station, || UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap());
        socket.set_read_timeout(Some(patience)).unwrap();
        let mut buffer = [0; 64];
        let asked = socket
            .connect(to)
            .and_then(|()| socket.send(b"who am I?"))
            .and_then(|_| socket.recv(&mut buffer));
        match asked {
            Ok(length) => Outcome::Answered(std::str::from_utf8(&buffer[..length]).unwrap().parse().unwrap()),
            Err(error) => Outcome::of(&error),
        }
    }

    /// What becomes of a connection, where it must not be silence.
    pub(crate) fn tcp(&self, station: &str, to: &str) -> Outcome {
        self.tcp_within(station, to, Duration::from_secs(10))
    }

    /// What becomes of a datagram, where it must not be silence.
    pub(crate) fn udp(&self, station: &str, to: &str) -> Outcome {
        self.udp_within(station, to, Duration::from_secs(10))
    }

    /// A server is reached over TCP, and sees this source.
    pub(crate) fn reaches(&self, station: &str, to: &str, seen_as: &str) {
        let seen_as = seen_as.parse().unwrap();
        assert_eq!(self.tcp(station, to), Outcome::Answered(seen_as), "{station} to {to} over TCP");
    }

    /// A server is reached over UDP, and sees this source.
    pub(crate) fn reaches_by_udp(&self, station: &str, to: &str, seen_as: &str) {
        let seen_as = seen_as.parse().unwrap();
        assert_eq!(self.udp(station, to), Outcome::Answered(seen_as), "{station} to {to} over UDP");
    }

    /// Nothing comes back from any of these, neither over TCP nor over UDP.
    pub(crate) fn silent(&self, station: &str, to: &[&str]) {
        thread::scope(|scope| {
            for to in to {
                scope.spawn(move || {
                    let outcome = self.tcp_within(station, to, SILENCE);
                    assert_eq!(outcome, Outcome::Silence, "{station} to {to} over TCP");
                });
                scope.spawn(move || {
                    let outcome = self.udp_within(station, to, SILENCE);
                    assert_eq!(outcome, Outcome::Silence, "{station} to {to} over UDP");
                });
            }
        });
    }

    /// Nothing comes back over TCP.
    pub(crate) fn connects_in_vain(&self, station: &str, to: &str) {
        assert_eq!(self.tcp_within(station, to, SILENCE), Outcome::Silence, "{station} to {to} over TCP");
    }

    /// Whether pings are answered.
    pub(crate) fn pings(&self, station: &str, to: &str) -> bool {
        self.run(station, &format!("ping -c 1 -W 5 {to}")).success
    }

    /// Whether pings are left unanswered.
    pub(crate) fn pings_in_vain(&self, station: &str, to: &str) -> bool {
        !self.run(station, &format!("ping -c 1 -W 0.5 {to}")).success
    }

    /// Starts a stream from a station to a server of [`Lab::serve`].
    pub(crate) fn stream(&self, station: &str, to: &str) -> Stream {
        let stream = self.connect(station, to, PATIENCE).unwrap_or_else(|error| {
            panic!("{station} to {to}: {error}");
        });
        let seen_as = greeting(&stream).unwrap();
        let (stop, moved) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let name = format!("{station} to {to}");
        let worker = thread::spawn({
            let (stop, moved) = (stop.clone(), moved.clone());
            move || run_stream(stream, &stop, &moved)
        });
        Stream { name, seen_as, stop, moved, worker }
    }

    /// Starts pings from a station, so many a second.
    pub(crate) fn ping_on(&self, station: &str, to: &str, a_second: u32) -> Pings {
        let interval = format!("{}", 1.0 / f64::from(a_second));
        let child = self
            .command(station, &["ping", "-i", &interval, to])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Pings { name: format!("{station} to {to}"), child }
    }
}

/// What a server says first: where it sees the connection come from.
fn greeting(stream: &TcpStream) -> io::Result<SocketAddrV4> {
    let mut line = String::new();
    // Nothing follows the line before it is asked for, so nothing is lost with the reader.
    if BufReader::with_capacity(1, stream).read_line(&mut line)? == 0 {
        return Err(ErrorKind::ConnectionReset.into());
    }
    Ok(line.trim().parse().unwrap())
}

fn echo(mut stream: TcpStream, from: SocketAddr) {
    let _ = stream.set_nodelay(true);
    let _ = stream.set_read_timeout(Some(PATIENCE));
    let mut buffer = vec![0; BLOCK];
    let mut going = stream.write_all(format!("{from}\n").as_bytes());
    while going.is_ok() {
        going = match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return,
            Ok(length) => stream.write_all(&buffer[..length]),
        };
    }
}

/// A TCP connection on which every byte that goes comes back and is compared.
#[derive(Debug)]
pub(crate) struct Stream {
    name: String,
    /// Where the server sees it come from.
    pub(crate) seen_as: SocketAddrV4,
    stop: Arc<AtomicBool>,
    moved: Arc<AtomicU64>,
    worker: JoinHandle<Result<(), String>>,
}

fn run_stream(mut stream: TcpStream, stop: &AtomicBool, moved: &AtomicU64) -> Result<(), String> {
    let (mut back, mut word) = (vec![0; BLOCK], 0_u64);
    while !stop.load(Ordering::Relaxed) {
        let block: Vec<u8> = (word..).take(BLOCK / 8).flat_map(u64::to_le_bytes).collect();
        word += (BLOCK / 8) as u64;
        stream.write_all(&block).map_err(|error| format!("not written: {error}"))?;
        stream.read_exact(&mut back).map_err(|error| format!("not read: {error}"))?;
        if block != back {
            return Err(format!("other bytes came back at word {word}"));
        }
        moved.fetch_add(BLOCK as u64, Ordering::Relaxed);
        thread::sleep(BREATH);
    }
    Ok(())
}

impl Stream {
    fn moved(&self) -> u64 {
        self.moved.load(Ordering::Relaxed)
    }

    /// Waits until more bytes have come back.
    pub(crate) fn goes_on(&self) {
        let before = self.moved();
        until(&format!("the stream from {} goes on", self.name), || {
            assert!(!self.worker.is_finished(), "the stream from {} ended", self.name);
            (self.moved() > before + 2 * BLOCK as u64).then_some(())
        });
    }

    /// Waits until no more bytes come back, or until the connection is reset.
    pub(crate) fn stops(&self) {
        until(&format!("the stream from {} stops", self.name), || {
            let before = self.moved();
            thread::sleep(SILENCE);
            (self.moved() == before).then_some(())
        });
    }

    /// Ends the stream, every byte of which has come back as it went; how many there were.
    pub(crate) fn end(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        let moved = self.moved.clone();
        let name = self.name.clone();
        self.worker.join().unwrap().unwrap_or_else(|error| panic!("the stream from {name}: {error}"));
        moved.load(Ordering::Relaxed)
    }
}

/// Pings that go on until they are ended.
#[derive(Debug)]
pub(crate) struct Pings {
    name: String,
    child: Child,
}

impl Pings {
    /// Ends the pings, each of which was answered; how many there were.
    pub(crate) fn end(mut self) -> u64 {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), Signal::SIGINT).unwrap();
        let mut said = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
        self.child.wait().unwrap();
        let number = |line: &str| line.split("icmp_seq=").nth(1)?.split(' ').next()?.parse().ok();
        let answered: std::collections::BTreeSet<u64> =
            said.lines().filter(|line| line.contains("ttl=")).filter_map(number).collect();
        let sent: u64 = said
            .lines()
            .find_map(|line| line.split_once(" packets transmitted"))
            .unwrap_or_else(|| panic!("the pings from {} say nothing", self.name))
            .0
            .parse()
            .unwrap();
        // The last one may be on its way yet.
        let lost: Vec<u64> = (1..sent).filter(|number| !answered.contains(number)).collect();
        assert!(lost.is_empty(), "{} of {sent} pings from {} are lost: {lost:?}", lost.len(), self.name);
        sent
    }
}

impl Drop for Pings {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A tcpdump whose lines are read as they come.
#[derive(Debug)]
pub(crate) struct Capture {
    lines: mpsc::Receiver<String>,
    seen: Vec<String>,
    taken: usize,
    child: Child,
}

impl Capture {
    /// Listens on a device of a station for what a filter lets through.
    pub(crate) fn start(lab: &Lab, station: &str, device: &str, filter: &str) -> Self {
        let mut child = lab
            .command(station, &["tcpdump", "-n", "-l", "--immediate-mode", "-i", device, filter])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("listening on") {
            line.clear();
            assert!(stderr.read_line(&mut line).unwrap() > 0, "tcpdump ended");
        }
        // What it says at its end has to go somewhere.
        thread::spawn(move || io::copy(&mut stderr, &mut io::sink()));
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            stdout.lines().map_while(Result::ok).all(|line| sender.send(line).is_ok());
        });
        Self { lines, seen: Vec::new(), taken: 0, child }
    }

    /// Waits for the next line that says this, behind the one that was asked for before.
    #[track_caller]
    pub(crate) fn line(&mut self, what: &str) -> String {
        loop {
            while let Some(line) = self.seen.get(self.taken) {
                self.taken += 1;
                if line.contains(what) {
                    return line.clone();
                }
            }
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => self.seen.push(line),
                Err(_) => panic!("no line says `{what}`:\n{}", self.seen.join("\n")),
            }
        }
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
