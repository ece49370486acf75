//! The manager on a made-up host: whole sessions, `kill -9` at every call, a hypervisor that hangs, and sessions that
//! outlive it in a real broker.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::runtime::Builder;
use vrouter::pool::broker::{Broker, Settings, control};
use vrouter::pool::config::Config;
use vrouter::pool::fake::{Delays, FakeConsoles, FakeDoor, FakeHost, FakeHypervisor, Fault};
use vrouter::pool::hypervisor::{Golden, MarkState, Resources};
use vrouter::pool::manager::Ask;
use vrouter::pool::reached::ReachedBroker;
use vrouter::pool::slot::State;
use vrouter::pool::state::{Finish, Told};

use crate::rig::{Running, config};
use crate::spice::{INPUTS, MAIN, view};

const STATION: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7));

fn host() -> Arc<FakeHost> {
    Arc::new(FakeHost::new("kiosk", Path::new("/overlays")))
}

/// The VMs that a station was in, by UUID, with what is marked on them.
fn mark_of(host: &FakeHost, uuid: &str) -> Option<MarkState> {
    let (domains, _) = host.everything();
    domains.into_iter().find(|(_, other, _)| other == uuid).and_then(|(.., mark)| mark).map(|mark| mark.state)
}

async fn told(listening: &mut tokio::sync::watch::Receiver<Told>, wanted: impl Fn(&Told) -> bool) -> Told {
    tokio::time::timeout(crate::lab::PATIENCE, listening.wait_for(wanted)).await.unwrap().unwrap().clone()
}

/// Whether a station is told that it is connected, by whichever of the two words it sees.
fn is_connected(told: &Told) -> bool {
    matches!(told, Told::Over(Finish::Connected) | Told::InSession)
}

/// A session from the signal to the journal.
#[tokio::test]
async fn a_visitor_gets_a_vm_that_is_gone_when_he_is() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), "[slots]\nsize = 2\n");
    let (host, door) = (host(), Arc::new(FakeDoor::default()));
    let pool = Running::start(&config, &host, door.clone());
    let before = pool.full().await;
    let mut listening = pool.arrive(STATION).await;
    told(&mut listening, |told| matches!(told, Told::Connect { ticket: None })).await;
    let status = pool.until("reserved", |status| status.count(State::Reserved) == 1).await;
    let slot = status.slots.iter().find(|slot| slot.station == Some(STATION)).unwrap();
    assert_eq!((slot.state.as_str(), slot.list.as_str()), ("reserved", "conn_wait"));
    let vm = slot.vm.clone();
    let (domains, _) = host.everything();
    let uuid = domains.iter().find(|(name, ..)| *name == vm).unwrap().1.clone();
    assert_eq!(mark_of(&host, &uuid), Some(MarkState::Reserved));
    door.connect(STATION).unwrap();
    told(&mut listening, is_connected).await;
    pool.until("used", |status| status.count(State::Used) == 1).await;
    door.disconnect(STATION);
    let after = pool.full().await;
    assert_eq!(mark_of(&host, &uuid), None, "the VM is there still");
    assert_eq!(after.counters.sessions, 1);
    assert!(after.counters.created > before.counters.created);
    let journal = std::fs::read_to_string(folder.path().join("sessions.jsonl")).unwrap();
    assert!(journal.contains(&uuid) && journal.contains("192.0.2.7"), "{journal}");
    pool.stop().await;
}

/// Input: the manager is killed at its nth call to the hypervisor, before it was done or after, for every n of a whole
/// session. Output: the next manager hands nothing out that was used, leaves nothing over, and fills the pool.
#[test]
fn a_manager_killed_at_any_call_leaves_nothing_behind() {
    let mut sessions = 0;
    for done in [false, true] {
        for call in 1..60 {
            let folder = tempfile::tempdir().unwrap();
            let config = config(folder.path(), "[slots]\nsize = 2\n");
            let (host, door) = (host(), Arc::new(FakeDoor::default()));
            host.stop_at(call, done);
            let used = first_life(&config, &host, &door);
            sessions += used.len();
            host.go_on();
            // Its viewer notices nothing of a manager; now it goes.
            door.disconnect(STATION);
            second_life(&config, &host, &door);
            let (domains, overlays) = host.everything();
            for (name, uuid, mark) in &domains {
                assert!(!used.contains(uuid), "{name} was used and is kept after call {call}");
                assert_eq!(mark.as_ref().unwrap().state, MarkState::Clean, "after call {call}");
            }
            assert_eq!(
                (domains.len(), overlays.len()),
                (2, 2),
                "after call {call}: {domains:?} {overlays:?}"
            );
        }
    }
    // The schedule means something: many of the lives reached a session.
    assert!(sessions > 40, "too few managers were killed in or after a session: {sessions}");
}

