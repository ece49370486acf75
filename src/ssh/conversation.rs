//! One command, or a prompt with one after the other, on a channel of a connection. Called by `visitor.rs`.

use std::sync::Arc;

use bytes::Bytes;
use russh::server::Msg;
use russh::{Channel, ChannelReadHalf};
use tokio::io::DuplexStream;
use tokio::sync::watch;

use super::command::{Commands, Operator};
use super::line::{Line, Typed};
use super::running::{PIECE, Running, STDERR, Writer, shown};
use super::typed::{Came, feed, next, type_ahead};

/// What a line ends with that is not understood: vrctl's exit code for it.
const USAGE: u8 = 2;

/// What was asked for on a channel.
#[derive(Debug)]
pub(super) enum Asked {
    /// This command.
    Command(Vec<u8>),
    /// A prompt.
    Prompt,
}

/// Somebody at a channel.
#[derive(Debug)]
pub(super) struct Conversation {
    pub(super) operator: Operator,
    pub(super) commands: Arc<dyn Commands>,
    pub(super) terminal: bool,
}

impl Conversation {
    /// Does what was asked for, to its end or that of the channel.
    pub(super) async fn hold(self, channel: Channel<Msg>, asked: Asked) {
        let (mut reader, writer) = channel.split();
        let held = match asked {
            Asked::Command(line) => self.one(&line, &mut reader, &writer).await,
            Asked::Prompt => self.prompt(&mut reader, &writer).await,
        };
        // Who is gone cannot be told.
        if let Ok(code) = held {
            let _ = writer.exit_status(u32::from(code)).await;
            let _ = writer.eof().await;
        }
        let _ = writer.close().await;
    }

    /// One command, and what comes along with it.
    async fn one(
        &self,
        line: &[u8],
        reader: &mut ChannelReadHalf,
        writer: &Writer,
    ) -> Result<u8, russh::Error> {
        let line = String::from_utf8_lossy(line);
        let Some(words) = self.words(&line) else {
            self.say(writer, NO_WORDS).await?;
            return Ok(USAGE);
        };
        let (cancel, cancelled) = watch::channel(false);
        let (given, input) = tokio::io::duplex(PIECE);
        let mut running = self.start(words, Some(input), cancelled)?;
        let feeding = feed(reader, given, &cancel, self.terminal);
        tokio::select! {
            code = running.carry(writer, self.terminal) => code,
            () = feeding => Err(russh::Error::Disconnect),
        }
    }

    /// Commands one after the other, as they are typed.
    async fn prompt(&self, reader: &mut ChannelReadHalf, writer: &Writer) -> Result<u8, russh::Error> {
        let (mut line, mut ahead, mut ended, mut code) = (Line::default(), Bytes::new(), false, 0);
        if self.terminal {
            self.say(writer, GREETING).await?;
        }
        loop {
            if self.terminal {
                writer.data_bytes(self.commands.prompt()).await?;
            }
            let typed = match self.line(&mut line, &mut ahead, ended, (reader, writer)).await? {
                Some(typed) => typed,
                None => return Ok(code),
            };
            match typed.trim() {
                "" => continue,
                "exit" | "quit" | "logout" => return Ok(code),
                _ => {}
            }
            let Some(words) = self.words(&typed) else {
                self.say(writer, NO_WORDS).await?;
                code = USAGE;
                continue;
            };
            let (cancel, cancelled) = watch::channel(false);
            let mut running = self.start(words, None, cancelled)?;
            let typing = type_ahead(reader, &mut ahead, &mut ended, &cancel);
            code = tokio::select! {
                code = running.carry(writer, self.terminal) => code?,
                () = typing => return Err(russh::Error::Disconnect),
            };
        }
    }

    /// The next line; nothing where there is none any more.
    async fn line(
        &self,
        line: &mut Line,
        ahead: &mut Bytes,
        ended: bool,
        (reader, writer): (&mut ChannelReadHalf, &Writer),
    ) -> Result<Option<String>, russh::Error> {
        loop {
            let mut echo = Vec::new();
            let mut came = Typed::More;
            while came == Typed::More && !ahead.is_empty() {
                came = line.take(ahead.split_to(1).first().copied().unwrap_or_default(), &mut echo);
            }
            if self.terminal && !echo.is_empty() {
                writer.data_bytes(echo).await?;
            }
            match came {
                Typed::Line(typed) => return Ok(Some(typed)),
                Typed::Abandoned => return Ok(Some(String::new())),
                Typed::End => return Ok(None),
                Typed::More if ended => return Ok(line.rest()),
                Typed::More => {}
            }
            match next(reader).await {
                Came::Octets(octets) => *ahead = octets,
                Came::Interrupt => {}
                // What was typed last may lack the end of its line.
                Came::End => return Ok(line.rest()),
                Came::Gone => return Err(russh::Error::Disconnect),
            }
        }
    }

    /// The words of a line, where its quotes are closed.
    fn words(&self, line: &str) -> Option<Vec<String>> {
        let Operator { name, from, .. } = &self.operator;
        tracing::info!(target: "audit", who = %format_args!("ssh key {name}"), %from, command = line, "a command came over SSH");
        shlex::split(line)
    }

    async fn say(&self, writer: &Writer, text: &'static str) -> Result<(), russh::Error> {
        let text = shown(text.as_bytes(), self.terminal);
        if self.terminal {
            writer.data_bytes(text).await
        } else {
            writer.extended_data_bytes(STDERR, text).await
        }
    }

    fn start(
        &self,
        words: Vec<String>,
        input: Option<DuplexStream>,
        cancelled: watch::Receiver<bool>,
    ) -> Result<Running, russh::Error> {
        let Self { operator, commands, terminal } = self;
        Ok(Running::start(commands.clone(), (operator.clone(), words), *terminal, input, cancelled)?)
    }
}

const GREETING: &str = "vrouter: `help` lists the commands; `exit` or Ctrl-D ends\n";
const NO_WORDS: &str = "error: a quote is not closed\n";
