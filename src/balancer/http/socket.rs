//! A TCP socket that the runtime watches only once somebody has to wait for it.
//!
//! Whoever connects to ask one thing has mostly asked it by the time the connection is taken, and its answer fits into
//! what the kernel holds: such a connection is over without having been watched, which saves two system calls and what
//! the runtime keeps for each socket that it watches. Called by `io.rs`.

use std::cell::RefCell;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::Shutdown;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::coop;

/// What is read at once from a socket that nobody watches: it is the start of something.
const START: usize = 4 * 1024;

thread_local! {
    /// Where it is read to first: to make room ready for it takes longer than to move it.
    static SCRATCH: RefCell<[u8; START]> = const { RefCell::new([0; START]) };
}

/// A TCP socket.
#[derive(Debug)]
pub(crate) struct Socket(State);

#[derive(Debug)]
enum State {
    /// Nobody watches it; it does not block.
    Fresh(mio::net::TcpStream),
    Watched(TcpStream),
    /// The system could not watch it.
    Lost,
}

impl Socket {
    /// A socket that was just taken.
    pub(crate) const fn fresh(stream: mio::net::TcpStream) -> Self {
        Self(State::Fresh(stream))
    }

    /// A socket that is watched already.
    pub(crate) const fn watched(stream: TcpStream) -> Self {
        Self(State::Watched(stream))
    }

    /// Has the runtime watch it from now on; nothing if it does already.
    ///
    /// # Errors
    /// The system cannot watch it. Nothing can be done with it any more then.
    fn watch(&mut self) -> io::Result<&mut TcpStream> {
        if matches!(self.0, State::Fresh(_))
            && let State::Fresh(stream) = std::mem::replace(&mut self.0, State::Lost)
        {
            self.0 = State::Watched(TcpStream::from_std(stream.into())?);
        }
        match &mut self.0 {
            State::Watched(stream) => Ok(stream),
            State::Fresh(_) | State::Lost => Err(ErrorKind::NotConnected.into()),
        }
    }

    /// The same for good.
    ///
    /// # Errors
    /// The system cannot watch it.
    pub(crate) fn into_watched(mut self) -> io::Result<TcpStream> {
        self.watch()?;
        match self.0 {
            State::Watched(stream) => Ok(stream),
            State::Fresh(_) | State::Lost => Err(ErrorKind::NotConnected.into()),
        }
    }

