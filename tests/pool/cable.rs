//! A station whose cable is pulled: in a namespace of its own, the link goes down in the middle of a session.

use std::net::IpAddr;
use std::thread;
use std::time::Instant;

use nix::sched::{CloneFlags, setns};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use vrouter::pool::broker::event::{Backend, EndReason, Event};
use vrouter::pool::broker::{Broker, Settings};

use crate::broker::binding;
use crate::lab::{Lab, PATIENCE};
use crate::spice::{Console, MAIN, view};

/// A runtime whose one thread stands in a namespace of the lab.
fn runtime(lab: &Lab, namespace: &str) -> Runtime {
    let file = std::fs::File::open(format!("/run/netns/{}", lab.name(namespace))).unwrap();
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    setns(file, CloneFlags::CLONE_NEWNET).unwrap();
    runtime
}

/// Pulls the cable of a session in which the console says nothing, or talks all the time; within 30 s the broker knows.
fn pulled(talkative: bool) {
    let mut lab = Lab::new();
    lab.network("desks");
    lab.station("host", "desks", "02:00:00:00:00:01", Some("192.0.2.1/24"));
    lab.station("desk", "desks", "02:00:00:00:00:02", Some("192.0.2.2/24"));
    let desk: IpAddr = [192, 0, 2, 2].into();
    thread::scope(|scope| {
        let (address, addresses) = std::sync::mpsc::channel();
        let (pull, pulls) = std::sync::mpsc::channel();
        let lab = &lab;
        let host =
            scope.spawn(move || {
                runtime(lab, "host").block_on(async move {
                let console = Console::start(None).await;
                let listener = TcpListener::bind("192.0.2.1:0").await.unwrap();
                let broker = Broker::new(&Settings::default()).unwrap();
                broker.bind(binding("vm-1", desk, Backend::Address(console.address))).unwrap();
                address.send(listener.local_addr().unwrap()).unwrap();
                let mut events = broker.events();
                let waited = async {
                    let mut pulled = None;
                    loop {
                        match events.recv().await.unwrap() {
                            // The cable goes once the station is known to be through.
                            Event::Opened { .. } => pulled = Some(tokio::task::spawn_blocking({
                                let pull = pull.clone();
                                move || { pull.send(()).unwrap(); Instant::now() }
                            }).await.unwrap()),
                            Event::Ended { reason, .. } => return (reason, pulled.unwrap().elapsed()),
                            _ => {}
                        }
                    }
                };
                tokio::select! {
                    result = waited => result,
                    () = async { tokio::join!(broker.serve(listener), broker.expire()); } => unreachable!(),
                }
            })
            });
        let broker = addresses.recv_timeout(PATIENCE).unwrap();
        scope.spawn(move || {
            runtime(lab, "desk").block_on(async move {
                let mut main = view(broker, desk, 0, MAIN, None).await.unwrap();
                main.echo(b"here").await.unwrap();
                pulls.recv_timeout(PATIENCE).unwrap();
                if talkative {
                    // What comes back from the console finds nobody.
                    tokio::io::AsyncWriteExt::write_all(&mut main.stream, &[7; 200_000]).await.unwrap();
                }
                lab.ok("desk", "ip link set eth0 down");
                // Its end is not seen by anybody: no octet leaves any more.
                std::mem::forget(main);
            });
        });
        let (reason, after) = host.join().unwrap();
        eprintln!("noticed after {after:?}");
        assert_eq!(reason, EndReason::StationLost);
        assert!(after.as_secs() < 30, "{after:?}");
    });
}

#[test]
fn a_pulled_cable_of_a_silent_session_is_noticed() {
    pulled(false);
}

#[test]
fn a_pulled_cable_of_a_talkative_session_is_noticed() {
    pulled(true);
}
