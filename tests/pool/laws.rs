//! The laws of the pool over random schedules of visitors, crashes and failures: no VM is ever two stations', none that
//! was used is handed out, nothing is left over, nothing foreign is touched, and the pool fills again.

use std::cell::Cell;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{TestError, TestRunner};

use crate::schedule::{Happening, happening};
use crate::world::{World, station};

/// How many schedules are tried.
const SCHEDULES: u32 = 10_000;

/// Input: whatever happens in whatever order. Output: the laws, which `World::connect` and `World::go_on` hold at every
/// step, and a full pool once it is left alone. The schedules mean something: thousands of them have sessions, and crashes in
/// or after them.
#[test]
fn no_station_shares_or_inherits_a_vm_and_the_pool_fills_again() {
    let (sessions, crashed) = (Cell::new(0), Cell::new(0));
    let config = ProptestConfig { cases: SCHEDULES, failure_persistence: None, ..ProptestConfig::default() };
    let schedules = (1..5u16, 0..5u16, vec(any::<[u8; 3]>(), 0..80));
    let result = TestRunner::new(config).run(&schedules, |(size, spare, schedule)| {
        let mut world = World::new(size, spare.min(size));
        for octets in &schedule {
            let before = world.connected;
            let happening = happening(*octets);
            world.happen(&happening);
            let crash = matches!(
                happening,
                Happening::CrashManager
                    | Happening::CrashBroker
                    | Happening::Reboot
                    | Happening::LoseHypervisor
            );
            crashed.set(crashed.get() + usize::from(crash && before > 0));
        }
        sessions.set(sessions.get() + world.connected);
        world.settle();
        prop_assert!(world.is_full(), "{:#?}", world.pool);
        world.check_host();
        Ok(())
    });
    if let Err(TestError::Fail(why, (size, spare, schedule))) = &result {
        let schedule: Vec<_> = schedule.iter().map(|octets| happening(*octets)).collect();
        panic!("{why}, with {size} slots of which {spare} are spare: {schedule:?}");
    }
    result.unwrap();
    eprintln!(
        "{SCHEDULES} schedules: {} sessions, {} crashes after one began",
        sessions.get(),
        crashed.get()
    );
    assert!(
        sessions.get() > 2000 && crashed.get() > 1000,
        "{} sessions, {} crashes",
        sessions.get(),
        crashed.get()
    );
}

/// The schedules mean something: most visitors of a quiet pool get their VM.
#[test]
fn visitors_of_a_quiet_pool_are_served_one_after_another() {
    let mut world = World::new(2, 2);
    for round in 0..20u8 {
        let number = round % 6;
        world.happen(&Happening::Arrive(number));
        for _ in 0..40 {
            world.happen(&Happening::Answer(0, None));
            world.happen(&Happening::Pass(1));
        }
        world.happen(&Happening::Connect(number));
        world.happen(&Happening::Hear);
        assert!(!world.pool.visitors().contains_key(&station(number)), "round {round}");
        world.happen(&Happening::Disconnect(number));
        world.happen(&Happening::Hear);
    }
    assert_eq!(world.connected, 20);
    world.settle();
    assert!(world.is_full());
    world.check_host();
}
