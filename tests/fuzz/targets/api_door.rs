//! Requests to the native API: strangers are refused whatever they say, nothing is answered that is not described, nothing
//! changes that was not asked for by somebody who may, and no file of tokens is beyond reading.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use vrouter::api::access::Tokens;
use vrouter::config::json;

mod router;

static ROUTER: LazyLock<router::Router> = LazyLock::new(|| {
    let document = json::parse(include_bytes!("../seeds/config/base.json")).expect("JSON");
    router::Router::new(document)
});

fuzz_target!(|data: &[u8]| {
    ROUTER.ask(data);
    if let Ok(text) = std::str::from_utf8(data)
        && let Err(fault) = Tokens::parse(text)
    {
        assert!(!fault.to_string().is_empty());
    }
});
