//! A small SPICE server and a small viewer: link messages, tickets, the session's number, and then octets that come back.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use vrouter::pool::broker::spice::{HEADER, KEY, Link, MAGIC, Reply, TICKET};
use vrouter::pool::broker::ticket::{Secret, TicketKey, seal};

pub(crate) const MAIN: u8 = 1;
pub(crate) const DISPLAY: u8 = 2;
pub(crate) const INPUTS: u8 = 3;

/// Capabilities that both ends announce: selection of authentication, tickets, SASL (server only), short headers.
const CLIENT: u32 = 0b1011;
const SERVER: u32 = 0b1111;

/// A console.
pub(crate) struct Console {
    pub(crate) address: SocketAddr,
    pub(crate) shared: Arc<Shared>,
}

/// What the console saw.
pub(crate) struct Shared {
    key: TicketKey,
    password: Option<Secret>,
    sessions: Mutex<BTreeSet<u32>>,
    next: AtomicU32,
    /// Channels that are open now.
    pub(crate) open: AtomicUsize,
}

impl Console {
    /// Starts one on a port of its own.
    pub(crate) async fn start(password: Option<&str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            key: TicketKey::new().unwrap(),
            password: password.map(|text| text.to_owned().try_into().unwrap()),
            sessions: Mutex::default(),
            next: AtomicU32::new(0x5000_0001),
            open: AtomicUsize::new(0),
        });
        let served = shared.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let shared = served.clone();
                tokio::spawn(async move { shared.serve(stream).await });
            }
        });
        Self { address, shared }
    }
}

impl Shared {
    /// One channel, to its end. An error is the end of the connection.
    pub(crate) async fn serve(&self, mut stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
        let body = read_message(&mut stream).await?;
        let link = Link::parse(&body).map_err(io::Error::other)?;
        let known = link.session == 0 || self.sessions.lock().unwrap().contains(&link.session);
        let mut reply = if known { 0u32 } else { 8 }.to_le_bytes().to_vec();
        reply.extend(self.key.public());
        for word in [1u32, 0, 178, SERVER] {
            reply.extend(word.to_le_bytes());
        }
        stream.write_all(&message(&reply)).await?;
        if !known {
            return Ok(());
        }
        assert_eq!(stream.read_u32_le().await?, 1, "the viewer chose something else than the ticket");
        let mut encrypted = [0; TICKET];
        stream.read_exact(&mut encrypted).await?;
        let ticket = self.key.open(&encrypted).unwrap_or_default();
        let right = self.password.as_ref().is_none_or(|password| password.matches(&ticket));
        stream.write_u32_le(if right { 0 } else { 7 }).await?;
        if !right {
            return Ok(());
        }
        self.open.fetch_add(1, Ordering::SeqCst);
        let result = self.relay(&mut stream, link).await;
        self.open.fetch_sub(1, Ordering::SeqCst);
        result
    }

    async fn relay(&self, stream: &mut (impl AsyncRead + AsyncWrite + Unpin), link: Link) -> io::Result<()> {
        if link.session == 0 {
            let session = self.next.fetch_add(1, Ordering::SeqCst);
            self.sessions.lock().unwrap().insert(session);
            stream.write_u16_le(103).await?;
            stream.write_u32_le(32).await?;
            stream.write_u32_le(session).await?;
            stream.write_all(&[0; 28]).await?;
        }
        let mut buffer = [0; 4096];
        loop {
            let read = stream.read(&mut buffer).await?;
            if read == 0 {
                return Ok(());
            }
            stream.write_all(&buffer[..read]).await?;
        }
    }
}

/// Why a viewer got no channel.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Turned {
    /// The connection was closed without a word.
    Closed,
    /// The server's verdict.
    Verdict(u32),
}

/// A viewer's channel.
#[derive(Debug)]
pub(crate) struct Channel<S> {
    pub(crate) stream: S,
    /// The session's number, on a main channel.
    pub(crate) session: u32,
}

/// Opens a channel from this address.
pub(crate) async fn view(
    broker: SocketAddr,
    from: IpAddr,
    session: u32,
    channel: u8,
    ticket: Option<&str>,
) -> Result<Channel<TcpStream>, Turned> {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(from, 0)).unwrap();
    let stream = socket.connect(broker).await.map_err(|_| Turned::Closed)?;
    open(stream, session, channel, ticket).await
}

/// Opens a channel on a connection.
pub(crate) async fn open<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    session: u32,
    channel: u8,
    ticket: Option<&str>,
) -> Result<Channel<S>, Turned> {
    let closed = |_: io::Error| Turned::Closed;
    let mut body = session.to_le_bytes().to_vec();
    body.extend([channel, 0]);
    for word in [1u32, 0, 18, CLIENT] {
        body.extend(word.to_le_bytes());
    }
    stream.write_all(&message(&body)).await.map_err(closed)?;
    let answer = read_message(&mut stream).await.map_err(closed)?;
    let reply = Reply::parse(&answer).unwrap();
    if reply.error != 0 {
        return Err(Turned::Verdict(reply.error));
    }
    let ticket = ticket.map(|text| text.to_owned().try_into().unwrap());
    let sealed = seal(&reply.key, ticket.as_ref()).unwrap();
    stream.write_u32_le(1).await.map_err(closed)?;
    stream.write_all(&sealed).await.map_err(closed)?;
    let verdict = stream.read_u32_le().await.map_err(closed)?;
    if verdict != 0 {
        return Err(Turned::Verdict(verdict));
    }
    let mut number = 0;
    if session == 0 {
        let mut init = [0; 38];
        stream.read_exact(&mut init).await.map_err(closed)?;
        number = u32::from_le_bytes(init[6..10].try_into().unwrap());
    }
    Ok(Channel { stream, session: number })
}

impl<S: AsyncRead + AsyncWrite + Unpin> Channel<S> {
    /// Says something and waits until it came back.
    pub(crate) async fn echo(&mut self, octets: &[u8]) -> io::Result<()> {
        self.stream.write_all(octets).await?;
        let mut back = vec![0; octets.len()];
        self.stream.read_exact(&mut back).await?;
        assert_eq!(back, octets);
        Ok(())
    }

    /// Waits until the other side ends the channel.
    pub(crate) async fn ended(&mut self) {
        let mut buffer = [0; 256];
        while let Ok(1..) = self.stream.read(&mut buffer).await {}
    }
}

fn message(body: &[u8]) -> Vec<u8> {
    let mut octets = MAGIC.to_vec();
    for word in [2, 2, u32::try_from(body.len()).unwrap()] {
        octets.extend(word.to_le_bytes());
    }
    octets.extend(body);
    octets
}

async fn read_message(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let mut header = [0; HEADER];
    stream.read_exact(&mut header).await?;
    assert_eq!(header[..4], MAGIC);
    let mut body = vec![0; usize::try_from(u32::from_le_bytes(header[12..].try_into().unwrap())).unwrap()];
    assert!(body.len() <= 4096 && KEY == 162);
    stream.read_exact(&mut body).await?;
    Ok(body)
}
