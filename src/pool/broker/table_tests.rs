//! Bindings and sessions by the clock of the test, and a law over any order of what can happen.

use proptest::prelude::*;

use super::*;

const STATION: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 7));

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn binding(console: &str, station: IpAddr) -> Binding {
    Binding {
        console: console.to_owned(),
        station,
        backend: Backend::Descriptor,
        reserved_ms: 10_000,
        grace_ms: 0,
        ticket: None,
        password: None,
        tls: false,
    }
}

/// A link message: session, channel.
fn link(session: u32, channel: u8) -> Link {
    let mut body = session.to_le_bytes().to_vec();
    body.extend([channel, 0]);
    for word in [0u32, 0, 18] {
        body.extend(word.to_le_bytes());
    }
    Link::parse(&body).unwrap()
}

fn table() -> Table {
    Table::new(32, false)
}

/// Brings a channel through.
fn open(table: &mut Table, session: u32, channel: u8, now: Duration) -> Result<u64, Refusal> {
    let (key, _) = table.admit(STATION)?;
    table.link(STATION, key, link(session, channel), false)?;
    table.redeem(STATION, key, Some(b"secret"), now)?;
    table.authenticated(STATION, key, false, now);
    Ok(key)
}

fn ended(effects: &[Effect]) -> Option<(EndReason, bool)> {
    effects.iter().find_map(|effect| match effect {
        Effect::Tell(Event::Ended { reason, used, .. }) => Some((*reason, *used)),
        _ => None,
    })
}

#[test]
fn a_station_that_never_connects_leaves_its_console_untouched() {
    let mut table = table();
    table.bind(binding("a", STATION), seconds(0)).unwrap();
    assert_eq!(table.deadline(), Some(seconds(10)));
    let (_, _) = table.admit(STATION).unwrap();
    assert_eq!(ended(&table.tick(seconds(9))), None);
    assert_eq!(ended(&table.tick(seconds(10))), Some((EndReason::Expired, false)));
    assert_eq!(table.admit(STATION).unwrap_err(), Refusal::NotBound);
}

#[test]
fn from_the_ticket_on_a_console_is_used_whatever_becomes_of_it() {
    let mut table = table();
    table.bind(binding("a", STATION), seconds(0)).unwrap();
    let (key, _) = table.admit(STATION).unwrap();
    table.link(STATION, key, link(0, 1), false).unwrap();
    let effects = table.redeem(STATION, key, None, seconds(1)).unwrap();
    assert_eq!(effects, [Effect::Tell(Event::Used { console: "a".to_owned(), station: STATION })]);
    assert_eq!(table.unbind("a"), Err(BindError::InUse("a".to_owned())));
    assert_eq!(ended(&table.tick(seconds(10))), Some((EndReason::Expired, true)));
}

#[test]
fn further_channels_name_the_session_of_the_first() {
    let mut table = table();
    table.bind(binding("a", STATION), seconds(0)).unwrap();
    assert_eq!(open(&mut table, 77, 2, seconds(1)), Err(Refusal::NoSession), "there is no session yet");
    let main = open(&mut table, 0, 1, seconds(1)).unwrap();
    table.session_is(STATION, main, 77);
    let display = open(&mut table, 77, 2, seconds(2)).unwrap();
    assert_eq!(open(&mut table, 78, 2, seconds(2)), Err(Refusal::NoSession));
    assert_eq!(open(&mut table, 0, 2, seconds(2)), Err(Refusal::NoSession));
    assert_eq!(table.deadline(), None, "a session has no end by itself");
    let effects = table.closed(STATION, main, EndReason::ViewerLeft, seconds(9));
    assert_eq!(ended(&effects), Some((EndReason::ViewerLeft, true)));
    assert!(effects.contains(&Effect::Cut(display)));
}

#[test]
fn a_viewer_may_come_back_within_the_grace_and_not_after() {
    let mut table = table();
    let bound = Binding { grace_ms: 5000, ..binding("a", STATION) };
    table.bind(bound, seconds(0)).unwrap();
    let main = open(&mut table, 0, 1, seconds(1)).unwrap();
    assert_eq!(ended(&table.closed(STATION, main, EndReason::StationLost, seconds(20))), None);
    assert_eq!(table.list(seconds(20))[0].phase, Phase::Away);
    let again = open(&mut table, 0, 1, seconds(24)).unwrap();
    assert_eq!(table.list(seconds(24))[0].phase, Phase::Connected);
    table.closed(STATION, again, EndReason::ViewerLeft, seconds(30));
    assert_eq!(ended(&table.tick(seconds(35))), Some((EndReason::ViewerLeft, true)));
}

