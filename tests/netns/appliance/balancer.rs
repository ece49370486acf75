//! Balancers that the kernel serves, with real packets: who gets which connection, who may ask, and what becomes of
//! connections when backends go.
//!
//! Here are the stations that introduce themselves and those that ask, for the tests in this folder.

mod clients;
mod connections;
mod elements;
mod names;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::house::House;
use crate::lab::{Lab, PATIENCE};

/// The address of the balancers.
const VIP: &str = "198.51.100.8";

/// Who answered, and where it saw the question come from.
type Answer = (String, Ipv4Addr);

impl Lab {
    /// Serves TCP and UDP on a port of a station: whoever asks is told which station it is and where it is seen to come
    /// from.
    fn introduce(&self, station: &str, port: u16) {
        let (listener, socket) = self.inside(station, || {
            let any = (Ipv4Addr::UNSPECIFIED, port);
            (TcpListener::bind(any).unwrap(), UdpSocket::bind(any).unwrap())
        });
        self.ends_with(&listener);
        self.ends_with(&socket);
        let says = {
            let station = station.to_owned();
            move |from: SocketAddr| format!("{station} {}", from.ip())
        };
        let says_by_udp = says.clone();
        thread::spawn(move || {
            while let Ok((mut stream, from)) = listener.accept() {
                let said = says(from);
                thread::spawn(move || {
                    // It stays until the client goes.
                    let _ = stream.write_all(format!("{said}\n").as_bytes());
                    let _ = stream.read(&mut [0; 1]);
                });
            }
        });
        thread::spawn(move || {
            let mut buffer = [0; 64];
            while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                if length == 0 || socket.send_to(says_by_udp(from).as_bytes(), from).is_err() {
                    break;
                }
            }
        });
    }

    /// Asks over TCP, perhaps from one of several addresses; the connection is left open.
    fn open(
        &self,
        station: &str,
        from: Option<&str>,
        to: &str,
        patience: Duration,
    ) -> Option<(TcpStream, Answer)> {
        let to: SocketAddr = to.parse().unwrap();
        let stream = self.inside(station, || {
            use socket2::{Domain, Socket, Type};
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            if let Some(from) = from {
                let from: SocketAddr = format!("{from}:0").parse().unwrap();
                socket.bind(&from.into()).unwrap();
            }
            socket.connect_timeout(&to.into(), patience).ok()?;
            Some(TcpStream::from(socket))
        })?;
        stream.set_read_timeout(Some(patience)).unwrap();
        let mut line = String::new();
        BufReader::new(&stream).read_line(&mut line).ok()?;
        Some((stream, answer(&line)))
    }

    fn ask(&self, station: &str, to: &str) -> Answer {
        self.open(station, None, to, PATIENCE).unwrap_or_else(|| panic!("{station} to {to}")).1
    }

    fn ask_from(&self, station: &str, from: &str, to: &str) -> String {
        self.open(station, Some(from), to, PATIENCE).unwrap_or_else(|| panic!("{from} to {to}")).1.0
    }

    fn ask_by_udp(&self, station: &str, to: &str) -> Answer {
        let socket = self.inside(station, || UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap());
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.connect(to).unwrap();
        socket.send(b"who is there?").unwrap();
        let mut buffer = [0; 64];
        let length = socket.recv(&mut buffer).unwrap_or_else(|error| panic!("{station} to {to}: {error}"));
        answer(std::str::from_utf8(&buffer[..length]).unwrap())
    }
}

fn answer(line: &str) -> Answer {
    let (station, seen) = line.trim().split_once(' ').unwrap_or_else(|| panic!("`{line}`"));
    (station.to_owned(), seen.parse().unwrap())
}

/// A balancer of one pool.
fn balancer(address: &str, port: u16, protocol: &str, backends: Value) -> Value {
    json!({"address": address, "port": port, "protocol": protocol, "pools": {"main": {"backends": backends}}})
}

fn web(port: u16) -> Value {
    json!({"web1": {"address": "10.1.1.20", "port": port, "weight": 100},
           "web2": {"address": "10.1.1.21", "port": port, "weight": 50}})
}

/// The same two, each as good as the other.
fn even(port: u16) -> Value {
    json!({"web1": {"address": "10.1.1.20", "port": port}, "web2": {"address": "10.1.1.21", "port": port}})
}

/// A house with these balancers, and stations that introduce themselves on port 7000.
fn house(balancers: Value) -> House {
    let house = House::with(json!({ "load_balancers": balancers }));
    for station in ["web1", "web2", "other"] {
        house.lab.introduce(station, 7000);
    }
    house
}

fn backends(answers: impl Iterator<Item = Answer>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for (station, _) in answers {
        *counts.entry(station).or_default() += 1;
    }
    counts
}