/// A visitor comes and goes until the manager is killed. The UUIDs of the VMs that he was in.
fn first_life(config: &Config, host: &Arc<FakeHost>, door: &Arc<FakeDoor>) -> Vec<String> {
    let runtime = Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    let used = runtime.block_on(async {
        let pool = Running::start(config, host, door.clone());
        let mut used = Vec::new();
        let listening = pool.arrive(STATION).await;
        for _ in 0..400 {
            if host.stopped() {
                break;
            }
            if matches!(*listening.borrow(), Told::Connect { .. })
                && let Some(id) = door.connect(STATION)
            {
                let (domains, _) = host.everything();
                let name = vrouter::pool::door::vm_of(&id).to_owned();
                used.extend(domains.into_iter().find(|(other, ..)| *other == name).map(|(_, uuid, _)| uuid));
            }
            if is_connected(&listening.borrow()) {
                door.disconnect(STATION);
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        used
    });
    // Nothing of it runs on.
    drop(runtime);
    used
}

fn second_life(config: &Config, host: &Arc<FakeHost>, door: &Arc<FakeDoor>) {
    let runtime = Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let pool = Running::start(config, host, door.clone());
        let full = |status: &vrouter::pool::status::Status| {
            status.known && status.slots.len() == status.count(State::Clean)
        };
        pool.until("full after a crash", full).await;
        pool.stop().await;
    });
}

/// The session of a killed manager goes on in the broker, and the next manager takes it over; then it ends as any other.
#[tokio::test]
async fn a_session_outlives_its_manager() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("broker.sock");
    let more = format!("[slots]\nsize = 2\nstart_port = 22100\n[console]\nbroker_socket = {socket:?}\n");
    let config = config(folder.path(), &more);
    let broker = Broker::new(&Settings::default()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let managers = control::listen(&socket).unwrap();
    let served = broker.clone();
    tokio::spawn(async move {
        tokio::join!(served.serve(listener), served.expire(), control::serve(served.clone(), managers))
    });
    let host = host();
    let consoles = Arc::new(FakeConsoles::new().unwrap());
    let hypervisor = FakeHypervisor::with_consoles(host.clone(), Delays::NONE, consoles);
    let start = || Running::with(&config, hypervisor.clone(), Arc::new(ReachedBroker::new(socket.clone())));

    let pool = start();
    pool.full().await;
    let station = IpAddr::from([127, 0, 8, 1]);
    let mut listening = pool.arrive(station).await;
    told(&mut listening, |told| matches!(told, Told::Connect { .. })).await;
    assert!(
        view(address, IpAddr::from([127, 0, 8, 2]), 0, MAIN, None).await.is_err(),
        "another station came in"
    );
    let mut main = view(address, station, 0, MAIN, None).await.unwrap();
    let mut inputs = view(address, station, main.session, INPUTS, None).await.unwrap();
    told(&mut listening, is_connected).await;
    let before = pool.until("used", |status| status.count(State::Used) == 1).await;
    pool.stop().await;

    main.echo(b"while nobody manages").await.unwrap();
    let pool = start();
    let after = pool.until("known", |status| status.known && status.count(State::Used) == 1).await;
    let vm = |status: &vrouter::pool::status::Status| {
        status.slots.iter().find(|slot| slot.state == "used").map(|slot| (slot.vm.clone(), slot.station))
    };
    assert_eq!(vm(&before), vm(&after));
    inputs.echo(b"the session goes on").await.unwrap();
    drop((main, inputs));
    let end = pool
        .until("renewed", |status| status.counters.sessions == 1 && status.count(State::Clean) == 2)
        .await;
    assert_eq!(end.counters.connected, 0, "nobody was told to connect twice");
    pool.stop().await;
}

