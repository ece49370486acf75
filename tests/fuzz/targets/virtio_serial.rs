//! What comes by the virtio-serial port: what is known of it does not change as more comes, but for being whole; blanks
//! around it mean nothing; what is whole becomes what the router runs, or is refused with a reason and changes nothing.
#![no_main]

use std::sync::{LazyLock, Mutex};

use libfuzzer_sys::fuzz_target;
use vrouter::config::Config;
use vrouter::fuzzing::virtio_serial::configure;
use vrouter::zstack::bootstrap::{Read, read};
use vrouter::zstack::first_document;

mod growth;
mod house;
#[path = "../../laws/surroundings.rs"]
mod surroundings;

use self::growth::Growth;
use self::house::{House, same};

static HOUSE: LazyLock<Mutex<(House, Growth)>> =
    LazyLock::new(|| Mutex::new((blank(), Growth::of_at_most(16 << 20))));

fuzz_target!(|data: &[u8]| {
    let mut at = HOUSE.lock().expect("nobody panicked");
    let (house, growth) = &mut *at;
    growth.watch(|| {});
    let found = read(data);
    // Every beginning of a short one; of a long one that would take too long.
    for length in 0..data.len().min(512) {
        match read(&data[..length]) {
            // A whole object may be followed by more, which is nonsense then.
            Read::Part => {}
            Read::Whole(value) => assert!(
                matches!(&found, Read::Whole(found) if *found == value) || matches!(found, Read::Nonsense(_))
            ),
            Read::Nonsense(_) => assert!(matches!(found, Read::Nonsense(_)), "nonsense does not become sense"),
        }
    }
    let Read::Whole(value) = &found else { return };
    assert_eq!(read(&[b"  \n".as_slice(), data, &[b' '; 64]].concat()), found);
    let meant = first_document(value).ok().and_then(|document| Config::default().replace(document).ok());
    let before = house.published();
    match house.runtime.block_on(configure(&house.handle, value)) {
        Ok(()) => {
            let after = house.published();
            assert_eq!(after.generation, 1);
            assert!(meant.as_ref() == Some(&after.config), "something else runs");
            let written = serde_json::to_value(after.config.document()).expect("a document is JSON");
            assert_eq!(Config::default().replace(written).as_ref(), Ok(&after.config));
            // It is told what it is once.
            assert!(house.runtime.block_on(configure(&house.handle, value)).is_err());
            assert!(same(&after, &house.published()));
            *house = blank();
        }
        Err(why) => {
            assert!(!why.is_empty() && same(&before, &house.published()), "refused, and something changed");
        }
    }
});

fn blank() -> House {
    House::blank(surroundings::links(surroundings::ALL))
}
