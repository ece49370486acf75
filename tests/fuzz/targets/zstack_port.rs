//! What comes by the virtio-serial port: what is known of it does not change as more comes, but for being whole; what is
//! whole becomes a document without a fault or a refusal with a reason; blanks around it mean nothing.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vrouter::config::Config;
use vrouter::zstack::bootstrap::{Read, read};
use vrouter::zstack::first_document;

fuzz_target!(|data: &[u8]| {
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
    match first_document(value) {
        Ok(document) => {
            if let Ok(config) = Config::default().replace(document) {
                let written = serde_json::to_value(config.document()).expect("a document is JSON");
                assert_eq!(Config::default().replace(written).as_ref(), Ok(&config));
            }
        }
        Err(refusal) => assert!(!refusal.to_string().is_empty()),
    }
});