/// Input: a further channel ends for one reason, and the main channel so many seconds later for another. Output: what ended the
/// first one ended the session, where the other end only did what it then does; what comes later is another end.
#[test]
fn what_ended_the_first_channel_ended_the_session() {
    use EndReason::{ConsoleClosed, StationLost, ViewerLeft};
    for (first, then, after, reason) in [
        (ConsoleClosed, ViewerLeft, 1, ConsoleClosed),
        (StationLost, ConsoleClosed, 1, StationLost),
        (ViewerLeft, ConsoleClosed, 1, ViewerLeft),
        (ConsoleClosed, ViewerLeft, 2, ViewerLeft),
        (ViewerLeft, StationLost, 2, StationLost),
    ] {
        let mut table = table();
        table.bind(binding("a", STATION), seconds(0)).unwrap();
        let main = open(&mut table, 0, 1, seconds(1)).unwrap();
        table.session_is(STATION, main, 77);
        let inputs = open(&mut table, 77, 3, seconds(1)).unwrap();
        table.closed(STATION, inputs, first, seconds(5));
        let effects = table.closed(STATION, main, then, seconds(5 + after));
        assert_eq!(ended(&effects), Some((reason, true)), "{first:?}, {then:?} {after} s later");
    }
}

#[test]
fn a_ticket_opens_one_session_and_its_channels() {
    let mut table = table();
    let ticket = Some(Secret::try_from("secret".to_owned()).unwrap());
    table.bind(Binding { ticket, ..binding("a", STATION) }, seconds(0)).unwrap();
    let (key, _) = table.admit(STATION).unwrap();
    table.link(STATION, key, link(0, 1), false).unwrap();
    assert_eq!(table.redeem(STATION, key, Some(b"guess"), seconds(1)), Err(Refusal::Ticket));
    assert_eq!(table.redeem(STATION, key, None, seconds(1)), Err(Refusal::Ticket));
    open(&mut table, 0, 1, seconds(1)).unwrap();
    open(&mut table, 5, 3, seconds(1)).unwrap();
    assert_eq!(open(&mut table, 0, 1, seconds(2)), Err(Refusal::Ticket), "it is spent");
}

#[test]
fn what_cannot_be_kept_is_not_bound() {
    let mut table = table();
    table.bind(binding("a", STATION), seconds(0)).unwrap();
    let other = IpAddr::from([10, 0, 0, 8]);
    assert_eq!(table.bind(binding("a", other), seconds(0)), Err(BindError::ConsoleTaken("a".to_owned())));
    assert_eq!(table.bind(binding("b", STATION), seconds(0)), Err(BindError::StationTaken(STATION)));
    let tls = Binding { tls: true, ..binding("b", other) };
    assert_eq!(table.bind(tls, seconds(0)), Err(BindError::NoTls("b".to_owned())));
    let far = Binding { backend: Backend::Address("192.0.2.1:5921".parse().unwrap()), ..binding("b", other) };
    assert_eq!(table.bind(far, seconds(0)), Err(BindError::NotLocal("b".to_owned())));
    assert_eq!(ended(&table.kick("a").unwrap()), Some((EndReason::Kicked, false)));
    assert_eq!(table.unbind("a"), Err(BindError::Unknown("a".to_owned())));
}

