//! The page at `/` in a real browser: it shows what the router says, follows what changes, asks nobody else, and makes
//! text of everything.

mod browser;
mod crowd;
mod docs;
mod stage;

use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use self::browser::{Browser, send};
use self::stage::Stage;
use crate::appliance::house::House;
use crate::lab::{self, until};

/// Where the router's API listens in its namespace.
const PORT: u16 = 7270;
const PAGE: &str = "http://127.0.0.1:7270/";
/// What would run if text became markup.
const MARKUP: &str = "</script><img src=x onerror=\"window.pwned=1\"><script>window.pwned=1</script>";

/// Whether this machine has a browser; where it has none, that is counted.
fn has_browser() -> bool {
    match browser::missing() {
        None => true,
        Some(path) => {
            lab::skip(&format!("the page in a browser: there is no {path}"));
            false
        }
    }
}

/// A router and a stage beside it, where there is a browser that can look at them.
fn staged() -> Option<(House, Stage)> {
    if !has_browser() {
        return None;
    }
    let mut house = House::with(json!({"hostname": "vr-1"}));
    Browser::prepare(&mut house.lab, "router");
    let stage = Stage::open(&house.lab, "router", PORT);
    Some((house, stage))
}

/// A certificate of somebody who means ill, as configuration.
fn certificate(name: &str) -> Value {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut parameters = rcgen::CertificateParams::new(Vec::new()).unwrap();
    parameters.distinguished_name.push(rcgen::DnType::CommonName, name);
    json!({"chain_pem": parameters.self_signed(&key).unwrap().pem(), "key_pem": key.serialize_pem()})
}

fn balancer(port: u16, protocol: &str) -> Value {
    json!({"address": "198.51.100.8", "port": port, "protocol": protocol, "pools": {"app": {"backends": {
        "a": {"address": "10.1.1.20", "port": 80},
        "b": {"address": "10.1.1.21", "port": 80, "weight": 50}}}}})
}

/// Keeps what the browser shows where the tests keep their files, for people to look at.
fn keep(browser: &Browser<'_>, name: &str) {
    let picture = browser.protocol("Page.captureScreenshot", &json!({"captureBeyondViewport": true}));
    let octets = BASE64_STANDARD.decode(picture["data"].as_str().unwrap()).unwrap();
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, octets).unwrap();
}

/// The state that a line shows. Lines are told apart by their name, whatever it is.
fn state(browser: &Browser<'_>, name: &str) -> Option<String> {
    let script = format!(
        "const row = [...document.querySelectorAll('#balancers tbody tr')]\
             .find((row) => row.querySelector('th button, th b').textContent === {});\
         return row ? row.querySelector('.state').textContent : null",
        json!(name)
    );
    browser.run(&script).as_str().map(str::to_owned)
}

/// Nothing but reading of this server was asked for, and nothing was complained of.
fn check_manners(browser: &Browser<'_>, origin: &str) {
    let requests = browser.requests();
    assert!(requests.iter().any(|(_, url)| url.ends_with("/v1/balancers")), "{requests:?}");
    for (method, url) in &requests {
        // The icon is a part of the document.
        assert!(url.starts_with(origin) || url.starts_with("data:image/svg+xml,"), "{method} {url}");
        assert_eq!(method, "GET", "{url}");
    }
    let complaints = browser.log("browser");
    assert!(complaints.is_empty(), "{complaints:#?}");
}

/// Nothing that was said has become more than text.
fn check_inert(browser: &Browser<'_>) {
    let made = browser.run("return [window.pwned ?? null, document.images.length, document.scripts.length]");
    assert_eq!(made, json!([null, 0, 1]));
}

