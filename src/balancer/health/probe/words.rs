//! Checks of the types tcp and udp: a connection or a datagram, and perhaps a few words.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};

use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::UdpSocket;

use super::{Asking, Failure, Finding, failure, unusable};

/// The longest datagram.
const DATAGRAM: usize = 65_535;

/// Well is who takes a connection, and whose first words are those that are expected.
pub(super) async fn tcp(asking: Asking<'_>) -> Finding {
    let mut stream = asking.connect().await?;
    if let Some(send) = &asking.check.send {
        asking.within(stream.write_all(send.as_bytes())).await?.map_err(|error| failure(&error))?;
    }
    let Some(expect) = &asking.check.expect else { return Ok("connected".into()) };
    let mut answer = vec![0; expect.len()];
    let mut length = 0;
    while let Some(rest) = answer.get_mut(length..).filter(|rest| !rest.is_empty()) {
        let read = asking.within(stream.read(rest)).await?.map_err(|error| failure(&error))?;
        length += read;
        if read == 0 && length == 0 {
            return Err(Failure::Ill("closed without an answer".into()));
        }
        if read == 0 || !expect.as_bytes().starts_with(answer.get(..length).unwrap_or_default()) {
            return Err(Failure::Ill("not the expected answer".into()));
        }
    }
    Ok("the expected answer".into())
}

/// Well is who answers as expected; where nothing is expected, who does not refuse.
pub(super) async fn udp(asking: Asking<'_>) -> Finding {
    let source =
        SocketAddrV4::new(asking.check.source.map_or(Ipv4Addr::UNSPECIFIED, |source| source.get()), 0);
    let socket = UdpSocket::bind(source).await.map_err(|error| unusable(source, &error))?;
    // A refusal reaches a socket that is connected, and nobody else's datagram does.
    socket.connect(asking.endpoint).await.map_err(|error| failure(&error))?;
    let send = asking.check.send.as_deref().unwrap_or_default().as_bytes();
    socket.send(send).await.map_err(|error| failure(&error))?;
    let expect = asking.check.expect.as_deref();
    let answered = match asking.within(answered(&socket)).await {
        Err(_) if expect.is_none() => {
            return Ok(format!("no refusal within {} s", asking.check.timeout_seconds).into());
        }
        answered => answered?,
    };
    answered.map_err(|error| failure(&error))?;
    let Some(expect) = expect else { return Ok("an answer".into()) };
    let mut answer = vec![0; expect.len().min(DATAGRAM)];
    let length = socket.try_recv(&mut answer).map_err(|error| failure(&error))?;
    if answer.get(..length) == Some(expect.as_bytes()) {
        Ok("the expected answer".into())
    } else {
        Err(Failure::Ill("not the expected answer".into()))
    }
}

/// Waits for a datagram. A refusal is told as an error of the socket, which whoever waits to read alone is not woken by.
async fn answered(socket: &UdpSocket) -> io::Result<()> {
    let ready = socket.ready(Interest::READABLE | Interest::ERROR).await?;
    if let Some(error) = socket.take_error()? {
        return Err(error);
    }
    if ready.is_readable() { Ok(()) } else { socket.readable().await }
}
