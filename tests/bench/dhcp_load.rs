//! Clients of a DHCP server behind one relay, as many at a time as asked for: what a server gives at most.
//!
//! Each exchange is DISCOVER, OFFER, REQUEST, ACK (RFC 2131 section 3.1), relayed by this program's own address, so
//! that every server answers by plain UDP. Messages go and come in batches: a load generator that takes a system call
//! for each is slower than what it measures. Prints one JSON object. Called by `tests/bench/run`.
//!
//! usage: `dhcp_load LOCAL SERVER CLIENTS IN_FLIGHT SECONDS|once`; `once` ends when each client has its address.

#![expect(
    clippy::disallowed_macros,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a command line that measures time and prints what it measured"
)]

use std::error::Error;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, MultiHeaders, recvmmsg, sendmmsg, setsockopt, sockopt};

/// How many messages go through one system call.
const BATCH: usize = 64;
/// The longest message that is read.
const MESSAGE: usize = 1500;
/// What may wait in the kernel in each direction.
const BUFFER: usize = 16 << 20;
/// How long an answer may take until the client asks again: under load, and where the server is only just starting.
const PATIENCE: Duration = Duration::from_secs(1);
const PATIENCE_ONCE: Duration = Duration::from_millis(10);
/// How often those that wait too long are looked for.
const LOOK: Duration = Duration::from_millis(5);
/// How long `once` may take: a server that is not there must not hold the caller for ever.
const LIMIT_ONCE: Duration = Duration::from_secs(60);

/// The port of servers and relays.
const SERVER_PORT: u16 = 67;
/// Where options begin: the header and the magic cookie.
const OPTIONS: usize = 240;
const DISCOVER: u8 = 1;
const OFFER: u8 = 2;
const REQUEST: u8 = 3;
const ACK: u8 = 5;
const NAK: u8 = 6;

/// What was asked for on the command line.
struct Load {
    local: Ipv4Addr,
    server: Ipv4Addr,
    clients: u32,
    in_flight: u32,
    /// `None`: until each client has its address.
    duration: Option<Duration>,
}

/// An exchange that is under way.
struct Exchange {
    client: u32,
    offered: Option<Ipv4Addr>,
    begun: Instant,
    sent: Instant,
}

/// What came of it all.
#[derive(Default)]
struct Outcome {
    done: u64,
    asked_again: u64,
    refused: u64,
    /// A client was given another address than before.
    moved: u64,
    /// How many clients have an address, and which.
    served: u32,
    addresses: Vec<Option<Ipv4Addr>>,
    took: Vec<Duration>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [local, server, clients, in_flight, duration] = arguments.as_slice() else {
        return Err("usage: dhcp_load LOCAL SERVER CLIENTS IN_FLIGHT SECONDS|once".into());
    };
    let duration = match duration.as_str() {
        "once" => None,
        seconds => Some(Duration::from_secs(seconds.parse()?)),
    };
    let load = Load {
        local: local.parse()?,
        server: server.parse()?,
        clients: clients.parse()?,
        in_flight: in_flight.parse()?,
        duration,
    };
    let begun = Instant::now();
    let mut outcome = run(&load)?;
    let seconds = begun.elapsed().as_secs_f64();
    outcome.took.sort_unstable();
    let quantile = |percent: usize| {
        let index = (outcome.took.len() * percent / 100).min(outcome.took.len().saturating_sub(1));
        outcome.took.get(index).map_or(0, Duration::as_micros)
    };
    println!(
        r#"{{"exchanges":{},"seconds":{seconds:.6},"asked_again":{},"refused":{},"moved":{},"p50_us":{},"p99_us":{}}}"#,
        outcome.done,
        outcome.asked_again,
        outcome.refused,
        outcome.moved,
        quantile(50),
        quantile(99),
    );
    Ok(())
}

fn run(load: &Load) -> Result<Outcome, Box<dyn Error>> {
    let socket = open(load)?;
    let patience = if load.duration.is_some() { PATIENCE } else { PATIENCE_ONCE };
    let begun = Instant::now();
    let end = begun + load.duration.unwrap_or(LIMIT_ONCE);
    let clients = load.clients.max(1);
    let mut outcome = Outcome { addresses: vec![None; clients as usize], ..Outcome::default() };
    let mut exchanges: Vec<Exchange> = Vec::new();
    let mut out = Vec::new();
    for slot in 0..load.in_flight.clamp(1, clients) {
        exchanges.push(Exchange { client: slot, offered: None, begun, sent: begun });
        out.push(discover(load, slot, slot));
    }
    let mut next = load.in_flight.clamp(1, clients);
    let mut looked = begun;
    let mut room = vec![0; BATCH * MESSAGE];
    let mut headers = MultiHeaders::<()>::preallocate(BATCH, None);
    loop {
        send(&socket, &out)?;
        out.clear();
        let lengths = receive(&socket, &mut headers, &mut room)?;
        let now = Instant::now();
        for (message, length) in room.chunks(MESSAGE).zip(lengths) {
            let message = message.get(..length).unwrap_or_default();
            if let Some(reply) = answer(load, &mut exchanges, message, &mut next, &mut outcome, now) {
                out.push(reply);
            }
        }
        match load.duration {
            Some(_) if now >= end => return Ok(outcome),
            None if outcome.served == clients => return Ok(outcome),
            None if now >= end => {
                return Err(format!("{} of {clients} clients have an address", outcome.served).into());
            }
            _ => {}
        }
        if now - looked >= LOOK {
            looked = now;
            for (slot, exchange) in (0..).zip(&mut exchanges) {
                if now - exchange.sent >= patience {
                    outcome.asked_again += 1;
                    exchange.sent = now;
                    out.push(match exchange.offered {
                        None => discover(load, slot, exchange.client),
                        Some(address) => request(load, slot, exchange.client, address),
                    });
                }
            }
        }
    }
}

