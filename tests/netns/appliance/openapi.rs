//! The API as a black box: whatever it answers is what its own description says, and what is described is there.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::firmware::{Machine, update};
use super::house::{House, document, grounds};
use super::router::{Answer, Router};

/// The description, and which of its operations were seen to succeed.
struct Description {
    document: Value,
    seen: BTreeSet<String>,
}

impl Description {
    /// A schema of the description, with everything that it may refer to.
    fn validator(&self, schema: &Value) -> jsonschema::Validator {
        let mut schema = schema.clone();
        schema["components"] = self.document["components"].clone();
        jsonschema::draft202012::new(&schema).unwrap_or_else(|error| panic!("{error}\n{schema:#}"))
    }

    /// The path as it is described: without a query, and with a name in braces where an id or a number stands.
    fn path(&self, path: &str) -> String {
        let path = path.split('?').next().unwrap();
        let fits = |described: &&String| {
            let mut pairs = described.split('/').zip(path.split('/'));
            described.split('/').count() == path.split('/').count()
                && pairs.all(|(described, asked)| described == asked || described.starts_with('{'))
        };
        let paths = self.document["paths"].as_object().unwrap();
        paths.keys().find(fits).unwrap_or_else(|| panic!("{path} is not described")).clone()
    }

    /// The description of what is asked.
    fn operation(&self, method: &str, path: &str) -> &Value {
        &self.document["paths"][self.path(path)][method.to_lowercase()]
    }

    /// Holds an answer against the description.
    fn check(&mut self, method: &str, path: &str, answer: &Answer) {
        let operation = self.operation(method, path);
        assert!(operation.is_object(), "{method} {path} is not described");
        let responses = &operation["responses"];
        let described = responses.get(answer.status.to_string());
        let described =
            described.unwrap_or_else(|| panic!("{method} {path}: {} is not described", answer.status));
        let described = match described["$ref"].as_str() {
            Some(reference) => self.document.pointer(reference.trim_start_matches('#')).unwrap(),
            None => described,
        };
        let kind = answer.head.lines().find_map(|line| line.strip_prefix("content-type: ")).unwrap();
        let kind = kind.split(';').next().unwrap();
        let content = &described["content"][kind];
        assert!(content.is_object(), "{method} {path}: {} comes as {kind}: {described:#}", answer.status);
        let faults: Vec<String> = self
            .validator(&content["schema"])
            .iter_errors(&answer.body)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert!(faults.is_empty(), "{method} {path}: {}\n{:#}", faults.join("\n"), answer.body);
        if answer.status == 200 {
            if std::env::var_os("VROUTER_UPDATE").is_some() && answer.body.is_object() {
                write_example(operation["operationId"].as_str().unwrap(), &answer.body);
            }
            self.seen.insert(format!("{} {}", method.to_uppercase(), self.path(path)));
        }
    }
}

/// Method, path, headers, body, and the status of the answer.
type Case<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)], &'a str, u16);