#[test]
fn a_browser_shows_what_the_router_says_and_follows_it() {
    if !has_browser() {
        return;
    }
    let mut house = House::with(json!({
        "hostname": "vr-1",
        "certificates": {"ill": certificate(MARKUP)},
        "load_balancers": {
            "web": balancer(80, "http"), "db": balancer(5432, "tcp"),
            "__proto__": balancer(81, "tcp"), "constructor": balancer(82, "http")},
    }));
    Browser::prepare(&mut house.lab, "router");
    let House { lab, router } = &mut house;
    let browser = Browser::open(lab, "router");
    browser.go(PAGE);
    until("the balancers are shown", || (state(&browser, "web").as_deref() == Some("up")).then_some(()));
    for name in ["db", "__proto__", "constructor"] {
        assert_eq!(state(&browser, name).as_deref(), Some("up"), "{name}");
    }
    assert_eq!(browser.texts("#name"), ["vr-1"]);
    let facts = browser.texts("#facts").concat();
    let version = format!("vrouter {}, generation 2, up for ", env!("CARGO_PKG_VERSION"));
    assert!(facts.starts_with(&version), "{facts}");
    let names = browser.texts("#certificates .names").concat();
    assert_eq!(names, MARKUP.to_lowercase());
    check_inert(&browser);

    // A change is seen without anything that a person does.
    browser.run("window.here = 'since before'");
    router.change(json!({"load_balancers": {
        "web": {"pools": {"app": {"backends": {"b": {"enabled": false}}}}},
        "db": null,
        "mail": balancer(25, "tcp")}}));
    until("the change is shown", || {
        (state(&browser, "mail").is_some() && state(&browser, "db").is_none()).then_some(())
    });
    let states = browser.texts("#balancers tbody tr.backend .state");
    assert_eq!(states.iter().filter(|state| *state == "disabled").count(), 1, "{states:?}");
    assert_eq!(browser.run("return window.here"), "since before");
    check_manners(&browser, PAGE);

    // A router that is away is missed, and seen coming back.
    router.kill();
    let trouble = "return document.getElementById('trouble').hidden";
    until("the router is missed", || (browser.run(trouble) == false).then_some(()));
    assert!(browser.texts("#trouble")[0].contains("does not answer"));
    router.relaunch();
    until("the router is back", || (browser.run(trouble) == true).then_some(()));
    assert_eq!(state(&browser, "web").as_deref(), Some("up"));
    check_inert(&browser);
}

#[test]
fn the_page_is_read_alone_and_runs_no_other_script() {
    let house = House::new();
    let whole = |method: &str| {
        let said = house.lab.inside("router", || send(PORT, method, "/", "")).unwrap();
        String::from_utf8(said).unwrap()
    };
    for method in ["POST", "PUT", "PATCH", "DELETE"] {
        let said = whole(method);
        assert!(said.starts_with("HTTP/1.1 405 ") && said.contains("application/problem+json"), "{said}");
    }
    let said = whole("GET");
    let head = said.split("\r\n\r\n").next().unwrap().to_lowercase();
    for line in [
        "content-type: text/html; charset=utf-8",
        "x-content-type-options: nosniff",
        "x-frame-options: deny",
        "referrer-policy: no-referrer",
    ] {
        assert!(head.lines().any(|found| found == line), "{line} is not in\n{head}");
    }
    for part in ["default-src 'none'", "frame-ancestors 'none'", "connect-src 'self'", "base-uri 'none'"] {
        assert!(head.contains(part), "{part} is not in\n{head}");
    }
    assert!(!head.contains("unsafe"), "{head}");
    if !has_browser() {
        return;
    }
    let mut house = house;
    Browser::prepare(&mut house.lab, "router");
    let browser = Browser::open(&house.lab, "router");
    browser.go(PAGE);
    until("the router is shown", || (!browser.texts("#facts").concat().is_empty()).then_some(()));
    // What an injection would come to: the policy stops it, so that the test above does not rest on the script alone.
    let broken = browser.run(
        "const broken = [];\
         document.addEventListener('securitypolicyviolation', (event) => broken.push(event.effectiveDirective));\
         const script = document.createElement('script');\
         try { script.text = 'window.pwned = 1'; } catch (error) { broken.push(error.name); }\
         script.append('window.pwned = 1');\
         document.body.append(script);\
         try { document.body.innerHTML = '<img src=x>'; } catch (error) { broken.push(error.name); }\
         document.head.append(Object.assign(document.createElement('style'), { textContent: 'p { color: red }' }));\
         fetch('http://127.0.0.1:7272/').catch(() => {});\
         const image = document.createElement('img');\
         image.src = 'http://127.0.0.1:7270/v1/status';\
         document.body.append(image);\
         return new Promise((done) => setTimeout(() => done([window.pwned ?? null, broken]), 200))",
    );
    assert_eq!(broken[0], Value::Null, "{broken}");
    let broken: Vec<&str> = broken[1].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    for directive in ["TypeError", "require-trusted-types-for", "style-src-elem", "connect-src", "img-src"] {
        assert!(broken.contains(&directive), "{directive} is not in {broken:?}");
    }
}

