//! A connection of a client, from its first octet to its end: which pool, which backend, and what goes between them.
//!
//! Nothing of the client's is sent before a backend has taken the connection, so whoever does not is passed over and the
//! next is tried. Called by the listener for each connection of a tcp balancer.

use std::io;
use std::net::SocketAddrV4;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::carry::{Ended, Idle, carry};
use super::hello::{self, Hello};
use crate::balancer::backend::Backend;
use crate::balancer::choose::hash;
use crate::balancer::place::Place;
use crate::balancer::pool::{Pool, Wish};
use crate::balancer::proxy_header;
use crate::clock;
use crate::config::Id;
use crate::config::load_balancer::LoadBalancer;

/// How many backends are tried for one connection, or how often the only one.
const TRIES: usize = 4;
/// How long a backend is left alone before it is tried again, where there is no other.
const PAUSE: Duration = Duration::from_secs(1);

/// What a connection needs of the balancer that it came to. Whoever has the listeners gives it.
pub trait Site {
    /// The balancer.
    fn config(&self) -> &LoadBalancer;

    /// A pool of it.
    fn pool(&self, id: &Id) -> Option<&Arc<Pool>>;

    /// The backend that a client stays with.
    fn stay(&self, pool: &Id, client: SocketAddrV4) -> Option<Arc<Backend>>;

    /// Takes note of what happens.
    fn note(&self, event: Event<'_>);
}

/// What happens to a connection.
#[derive(Debug)]
pub enum Event<'a> {
    /// Nobody serves it: no pool is meant, no backend is up or has room, none could be reached, or its first octets were
    /// not as they have to be.
    TurnedAway,
    /// A backend could not be reached, for this reason.
    Failed(&'a Arc<Backend>, &'a str),
    /// Another backend, or the same once more, is tried after one failed.
    Retried(&'a Id),
    /// A backend took the connection of a client.
    Taken(&'a Id, &'a Arc<Backend>, SocketAddrV4),
    /// So many octets went to the backend, and to the client.
    Carried(&'a Id, &'a Backend, u64, u64),
    /// It is over. Told once for each that was taken and carried, however it ended.
    Over(&'a Id, &'a Backend, &'a Ended),
}

/// Serves one connection to its end. `from` is the client, `local` where it came to; when `stop` is ready, what goes on
/// is cut. Dropping the future cuts it too.
pub async fn serve(
    mut client: TcpStream,
    (from, local): (SocketAddrV4, SocketAddrV4),
    site: &impl Site,
    stop: impl Future<Output = ()>,
) {
    // Where it cannot be set, small messages are slower and not wrong.
    let _ = client.set_nodelay(true);
    let Some((id, read)) = choose(&mut client, site.config()).await else {
        return site.note(Event::TurnedAway);
    };
    let found = tokio::select! {
        biased;
        found = reach(site, &id, from, local) => found,
        // Who went away while it waited needs no backend.
        _ = client.ready(Interest::ERROR) => None,
    };
    let Some((server, place)) = found else { return site.note(Event::TurnedAway) };
    let mut pair = Pair { client, server, place, id: &id, site, ended: Ended::Cut };
    let times = &site.config().timeouts;
    let milliseconds = |number: u32| Duration::from_millis(number.into());
    let idle =
        Idle { client: milliseconds(times.client_idle_ms), server: milliseconds(times.server_idle_ms) };
    let backend = pair.place.backend().clone();
    let cut = async {
        tokio::select! {
            () = stop => {}
            () = backend.cut() => {}
        }
    };
    let carried = |inward, outward| site.note(Event::Carried(&id, &backend, inward, outward));
    pair.ended = carry(&mut pair.client, &mut pair.server, read, idle, carried, cut).await;
}

/// A client and its backend. Dropping it ends both connections: as a break where it does not come to its own end, so that
/// nobody takes a part for the whole.
struct Pair<'a, S: Site> {
    client: TcpStream,
    server: TcpStream,
    place: Place,
    id: &'a Id,
    site: &'a S,
    ended: Ended,
}

impl<S: Site> Drop for Pair<'_, S> {
    fn drop(&mut self) {
        if !matches!(self.ended, Ended::Closed | Ended::ClientIdle | Ended::ServerIdle) {
            // Where it cannot be set, the other side sees an end in place of a break.
            let _ = (self.client.set_zero_linger(), self.server.set_zero_linger());
        }
        self.site.note(Event::Over(self.id, self.place.backend(), &self.ended));
    }
}