/// Changes that wait to be confirmed, and what differs between generations.
const CONFIRMATIONS: &[Case<'static>] = &[
    ("PATCH", "/v1/config?confirm=60", &[], r#"{"hostname": "vr-9"}"#, 200),
    ("GET", "/v1/status", &[], "", 200),
    ("POST", "/v1/confirm", &[], "{\"generation\": 1}", 412),
    ("POST", "/v1/confirm", &[], "{\"to\": 1}", 400),
    ("POST", "/v1/confirm", &[], "", 200),
    ("POST", "/v1/confirm", &[], "", 409),
    ("POST", "/v1/rollback?confirm=60", &[], "{\"generation\": 1}", 200),
    ("POST", "/v1/confirm", &[], "{}", 200),
    ("POST", "/v1/config?confirm=0", &[], r#"{"version": 1}"#, 400),
    ("PUT", "/v1/config?confirm=86401", &[], r#"{"version": 1}"#, 400),
    ("POST", "/v1/config?confirm=soon", &[], r#"{"version": 1}"#, 400),
    ("GET", "/v1/generations/0/diff?to=2", &[], "", 200),
    ("GET", "/v1/generations/2/diff", &[], "", 200),
    ("GET", "/v1/generations/0/diff", &[], "", 404),
    ("GET", "/v1/generations/99/diff", &[], "", 404),
    ("GET", "/v1/generations/1/diff?to=99", &[], "", 404),
    ("GET", "/v1/generations/x/diff", &[], "", 400),
    ("GET", "/v1/generations/1/diff?to=x", &[], "", 400),
];

/// Keeps an answer as the example of its operation, if the operation has one.
fn write_example(operation: &str, answer: &Value) {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/api/openapi/examples");
    let path = std::path::Path::new(folder).join(format!("{operation}.json"));
    if path.exists() {
        std::fs::write(path, serde_json::to_string_pretty(answer).unwrap() + "\n").unwrap();
    }
}

/// What is asked of the firmware, with bodies that are no text.
fn ask_of_firmware(router: &Router, description: &mut Description) {
    let file = update("0.2.0", b"root", b"kernel", 1);
    let firmware: [(&str, &str, &[u8], u16); 6] = [
        ("POST", "/v1/system/update?force=x", &file, 400),
        ("POST", "/v1/system/update", b"no update", 422),
        ("POST", "/v1/system/update", &file, 200),
        ("POST", "/v1/system/update?force=true", &update("0.1.0", b"root", b"kernel", 1), 409),
        ("GET", "/v1/system", b"", 200),
        ("POST", "/v1/system/reboot", b"", 200),
    ];
    for (method, path, body, status) in firmware {
        let answer = router.ask(method, path, body);
        assert_eq!(answer.status, status, "{method} {path}: {answer:#?}");
        description.check(method, path, &answer);
    }
}

#[test]
fn every_answer_is_as_described_and_everything_described_is_there() {
    let (lab, machine) = (grounds(), Machine::new());
    let router = &machine.router(&lab, &[]);
    let mut description = Description { document: router.get("/openapi.json").body, seen: BTreeSet::new() };
    let mut patch = document();
    patch["interfaces"]["nowhere"] =
        json!({"device": "eth9", "roles": ["guest"], "addresses": ["10.7.7.1/24"]});
    patch["dhcp"] = json!({"guest": {"interface": "guest", "ranges": ["10.1.1.100-10.1.1.199"], "domain": "demo.local",
        "hosts": {"web1": {"mac": "fa:aa:00:00:00:20", "ip": "10.1.1.20", "hostname": "web1"}}}});
    patch["load_balancers"] = json!({"web": {"address": "198.51.100.8", "port": 80, "protocol": "http",
        "pools": {"app": {"health_check": {"type": "tcp"}, "backends": {"a": {"address": "10.1.1.20", "port": 80}}}}}});
    patch["dns"] = json!({"forwarders": ["192.0.2.53"]});
    let whole = patch.to_string();
    let merge = [("Content-Type", "application/merge-patch+json")];
    let eip =
        json!({"eips": {"e": {"address": "198.51.100.7", "interface": "public", "target": "10.1.1.20"}}})
            .to_string();
    let wrong = json!({"eips": {"e": {"address": "x", "interface": "y"}}, "more": 1}).to_string();
    let asked = json!({"interface": "public", "source": "192.0.2.53", "destination": "198.51.100.8", "protocol": "tcp",
                       "ports": {"source": 40000, "destination": 80}})
    .to_string();
    let cases: &[Case<'_>] = &[
        ("GET", "/v1/status", &[], "", 200),
        ("GET", "/v1/config", &[], "", 200),
        ("POST", "/v1/plan", &[], &whole, 200),
        ("POST", "/v1/config", &[], &whole, 200),
        ("PUT", "/v1/config", &[("If-Match", "\"1\"")], &whole, 200),
        ("PATCH", "/v1/config", &[], &eip, 200),
        ("PATCH", "/v1/config", &[("If-Match", "\"1\"")], &eip, 412),
        ("PATCH", "/v1/config", &[("If-Match", "one")], &eip, 400),
        ("PATCH", "/v1/config", &[], &wrong, 422),
        ("POST", "/v1/config", &[], &wrong, 422),
        ("POST", "/v1/config", &[], "{", 400),
        ("POST", "/v1/plan", &merge, "{\"eips\": null}", 200),
        ("POST", "/v1/plan", &merge, &wrong, 422),
        ("GET", "/v1/config?generation=1", &[], "", 200),
        ("GET", "/v1/config?generation=99", &[], "", 404),
        ("GET", "/v1/config?generation=x", &[], "", 400),
        ("GET", "/v1/generations", &[], "", 200),
        ("GET", "/v1/status", &[], "", 200),
        ("GET", "/v1/leases", &[], "", 200),
        ("GET", "/v1/leases?network=guest", &[], "", 200),
        ("GET", "/v1/connections", &[], "", 200),
        ("GET", "/v1/connections?address=10.1.1.20&protocol=tcp&port=80&limit=10000", &[], "", 200),
        ("GET", "/v1/connections?limit=10001", &[], "", 400),
        ("GET", "/v1/connections?protocol=sctp", &[], "", 400),
        ("GET", "/v1/connections?adress=10.1.1.20", &[], "", 400),
        ("GET", "/v1/balancers", &[], "", 200),
        ("GET", "/v1/balancers/web", &[], "", 200),
        ("GET", "/v1/balancers/none", &[], "", 404),
        ("GET", "/v1/balancers/%20%ff", &[], "", 400),
        ("POST", "/v1/trace", &[], &asked, 200),
        ("POST", "/v1/trace", &[], "{}", 422),
        ("POST", "/v1/trace", &[], "{", 400),
        ("GET", "/", &[], "", 200),
        ("GET", "/docs", &[], "", 200),
        ("GET", "/metrics", &[], "", 200),
        ("GET", "/openapi.json", &[], "", 200),
        ("POST", "/v1/rollback", &[], "{\"generation\": 1}", 200),
        ("POST", "/v1/rollback", &[], "{\"generation\": 99}", 404),
        ("POST", "/v1/rollback", &[], "{\"to\": 1}", 400),
    ];
    for (method, path, headers, body, status) in cases.iter().chain(CONFIRMATIONS) {
        let answer = router.request(method, path, headers, body.as_bytes()).unwrap();
        assert_eq!(answer.status, *status, "{method} {path} {body}: {answer:#?}");
        description.check(method, path, &answer);
    }
    ask_of_firmware(router, &mut description);
    let described: BTreeSet<String> = description.document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, item)| {
            item.as_object().unwrap().keys().map(move |method| format!("{} {path}", method.to_uppercase()))
        })
        .collect();
    assert_eq!(description.seen, described, "some operations were not seen to succeed");
    // A request that its description refuses is refused, and one that it allows is understood.
    let config =
        &description.operation("POST", "/v1/config")["requestBody"]["content"]["application/json"]["schema"];
    let validator = description.validator(config);
    assert!(validator.is_valid(&patch) && !validator.is_valid(&json!({"eips": 7})));
    for path in ["tests/examples/router.json", "image/demo.json", "image/bootstrap.json"] {
        let text = std::fs::read(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
        let example: Value = serde_json::from_slice(&text).unwrap();
        let faults: Vec<String> = validator.iter_errors(&example).map(|error| error.to_string()).collect();
        assert!(faults.is_empty(), "{path}: {faults:?}");
        let answer = router.ask("POST", "/v1/plan", &text);
        assert_eq!(answer.status, 200, "{path}: {answer:#?}");
    }
}

#[test]
fn status_follows_what_happens() {
    let house = House::with(json!({
        "eips": {"e": {"address": "198.51.100.7", "interface": "public", "target": "10.1.1.20"}},
        "dns": {"forwarders": ["192.0.2.53"]}
    }));
    let router = &house.router;
    let status = router.get("/v1/status").body;
    assert_eq!((&status["state"], &status["reasons"]), (&json!("ok"), &json!([])), "{status:#}");
    assert_eq!(status["services"]["eips"]["observed"], 1);
    assert_eq!(status["services"]["snat"]["wanted"], 2);
    // Traffic is counted, and connections are.
    house.lab.ok("web1", "ping -c 1 -W 5 192.0.2.53");
    let status = router.get("/v1/status").body;
    assert!(status["kernel"]["connections"]["count"].as_u64().unwrap() > 0, "{status:#}");
    assert!(status["interfaces"]["guest"]["traffic"]["received_packets"].as_u64().unwrap() > 0, "{status:#}");
    // A device that is unplugged takes what hangs on it along, and says so until it is there again.
    house.lab.ok("router", &format!("ip link set eth1 netns {} name gone", house.lab.name("neighbour")));
    let without = crate::lab::until("the router misses its interface", || {
        let status = router.get("/v1/status").body;
        (status["interfaces"]["public"]["state"] == "absent").then_some(status)
    });
    assert_eq!(without["state"], "degraded");
    assert_eq!(
        (&without["services"]["eips"]["state"], &without["services"]["eips"]["observed"]),
        (&json!("degraded"), &json!(0))
    );
    assert!(without["services"]["eips"]["why"].as_str().unwrap().contains("`public`"), "{without:#}");
    crate::lab::until("the journal heard of it", || {
        router.log().contains("interface `public` is absent").then_some(())
    });
    let metrics = router.get("/metrics").body;
    let metrics = metrics.as_str().unwrap();
    assert!(
        metrics.contains("vrouter_interface_state{interface=\"public\",state=\"absent\"} 1"),
        "{metrics}"
    );
}
