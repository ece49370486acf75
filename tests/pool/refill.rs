//! How the pool fills: so many clean VMs as are wanted and no more, at once when one is taken, slowly when none can be made;
//! and consoles that are closed again, whatever becomes of their VM.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use vrouter::pool::door::vm_of;
use vrouter::pool::fake::{Delays, FakeConsoles, FakeDoor, FakeHost, FakeHypervisor};
use vrouter::pool::manager::Ask;
use vrouter::pool::slot::State;
use vrouter::pool::state::Told;
use vrouter::pool::status::Status;

use crate::rig::{Running, config};

fn station(number: u8) -> IpAddr {
    Ipv4Addr::new(192, 0, 2, number).into()
}

fn host() -> Arc<FakeHost> {
    Arc::new(FakeHost::new("kiosk", Path::new("/overlays")))
}

/// Input: four slots of which two are to be spare, then visitors one after another. Output: two clean VMs, and again two at
/// once when one is taken, without another visitor; with four used there is none, and a fifth visitor is told why he waits.
#[tokio::test]
async fn size_and_spare_count_apart_and_slots_refill_on_the_event() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), "[slots]\nsize = 4\nspare = 2\n[signal]\ntries = 60\n");
    let (host, door) = (host(), Arc::new(FakeDoor::default()));
    let pool = Running::start(&config, &host, door.clone());
    for (used, clean) in [(0, 2), (1, 2), (2, 2), (3, 1), (4, 0)] {
        if used > 0 {
            let number = u8::try_from(used).unwrap();
            let mut listening = pool.arrive(station(number)).await;
            let told = listening.wait_for(|told| matches!(told, Told::Connect { .. }));
            tokio::time::timeout(crate::lab::PATIENCE, told).await.unwrap().unwrap();
            door.connect(station(number)).unwrap();
        }
        let is = |status: &Status| status.count(State::Used) == used && status.count(State::Clean) == clean;
        let status = pool.until("as many clean VMs as are wanted", is).await;
        assert_eq!(status.count(State::Empty), 4 - used - clean, "more VMs are made than are wanted");
    }
    let fifth = pool.arrive(station(5)).await;
    pool.until("the fifth waits", |status| status.stations.len() == 1).await;
    assert_eq!(*fifth.borrow(), Told::Wait { position: 1, reason: "all VMs are in use".to_owned() });
    // Two slots are wanted for whoever comes next; one that is free is his.
    door.disconnect(station(1));
    pool.until("he is served", |status| status.count(State::Reserved) == 1).await;
    pool.stop().await;
}

/// Input: a VM whose console's port somebody else has, so that it cannot be started. Output: it is tried again after 1, 2 and 4
/// seconds, nothing of it is left, and the reason is told with when the next try is; then the port is free, and the pool fills.
#[tokio::test]
async fn what_cannot_be_made_is_tried_ever_later_and_told() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), "[slots]\nsize = 1\nstart_port = 22400\n");
    let host = host();
    let consoles = Arc::new(FakeConsoles::new().unwrap());
    let taken = std::net::TcpListener::bind("127.0.0.1:22401").unwrap();
    let hypervisor = FakeHypervisor::with_consoles(host.clone(), Delays::NONE, consoles);
    let pool = Running::with(&config, hypervisor, Arc::new(FakeDoor::default()));
    let began = Instant::now();
    let status = pool.until("four tries", |status| status.counters.created >= 4).await;
    assert!(began.elapsed() >= Duration::from_secs(7), "four tries in {:?}", began.elapsed());
    assert!(status.counters.failed >= 3, "{status:#?}");
    let told = |status: &Status| status.hindrance.clone().unwrap_or_default();
    let status = pool.until("why", |status| told(status).contains("next try in")).await;
    assert!(told(&status).contains("the console's port 22401"), "{}", told(&status));
    pool.until("nothing is left", |status| status.count(State::Empty) == 1).await;
    assert_eq!(host.everything(), (Vec::new(), Vec::new()));
    drop(taken);
    pool.full().await;
    pool.stop().await;
}

/// A VM that is kept is closed to the password of its session, and stays so when a manager starts.
#[tokio::test]
async fn the_console_of_a_vm_that_is_kept_is_closed() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), "[slots]\nsize = 2\nstart_port = 22300\n");
    let (host, door) = (host(), Arc::new(FakeDoor::default()));
    let consoles = Arc::new(FakeConsoles::new().unwrap());
    let hypervisor = FakeHypervisor::with_consoles(host.clone(), Delays::NONE, consoles.clone());
    let pool = Running::with(&config, hypervisor.clone(), door.clone());
    pool.full().await;
    let (vm, uuid, _) = host.everything().0.remove(0);
    let mut listening = pool.arrive(station(1)).await;
    let told = listening.wait_for(|told| matches!(told, Told::Connect { .. }));
    tokio::time::timeout(crate::lab::PATIENCE, told).await.unwrap().unwrap();
    door.connect(station(1)).unwrap();
    pool.until("used", |status| status.count(State::Used) == 1).await;
    assert!(consoles.password(&vm).is_some());
    let (answer, answered) = oneshot::channel();
    pool.asks.send(Ask::Quarantine(vm.clone(), answer)).await.unwrap();
    answered.await.unwrap().unwrap();
    pool.until("kept, and closed", |status| {
        status.count(State::Quarantined) == 1 && consoles.password(&vm).is_none()
    })
    .await;
    assert!(door.connect(station(1)).is_none(), "the station is not cut off");
    // The station is not kept with its VM: it gets the other one.
    let mut listening = pool.arrive(station(1)).await;
    let told = listening.wait_for(|told| matches!(told, Told::Connect { .. }));
    tokio::time::timeout(crate::lab::PATIENCE, told).await.unwrap().unwrap();
    assert_ne!(door.connect(station(1)).map(|id| vm_of(&id).to_owned()), Some(vm.clone()));
    pool.until("he works again", |status| status.count(State::Used) == 1).await;
    pool.stop().await;
    let pool = Running::with(&config, hypervisor, door);
    pool.until("found", |status| status.known && status.count(State::Quarantined) == 1).await;
    assert_eq!(host.everything().0.remove(0).1, uuid, "it was to be kept");
    assert!(consoles.password(&vm).is_none());
    // Who was in it is known still, for the record of the session.
    let (answer, answered) = oneshot::channel();
    pool.asks.send(Ask::Recycle(vm, answer)).await.unwrap();
    answered.await.unwrap().unwrap();
    pool.until("its session is over", |status| status.counters.sessions == 1).await;
    let journal = std::fs::read_to_string(folder.path().join("sessions.jsonl")).unwrap();
    assert!(journal.contains(&uuid) && journal.contains("192.0.2.1"), "{journal}");
    pool.stop().await;
}