/// A hypervisor that fails, hangs up or has no room: the pool says why, and goes on when it can.
#[tokio::test]
async fn what_hinders_the_pool_is_said_and_does_not_stop_it() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), "[slots]\nsize = 2\n");
    let (host, door) = (host(), Arc::new(FakeDoor::default()));
    host.set_resources(Resources { memory: 1 << 20, disk: 1 << 40 });
    let pool = Running::start(&config, &host, door);
    let hindered = |word: &'static str| {
        move |status: &vrouter::pool::status::Status| {
            status.hindrance.as_ref().is_some_and(|hindrance| hindrance.contains(word))
        }
    };
    pool.until("short of memory", hindered("memory")).await;
    let mut listening = pool.arrive(STATION).await;
    told(
        &mut listening,
        |told| matches!(told, Told::Wait { position: 1, reason } if reason.contains("memory")),
    )
    .await;
    host.set_golden(Golden { version: "1".to_owned(), memory: 1, fault: Some("it runs".to_owned()) });
    host.set_resources(Resources { memory: 1 << 40, disk: 1 << 40 });
    pool.until("the golden domain runs", hindered("it runs")).await;
    host.fail([Fault::NoRoom; 4]);
    host.set_golden(Golden { version: "1".to_owned(), memory: 1, fault: None });
    pool.until("served", |status| status.count(State::Reserved) == 1).await;
    pool.stop().await;
}

/// A new golden version replaces clean VMs one by one and never a used one; drained, quarantined and recycled slots do as
/// they are told.
#[tokio::test]
async fn operators_and_golden_versions_move_vms_one_by_one() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), "[slots]\nsize = 3\n");
    let (host, door) = (host(), Arc::new(FakeDoor::default()));
    let pool = Running::start(&config, &host, door.clone());
    pool.full().await;
    let mut listening = pool.arrive(STATION).await;
    told(&mut listening, |told| matches!(told, Told::Connect { .. })).await;
    door.connect(STATION).unwrap();
    let used = pool.until("used", |status| status.count(State::Used) == 1).await;
    let used = used.slots.iter().find(|slot| slot.state == "used").unwrap().vm.clone();
    host.set_golden(Golden { version: "2".to_owned(), memory: 1, fault: None });
    let renewed = pool
        .until("renewed", |status| {
            status
                .slots
                .iter()
                .filter(|slot| slot.golden.as_deref() == Some("2") && slot.state == "clean")
                .count()
                == 2
        })
        .await;
    let kept = renewed.slots.iter().find(|slot| slot.vm == used).unwrap();
    assert_eq!((kept.state.as_str(), kept.golden.as_deref()), ("used", Some("1")));

    let (answer, answered) = tokio::sync::oneshot::channel();
    pool.asks.send(Ask::Quarantine(used.clone(), answer)).await.unwrap();
    answered.await.unwrap().unwrap();
    let is = |state: &'static str| {
        let used = used.clone();
        move |status: &vrouter::pool::status::Status| {
            status.slots.iter().any(|slot| slot.vm == used && slot.state == state)
        }
    };
    pool.until("quarantined", is("quarantined")).await;
    assert!(door.connect(STATION).is_none(), "the station is cut off");
    let (answer, answered) = tokio::sync::oneshot::channel();
    pool.asks.send(Ask::Recycle(used.clone(), answer)).await.unwrap();
    answered.await.unwrap().unwrap();
    pool.full().await;

    let (answer, answered) = tokio::sync::oneshot::channel();
    pool.asks.send(Ask::Drain(true, answer)).await.unwrap();
    answered.await.unwrap().unwrap();
    pool.until("empty", |status| status.count(State::Empty) == 3).await;
    pool.stop().await;
    let pool = Running::start(&config, &host, door);
    pool.until("known and drained", |status| status.known && status.draining).await;
    let (answer, answered) = tokio::sync::oneshot::channel();
    pool.asks.send(Ask::Drain(false, answer)).await.unwrap();
    answered.await.unwrap().unwrap();
    pool.full().await;
    pool.stop().await;
}

/// A guest that shuts down or restarts ends its session; while nobody is in it, restarting is its own affair.
#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_shuts_down_or_restarts_ends_its_session() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), "[slots]\nsize = 1\n");
    let (host, door) = (host(), Arc::new(FakeDoor::default()));
    let pool = Running::start(&config, &host, door.clone());
    pool.full().await;
    let uuid = || host.everything().0[0].1.clone();
    let first = uuid();
    host.guest_restarts("kiosk-5921");
    crate::lab::until("the restart is told", || host.is_told().then_some(()));
    // The loop takes what waits for it in any order; by then it has taken that.
    for _ in 0..20 {
        pool.status().await.unwrap();
    }
    for (round, ends) in [FakeHost::guest_ends, FakeHost::guest_restarts].into_iter().enumerate() {
        let mut listening = pool.arrive(STATION).await;
        told(&mut listening, |told| matches!(told, Told::Connect { .. })).await;
        assert!(round > 0 || uuid() == first, "a clean VM was removed because it restarted");
        door.connect(STATION).unwrap();
        pool.until("used", |status| status.count(State::Used) == 1).await;
        let used = uuid();
        ends(&host, "kiosk-5921");
        let over = u64::try_from(round).unwrap() + 1;
        pool.until("over", |status| status.counters.sessions == over && status.count(State::Clean) == 1)
            .await;
        assert_ne!(uuid(), used);
    }
    pool.stop().await;
}

