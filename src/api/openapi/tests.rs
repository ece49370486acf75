//! The description is whole: everything that it refers to is in it, and its examples are what it describes.

use std::collections::BTreeSet;

use super::*;

/// Every place of a value, with what stands there.
fn places<'a>(value: &'a Value, at: String, found: &mut Vec<(String, &'a Value)>) {
    match value {
        Value::Object(members) => {
            members.iter().for_each(|(key, member)| places(member, format!("{at}/{key}"), found));
        }
        Value::Array(elements) => {
            elements.iter().enumerate().for_each(|(index, one)| places(one, format!("{at}/{index}"), found));
        }
        _ => {}
    }
    found.push((at, value));
}

fn all(api: &Value) -> Vec<(String, &Value)> {
    let mut found = Vec::new();
    places(api, String::new(), &mut found);
    found
}

fn operations(api: &Value) -> Vec<(String, &Value)> {
    let paths = api["paths"].as_object().unwrap().iter();
    paths
        .flat_map(|(path, item)| {
            item.as_object()
                .unwrap()
                .iter()
                .map(move |(method, operation)| (format!("{method} {path}"), operation))
        })
        .collect()
}

#[test]
fn what_is_referred_to_is_there() {
    let api = openapi();
    let all = all(&api);
    // An example may hold anything.
    let references = all.iter().filter(|(at, _)| at.ends_with("/$ref") && !at.contains("/example/"));
    let mut count = 0;
    for (at, reference) in references {
        let reference = reference.as_str().unwrap();
        assert!(api.pointer(reference.trim_start_matches('#')).is_some(), "{at}: {reference}");
        count += 1;
    }
    assert!(count > 100, "{count}");
}

#[test]
fn every_operation_says_who_what_and_what_if_not() {
    let api = openapi();
    let mut ids = BTreeSet::new();
    for (name, operation) in operations(&api) {
        assert!(ids.insert(operation["operationId"].as_str().unwrap()), "{name}");
        assert!(operation["summary"].as_str().is_some_and(|summary| summary.ends_with('.')), "{name}");
        assert!(operation["description"].as_str().unwrap().contains("the role "), "{name}");
        let responses = operation["responses"].as_object().unwrap();
        assert!(responses.contains_key("200") && !responses.contains_key("default"), "{name}");
        for status in ["401", "403", "429", "500", "503"] {
            assert!(responses.contains_key(status), "{name}: {status}");
        }
        let writes = name.contains("/v1/config") && !name.starts_with("get");
        assert_eq!(
            responses.contains_key("507"),
            writes
                || name == "post /v1/rollback"
                || name == "post /v1/confirm"
                || name.starts_with("post /v1/system/"),
            "{name}"
        );
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            assert!(parameter["description"].is_string(), "{name}: {parameter}");
        }
    }
}

#[test]
fn every_body_has_an_example_that_is_one() {
    let api = openapi();
    let mut missing = Vec::new();
    for (at, content) in all(&api) {
        let body =
            at.rsplit('/').nth(1) == Some("content") && at.contains("json") && !at.contains("/example");
        if !body || at.starts_with("/paths//openapi.json") {
            continue;
        }
        let Some(example) = content.get("example") else {
            missing.push(at);
            continue;
        };
        let mut schema = content["schema"].clone();
        schema["components"] = api["components"].clone();
        let validator = jsonschema::draft202012::new(&schema).unwrap_or_else(|error| panic!("{at}: {error}"));
        let faults: Vec<String> = validator
            .iter_errors(example)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert!(faults.is_empty(), "{at}: {}", faults.join("\n"));
    }
    assert!(missing.is_empty(), "without an example: {}", missing.join(", "));
}

#[test]
fn collections_say_how_much_they_hold() {
    let api = openapi();
    let most = |place: &str| api.pointer(&format!("/components/schemas/{place}/maxProperties")).cloned();
    for member in COLLECTIONS {
        let expected = limits::most(&format!("/{member}"));
        assert_eq!(most(&format!("Config/properties/{member}")), Some(json!(expected)), "{member}");
    }
    assert_eq!(most("DhcpNetwork/properties/hosts"), Some(json!(100_000)));
    assert_eq!(most("Dns/properties/records"), Some(json!(100_000)));
    assert_eq!(most("Dns/properties/conditional_forwarders"), Some(json!(1000)));
    assert_eq!(most("Ssh/properties/keys"), Some(json!(256)));
    assert_eq!(most("Firewall/properties/rules"), Some(json!(100_000)));
    assert_eq!(most("Firewall/properties/rule_sets"), Some(json!(1000)));
    assert_eq!(most("RuleSet/properties/rules"), Some(json!(10_000)));
    assert_eq!(most("LoadBalancer/properties/pools"), Some(json!(256)));
    assert_eq!(most("LoadBalancer/properties/rules"), Some(json!(1024)));
    assert_eq!(most("Pool/properties/backends"), Some(json!(1024)));
}
