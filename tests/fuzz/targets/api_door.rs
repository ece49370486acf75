//! Requests to the native API: strangers are refused whatever they say, nothing is answered that is not described, what is
//! refused changes nothing, what is accepted runs as it was posted, and nothing of it is held for ever.
#![no_main]

use std::sync::{LazyLock, Mutex};

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use vrouter::config::json;

mod growth;
mod house;
mod router;
#[path = "../../laws/surroundings.rs"]
mod surroundings;

use self::growth::Growth;
use self::router::Router;

static BASE: LazyLock<Value> =
    LazyLock::new(|| json::parse(include_bytes!("../seeds/config/base.json")).expect("JSON"));

static ROUTER: LazyLock<Mutex<(Router, Growth)>> =
    LazyLock::new(|| Mutex::new((Router::new(BASE.clone()), Growth::of_at_most(16 << 20))));

fuzz_target!(|data: &[u8]| {
    let mut at = ROUTER.lock().expect("nobody panicked");
    let (router, growth) = &mut *at;
    router.ask(data);
    growth.watch(|| router.replace(BASE.clone()));
});