#[test]
fn only_keyboard_mouse_and_usb_show_that_somebody_is_there() {
    let mut table = table();
    table.bind(binding("a", STATION), seconds(0)).unwrap();
    let main = open(&mut table, 0, 1, seconds(0)).unwrap();
    let mut counters = Vec::new();
    for channel in [2, 3] {
        let (key, counted) = table.admit(STATION).unwrap();
        table.link(STATION, key, link(5, channel), false).unwrap();
        table.authenticated(STATION, key, false, seconds(0));
        counters.push((key, counted));
    }
    counters[0].1.count_sent(100, seconds(50));
    assert_eq!(table.list(seconds(60))[0].idle_ms, 60_000);
    counters[1].1.count_sent(7, seconds(55));
    assert_eq!(table.list(seconds(60))[0].idle_ms, 5000);
    table.closed(STATION, counters[1].0, EndReason::ViewerLeft, seconds(61));
    let session = &table.list(seconds(65))[0];
    assert_eq!((session.idle_ms, session.sent, session.channels.len()), (10_000, 107, 2));
    assert_eq!(main, 0);
}

/// What a station or a manager does next.
#[derive(Debug, Clone)]
enum Act {
    Bind(u8, u8),
    Unbind(u8),
    Kick(u8),
    Open(u8, bool),
    Close(u8, usize),
    Wait(u64),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        (0..4u8, 0..4u8).prop_map(|(console, station)| Act::Bind(console, station)),
        (0..4u8).prop_map(Act::Unbind),
        (0..4u8).prop_map(Act::Kick),
        (0..4u8, any::<bool>()).prop_map(|(station, main)| Act::Open(station, main)),
        (0..4u8, 0..8usize).prop_map(|(station, at)| Act::Close(station, at)),
        (0..15u64).prop_map(Act::Wait),
    ]
}

proptest! {
    /// No console ever serves two stations under one binding, what was told as used ends as used, every binding ends once,
    /// and a connection that is let through belongs to the station that the console was bound for.
    #[test]
    fn every_binding_serves_one_station_and_ends_once(acts in proptest::collection::vec(act(), 1..120)) {
        let mut table = table();
        let mut now = Duration::ZERO;
        let mut open_keys: BTreeMap<u8, Vec<u64>> = BTreeMap::new();
        // Console -> (station, used).
        let mut bound: BTreeMap<String, (IpAddr, bool)> = BTreeMap::new();
        let address = |station: u8| IpAddr::from([10, 0, 0, station]);
        for act in acts {
            let effects = match act {
                Act::Bind(console, station) => {
                    table.bind(binding(&console.to_string(), address(station)), now).unwrap_or_default()
                }
                Act::Unbind(console) => table.unbind(&console.to_string()).unwrap_or_default(),
                Act::Kick(console) => table.kick(&console.to_string()).unwrap_or_default(),
                Act::Open(station, main) => {
                    let mut effects = Vec::new();
                    if let Ok((key, _)) = table.admit(address(station)) {
                        let wanted = if main { link(0, 1) } else { link(9, 3) };
                        if let Ok(target) = table.link(address(station), key, wanted, false) {
                            prop_assert_eq!(bound.get(&target.console).map(|b| b.0), Some(address(station)));
                            effects.extend(table.redeem(address(station), key, None, now).unwrap());
                            effects.extend(table.authenticated(address(station), key, false, now));
                        }
                        open_keys.entry(station).or_default().push(key);
                    }
                    effects
                }
                Act::Close(station, at) => {
                    let keys = open_keys.entry(station).or_default();
                    if at < keys.len() {
                        table.closed(address(station), keys.remove(at), EndReason::ViewerLeft, now)
                    } else {
                        Vec::new()
                    }
                }
                Act::Wait(time) => {
                    now += seconds(time);
                    table.tick(now)
                }
            };
            for effect in effects {
                match effect {
                    Effect::Tell(Event::Bound { console, station }) => {
                        prop_assert!(bound.values().all(|(other, _)| *other != station));
                        prop_assert!(bound.insert(console, (station, false)).is_none());
                    }
                    Effect::Tell(Event::Used { console, station }) => {
                        let entry = bound.get_mut(&console).unwrap();
                        prop_assert_eq!(*entry, (station, false));
                        entry.1 = true;
                    }
                    Effect::Tell(Event::Opened { console, station, .. }) => {
                        prop_assert_eq!(bound.get(&console), Some(&(station, true)));
                    }
                    Effect::Tell(Event::Ended { console, station, used, .. }) => {
                        prop_assert_eq!(bound.remove(&console), Some((station, used)));
                    }
                    _ => {}
                }
            }
            prop_assert_eq!(table.list(now).len(), bound.len());
        }
    }
}
