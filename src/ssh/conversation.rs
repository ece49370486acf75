//! One command, or a prompt with one after the other, on a channel of a connection. Called by `visitor.rs`.

use std::sync::Arc;

use russh::server::Msg;
use russh::{Channel, ChannelMsg, Error};
use tokio::io::DuplexStream;
use tokio::sync::{oneshot, watch};

use super::command::{Commands, Operator};
use super::line::{Line, Typed};
use super::outlet::Outlet;
use super::running::{PIECE, Running};
use super::standing::Standing;
use super::typed::{Came, Inbox, Typing, feed, type_ahead};

/// What a line ends with that is not understood: vrctl's exit code for it.
const USAGE: u8 = 2;
/// How many requests may come before one that asks for something to run: terminals, variables, and what is not known here.
const REQUESTS: usize = 64;

const GREETING: &str = "vrouter: `help` lists the commands; `exit` or Ctrl-D ends\n";
const NO_WORDS: &str = "error: a quote is not closed\n";

/// What was asked for on a channel.
#[derive(Debug)]
pub(super) enum Asked {
    /// This command.
    Command(Vec<u8>),
    /// A prompt.
    Prompt,
}

/// What is asked for, by whom, and whether he is at a terminal.
#[derive(Debug)]
pub(super) struct Wish {
    pub(super) asked: Asked,
    pub(super) standing: Standing,
    pub(super) commands: Arc<dyn Commands>,
    pub(super) terminal: bool,
}

/// A channel from its opening to its end, or that of its connection.
pub(super) async fn attend(
    channel: Channel<Msg>,
    wish: oneshot::Receiver<Wish>,
    mut ended: watch::Receiver<bool>,
) {
    let (reader, writer) = channel.split();
    let mut inbox = Inbox::new(reader);
    tokio::select! {
        biased;
        // Whoever would say so is gone, which says the same.
        _ = ended.wait_for(|ended| *ended) => {}
        () = async {
            let wish = wished(&mut inbox, wish).await;
            let outlet = Outlet { writer, terminal: wish.as_ref().is_some_and(|wish| wish.terminal) };
            let code = match wish {
                Some(wish) => Conversation { wish, outlet: &outlet }.hold(&mut inbox).await.ok(),
                None => None,
            };
            outlet.end(code).await;
        } => {}
    }
}

/// What is wished on a channel. What comes before is taken, so that the connection never waits for it, and bounded.
async fn wished(inbox: &mut Inbox, mut wish: oneshot::Receiver<Wish>) -> Option<Wish> {
    for _ in 0..REQUESTS {
        let message = tokio::select! {
            biased;
            wish = &mut wish => return wish.ok(),
            message = inbox.any() => message?,
        };
        if matches!(
            message,
            ChannelMsg::Data { .. } | ChannelMsg::ExtendedData { .. } | ChannelMsg::Eof | ChannelMsg::Close
        ) {
            // It belongs to a command that was asked for a moment ago, or to nothing.
            inbox.put_back(message);
            return wish.try_recv().ok();
        }
    }
    wish.try_recv().ok()
}

/// Somebody at a channel.
struct Conversation<'a> {
    wish: Wish,
    outlet: &'a Outlet,
}

impl Conversation<'_> {
    /// Does what is wished for, to its end or that of the channel.
    async fn hold(&self, inbox: &mut Inbox) -> Result<u8, Error> {
        match &self.wish.asked {
            Asked::Command(line) => self.one(line, inbox).await,
            Asked::Prompt => self.prompt(inbox).await,
        }
    }

    /// One command, and what comes along with it.
    async fn one(&self, line: &[u8], inbox: &mut Inbox) -> Result<u8, Error> {
        let line = String::from_utf8_lossy(line);
        let Some(words) = self.words(&line) else {
            self.outlet.complain(NO_WORDS.as_bytes()).await?;
            return Ok(USAGE);
        };
        let (cancel, cancelled) = watch::channel(false);
        let (given, input) = tokio::io::duplex(PIECE);
        let mut running = self.start(words, Some(input), cancelled)?;
        let feeding = feed(inbox, given, &cancel, self.wish.terminal);
        tokio::select! {
            code = running.carry(self.outlet) => code,
            () = feeding => Err(Error::Disconnect),
        }
    }

    /// Commands one after the other, as they are typed.
    async fn prompt(&self, inbox: &mut Inbox) -> Result<u8, Error> {
        let Wish { commands, standing, terminal, .. } = &self.wish;
        let (mut line, mut typing, mut code) = (Line::default(), Typing::default(), 0);
        if *terminal {
            self.outlet.say(GREETING.as_bytes()).await?;
        }
        loop {
            if *terminal {
                self.outlet.say(commands.prompt().as_bytes()).await?;
            }
            let Some(typed) = self.line(&mut line, &mut typing, inbox).await? else { return Ok(code) };
            match typed.trim() {
                "" => continue,
                "exit" | "quit" | "logout" => return Ok(code),
                _ => {}
            }
            if !standing.holds() {
                return Err(Error::Disconnect);
            }
            let Some(words) = self.words(&typed) else {
                self.outlet.complain(NO_WORDS.as_bytes()).await?;
                code = USAGE;
                continue;
            };
            let (cancel, cancelled) = watch::channel(false);
            let mut running = self.start(words, None, cancelled)?;
            code = tokio::select! {
                code = running.carry(self.outlet) => code?,
                () = type_ahead(inbox, &mut typing, &cancel) => return Err(Error::Disconnect),
            };
        }
    }

    /// The next line; nothing where there is none any more.
    async fn line(
        &self,
        line: &mut Line,
        typing: &mut Typing,
        inbox: &mut Inbox,
    ) -> Result<Option<String>, Error> {
        loop {
            let (mut echo, mut came) = (Vec::new(), Typed::More);
            // A key may show a whole line: what it shows goes out before the next is looked at.
            while came == Typed::More && !typing.ahead.is_empty() && echo.len() < PIECE {
                let octet = typing.ahead.split_to(1).first().copied().unwrap_or_default();
                came = line.take(octet, &mut echo);
            }
            self.outlet.echo(echo).await?;
            match came {
                Typed::Line(typed) => return Ok(Some(typed)),
                Typed::Abandoned => return Ok(Some(String::new())),
                Typed::End => return Ok(None),
                Typed::More if !typing.ahead.is_empty() => continue,
                // What was typed last may lack the end of its line.
                Typed::More if typing.ended => return Ok(line.rest()),
                Typed::More => {}
            }
            match inbox.next().await {
                Came::Octets(octets) => typing.ahead.extend_from_slice(&octets),
                Came::Interrupt => {}
                Came::End => typing.ended = true,
                Came::Gone => return Err(Error::Disconnect),
            }
        }
    }

    /// The words of a line, where its quotes are closed.
    fn words(&self, line: &str) -> Option<Vec<String>> {
        let Operator { name, from, .. } = self.wish.standing.operator();
        let who = format!("ssh key {name}");
        tracing::info!(target: "audit", who, %from, command = line, "a command came over SSH");
        shlex::split(line)
    }

    fn start(
        &self,
        words: Vec<String>,
        input: Option<DuplexStream>,
        cancelled: watch::Receiver<bool>,
    ) -> Result<Running, Error> {
        let Wish { standing, commands, terminal, .. } = &self.wish;
        Ok(Running::start(commands.clone(), (standing.clone(), words), *terminal, input, cancelled)?)
    }
}
