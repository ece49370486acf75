//! Stations, a broker and consoles over loopback, where each station has an address of its own.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::{broadcast, mpsc};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use vrouter::pool::broker::client::{Client, ClientError};
use vrouter::pool::broker::control::{self, CommandError};
use vrouter::pool::broker::event::{Backend, Binding, EndReason, Event, Phase, Refusal};
use vrouter::pool::broker::spice::Channel as Kind;
use vrouter::pool::broker::{BindError, Broker, Settings};

use crate::lab::PATIENCE;
use crate::spice::{Console, DISPLAY, INPUTS, MAIN, Turned, open, view};

/// The station of this number: an address on loopback.
fn station(number: u8) -> IpAddr {
    IpAddr::from([127, 0, 7, number])
}

/// A binding for ten seconds.
pub(crate) fn binding(console: &str, station: IpAddr, backend: Backend) -> Binding {
    Binding {
        console: console.to_owned(),
        station,
        backend,
        reserved_ms: 10_000,
        grace_ms: 0,
        ticket: None,
        password: None,
        tls: false,
    }
}

/// A running broker.
struct Running {
    broker: Broker,
    address: SocketAddr,
    events: broadcast::Receiver<Event>,
}

impl Running {
    async fn start(settings: &Settings) -> Self {
        let broker = Broker::new(settings).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let events = broker.events();
        let served = broker.clone();
        tokio::spawn(async move { tokio::join!(served.serve(listener), served.expire()) });
        Self { broker, address, events }
    }

    /// Waits for an event of this kind.
    async fn event<T>(&mut self, wanted: impl Fn(&Event) -> Option<T>) -> T {
        let found = async {
            loop {
                if let Some(found) = wanted(&self.events.recv().await.unwrap()) {
                    return found;
                }
            }
        };
        timeout(PATIENCE, found).await.expect("the event did not come")
    }

    async fn end(&mut self) -> (EndReason, bool) {
        self.event(|event| match event {
            Event::Ended { reason, used, .. } => Some((*reason, *used)),
            _ => None,
        })
        .await
    }
}

/// Waits until something holds.
async fn until(what: &str, holds: impl Fn() -> bool) {
    let waited = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, waited).await.unwrap_or_else(|_| panic!("{what}"));
}

#[tokio::test]
async fn a_bound_station_works_on_all_channels_and_nobody_else_does() {
    let console = Console::start(Some("never told")).await;
    let mut running = Running::start(&Settings::default()).await;
    let bound = Binding {
        password: Some("never told".to_owned().try_into().unwrap()),
        ..binding("vm-1", station(1), Backend::Address(console.address))
    };
    running.broker.bind(bound).unwrap();
    let mut main = view(running.address, station(1), 0, MAIN, None).await.unwrap();
    assert_ne!(main.session, 0);
    let mut inputs = view(running.address, station(1), main.session, INPUTS, None).await.unwrap();
    let mut display = view(running.address, station(1), main.session, DISPLAY, None).await.unwrap();
    for channel in [&mut main, &mut inputs, &mut display] {
        channel.echo(&[9; 5000]).await.unwrap();
    }
    assert_eq!(view(running.address, station(2), 0, MAIN, None).await.unwrap_err(), Turned::Closed);
    let stolen = view(running.address, station(2), main.session, DISPLAY, None).await;
    assert_eq!(stolen.unwrap_err(), Turned::Closed, "another station knows the session's number");
    let foreign = view(running.address, station(1), main.session + 1, DISPLAY, None).await;
    assert_eq!(foreign.unwrap_err(), Turned::Verdict(8));
    let reason = running
        .event(|event| match event {
            Event::Refused { station: from, reason } => Some((*from, *reason)),
            _ => None,
        })
        .await;
    assert_eq!(reason, (station(2), Refusal::NotBound));
    until("all is counted", || running.broker.list()[0].sent == 15_000).await;
    let session = running.broker.list().remove(0);
    assert_eq!((session.phase, session.used, session.channels.len()), (Phase::Connected, true, 3));
    assert_eq!(session.received, 15_038);
    drop(main);
    assert_eq!(running.end().await, (EndReason::ViewerLeft, true));
    inputs.ended().await;
    display.ended().await;
    until("the console sees the channels end", || console.shared.open.load(Ordering::SeqCst) == 0).await;
    assert_eq!(view(running.address, station(1), 0, MAIN, None).await.unwrap_err(), Turned::Closed);
}

