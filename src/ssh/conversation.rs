//! One command, or a prompt with one after the other, on a channel of a connection.
//!
//! A command runs on a thread of its own and writes to sockets that it waits at where the client does not read: nothing is
//! held in memory for anybody slow. What comes along with it is passed on as it is taken; who goes in the middle has the
//! command end, and a document that is not whole is never applied. Called by `visitor.rs`.

use std::io;
use std::os::unix::net::UnixStream as Blocking;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use russh::server::Msg;
use russh::{Channel, ChannelReadHalf, ChannelWriteHalf};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, ReadBuf};
use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::command::{Call, Commands, Operator};
use super::line::{END, INTERRUPT, Line, Typed};
use super::typed::{Came, next};

/// How much of what comes along waits for a command, and how much of its output is carried at once, in octets.
const PIECE: usize = 32 << 10;
/// How much may be typed ahead while a command runs, in octets.
const AHEAD: usize = 1 << 20;
/// What a line ends with that is not understood, as from a shell (sysexits.h, EX_USAGE, is 64; vrctl's own is 2).
const USAGE: u8 = 2;
/// What a command ends with that was interrupted, as from a shell: 128 and the number of SIGINT.
const INTERRUPTED: u8 = 130;
/// The data type of standard error (RFC 4254 section 5.2).
const STDERR: u32 = 1;

/// Says when nobody wants a command's end any more.
#[derive(Debug, Clone)]
pub struct Cancelled(watch::Receiver<bool>);

impl Cancelled {
    /// Waits for that.
    pub async fn wait(&mut self) {
        // Whoever could say so is gone, which says the same.
        let _ = self.0.wait_for(|cancelled| *cancelled).await;
    }
}

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

type Writer = ChannelWriteHalf<Msg>;

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
        let (stdout, output) = pair()?;
        let (stderr, complaints) = pair()?;
        let stream = |stream| Box::new(Along { stream, cancelled: cancelled.clone() });
        let call = Call {
            operator: self.operator.clone(),
            words,
            input: input.map(|input| stream(input) as _),
            output: Box::new(output),
            complaints: Box::new(complaints),
            terminal: self.terminal,
            cancelled: Cancelled(cancelled.clone()),
        };
        let commands = self.commands.clone();
        let task = tokio::task::spawn_blocking(move || commands.run(call));
        Ok(Running { task, stdout: Some(stdout), stderr: Some(stderr) })
    }
}

const GREETING: &str = "vrouter: `help` lists the commands; `exit` or Ctrl-D ends\n";
const NO_WORDS: &str = "error: a quote is not closed\n";

/// A socket that is waited at, and one that keeps its thread waiting.
fn pair() -> io::Result<(UnixStream, Blocking)> {
    let (mine, theirs) = Blocking::pair()?;
    mine.set_nonblocking(true)?;
    Ok((UnixStream::from_std(mine)?, theirs))
}

/// Passes on what comes along with a command. Ends where the client is gone.
async fn feed(
    reader: &mut ChannelReadHalf,
    given: DuplexStream,
    cancel: &watch::Sender<bool>,
    terminal: bool,
) {
    let mut given = Some(given);
    loop {
        match next(reader).await {
            Came::Octets(octets) => {
                let mut octets = octets.as_ref();
                let mut ends = false;
                if terminal {
                    if octets.contains(&INTERRUPT) {
                        cancel.send_replace(true);
                    }
                    if let Some(end) = octets.iter().position(|octet| *octet == END) {
                        (octets, ends) = (octets.get(..end).unwrap_or_default(), true);
                    }
                }
                if let Some(open) = &mut given {
                    // A command that takes no more of it has enough.
                    let taken = open.write_all(octets).await;
                    if taken.is_err() || ends {
                        given = None;
                    }
                }
            }
            Came::Interrupt => {
                cancel.send_replace(true);
            }
            Came::End => given = None,
            Came::Gone => {
                // Said before what comes along ends: it did not end by itself.
                cancel.send_replace(true);
                return;
            }
        }
    }
}