/// The relay's socket, which hears the server alone.
fn open(load: &Load) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((load.local, SERVER_PORT))?;
    setsockopt(&socket, sockopt::RcvBufForce, &BUFFER)?;
    setsockopt(&socket, sockopt::SndBufForce, &BUFFER)?;
    socket.connect((load.server, SERVER_PORT))?;
    socket.set_read_timeout(Some(LOOK))?;
    Ok(socket)
}

/// What a client says to a message of the server, if anything. An exchange that is over makes room for the next client.
fn answer(
    load: &Load,
    exchanges: &mut [Exchange],
    message: &[u8],
    next: &mut u32,
    outcome: &mut Outcome,
    now: Instant,
) -> Option<Vec<u8>> {
    let slot = u32::from_be_bytes(message.get(4..8)?.try_into().ok()?);
    let exchange = exchanges.get_mut(usize::try_from(slot).ok()?)?;
    if message.get(28..34)? != mac(exchange.client) {
        return None;
    }
    let address = Ipv4Addr::from(<[u8; 4]>::try_from(message.get(16..20)?).ok()?);
    match (kind(message)?, exchange.offered) {
        (OFFER, None) => {
            exchange.offered = Some(address);
            exchange.sent = now;
            return Some(request(load, slot, exchange.client, address));
        }
        (ACK, Some(_)) => {
            outcome.done += 1;
            outcome.took.push(now - exchange.begun);
            let before = outcome.addresses.get_mut(usize::try_from(exchange.client).ok()?)?.replace(address);
            outcome.served += u32::from(before.is_none());
            outcome.moved += u64::from(before.is_some_and(|before| before != address));
        }
        (NAK, Some(_)) => outcome.refused += 1,
        _ => return None,
    }
    let client = *next % load.clients.max(1);
    *next = next.wrapping_add(1);
    *exchange = Exchange { client, offered: None, begun: now, sent: now };
    Some(discover(load, slot, client))
}

/// The message type (RFC 2132 section 9.6).
fn kind(message: &[u8]) -> Option<u8> {
    let mut options = message.get(OPTIONS..)?;
    loop {
        match *options {
            [53, 1, kind, ..] => return Some(kind),
            [0, ref rest @ ..] => options = rest,
            [255, ..] => return None,
            [_, length, ref rest @ ..] => options = rest.get(usize::from(length)..)?,
            _ => return None,
        }
    }
}

/// The hardware address of a client, as `document.jq` gives it to its host.
fn mac(client: u32) -> [u8; 6] {
    let [_, high, middle, low] = client.to_be_bytes();
    [0xfa, 0xaa, 0, high, middle, low]
}

fn discover(load: &Load, slot: u32, client: u32) -> Vec<u8> {
    message(load, slot, client, DISCOVER, &[])
}

fn request(load: &Load, slot: u32, client: u32, address: Ipv4Addr) -> Vec<u8> {
    let mut options = vec![50, 4];
    options.extend(address.octets());
    options.extend([54, 4]);
    options.extend(load.server.octets());
    message(load, slot, client, REQUEST, &options)
}

/// A relayed message (RFC 2131 section 2): the slot is its transaction id.
fn message(load: &Load, slot: u32, client: u32, kind: u8, options: &[u8]) -> Vec<u8> {
    // BOOTREQUEST, Ethernet, six octets of hardware address, one relay on the way.
    let mut message = vec![1, 1, 6, 1];
    message.extend(slot.to_be_bytes());
    message.extend([0; 16]);
    message.extend(load.local.octets());
    message.extend(mac(client));
    message.resize(OPTIONS - 4, 0);
    message.extend([99, 130, 83, 99, 53, 1, kind]);
    message.extend(options);
    // Mask, broadcast, time offset, router, domain, name servers, host name: what dhclient asks for.
    message.extend([55, 7, 1, 28, 2, 3, 15, 6, 12, 255]);
    message
}

fn send(socket: &UdpSocket, messages: &[Vec<u8>]) -> io::Result<()> {
    for batch in messages.chunks(BATCH) {
        let slices: Vec<[IoSlice<'_>; 1]> = batch.iter().map(|message| [IoSlice::new(message)]).collect();
        let mut headers = MultiHeaders::<()>::preallocate(slices.len(), None);
        let nobody = vec![None; slices.len()];
        // A server that is not there yet, or is choked, is asked again like one that lost the message.
        match sendmmsg(socket.as_raw_fd(), &mut headers, &slices, nobody, [], MsgFlags::empty()) {
            Ok(_) | Err(Errno::ECONNREFUSED | Errno::EAGAIN) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Waits for a message or for [`LOOK`], and takes what is there.
fn receive(socket: &UdpSocket, headers: &mut MultiHeaders<()>, room: &mut [u8]) -> io::Result<Vec<usize>> {
    let mut slices: Vec<[IoSliceMut<'_>; 1]> =
        room.chunks_mut(MESSAGE).map(|room| [IoSliceMut::new(room)]).collect();
    match recvmmsg(socket.as_raw_fd(), headers, &mut slices, MsgFlags::MSG_WAITFORONE, None) {
        Ok(received) => Ok(received.map(|message| message.bytes).collect()),
        Err(Errno::EAGAIN | Errno::EINTR | Errno::ECONNREFUSED) => Ok(Vec::new()),
        Err(error) => Err(error.into()),
    }
}
