//! The page at `/docs` in a real browser: it shows everything that the description says, and asks for nothing else.

use serde_json::json;

use super::browser::Browser;
use super::{PORT, has_browser, keep};
use crate::appliance::house::House;
use crate::lab::until;

#[test]
fn a_browser_shows_the_whole_description() {
    if !has_browser() {
        return;
    }
    let mut house = House::with(json!({}));
    Browser::prepare(&mut house.lab, "router");
    let api = house.router.get("/openapi.json").body;
    let browser = Browser::open(&house.lab, "router");
    browser.go(&format!("http://127.0.0.1:{PORT}/docs"));
    until("the description is shown", || (!browser.texts("#schemas section").is_empty()).then_some(()));
    let shown = browser.texts("#operations section h3");
    for (path, item) in api["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys() {
            let title = format!("{}{path}", method.to_uppercase());
            assert!(shown.contains(&title), "{title} is not among {shown:?}");
        }
    }
    let types = browser.texts("#schemas section h3");
    let described: Vec<&String> = api["components"]["schemas"].as_object().unwrap().keys().collect();
    assert_eq!(types.iter().collect::<Vec<_>>(), described);
    let all = browser.texts("#operations").concat();
    for word in ["If-Match", "It takes the role write.", "The configuration has faults", "\"hosts\": {"] {
        assert!(all.contains(word), "{word}");
    }
    // Every link of the page leads somewhere on it.
    let lost = browser.run(
        "return [...document.querySelectorAll('a[href^=\"#\"]')].map((it) => it.getAttribute('href').slice(1))\
             .filter((id) => !document.getElementById(id))",
    );
    assert_eq!(lost, json!([]));
    keep(&browser, "docs.png");
    browser.press("#find", "rollback");
    let left = browser.run("return [...document.querySelectorAll('#operations section:not([hidden]) h3')].map((it) => it.textContent)");
    assert!(left.as_array().unwrap().contains(&json!("POST/v1/rollback")), "{left}");
    assert!(left.as_array().unwrap().len() < shown.len(), "{left}");
    let requests = browser.requests();
    let asked: Vec<&str> =
        requests.iter().map(|(_, url)| url.as_str()).filter(|url| !url.starts_with("data:")).collect();
    assert_eq!(asked, ["http://127.0.0.1:7270/docs", "http://127.0.0.1:7270/openapi.json"]);
    let complaints = browser.log("browser");
    assert!(complaints.is_empty(), "{complaints:#?}");
}