/// Nobody touches anything: the visitor is warned, then the session ends.
#[tokio::test]
async fn an_idle_session_is_warned_and_ends() {
    let folder = tempfile::tempdir().unwrap();
    let config =
        config(folder.path(), "[slots]\nsize = 1\n[session]\nidle_seconds = 60\nidle_warning_seconds = 20\n");
    let (host, door) = (host(), Arc::new(FakeDoor::default()));
    let pool = Running::start(&config, &host, door.clone());
    pool.full().await;
    let mut listening = pool.arrive(STATION).await;
    told(&mut listening, |told| matches!(told, Told::Connect { .. })).await;
    door.connect(STATION).unwrap();
    // It stays at the signal port to be warned.
    told(&mut listening, |told| *told == Told::InSession).await;
    door.idle(STATION, Duration::from_secs(45));
    told(&mut listening, |told| matches!(told, Told::Idle { left } if *left == Duration::from_secs(15)))
        .await;
    door.idle(STATION, Duration::from_secs(1));
    told(&mut listening, |told| *told == Told::InSession).await;
    door.idle(STATION, Duration::from_secs(61));
    told(&mut listening, |told| *told == Told::Over(Finish::SessionOver)).await;
    pool.full().await;
    let journal = std::fs::read_to_string(folder.path().join("sessions.jsonl")).unwrap();
    assert!(journal.contains("nobody touched anything for 60 s"), "{journal}");
    pool.stop().await;
}

/// However busy the visitor is: a session that is as long as one may be ends.
#[tokio::test]
async fn the_longest_session_ends() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), "[slots]\nsize = 1\n[session]\nlongest_seconds = 1\n");
    let (host, door) = (host(), Arc::new(FakeDoor::default()));
    let pool = Running::start(&config, &host, door.clone());
    pool.full().await;
    let first = host.everything().0[0].1.clone();
    let mut listening = pool.arrive(STATION).await;
    told(&mut listening, |told| matches!(told, Told::Connect { .. })).await;
    let began = std::time::Instant::now();
    door.connect(STATION).unwrap();
    told(&mut listening, |told| *told == Told::InSession).await;
    told(&mut listening, |told| *told == Told::Over(Finish::SessionOver)).await;
    assert!(began.elapsed() >= Duration::from_secs(1));
    pool.full().await;
    assert_eq!(mark_of(&host, &first), None, "its VM is there still");
    let journal = std::fs::read_to_string(folder.path().join("sessions.jsonl")).unwrap();
    assert!(journal.contains("the session lasted 1 s, as long as one may"), "{journal}");
    pool.stop().await;
}

/// A console takes a password while somebody is expected, and none before or after, though its VM stays.
#[tokio::test]
async fn a_console_is_open_for_as_long_as_it_is_reserved() {
    let folder = tempfile::tempdir().unwrap();
    let more = "[slots]\nsize = 1\nstart_port = 22200\n[signal]\ntries = 1\n";
    let config = config(folder.path(), more);
    let (host, door) = (host(), Arc::new(FakeDoor::default()));
    let consoles = Arc::new(FakeConsoles::new().unwrap());
    let hypervisor = FakeHypervisor::with_consoles(host.clone(), Delays::NONE, consoles.clone());
    let pool = Running::with(&config, hypervisor, door);
    pool.full().await;
    let (vm, uuid, _) = host.everything().0.remove(0);
    assert_eq!(consoles.password(&vm), None);
    let mut listening = pool.arrive(STATION).await;
    told(&mut listening, |told| matches!(told, Told::Connect { .. })).await;
    let password = consoles.password(&vm);
    assert!(password.is_some_and(|password| password.len() == 32));
    told(&mut listening, |told| *told == Told::Over(Finish::NotCome)).await;
    pool.full().await;
    assert_eq!(consoles.password(&vm), None);
    assert_eq!(mark_of(&host, &uuid), Some(MarkState::Clean), "nobody came, so it is the same VM");
    pool.stop().await;
}
