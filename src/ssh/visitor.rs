//! One connection of SSH: who is at its other end, and what he asks for. Called by russh with what comes over it.
//!
//! Keys alone let anybody in (RFC 4252 section 7), and a session's commands and prompt are all there is: no forwarding, no
//! subsystem, no variable of an environment (RFC 4254).

use std::collections::HashMap;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use russh::keys::PublicKey;
use russh::server::{Auth, ChannelOpenHandle, Handler, Msg, Session};
use russh::{Channel, ChannelId, ChannelOpenFailure, Pty};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::command::Operator;
use super::conversation::{Asked, Conversation};
use super::desk::{Desk, Place};
use super::listener::Known;

/// How many commands and prompts one connection has at once.
pub(super) const CHANNELS: u32 = 4;
/// The longest command, in octets.
const LONGEST: usize = 16 << 10;

/// A connection.
#[derive(Debug)]
pub(super) struct Visitor {
    pub(super) desk: Arc<Desk>,
    pub(super) from: SocketAddr,
    pub(super) place: Place,
    /// Who he is, once he has shown it.
    pub(super) known: watch::Sender<Option<Known>>,
    /// Closed where nothing new is to be begun.
    pub(super) channels: Arc<Semaphore>,
    /// Channels on which nothing runs yet.
    pub(super) open: HashMap<ChannelId, Open>,
}

/// A channel on which nothing runs yet.
#[derive(Debug)]
pub(super) struct Open {
    channel: Channel<Msg>,
    permit: OwnedSemaphorePermit,
    terminal: bool,
}

impl Visitor {
    fn may_come_in(&self, key: &PublicKey) -> Option<Operator> {
        self.desk.commands()?;
        self.desk.snapshot.borrow().operator(key, self.from)
    }

    /// Begins what was asked for, where it can be.
    fn begin(&mut self, id: ChannelId, asked: Asked, session: &mut Session) -> Result<(), russh::Error> {
        let who = (self.known.borrow().clone(), self.desk.commands());
        let (Some(open), (Some((operator, _)), Some(commands))) = (self.open.remove(&id), who) else {
            return session.channel_failure(id);
        };
        session.channel_success(id)?;
        let Open { channel, permit, terminal } = open;
        let conversation = Conversation { operator, commands, terminal };
        tokio::spawn(async move {
            conversation.hold(channel, asked).await;
            drop(permit);
        });
        Ok(())
    }
}

impl Handler for Visitor {
    type Error = russh::Error;

    fn auth_publickey_offered(
        &mut self,
        _: &str,
        key: &PublicKey,
    ) -> impl Future<Output = Result<Auth, Self::Error>> + Send {
        let known = self.may_come_in(key).is_some();
        async move { Ok(if known { Auth::Accept } else { Auth::reject() }) }
    }

    async fn auth_publickey(&mut self, _: &str, key: &PublicKey) -> Result<Auth, Self::Error> {
        let Some(operator) = self.may_come_in(key) else { return Ok(Auth::reject()) };
        tracing::info!(target: "audit", who = %format_args!("ssh key {}", operator.name), from = %self.from,
            "an operator came in over SSH");
        self.place.admit();
        self.known.send_replace(Some((operator, key.clone())));
        Ok(Auth::Accept)
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        match self.channels.clone().try_acquire_owned() {
            Ok(permit) => {
                self.open.insert(channel.id(), Open { channel, permit, terminal: false });
                reply.accept().await;
            }
            Err(_) => reply.reject(ChannelOpenFailure::ResourceShortage).await,
        }
        Ok(())
    }

    async fn channel_close(&mut self, id: ChannelId, _: &mut Session) -> Result<(), Self::Error> {
        self.open.remove(&id);
        Ok(())
    }

    async fn pty_request(
        &mut self,
        id: ChannelId,
        _term: &str,
        _columns: u32,
        _rows: u32,
        _width: u32,
        _height: u32,
        _modes: &[(Pty, u32)],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        match self.open.get_mut(&id) {
            Some(open) => {
                open.terminal = true;
                session.channel_success(id)
            }
            None => session.channel_failure(id),
        }
    }

    async fn env_request(
        &mut self,
        id: ChannelId,
        _name: &str,
        _value: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        session.channel_failure(id)
    }

    async fn shell_request(&mut self, id: ChannelId, session: &mut Session) -> Result<(), Self::Error> {
        self.begin(id, Asked::Prompt, session)
    }

    async fn exec_request(
        &mut self,
        id: ChannelId,
        command: &[u8],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        if command.len() > LONGEST {
            return session.channel_failure(id);
        }
        self.begin(id, Asked::Command(command.to_vec()), session)
    }

    async fn subsystem_request(
        &mut self,
        id: ChannelId,
        _name: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        session.channel_failure(id)
    }
}