#[tokio::test]
async fn a_reservation_ends_and_its_console_is_untouched() {
    let console = Console::start(None).await;
    let mut running = Running::start(&Settings::default()).await;
    let short = Binding { reserved_ms: 50, ..binding("vm-1", station(1), Backend::Address(console.address)) };
    running.broker.bind(short).unwrap();
    // A port scan, and something that is no viewer: neither uses the console.
    let _scan = TcpStream::connect(running.address).await.unwrap();
    assert_eq!(running.end().await, (EndReason::Expired, false));
    assert_eq!(view(running.address, station(1), 0, MAIN, None).await.unwrap_err(), Turned::Closed);
    assert!(running.broker.list().is_empty());
}

#[tokio::test]
async fn a_ticket_lets_in_once() {
    let console = Console::start(None).await;
    let mut running = Running::start(&Settings::default()).await;
    let ticket = Some("one-time".to_owned().try_into().unwrap());
    let bound = Binding { ticket, ..binding("vm-1", station(1), Backend::Address(console.address)) };
    running.broker.bind(bound).unwrap();
    for wrong in [None, Some("guess")] {
        let turned = view(running.address, station(1), 0, MAIN, wrong).await.unwrap_err();
        assert_eq!(turned, Turned::Verdict(7));
    }
    assert!(!running.broker.list()[0].used);
    let mut main = view(running.address, station(1), 0, MAIN, Some("one-time")).await.unwrap();
    let mut inputs = view(running.address, station(1), main.session, INPUTS, Some("one-time")).await.unwrap();
    inputs.echo(b"key").await.unwrap();
    let again = view(running.address, station(1), 0, MAIN, Some("one-time")).await.unwrap_err();
    assert_eq!(again, Turned::Verdict(7), "the ticket is spent");
    main.echo(b"still there").await.unwrap();
    running.broker.kick("vm-1").unwrap();
    assert_eq!(running.end().await, (EndReason::Kicked, true));
    main.ended().await;
}

/// How long a ticket's arithmetic takes says something of the broker's key, so its answer comes at a whole step of 50 ms.
#[tokio::test]
async fn what_becomes_of_a_ticket_is_told_at_whole_steps_of_time() {
    let console = Console::start(None).await;
    let running = Running::start(&Settings::default()).await;
    let ticket = Some("one-time".to_owned().try_into().unwrap());
    let bound = Binding { ticket, ..binding("vm-1", station(1), Backend::Address(console.address)) };
    running.broker.bind(bound).unwrap();
    for wrong in ["guess", "one-tima", ""] {
        let began = std::time::Instant::now();
        let offered = (!wrong.is_empty()).then_some(wrong);
        assert_eq!(
            view(running.address, station(1), 0, MAIN, offered).await.unwrap_err(),
            Turned::Verdict(7)
        );
        assert!(began.elapsed() >= Duration::from_millis(50), "{wrong}: {:?}", began.elapsed());
    }
}

#[tokio::test]
async fn a_viewer_comes_back_within_the_grace() {
    let console = Console::start(None).await;
    let mut running = Running::start(&Settings::default()).await;
    let bound =
        Binding { grace_ms: 30_000, ..binding("vm-1", station(1), Backend::Address(console.address)) };
    running.broker.bind(bound).unwrap();
    drop(view(running.address, station(1), 0, MAIN, None).await.unwrap());
    running.event(|event| matches!(event, Event::Away { .. }).then_some(())).await;
    let mut main = view(running.address, station(1), 0, MAIN, None).await.unwrap();
    main.echo(b"again").await.unwrap();
    // Another viewer at the same station takes the session over.
    let mut other = view(running.address, station(1), 0, MAIN, None).await.unwrap();
    main.ended().await;
    other.echo(b"mine").await.unwrap();
    assert_eq!(running.broker.list()[0].phase, Phase::Connected);
}

