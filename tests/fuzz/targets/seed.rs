//! What a seed disk held: whatever is on it is read to an end, says the same each time, tells in bounds what is left out, and
//! what comes of it is checked like any other configuration. An input is files with zeros between them, and its first octet
//! says of which kind of disk.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vrouter::config::Config;
use vrouter::seed;
use vrouter::seed::bundle::{Bundle, Kind};

/// How much is said of one disk, in lines, and how long a line may be, in octets.
const MOST: usize = 42;
const LONGEST: usize = 400;

fuzz_target!(|data: &[u8]| {
    let Some((kind, data)) = data.split_first() else { return };
    // As it stands, it has to be a bundle already.
    let _ = seed::read(data);
    let kind = if kind % 2 == 0 { Kind::NoCloud } else { Kind::ConfigDrive };
    let names = kind.files().map(|path| path.rsplit('/').next().unwrap_or(path).to_owned());
    let files = names.into_iter().zip(data.splitn(3, |octet| *octet == 0).map(<[u8]>::to_vec)).collect();
    let bundle = Bundle { kind, disk: "/dev/vdb".to_owned(), files, left: Vec::new() };
    let octets = bundle.write();
    assert_eq!(Bundle::read(&octets).as_ref(), Some(&bundle));
    let found = seed::read(&octets);
    assert_eq!(seed::read(&octets), found);
    assert!(found.notes.len() <= MOST && found.notes.iter().all(|note| note.len() <= LONGEST && !note.contains('\n')));
    match found.document {
        Err(why) => assert!(!why.is_empty() && why.lines().count() <= MOST),
        Ok(None) => {}
        Ok(Some(document)) => match Config::default().replace(document) {
            Ok(_) => {}
            Err(faults) => assert!(!faults.to_string().is_empty()),
        },
    }
});
