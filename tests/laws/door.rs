//! Laws of the native API's door, over requests that begin as good ones and are spoiled octet by octet.

#[path = "../fuzz/targets/house.rs"]
#[expect(clippy::expect_used, reason = "it is a fuzz target's as well, which ends by panicking")]
mod house;
#[path = "../fuzz/targets/router.rs"]
#[expect(clippy::expect_used, reason = "it is a fuzz target's as well, which ends by panicking")]
mod router;

use std::fs;
use std::sync::{LazyLock, Mutex};

use proptest::prelude::*;
use proptest::sample::{Index, select};

use self::router::Router;

static ROUTER: LazyLock<Mutex<Router>> = LazyLock::new(|| {
    Mutex::new(Router::new(serde_json::from_str(include_str!("../fuzz/seeds/config/base.json")).unwrap()))
});

/// The requests that the fuzz target begins with.
fn seeds() -> Vec<Vec<u8>> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fuzz/seeds/api_door");
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

/// What stands where nobody expects it.
const WORDS: &[&str] =
    &["\"", "{", "}", "[", ",", "null", "\n", "/", "?", "%ff", "9", "-1", "1e999", "\\u0000", "é"];

/// What is done to one octet: it becomes another, goes, or gets company.
#[derive(Debug, Clone)]
enum Spoil {
    Change(Index, u8),
    Remove(Index),
    Insert(Index, Vec<u8>),
}

fn spoil() -> impl Strategy<Value = Spoil> {
    prop_oneof![
        (any::<Index>(), any::<u8>()).prop_map(|(at, octet)| Spoil::Change(at, octet)),
        any::<Index>().prop_map(Spoil::Remove),
        (any::<Index>(), select(WORDS)).prop_map(|(at, word)| Spoil::Insert(at, word.as_bytes().to_vec())),
    ]
}

fn spoiled(mut octets: Vec<u8>, spoils: &[Spoil]) -> Vec<u8> {
    for spoil in spoils {
        if octets.len() < 2 {
            return octets;
        }
        match spoil {
            Spoil::Change(at, octet) => {
                let at = at.index(octets.len());
                octets[at] = *octet;
            }
            Spoil::Remove(at) => drop(octets.remove(at.index(octets.len()))),
            Spoil::Insert(at, word) => {
                let at = at.index(octets.len());
                octets.splice(at..at, word.iter().copied());
            }
        }
    }
    octets
}

#[test]
fn good_requests_are_answered_and_strangers_are_not() {
    let router = ROUTER.lock().unwrap();
    let mut seen = std::collections::BTreeSet::new();
    for seed in seeds() {
        if let Some(answer) = router.ask(&seed) {
            seen.insert(answer.status);
        }
        let stranger: Vec<u8> = std::iter::once(0).chain(seed.into_iter().skip(1)).collect();
        router.ask(&stranger);
    }
    for status in [200, 401, 403, 404, 405, 422] {
        assert!(seen.contains(&status), "{status} is not among {seen:?}");
    }
}

proptest! {
    #[test]
    fn spoiled_requests_are_answered_as_described(seed in select(seeds()), spoils in proptest::collection::vec(spoil(), 1..8)) {
        ROUTER.lock().unwrap_or_else(std::sync::PoisonError::into_inner).ask(&spoiled(seed, &spoils));
    }

    #[test]
    fn octets_of_any_kind_are_answered_as_described(octets in proptest::collection::vec(any::<u8>(), 0..200)) {
        ROUTER.lock().unwrap_or_else(std::sync::PoisonError::into_inner).ask(&octets);
    }
}
