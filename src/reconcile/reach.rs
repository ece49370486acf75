//! Whether the management plane can still be reached, while what it asked for waits to be confirmed. Called by `confirm.rs`.

use std::fmt::Debug;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::store::Author;

/// How often whoever asked is looked for, and how long an answer may take.
const ROUND: Duration = Duration::from_secs(1);
/// So many rounds in a row without an answer may follow the first: five seconds.
const PATIENCE: u32 = 5;

/// How somebody is looked for: over the network, or by a fake in a test.
pub trait Reach: Debug + Send + Sync {
    /// Whether anybody answers at an address within a second.
    fn answers(&self, address: SocketAddr) -> Pin<Box<dyn Future<Output = bool> + Send + '_>>;
}

/// Over the network: a TCP connection that is taken or refused shows that somebody is there.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tcp;

impl Reach for Tcp {
    fn answers(&self, address: SocketAddr) -> Pin<Box<dyn Future<Output = bool> + Send + '_>> {
        Box::pin(async move {
            match timeout(ROUND, TcpStream::connect(address)).await {
                Ok(Ok(_)) => true,
                // Who refuses is there; a network that is unreachable, and silence, are not.
                Ok(Err(error)) => {
                    matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset)
                }
                Err(_) => false,
            }
        })
    }
}

/// Where an author is looked for: where the request came from, unless that is this machine.
pub(super) fn place(author: &Author) -> Option<SocketAddr> {
    let address: SocketAddr = author.from.as_deref()?.parse().ok()?;
    let ip = address.ip().to_canonical();
    (!ip.is_loopback() && !ip.is_unspecified()).then(|| SocketAddr::new(ip, address.port()))
}

/// Ends once nobody has answered for five seconds in a row.
pub(super) async fn lost(reach: Arc<dyn Reach>, address: SocketAddr) {
    let mut rounds = interval(ROUND);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut silent = 0;
    while silent <= PATIENCE {
        rounds.tick().await;
        silent = if reach.answers(address).await { 0 } else { silent + 1 };
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tokio::net::TcpListener;
    use tokio::time::Instant;

    use super::*;

    /// Answers as it was told, then not at all.
    #[derive(Debug)]
    struct Script(Mutex<Vec<bool>>);

    impl Reach for Script {
        fn answers(&self, _: SocketAddr) -> Pin<Box<dyn Future<Output = bool> + Send + '_>> {
            let answer = self.0.lock().unwrap().pop().unwrap_or(false);
            Box::pin(async move {
                if !answer {
                    tokio::time::sleep(ROUND).await;
                }
                answer
            })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn five_silent_seconds_in_a_row_are_a_loss() {
        for (script, seconds) in
            [(vec![], 6), (vec![true; 9], 15), (vec![true, false, false, false, false, true], 12)]
        {
            let reach = Arc::new(Script(Mutex::new(script.clone())));
            let begin = Instant::now();
            lost(reach, "192.0.2.1:9".parse().unwrap()).await;
            assert_eq!(begin.elapsed().as_secs(), seconds, "{script:?}");
        }
    }

    #[tokio::test]
    async fn who_accepts_and_who_refuses_is_there() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        assert!(Tcp.answers(address).await);
        drop(listener);
        assert!(Tcp.answers(address).await);
    }

    #[test]
    fn an_author_is_looked_for_where_he_came_from() {
        let found =
            |from: Option<&str>| place(&Author { name: String::new(), from: from.map(str::to_owned) });
        assert_eq!(found(Some("192.0.2.1:4711")), "192.0.2.1:4711".parse().ok());
        assert_eq!(found(Some("[::ffff:192.0.2.1]:4711")), "192.0.2.1:4711".parse().ok());
        for nowhere in [None, Some("socket"), Some("127.0.0.1:4711"), Some("[::1]:4711"), Some("192.0.2.1")] {
            assert_eq!(found(nowhere), None, "{nowhere:?}");
        }
    }
}
