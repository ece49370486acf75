//! Consoles of made-up VMs: real sockets that speak as much SPICE as a broker needs to let a viewer in, and a viewer to show a
//! picture. What is no SPICE is sent back as it is.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use super::screen::{self, SHORT_HEADER};
use crate::pool::broker::spice::{self, HEADER, Link, TICKET};
use crate::pool::broker::ticket::{TicketError, TicketKey};

/// What the made-up console can do: selection of authentication, tickets, short headers.
const CAPABILITIES: u32 = 0b1011;
/// The number that SPICE gives "permission denied" (`SPICE_LINK_ERR_PERMISSION_DENIED`).
const DENIED: u32 = 7;
/// The number of the message that names a session (`SPICE_MSG_MAIN_INIT`), and its length.
const MAIN_INIT: u16 = 103;
const MAIN_INIT_LENGTH: u32 = 32;

/// The consoles of a made-up host, by VM.
#[derive(Debug)]
pub struct FakeConsoles {
    key: Arc<TicketKey>,
    open: Mutex<BTreeMap<String, FakeConsole>>,
}

#[derive(Debug)]
struct FakeConsole {
    password: Arc<Mutex<Option<String>>>,
    task: JoinHandle<()>,
}

/// What the channels of one console share.
#[derive(Debug, Default)]
struct Sessions {
    known: BTreeSet<u32>,
    last: u32,
}

impl FakeConsoles {
    /// A host without consoles.
    ///
    /// # Errors
    /// The kernel has no randomness.
    pub fn new() -> Result<Self, TicketError> {
        Ok(Self { key: Arc::new(TicketKey::new()?), open: Mutex::default() })
    }

    /// Opens a console on loopback.
    ///
    /// # Errors
    /// The port is taken.
    pub async fn open(&self, name: &str, port: u16) -> io::Result<()> {
        self.close(name);
        let listener = bind(port).await?;
        let password = Arc::<Mutex<Option<String>>>::default();
        let task = tokio::spawn(serve(listener, self.key.clone(), password.clone()));
        self.open.lock().insert(name.to_owned(), FakeConsole { password, task });
        Ok(())
    }

    /// Sets a console's password; where there is none, it takes nobody.
    pub fn set_password(&self, name: &str, password: Option<&str>) {
        if let Some(console) = self.open.lock().get(name) {
            *console.password.lock() = password.map(str::to_owned);
        }
    }

    /// The password that a console takes now.
    #[must_use]
    pub fn password(&self, name: &str) -> Option<String> {
        self.open.lock().get(name).and_then(|console| console.password.lock().clone())
    }

    /// Closes a console and whatever is connected to it.
    pub fn close(&self, name: &str) {
        if let Some(console) = self.open.lock().remove(name) {
            console.task.abort();
        }
    }
}

/// The port of a VM that just ended may be free only in a moment.
async fn bind(port: u16) -> io::Result<TcpListener> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    for _ in 0..20 {
        match TcpListener::bind(address).await {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            bound => return bound,
        }
    }
    TcpListener::bind(address).await
}

async fn serve(listener: TcpListener, key: Arc<TicketKey>, password: Arc<Mutex<Option<String>>>) {
    let sessions = Arc::<Mutex<Sessions>>::default();
    let mut channels = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((stream, _)) = accepted {
                    channels.spawn(channel(stream, key.clone(), password.clone(), sessions.clone()));
                }
            }
            Some(_) = channels.join_next() => {}
        }
    }
}

async fn channel(
    mut stream: TcpStream,
    key: Arc<TicketKey>,
    password: Arc<Mutex<Option<String>>>,
    sessions: Arc<Mutex<Sessions>>,
) -> io::Result<()> {
    let mut header = [0; HEADER];
    stream.read_exact(&mut header).await?;
    let mut body = vec![0; spice::body_size(&header).map_err(io::Error::other)?];
    stream.read_exact(&mut body).await?;
    let link = Link::parse(&body).map_err(io::Error::other)?;
    stream.write_all(&reply(&key)).await?;
    let mechanism = stream.read_u32_le().await?;
    let mut encrypted = [0; TICKET];
    if mechanism == spice::AUTH_SPICE {
        stream.read_exact(&mut encrypted).await?;
    }
    let offered = tokio::task::spawn_blocking(move || key.open(&encrypted)).await?.unwrap_or_default();
    let offered = offered.split(|octet| *octet == 0).next().unwrap_or_default();
    let right = password.lock().as_ref().is_some_and(|password| password.as_bytes() == offered);
    stream.write_u32_le(if right { spice::ERROR_OK } else { DENIED }).await?;
    if !right {
        return Ok(());
    }
    if link.session == 0 {
        let session = {
            let mut sessions = sessions.lock();
            sessions.last = sessions.last.wrapping_add(1).max(1);
            let session = sessions.last;
            sessions.known.insert(session);
            session
        };
        stream.write_u16_le(MAIN_INIT).await?;
        stream.write_u32_le(MAIN_INIT_LENGTH).await?;
        stream.write_u32_le(session).await?;
        stream.write_all(&[0; 28]).await?;
    } else if !sessions.lock().known.contains(&link.session) {
        return Ok(());
    }
    let mut head = [0; SHORT_HEADER];
    loop {
        stream.read_exact(&mut head).await?;
        let Some((kind, length)) = screen::message(head) else { break };
        tokio::io::copy(&mut (&mut stream).take(u64::from(length)), &mut tokio::io::sink()).await?;
        stream.write_all(&screen::answer(link.session == 0, kind)).await?;
    }
    stream.write_all(&head).await?;
    let mut buffer = [0; 4096];
    loop {
        let count = stream.read(&mut buffer).await?;
        match buffer.get(..count) {
            None | Some([]) => return Ok(()),
            Some(octets) => stream.write_all(octets).await?,
        }
    }
}

/// The console's link reply: its key and what it can do.
fn reply(key: &TicketKey) -> Vec<u8> {
    let mut body = spice::ERROR_OK.to_le_bytes().to_vec();
    body.extend(key.public());
    // One word of common capabilities, none of the channel, and where they stand in the message.
    for word in [1, 0, 178, CAPABILITIES] {
        body.extend(u32::to_le_bytes(word));
    }
    let mut message = spice::MAGIC.to_vec();
    for word in [2, 2, u32::try_from(body.len()).unwrap_or_default()] {
        message.extend(u32::to_le_bytes(word));
    }
    message.extend(body);
    message
}