    /// Writes what is followed by nothing but the end: the kernel holds the last of it back until the socket closes, so that
    /// both go in one segment. Who does not close at once has it waiting for a fifth of a second.
    pub(crate) fn poll_write_last(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        const FLAGS: i32 = libc::MSG_MORE | libc::MSG_NOSIGNAL;
        let send = |stream: &mut mio::net::TcpStream| SockRef::from(&*stream).send_with_flags(data, FLAGS);
        if let Some(done) = ready!(self.poll_fresh(cx, send)) {
            return Poll::Ready(done);
        }
        let stream = self.watch()?;
        loop {
            ready!(stream.poll_write_ready(cx))?;
            let send = || SockRef::from(&*stream).send_with_flags(data, FLAGS);
            match stream.try_io(Interest::WRITABLE, send) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                done => return Poll::Ready(done),
            }
        }
    }

    /// Whether the other side is silent and has not closed.
    pub(crate) fn is_idle(&self) -> bool {
        let State::Watched(stream) = &self.0 else { return false };
        matches!(stream.try_read(&mut [0]), Err(error) if error.kind() == ErrorKind::WouldBlock)
    }

    /// Does something with a socket that nobody watches. Nothing where it is watched, or has to be from now on.
    fn poll_fresh<T>(
        &mut self,
        cx: &mut Context<'_>,
        mut act: impl FnMut(&mut mio::net::TcpStream) -> io::Result<T>,
    ) -> Poll<Option<io::Result<T>>> {
        let State::Fresh(stream) = &mut self.0 else { return Poll::Ready(None) };
        // Who is always ready must not keep others from their turn.
        let turn = ready!(coop::poll_proceed(cx));
        loop {
            match act(stream) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Poll::Ready(None),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                done => {
                    turn.made_progress();
                    return Poll::Ready(Some(done));
                }
            }
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let read = |stream: &mut mio::net::TcpStream| {
            SCRATCH.with_borrow_mut(|scratch| {
                let room = scratch.len().min(buffer.remaining());
                let scratch = scratch.get_mut(..room).unwrap_or_default();
                let count = stream.read(scratch)?;
                buffer.put_slice(scratch.get(..count).unwrap_or_default());
                Ok(())
            })
        };
        if let Some(done) = ready!(this.poll_fresh(cx, read)) {
            return Poll::Ready(done);
        }
        Pin::new(this.watch()?).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if let Some(done) = ready!(this.poll_fresh(cx, |stream| stream.write(data))) {
            return Poll::Ready(done);
        }
        Pin::new(this.watch()?).poll_write(cx, data)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if let Some(done) = ready!(this.poll_fresh(cx, |stream| stream.write_vectored(data))) {
            return Poll::Ready(done);
        }
        Pin::new(this.watch()?).poll_write_vectored(cx, data)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A socket holds nothing back.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().0 {
            State::Fresh(stream) => Poll::Ready(stream.shutdown(Shutdown::Write)),
            State::Watched(stream) => Pin::new(stream).poll_shutdown(cx),
            State::Lost => Poll::Ready(Ok(())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::net::{Ipv4Addr, TcpListener, TcpStream as Client};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn pair() -> (Client, Socket) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let client = Client::connect(listener.local_addr().unwrap()).unwrap();
        let (stream, _) = listener.accept().unwrap();
        stream.set_nonblocking(true).unwrap();
        (client, Socket::fresh(mio::net::TcpStream::from_std(stream)))
    }

    #[tokio::test]
    async fn who_has_asked_is_answered_without_being_watched() {
        let (mut client, mut socket) = pair();
        client.write_all(b"ping").unwrap();
        let mut octets = [0; 8];
        assert_eq!(socket.read(&mut octets).await.unwrap(), 4);
        socket.write_all(b"pong").await.unwrap();
        assert!(octets.starts_with(b"ping") && matches!(socket.0, State::Fresh(_)));
        client.read_exact(&mut octets[..4]).unwrap();
        assert!(octets.starts_with(b"pong"));
        socket.shutdown().await.unwrap();
        assert_eq!(client.read(&mut octets).unwrap(), 0);
    }

    #[tokio::test]
    async fn the_last_words_and_the_end_go_together() {
        for watched in [false, true] {
            let (mut client, mut socket) = pair();
            if watched {
                socket.watch().unwrap();
            }
            let last = poll_fn(|cx| socket.poll_write_last(cx, b"bye"));
            assert_eq!(last.await.unwrap(), 3);
            let mut octets = [0; 8];
            client.set_nonblocking(true).unwrap();
            assert_eq!(client.read(&mut octets).unwrap_err().kind(), ErrorKind::WouldBlock);
            drop(socket);
            client.set_nonblocking(false).unwrap();
            assert_eq!(client.read(&mut octets).unwrap(), 3);
            assert_eq!(client.read(&mut octets).unwrap(), 0);
        }
    }

    #[tokio::test]
    async fn who_is_waited_for_is_watched() {
        let (mut client, mut socket) = pair();
        let mut octets = [0; 4];
        let waits = poll_fn(|cx| {
            let mut buffer = ReadBuf::new(&mut octets);
            Poll::Ready(Pin::new(&mut socket).poll_read(cx, &mut buffer).is_pending())
        });
        assert!(waits.await && matches!(socket.0, State::Watched(_)));
        client.write_all(b"ping").unwrap();
        socket.read_exact(&mut octets).await.unwrap();
        assert_eq!(&octets, b"ping");
        assert!(socket.is_idle());
        drop(client);
        assert_eq!(socket.read(&mut octets).await.unwrap(), 0);
        assert!(!socket.is_idle());
    }

    #[tokio::test]
    async fn who_is_always_ready_lets_others_have_their_turn() {
        let (mut client, mut socket) = pair();
        client.write_all(&[b'x'; 1000]).unwrap();
        let mut turns = 0;
        let mut taken = 0;
        poll_fn(|cx| {
            turns += 1;
            while taken < 1000 {
                let mut octet = [0];
                ready!(Pin::new(&mut socket).poll_read(cx, &mut ReadBuf::new(&mut octet)))?;
                taken += 1;
            }
            Poll::Ready(io::Result::Ok(()))
        })
        .await
        .unwrap();
        assert!(turns > 5 && matches!(socket.0, State::Fresh(_)), "{turns}");
    }
}