#[test]
fn everything_that_is_said_stays_text() {
    let Some((house, stage)) = staged() else { return };
    let mut status = house.router.get("/v1/status").body;
    status["reasons"] = json!([MARKUP, "load_balancers: balancer `web` is degraded"]);
    status["hostname"] = json!(MARKUP);
    status["state"] = json!("degraded");
    let mut statistics = crowd::every_state(MARKUP);
    stage.show(&status, &statistics);
    let browser = Browser::open(&house.lab, "router");
    let origin = format!("http://127.0.0.1:{}/", stage::PORT);
    browser.go(&origin);
    until("the balancers are shown", || state(&browser, "shop"));
    assert_eq!(browser.texts("#name"), [MARKUP]);
    assert_eq!(browser.texts("#reasons li")[0], MARKUP);
    let reasons = browser.texts("#balancers .why");
    assert!(reasons.iter().any(|reason| reason == MARKUP), "{reasons:?}");
    check_inert(&browser);
    // What grows is told by the second from the second answer on.
    crowd::pass(&mut statistics, 500);
    stage.show(&status, &statistics);
    let rate = "return document.querySelector('#totals div:nth-child(3) dd').textContent";
    until("connections a second are told", || (browser.run(rate) != "–").then_some(()));
    check_manners(&browser, &origin);
    check_inert(&browser);
}