/// Keeps what is typed while a command runs, and hears when it is to end. Ends where the client is gone, or types too much.
async fn type_ahead(
    reader: &mut ChannelReadHalf,
    ahead: &mut Bytes,
    ended: &mut bool,
    cancel: &watch::Sender<bool>,
) {
    loop {
        match next(reader).await {
            Came::Octets(mut octets) if octets.contains(&INTERRUPT) => {
                // What was typed before it is given up, as terminals do.
                let last = octets.iter().rposition(|octet| *octet == INTERRUPT).unwrap_or_default();
                *ahead = octets.split_off(last + 1);
                cancel.send_replace(true);
            }
            Came::Octets(octets) if ahead.len() + octets.len() <= AHEAD => {
                *ahead = [ahead.as_ref(), octets.as_ref()].concat().into();
            }
            Came::Interrupt => {
                cancel.send_replace(true);
            }
            Came::End => *ended = true,
            Came::Octets(_) | Came::Gone => {
                cancel.send_replace(true);
                return;
            }
        }
    }
}

/// What comes along with a command, as the command reads it.
#[derive(Debug)]
struct Along {
    stream: DuplexStream,
    cancelled: watch::Receiver<bool>,
}

impl AsyncRead for Along {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        let at_end = matches!(read, Poll::Ready(Ok(()))) && buffer.filled().len() == before;
        if at_end && *self.cancelled.borrow() {
            let why = "the connection ended before it was whole";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionAborted, why)));
        }
        read
    }
}

/// A command that runs.
struct Running {
    task: JoinHandle<u8>,
    stdout: Option<UnixStream>,
    stderr: Option<UnixStream>,
}

impl Running {
    /// Carries what it says to the client, to its end.
    async fn carry(&mut self, writer: &Writer, terminal: bool) -> Result<u8, russh::Error> {
        let (mut said, mut complained) = (vec![0; PIECE], vec![0; PIECE]);
        while self.stdout.is_some() || self.stderr.is_some() {
            tokio::select! {
                piece = read(&mut self.stdout, &mut said) => {
                    if let Some(piece) = piece {
                        writer.data_bytes(shown(piece, terminal)).await?;
                    }
                }
                piece = read(&mut self.stderr, &mut complained) => match piece {
                    // A terminal has one screen.
                    Some(piece) if terminal => writer.data_bytes(shown(piece, terminal)).await?,
                    Some(piece) => writer.extended_data_bytes(STDERR, shown(piece, terminal)).await?,
                    None => {}
                },
            }
        }
        Ok((&mut self.task).await.unwrap_or(INTERRUPTED))
    }
}

/// The next piece of a stream, which is taken away at its end. Waits for ever where there is none.
async fn read<'a>(stream: &mut Option<UnixStream>, buffer: &'a mut [u8]) -> Option<&'a [u8]> {
    let Some(open) = stream else { return std::future::pending().await };
    match open.read(buffer).await {
        Ok(length @ 1..) => buffer.get(..length),
        Ok(0) | Err(_) => {
            *stream = None;
            None
        }
    }
}

/// Text as a client wants it: a terminal that does nothing by itself has to be told to begin a line.
fn shown(text: &[u8], terminal: bool) -> Bytes {
    if !terminal {
        return Bytes::copy_from_slice(text);
    }
    let mut shown = Vec::with_capacity(text.len() + 64);
    for octet in text {
        if *octet == b'\n' {
            shown.push(b'\r');
        }
        shown.push(*octet);
    }
    shown.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_comes_along_ends_well_only_where_its_sender_says_so() {
        for cut in [false, true] {
            let (cancel, cancelled) = watch::channel(false);
            let (mut given, stream) = tokio::io::duplex(64);
            let mut along = Along { stream, cancelled };
            given.write_all(b"{\"version\":").await.unwrap();
            if cut {
                cancel.send_replace(true);
            }
            drop(given);
            let mut read = Vec::new();
            let ended = along.read_to_end(&mut read).await;
            assert_eq!((ended.is_err(), read.as_slice()), (cut, b"{\"version\":".as_slice()));
        }
    }

    #[test]
    fn a_terminal_is_told_to_begin_a_line() {
        assert_eq!(shown(b"a\nb\n", true), b"a\r\nb\r\n".as_slice());
        assert_eq!(shown(b"a\nb\n", false), b"a\nb\n".as_slice());
    }
}