#[tokio::test]
async fn tls_is_seen_by_its_first_octet_and_asked_for_where_bound() {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["desk.test".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let server = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    let console = Console::start(None).await;
    let settings = Settings { tls: Some(Arc::new(server)), ..Settings::default() };
    let running = Running::start(&settings).await;
    let bound = Binding {
        tls: true,
        ..binding("vm-1", IpAddr::from([127, 0, 0, 1]), Backend::Address(console.address))
    };
    running.broker.bind(bound).unwrap();
    let plain = TcpStream::connect(running.address).await.unwrap();
    assert_eq!(open(plain, 0, MAIN, None).await.unwrap_err(), Turned::Verdict(5));
    let mut roots = RootCertStore::empty();
    roots.add(cert.der().clone()).unwrap();
    let client = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let connector = TlsConnector::from(Arc::new(client));
    let stream = TcpStream::connect(running.address).await.unwrap();
    let stream = connector.connect(ServerName::try_from("desk.test").unwrap(), stream).await.unwrap();
    let mut main = open(stream, 0, MAIN, None).await.unwrap();
    main.echo(&[1; 100_000]).await.unwrap();
}

#[tokio::test]
async fn hostile_stations_cost_nobody_anything() {
    let console = Console::start(None).await;
    let settings = Settings { channels: 4, ..Settings::default() };
    let mut running = Running::start(&settings).await;
    for number in [1, 2] {
        let name = format!("vm-{number}");
        running.broker.bind(binding(&name, station(number), Backend::Address(console.address))).unwrap();
    }
    let mut good = view(running.address, station(1), 0, MAIN, None).await.unwrap();
    let connect = || async {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::new(station(2), 0)).unwrap();
        socket.connect(running.address).await.unwrap()
    };
    // Nonsense, a body as long as the memory, half a message, and connections without end.
    let mut http = connect().await;
    http.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let mut long = connect().await;
    long.write_all(b"REDQ\x02\0\0\0\x02\0\0\0\xff\xff\xff\xff").await.unwrap();
    let mut kept = Vec::new();
    for _ in 0..20 {
        let mut half = connect().await;
        let _ = half.write_all(b"REDQ\x02\0").await;
        kept.push(half);
    }
    let reason = running
        .event(|event| match event {
            Event::Refused { reason: Refusal::TooMany, station } => Some(*station),
            _ => None,
        })
        .await;
    assert_eq!(reason, station(2));
    good.echo(&[4; 100_000]).await.unwrap();
    assert!(!running.broker.list().iter().any(|session| session.console == "vm-2" && session.used));
}

#[tokio::test]
async fn a_console_that_ends_takes_its_session_along() {
    // The console is a descriptor whose other end the test holds, as QEMU does.
    let console = Console::start(None).await;
    let mut running = Running::start(&Settings::default()).await;
    running.broker.bind(binding("vm-1", station(1), Backend::Descriptor)).unwrap();
    let broker = running.address;
    let viewer = tokio::spawn(async move { view(broker, station(1), 0, MAIN, None).await.unwrap() });
    let request = running
        .event(|event| match event {
            Event::Wanted { request, .. } => Some(*request),
            _ => None,
        })
        .await;
    let (ours, theirs) = UnixStream::pair().unwrap();
    let shared = console.shared.clone();
    let served = tokio::spawn(async move { shared.serve(ours).await });
    assert!(running.broker.hand_over(request, OwnedFd::from(theirs.into_std().unwrap())));
    let mut main = viewer.await.unwrap();
    main.echo(b"through a descriptor").await.unwrap();
    served.abort();
    assert_eq!(running.end().await, (EndReason::ConsoleClosed, true));
    main.ended().await;
}

