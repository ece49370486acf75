//! The laws of the pool over random schedules of visitors, crashes and failures: no VM is ever two stations', none that
//! was used is handed out, nothing is left over, nothing foreign is touched, and the pool fills again.

use proptest::collection::vec;
use proptest::prelude::*;
use vrouter::pool::fake::Fault;

use crate::world::{Happening, World, station};

/// How many schedules are tried.
const SCHEDULES: u32 = 10_000;

/// What three octets stand for. Schedules are drawn as octets because drawing them is most of the work otherwise, and they
/// shrink as well.
fn happening([kind, who, how]: [u8; 3]) -> Happening {
    let fault = match how % 12 {
        0 => Some(Fault::Refused),
        1 => Some(Fault::Unanswered),
        2 => Some(Fault::Disconnected),
        3 => Some(Fault::NoRoom),
        _ => None,
    };
    match kind % 72 {
        0..24 => Happening::Answer(who, fault),
        24..28 => Happening::Pass(1 + who % 40),
        28..34 => Happening::Arrive(who),
        34..40 => Happening::Connect(who),
        40..45 => Happening::Hear,
        45..48 => Happening::List,
        48..51 => Happening::Sessions,
        51..53 => Happening::Disconnect(who),
        53..55 => Happening::Act(who),
        55 => Happening::Leave(who),
        56 => Happening::Idle(who, u16::from(how)),
        57 => Happening::Hang(who),
        58 => Happening::CrashManager,
        59 => Happening::CrashBroker,
        60 => Happening::Reboot,
        61 => Happening::LoseHypervisor,
        62 => Happening::GuestEnds(who),
        63 => Happening::Publish(who % 6),
        64 => Happening::Memory(how % 2 == 0),
        65 => Happening::Recycle(who),
        66 => Happening::Quarantine(who),
        67 => Happening::Clear,
        69 => Happening::GuestRestarts(who),
        68 => Happening::Drain(how % 2 == 0),
        _ => Happening::Hear,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: SCHEDULES, failure_persistence: None, ..ProptestConfig::default() })]

    /// Input: whatever happens in whatever order. Output: the laws, which `World::connect` and `World::go_on` hold at every
    /// step, and a full pool once it is left alone.
    #[test]
    fn no_station_shares_or_inherits_a_vm_and_the_pool_fills_again(
        size in 1..5u16,
        spare in 0..5u16,
        schedule in vec(any::<[u8; 3]>(), 0..80),
    ) {
        let mut world = World::new(size, spare.min(size));
        for octets in &schedule {
            world.happen(&happening(*octets));
        }
        world.settle();
        prop_assert!(world.is_full(), "{:#?}", world.pool);
        world.check_host();
    }
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
