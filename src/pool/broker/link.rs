//! A channel's opening: the station's link message, the console's answer, the ticket, the verdict. The broker stands in the
//! middle until the verdict and gets out of the way after it. Every step has a deadline and a bound. Called by `mod.rs`.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use super::Broker;
use super::event::{Backend, Refusal};
use super::socket::{self, Wire};
use super::spice::{self, Channel, Link, Reply, SessionFinder};
use super::table::Target;
use super::ticket;

/// How long a station or a console may take for one step of the opening.
const STEP: Duration = Duration::from_secs(10);

/// A channel that is through.
pub(super) struct Opened {
    pub(super) station: Box<dyn Wire>,
    pub(super) console: Box<dyn Wire>,
    /// Looks for the session's number, on a main channel.
    pub(super) finder: Option<SessionFinder>,
}

/// A connection on its way.
pub(super) struct Opening<'a> {
    pub(super) broker: &'a Broker,
    pub(super) address: IpAddr,
    pub(super) key: u64,
    pub(super) tls: bool,
}

impl Opening<'_> {
    /// Brings a channel through, or turns it away and says so to the station where the protocol has words for it.
    pub(super) async fn run(&self, mut station: Box<dyn Wire>) -> Result<Opened, Refusal> {
        let message = from_station(read_message(&mut *station)).await?;
        let link = Link::parse(&message.body).map_err(|_| Refusal::NotSpice)?;
        let target = match self.broker.link(self.address, self.key, link, self.tls) {
            Ok(target) => target,
            Err(refusal) => {
                let _ = timeout(STEP, station.write_all(&spice::refusal(code(refusal)))).await;
                return Err(refusal);
            }
        };
        let mut console = self.reach(&target).await?;
        let (reply, answer) = timeout(STEP, ask(&mut *console, &message))
            .await
            .map_err(|_| Refusal::Console)?
            .map_err(|_| Refusal::Console)?;
        let mut body = answer.body;
        if reply.error == spice::ERROR_OK {
            Reply::stand_in(&mut body, self.broker.key().public()).map_err(|_| Refusal::Console)?;
        }
        from_station(async {
            station.write_all(&answer.header).await?;
            station.write_all(&body).await
        })
        .await?;
        if reply.error != spice::ERROR_OK {
            return Err(Refusal::Console);
        }
        let selects = spice::selects_authentication(&link, &reply);
        if let Err(refusal) = self.check(&mut *station, &target, selects).await {
            let _ = timeout(STEP, station.write_all(&code(refusal).to_le_bytes())).await;
            return Err(refusal);
        }
        let verdict = timeout(STEP, enter(&mut *console, &reply, &target, selects))
            .await
            .map_err(|_| Refusal::Console)?
            .map_err(|_| Refusal::Console)?;
        if verdict == spice::ERROR_OK {
            self.broker.authenticated(self.address, self.key, self.tls);
        }
        from_station(station.write_all(&verdict.to_le_bytes())).await?;
        if verdict != spice::ERROR_OK {
            return Err(Refusal::Console);
        }
        let finder = (link.channel == Channel::Main).then(|| SessionFinder::new(&link, &reply));
        Ok(Opened { station, console, finder })
    }

    /// Reads the station's ticket and holds it against the binding's.
    async fn check(&self, station: &mut dyn Wire, target: &Target, selects: bool) -> Result<(), Refusal> {
        let mut encrypted = [0; spice::TICKET];
        let mechanism = from_station(async {
            let mechanism = if selects { station.read_u32_le().await? } else { spice::AUTH_SPICE };
            if mechanism == spice::AUTH_SPICE {
                station.read_exact(&mut encrypted).await?;
            }
            Ok(mechanism)
        })
        .await?;
        if mechanism != spice::AUTH_SPICE {
            return Err(Refusal::NotSpice);
        }
        let offered = if target.ticket { self.broker.open_ticket(encrypted).await } else { None };
        self.broker.redeem(self.address, self.key, offered.as_deref())
    }

    /// Connects to the console.
    async fn reach(&self, target: &Target) -> Result<Box<dyn Wire>, Refusal> {
        let connected = match target.backend {
            Backend::Address(address) => timeout(STEP, socket::connect(address)).await,
            Backend::Descriptor => timeout(STEP, self.broker.want(&target.console)).await,
        };
        match connected {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => {
                tracing::warn!(console = target.console, %error, "the console is not reached");
                Err(Refusal::Console)
            }
            Err(_) => {
                tracing::warn!(console = target.console, "the console did not answer in time");
                Err(Refusal::Console)
            }
        }
    }
}

/// A link message as it came.
struct Message {
    header: [u8; spice::HEADER],
    body: Vec<u8>,
}

async fn read_message(stream: &mut dyn Wire) -> io::Result<Message> {
    let invalid = |error: spice::Malformed| io::Error::new(io::ErrorKind::InvalidData, error);
    let mut header = [0; spice::HEADER];
    stream.read_exact(&mut header).await?;
    let mut body = vec![0; spice::body_size(&header).map_err(invalid)?];
    stream.read_exact(&mut body).await?;
    Ok(Message { header, body })
}

/// Hands the station's link message to the console and reads the answer.
async fn ask(console: &mut dyn Wire, message: &Message) -> io::Result<(Reply, Message)> {
    console.write_all(&message.header).await?;
    console.write_all(&message.body).await?;
    let answer = read_message(console).await?;
    // An answer that is only a refusal may be shorter than one with a key.
    let reply =
        Reply::parse(&answer.body).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    Ok((reply, answer))
}

/// Opens the console with its password and reads its verdict.
async fn enter(console: &mut dyn Wire, reply: &Reply, target: &Target, selects: bool) -> io::Result<u32> {
    let sealed = ticket::seal(&reply.key, target.password.as_ref()).map_err(io::Error::other)?;
    if selects {
        console.write_all(&spice::AUTH_SPICE.to_le_bytes()).await?;
    }
    console.write_all(&sealed).await?;
    console.read_u32_le().await
}

/// A step that depends on the station, which may say anything or nothing.
async fn from_station<T>(step: impl Future<Output = io::Result<T>>) -> Result<T, Refusal> {
    match timeout(STEP, step).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(_)) | Err(_) => Err(Refusal::NotSpice),
    }
}

/// The protocol's word for a refusal.
const fn code(refusal: Refusal) -> u32 {
    match refusal {
        Refusal::NeedsTls => spice::ERROR_NEED_SECURED,
        Refusal::NoSession => spice::ERROR_BAD_CONNECTION_ID,
        Refusal::NotSpice => spice::ERROR_INVALID_DATA,
        Refusal::NotBound | Refusal::TooMany | Refusal::Ticket | Refusal::Console => {
            spice::ERROR_PERMISSION_DENIED
        }
    }
}
