//! The way to a router: over a socket, or inside the process that is the router. Called by `client.rs`.

use std::fmt;
use std::sync::Arc;

use tokio::io::DuplexStream;

use super::address::Address;

/// Where a router is asked.
#[derive(Clone)]
pub(super) enum Way {
    /// Where it answers everybody.
    To(Address),
    /// In this process, by a connection that says of itself who asks.
    Within(Dial),
}

/// Makes a connection to the router's API in this process.
pub type Dial = Arc<dyn Fn() -> DuplexStream + Send + Sync>;

impl Way {
    /// What the `Host` field of a request says (RFC 9112 section 3.2).
    pub(super) fn host(&self) -> String {
        match self {
            Self::To(address) => address.host(),
            Self::Within(_) => "localhost".to_owned(),
        }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::To(address) => address.fmt(f),
            Self::Within(_) => f.write_str("this end of the connection"),
        }
    }
}

impl fmt::Debug for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