/// A broker with a control socket, and the path of that socket.
async fn controlled(folder: &tempfile::TempDir) -> (Running, PathBuf) {
    let running = Running::start(&Settings::default()).await;
    let path = folder.path().join("broker.sock");
    tokio::spawn(control::serve(running.broker.clone(), control::listen(&path).unwrap()));
    (running, path)
}

async fn next(events: &mut mpsc::Receiver<Event>) -> Event {
    timeout(PATIENCE, events.recv()).await.unwrap().unwrap()
}

#[tokio::test]
async fn a_manager_that_restarts_finds_the_sessions_running() {
    let console = Console::start(None).await;
    let folder = tempfile::tempdir().unwrap();
    let (running, path) = controlled(&folder).await;
    assert!(control::listen(&path).is_err(), "a second broker takes the first one's socket");
    let (manager, mut events) = Client::connect(&path).await.unwrap();
    manager.bind(binding("vm-1", station(1), Backend::Descriptor)).await.unwrap();
    assert_eq!(next(&mut events).await, Event::Bound { console: "vm-1".to_owned(), station: station(1) });
    let taken = manager.bind(binding("vm-1", station(2), Backend::Descriptor)).await.unwrap_err();
    let ClientError::Refused(CommandError::Binding(taken)) = taken else { panic!("{taken}") };
    assert_eq!(taken, BindError::ConsoleTaken("vm-1".to_owned()));
    let broker = running.address;
    let viewer = tokio::spawn(async move { view(broker, station(1), 0, MAIN, None).await.unwrap() });
    let Event::Wanted { request, console: name } = next(&mut events).await else {
        panic!("no descriptor is asked for")
    };
    assert_eq!(name, "vm-1");
    let descriptor = {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let shared = console.shared.clone();
        tokio::spawn(async move { shared.serve(ours).await });
        OwnedFd::from(theirs.into_std().unwrap())
    };
    manager.hand_over(request, descriptor).await.unwrap();
    let mut main = viewer.await.unwrap();
    assert_eq!(next(&mut events).await, Event::Used { console: "vm-1".to_owned(), station: station(1) });
    let Event::Opened { channel, tls: false, .. } = next(&mut events).await else {
        panic!("nothing was opened")
    };
    assert_eq!(channel, Kind::Main);
    drop((manager, events));
    main.echo(b"nobody manages").await.unwrap();
    let (manager, mut events) = Client::connect(&path).await.unwrap();
    let listing = manager.list().await.unwrap();
    assert_eq!((listing.sessions.len(), listing.sessions[0].phase), (1, Phase::Connected));
    assert!(listing.sessions[0].used);
    assert!(manager.unbind("vm-1").await.is_err(), "it is in use");
    manager.kick("vm-1").await.unwrap();
    main.ended().await;
    loop {
        if let Event::Ended { reason, used, .. } = next(&mut events).await {
            assert_eq!((reason, used), (EndReason::Kicked, true));
            break;
        }
    }
}

#[tokio::test]
async fn whoever_speaks_nonsense_on_the_control_socket_is_told_so() {
    let folder = tempfile::tempdir().unwrap();
    let (_running, path) = controlled(&folder).await;
    let mut stream = UnixStream::connect(&path).await.unwrap();
    stream.write_all(b"{\"id\":1}\n{\"id\":2,\"command\":{\"hand_over\":{\"request\":5}}}\n").await.unwrap();
    let mut lines = tokio::io::AsyncBufReadExt::lines(tokio::io::BufReader::new(stream));
    let first = lines.next_line().await.unwrap().unwrap();
    assert!(first.starts_with("{\"id\":0,\"error\":{\"syntax\":"), "{first}");
    assert_eq!(lines.next_line().await.unwrap().unwrap(), "{\"id\":2,\"error\":\"no_descriptor\"}");
}