/// The pool of a connection, with what had to be read to know it. Nothing where it leads nowhere.
async fn choose(client: &mut TcpStream, config: &LoadBalancer) -> Option<(Id, Vec<u8>)> {
    let default = || config.default_pool().map(|(id, _)| id.clone());
    if config.sni.is_empty() {
        return default().map(|id| (id, Vec::new()));
    }
    let deadline = clock::moment() + Duration::from_millis(config.timeouts.client_header_ms.into());
    let (hello, read) = hello::read(client, deadline.into()).await.ok()?;
    let id = match hello {
        Hello::Tls(Some(name)) => by_name(config, &name).cloned().or_else(default),
        Hello::Tls(None) | Hello::Other => default(),
        Hello::Incomplete | Hello::Malformed => None,
    };
    id.map(|id| (id, read))
}

/// The pool that a name leads to: the name itself goes before a star, and a longer star before a shorter one.
fn by_name<'a>(config: &'a LoadBalancer, name: &str) -> Option<&'a Id> {
    let matching = config.sni.iter().filter(|(pattern, _)| pattern.matches(name));
    let (_, pool) = matching.max_by_key(|(pattern, _)| match pattern {
        crate::config::http::HostPattern::Exact(_) => usize::MAX,
        crate::config::http::HostPattern::Below(suffix) => suffix.len(),
    })?;
    Some(pool)
}

/// A connection to a backend that takes it, and the place there. Nothing where there is none.
async fn reach(
    site: &impl Site,
    id: &Id,
    from: SocketAddrV4,
    local: SocketAddrV4,
) -> Option<(TcpStream, Place)> {
    let config = site.config();
    let pool = site.pool(id)?;
    let preface = config.proxy_protocol.map(|version| proxy_header::header(version, from, local));
    let limit = Duration::from_millis(config.timeouts.connect_ms.into());
    let stay = site.stay(id, from);
    let key = hash(&from.ip().octets());
    let mut tried: Vec<Arc<Backend>> = Vec::new();
    loop {
        let wish = Wish { key, stay: stay.as_ref(), tried: &tried };
        let place = pool.pick(wish, clock::moment()).await.ok()?;
        let backend = place.backend().clone();
        if !tried.is_empty() {
            site.note(Event::Retried(id));
        }
        let error = match connect(backend.endpoint(), preface.as_deref().unwrap_or_default(), limit).await {
            Ok(stream) => {
                backend.succeeded();
                site.note(Event::Taken(id, &backend, from));
                return Some((stream, place));
            }
            Err(error) => error,
        };
        backend.failed(clock::moment());
        site.note(Event::Failed(&backend, &reason(&error, limit)));
        drop(place);
        let again = tried.iter().any(|tried| Arc::ptr_eq(tried, &backend));
        tried.push(backend);
        if tried.len() >= TRIES {
            return None;
        }
        if again {
            sleep(PAUSE).await;
        }
    }
}

/// A connection to a backend, on which `preface` (the PROXY protocol's header) was sent.
///
/// # Errors
/// The backend does not take it, or not within `limit`.
pub async fn connect(endpoint: SocketAddrV4, preface: &[u8], limit: Duration) -> io::Result<TcpStream> {
    let connecting = async {
        let mut stream = TcpStream::connect(endpoint).await?;
        stream.set_nodelay(true)?;
        if !preface.is_empty() {
            stream.write_all(preface).await?;
        }
        Ok(stream)
    };
    timeout(limit, connecting).await?
}

fn reason(error: &io::Error, limit: Duration) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        io::ErrorKind::TimedOut => format!("no connection within {} ms", limit.as_millis()),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::Config;

    #[test]
    fn the_nearest_name_decides() {
        let pool = json!({"backends": {"a": {"address": "10.1.1.20", "port": 443}}});
        let document = json!({
            "version": 1,
            "interfaces": {"guest": {"device": "eth0", "roles": ["guest"], "addresses": ["10.1.1.1/24"]}},
            "load_balancers": {"tls": {
                "address": "10.1.1.1", "port": 443, "protocol": "tcp", "default_pool": "rest",
                "pools": {"rest": pool, "www": pool, "below": pool, "deeper": pool},
                "sni": {"www.demo.local": "www", "*.demo.local": "below", "*.a.demo.local": "deeper"},
            }},
        });
        let config = Config::default().replace(document).unwrap();
        let balancer = config.load_balancers().values().next().unwrap();
        let pool = |name: &str| by_name(balancer, name).map(Id::as_str);
        assert_eq!(pool("www.demo.local"), Some("www"));
        assert_eq!(pool("mail.demo.local"), Some("below"));
        assert_eq!(pool("x.a.demo.local"), Some("deeper"));
        assert_eq!(pool("a.demo.local"), Some("below"));
        assert_eq!(pool("demo.local"), None);
    }
}
