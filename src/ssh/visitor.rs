//! One connection of SSH: who is at its other end, and what he asks for. Called by russh with what comes over it.
//!
//! Keys alone let anybody in (RFC 4252 section 7), and a session's commands and prompt are all there is: no forwarding, no
//! subsystem, no variable of an environment (RFC 4254). Whoever asks for such things again and again is sent away: each
//! answer waits in memory where he does not take it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use russh::keys::PublicKey;
use russh::server::{Auth, ChannelOpenHandle, Handler, Msg, Session};
use russh::{Channel, ChannelId, ChannelOpenFailure, Error, Pty};
use tokio::sync::{Semaphore, oneshot, watch};

use super::conversation::{Asked, Wish, attend};
use super::desk::{Desk, Place};
use super::standing::Standing;

/// How many commands and prompts one connection has at once.
pub(super) const CHANNELS: u32 = 4;
/// The longest command, in octets.
const LONGEST: usize = 16 << 10;
/// The largest packet that is told to clients, in octets.
pub(super) const PACKET: u32 = 32 << 10;
/// How often somebody may ask for what there is not.
const REFUSALS: u32 = 64;

/// A connection.
#[derive(Debug)]
pub(super) struct Visitor {
    pub(super) desk: Arc<Desk>,
    pub(super) from: SocketAddr,
    /// Where he is answered.
    pub(super) at: SocketAddr,
    pub(super) place: Place,
    /// Who he is, once he has shown it.
    pub(super) known: watch::Sender<Option<Standing>>,
    /// Closed where nothing new is to be begun.
    pub(super) channels: Arc<Semaphore>,
    /// Says when the connection has ended.
    pub(super) ended: watch::Receiver<bool>,
    /// Channels on which nothing runs yet.
    pub(super) open: HashMap<ChannelId, Open>,
    pub(super) refused: u32,
}

/// A channel on which nothing runs yet.
#[derive(Debug)]
pub(super) struct Open {
    wish: oneshot::Sender<Wish>,
    terminal: bool,
}

impl Visitor {
    fn may_come_in(&self, key: &PublicKey) -> Option<Standing> {
        self.desk.commands()?;
        Standing::new(&self.desk, key, self.from, self.at)
    }

    /// Begins what was asked for, where it can be.
    fn begin(&mut self, id: ChannelId, asked: Asked, session: &mut Session) -> Result<(), Error> {
        let known = self.known.borrow().clone().filter(Standing::holds);
        let (Some(open), (Some(standing), Some(commands))) =
            (self.open.remove(&id), (known, self.desk.commands()))
        else {
            return self.refuse(id, session);
        };
        let Open { wish, terminal } = open;
        match wish.send(Wish { asked, standing, commands, terminal }) {
            Ok(()) => session.channel_success(id),
            Err(_) => self.refuse(id, session),
        }
    }

    /// What is asked for is not there.
    fn refuse(&mut self, id: ChannelId, session: &mut Session) -> Result<(), Error> {
        self.count()?;
        session.channel_failure(id)
    }

    /// Counts what is refused.
    const fn count(&mut self) -> Result<(), Error> {
        self.refused += 1;
        if self.refused > REFUSALS { Err(Error::Disconnect) } else { Ok(()) }
    }
}

/// Refuses data in larger pieces than clients were told to send.
const fn measured(data: &[u8]) -> Result<(), Error> {
    if data.len() > PACKET as usize { Err(Error::Disconnect) } else { Ok(()) }
}

impl Handler for Visitor {
    type Error = Error;

    async fn auth_publickey_offered(&mut self, _: &str, key: &PublicKey) -> Result<Auth, Error> {
        Ok(if self.may_come_in(key).is_some() { Auth::Accept } else { Auth::reject() })
    }