#[test]
fn the_page_is_for_everybody() {
    let Some((house, stage)) = staged() else { return };
    let status = house.router.get("/v1/status").body;
    let mut statistics = crowd::every_state("connection refused");
    stage.show(&status, &statistics);
    let browser = Browser::open(&house.lab, "router");
    browser.go(&format!("http://127.0.0.1:{}/", stage::PORT));
    until("the balancers are shown", || state(&browser, "shop"));
    // Tables say what their cells belong to, and whatever can be used has a name.
    let nameless = browser.run(
        "const all = (selector) => [...document.querySelectorAll(selector)];\
         return [\
             ...all('table').filter((table) => !table.caption?.textContent),\
             ...all('th').filter((head) => !head.scope || !head.textContent.trim()),\
             ...all('tbody tr').filter((row) => row.querySelectorAll('th[scope=row]').length !== 1),\
             ...all('button').filter((button) => !button.textContent.trim()),\
             ...all('input').filter((input) => !input.labels.length),\
             ...all('[role=region], section').filter((part) => !document.getElementById(part.getAttribute('aria-labelledby'))),\
         ].map((element) => element.outerHTML)",
    );
    assert_eq!(nameless, json!([]));
    // The keyboard folds and filters; the focus stays where it is while answers come in.
    let expanded = "return document.querySelector('#balancers th button').getAttribute('aria-expanded')";
    assert_eq!(browser.run(expanded), "true");
    browser.press("#balancers th button", "\u{e007}");
    assert_eq!(browser.run(expanded), "false");
    let lines = browser.texts("#balancers tbody:first-of-type tr").len();
    assert_eq!(lines, 1);
    crowd::pass(&mut statistics, 7);
    stage.show(&status, &statistics);
    let rate = "return document.querySelector('#totals div:nth-child(3) dd').textContent";
    until("another answer came", || (browser.run(rate) != "–").then_some(()));
    assert_eq!(
        browser.run("return document.activeElement === document.querySelector('#balancers th button')"),
        true
    );
    assert_eq!(browser.run(expanded), "false", "what was folded stays so");
    browser.press("#balancers th button", "/");
    assert_eq!(browser.run("return document.activeElement.id"), "filter");
    browser.press("#filter", "10.1.3.1");
    assert_eq!(browser.texts("#balancers th button"), ["mail"]);
    assert_eq!(browser.texts("#shown"), ["1 of 4 shown"]);
    browser.run("document.getElementById('filter').value = ''");
    browser.click("#only-down");
    assert_eq!(browser.texts("#balancers th button"), ["mail"]);
    browser.click("#only-all");
    browser.click("#unfold");
    // For people: in light, in dark, and on a narrow screen.
    for scheme in ["light", "dark"] {
        let wanted = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        browser.protocol("Emulation.setEmulatedMedia", &wanted);
        keep(&browser, &format!("page-{scheme}.png"));
    }
    let ground =
        |browser: &Browser<'_>| browser.run("return getComputedStyle(document.body).backgroundColor");
    let dark = ground(&browser);
    browser.protocol("Emulation.setEmulatedMedia", &json!({"features": []}));
    assert_ne!(dark, ground(&browser));
    browser.protocol(
        "Emulation.setDeviceMetricsOverride",
        &json!({"width": 420, "height": 900, "deviceScaleFactor": 1, "mobile": true}),
    );
    keep(&browser, "page-narrow.png");
    let wide = browser.run("return document.documentElement.scrollWidth");
    assert!(wide.as_u64().unwrap() <= 420, "the page is {wide} wide; only its tables may scroll");
}

#[test]
fn a_thousand_balancers_are_a_page() {
    let Some((house, stage)) = staged() else { return };
    let status = house.router.get("/v1/status").body;
    let mut statistics = crowd::thousand();
    stage.show(&status, &statistics);
    let browser = Browser::open(&house.lab, "router");
    browser.go(&format!("http://127.0.0.1:{}/", stage::PORT));
    until("the balancers are shown", || state(&browser, "lb0999"));
    assert_eq!(browser.texts("#only-all"), ["all 1000"]);
    assert_eq!(browser.run("return document.querySelectorAll('#balancers tbody tr').length"), 1000);
    assert_eq!(browser.run("return document.getElementById('unfold').disabled"), true);
    // What a person does is done at once: in a frame or so, though this machine may be busy.
    let took = |browser: &Browser<'_>, action: &str| {
        let script = format!("const begin = performance.now(); {action}; return performance.now() - begin");
        browser.run(&script).as_f64().unwrap()
    };
    let filtered = took(
        &browser,
        "const field = document.getElementById('filter'); field.value = 'lb07'; field.dispatchEvent(new Event('input'))",
    );
    assert_eq!(browser.texts("#shown"), ["100 of 1000 shown"]);
    let unfolded = took(&browser, "document.getElementById('unfold').click()");
    assert_eq!(browser.run("return document.querySelectorAll('#balancers tbody tr').length"), 100 * 22);
    crowd::pass(&mut statistics, 9);
    let folded = took(&browser, "document.getElementById('fold').click()");
    eprintln!("filtered in {filtered:.0} ms, 100 unfolded in {unfolded:.0} ms, folded in {folded:.0} ms");
    assert!(filtered < 2000.0 && unfolded < 5000.0 && folded < 2000.0, "{filtered} {unfolded} {folded}");
    stage.show(&status, &statistics);
    let rate = "return document.querySelector('#totals div:nth-child(3) dd').textContent";
    until("the next answer is shown", || (browser.run(rate) != "–").then_some(()));
    keep(&browser, "page-thousand.png");
}