    async fn auth_publickey(&mut self, _: &str, key: &PublicKey) -> Result<Auth, Error> {
        let Some(standing) = self.may_come_in(key) else { return Ok(Auth::reject()) };
        let who = format!("ssh key {}", standing.operator().name);
        tracing::info!(target: "audit", who, from = %self.from, "an operator came in over SSH");
        self.place.admit();
        self.known.send_replace(Some(standing));
        Ok(Auth::Accept)
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Error> {
        let Ok(permit) = self.channels.clone().try_acquire_owned() else {
            self.count()?;
            reply.reject(ChannelOpenFailure::ResourceShortage).await;
            return Ok(());
        };
        let (wish, wished) = oneshot::channel();
        self.open.insert(channel.id(), Open { wish, terminal: false });
        let attending = attend(channel, wished, self.ended.clone());
        tokio::spawn(async move {
            attending.await;
            drop(permit);
        });
        reply.accept().await;
        Ok(())
    }

    async fn channel_open_x11(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _: u32,
        _: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Error> {
        self.count()
    }

    async fn channel_open_direct_tcpip(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _: u32,
        _: &str,
        _: u32,
        _: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Error> {
        self.count()
    }

    async fn channel_open_forwarded_tcpip(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _: u32,
        _: &str,
        _: u32,
        _: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Error> {
        self.count()
    }

    async fn channel_open_direct_streamlocal(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Error> {
        self.count()
    }

    async fn channel_close(&mut self, id: ChannelId, _: &mut Session) -> Result<(), Error> {
        self.open.remove(&id);
        Ok(())
    }

    async fn data(&mut self, _: ChannelId, data: &[u8], _: &mut Session) -> Result<(), Error> {
        measured(data)
    }

    async fn extended_data(
        &mut self,
        _: ChannelId,
        _: u32,
        data: &[u8],
        _: &mut Session,
    ) -> Result<(), Error> {
        measured(data)
    }

    async fn pty_request(
        &mut self,
        id: ChannelId,
        term: &str,
        _columns: u32,
        _rows: u32,
        _width: u32,
        _height: u32,
        _modes: &[(Pty, u32)],
        session: &mut Session,
    ) -> Result<(), Error> {
        measured(term.as_bytes())?;
        match self.open.get_mut(&id) {
            Some(open) if !open.terminal => {
                open.terminal = true;
                session.channel_success(id)
            }
            _ => self.refuse(id, session),
        }
    }

    async fn x11_request(
        &mut self,
        id: ChannelId,
        _single: bool,
        _protocol: &str,
        _cookie: &str,
        _screen: u32,
        session: &mut Session,
    ) -> Result<(), Error> {
        self.refuse(id, session)
    }

    async fn env_request(
        &mut self,
        id: ChannelId,
        name: &str,
        value: &str,
        session: &mut Session,
    ) -> Result<(), Error> {
        measured(name.as_bytes())?;
        measured(value.as_bytes())?;
        self.refuse(id, session)
    }

    async fn shell_request(&mut self, id: ChannelId, session: &mut Session) -> Result<(), Error> {
        self.begin(id, Asked::Prompt, session)
    }

    async fn exec_request(
        &mut self,
        id: ChannelId,
        command: &[u8],
        session: &mut Session,
    ) -> Result<(), Error> {
        if command.len() > LONGEST {
            return self.refuse(id, session);
        }
        self.begin(id, Asked::Command(command.to_vec()), session)
    }

    async fn subsystem_request(
        &mut self,
        id: ChannelId,
        _name: &str,
        session: &mut Session,
    ) -> Result<(), Error> {
        self.refuse(id, session)
    }

    async fn agent_request(&mut self, _: ChannelId, _: &mut Session) -> Result<bool, Error> {
        self.count().map(|()| false)
    }

    async fn tcpip_forward(&mut self, _: &str, _: &mut u32, _: &mut Session) -> Result<bool, Error> {
        self.count().map(|()| false)
    }

    async fn cancel_tcpip_forward(&mut self, _: &str, _: u32, _: &mut Session) -> Result<bool, Error> {
        self.count().map(|()| false)
    }

    async fn streamlocal_forward(&mut self, _: &str, _: &mut Session) -> Result<bool, Error> {
        self.count().map(|()| false)
    }

    async fn cancel_streamlocal_forward(&mut self, _: &str, _: &mut Session) -> Result<bool, Error> {
        self.count().map(|()| false)
    }
}
