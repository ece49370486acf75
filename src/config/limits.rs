//! How much of what a document may hold: bounds that suit ten thousand objects of a kind, and that a broken or hostile
//! management plane meets before the router feels it.
//!
//! What is read is bounded before anything of it is looked at: depth, values and lists by `json.rs`, collections by
//! `edit.rs`. Called there and by `document.rs`.

use super::document::Parts;
use super::fault::{Faults, Pointer, Rule};
use super::load_balancer::{LoadBalancer, MAX_RULES};
use super::pool::MAX_BACKENDS;

/// How deep values stand in values; the deepest that means anything is half of it.
pub const MAX_DEPTH: usize = 32;
/// How many objects and lists a document or a patch holds, one within the other counted each.
pub const MAX_CONTAINERS: usize = 300_000;
/// How many values it holds, whatever they are.
pub const MAX_VALUES: usize = 2_000_000;
/// How long a text is, in octets: twice the longest that means anything, a chain of certificates.
pub const MAX_TEXT: usize = 512 << 10;
/// How long the name of a member is, in octets.
pub const MAX_KEY: usize = 1024;
/// How many elements a list has.
pub const MAX_ELEMENTS: usize = 10_000;
/// How many faults are told of one document; beyond them they are counted.
pub const MAX_FAULTS: usize = 1000;
/// How many objects a configuration has in all.
pub const MAX_OBJECTS: usize = 500_000;
/// How many objects most collections have.
pub const MAX_OF_COLLECTION: usize = 100_000;
/// How many interfaces there are.
pub const MAX_INTERFACES: usize = 256;
/// How many DHCP networks there are, and how many conditional forwarders.
pub const MAX_NETWORKS: usize = 1000;
/// How many load balancers there are, and how many certificates.
pub const MAX_BALANCERS: usize = 5000;
/// How many source translations there are.
pub const MAX_SNAT: usize = 10_000;
/// How many rule sets there are: each interface has some for each way by it.
pub const MAX_RULE_SETS: usize = 1000;
/// How many rules a rule set has.
pub const MAX_RULES_OF_SET: usize = 10_000;
/// How many keys there are for SSH.
pub const MAX_SSH_KEYS: usize = 256;
/// How many pools a load balancer has.
pub const MAX_POOLS: usize = 256;

/// How many objects the collection at this place of the document has at most, such as `/eips`; `ID` stands for any id.
#[must_use]
pub fn most(place: &str) -> usize {
    match place {
        "/interfaces" => MAX_INTERFACES,
        "/dhcp" | "/dns/conditional_forwarders" => MAX_NETWORKS,
        "/ssh/keys" => MAX_SSH_KEYS,
        "/firewall/rule_sets" => MAX_RULE_SETS,
        "/firewall/rule_sets/ID/rules" => MAX_RULES_OF_SET,
        "/load_balancers/ID/pools" => MAX_POOLS,
        "/load_balancers/ID/rules" => MAX_RULES,
        "/load_balancers/ID/pools/ID/backends" => MAX_BACKENDS,
        "/snat" => MAX_SNAT,
        "/load_balancers" | "/certificates" => MAX_BALANCERS,
        _ => MAX_OF_COLLECTION,
    }
}

/// Whether a collection of so many objects may be; reports it where it may not.
pub(super) fn check_collection(count: usize, at: &Pointer, faults: &mut Faults) -> bool {
    let most = most(at.as_str());
    if count > most {
        let name = at.as_str().rsplit('/').next().unwrap_or_default();
        faults.add(
            at.clone(),
            Rule::OutOfRange,
            format!("{count} objects are more than the {most} of `{name}`"),
        );
    }
    count <= most
}

/// Reports a rule set at this place that has too many rules.
pub(super) fn check_rules_of_set(count: usize, at: &Pointer, faults: &mut Faults) {
    if count > MAX_RULES_OF_SET {
        let detail = format!("{count} rules are more than the {MAX_RULES_OF_SET} of a rule set");
        faults.add(at.key("rules"), Rule::OutOfRange, detail);
    }
}

/// How many objects a configuration has in all, balancers left out, of which the backends are counted.
fn total(parts: &Parts) -> usize {
    [
        parts.ssh.as_ref().map_or(0, |ssh| ssh.keys.len()),
        parts.routes.len(),
        parts.snat.len(),
        parts.eips.len(),
        parts.port_forwards.len(),
        parts.qos.len(),
        parts.firewall.rules.len(),
        parts.firewall.rule_sets.values().map(|set| set.rules.len()).sum(),
        parts.dhcp.values().map(|network| network.hosts.len()).sum(),
        parts.dns.as_ref().map_or(0, |dns| dns.records.len()),
    ]
    .iter()
    .sum()
}

/// Reports a configuration that has too many objects in all, or too many backends. `before` is one that has not.
pub(super) fn check_total(before: &Parts, parts: &Parts, faults: &mut Faults) {
    let total = total(parts);
    if total > MAX_OBJECTS {
        let detail = format!("{total} objects are more than the {MAX_OBJECTS} of a router");
        faults.add(Pointer::root(), Rule::OutOfRange, detail);
    }
    // Looking into each balancer takes longer than most changes do.
    if !before.load_balancers.ptr_eq(&parts.load_balancers) {
        let of =
            |balancer: &LoadBalancer| balancer.pools.values().map(|pool| pool.backends.len()).sum::<usize>();
        let backends: usize = parts.load_balancers.values().map(|balancer| of(balancer)).sum();
        if backends > MAX_OF_COLLECTION {
            let detail = format!("{backends} backends are more than the {MAX_OF_COLLECTION} of a router");
            faults.add(Pointer::root().key("load_balancers"), Rule::OutOfRange, detail);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, Value, json};

    use super::*;
    use crate::config::Config;
    use crate::config::json::parse;

    fn collection(count: usize, of: impl Fn(usize) -> Value) -> Value {
        Value::Object((0..count).map(|number| (format!("o{number}"), of(number))).collect::<Map<_, _>>())
    }

    fn faults(document: Value) -> Vec<(String, String)> {
        let faults = Config::default().replace(document).unwrap_err();
        let told = |fault: &super::super::Fault| (fault.pointer.to_string(), fault.detail.clone());
        faults.as_slice().iter().map(told).collect()
    }

    #[test]
    fn every_collection_has_its_bound() {
        for (place, most) in [
            ("/ssh/keys", 256),
            ("/interfaces", 256),
            ("/routes", 100_000),
            ("/dhcp", 1000),
            ("/dns/records", 100_000),
            ("/dns/conditional_forwarders", 1000),
            ("/snat", 10_000),
            ("/eips", 100_000),
            ("/port_forwards", 100_000),
            ("/qos", 100_000),
            ("/firewall/rules", 100_000),
            ("/firewall/rule_sets", 1000),
            ("/certificates", 5000),
            ("/load_balancers", 5000),
        ] {
            let name = place.rsplit('/').next().unwrap();
            let mut document = json!({"version": 1});
            let many = collection(most + 1, |_| json!({}));
            match place.split('/').collect::<Vec<_>>()[..] {
                ["", one] => document[one] = many,
                ["", one, two] => document[one] = json!({two: many}),
                _ => unreachable!("{place}"),
            }
            let told = faults(document);
            let expected = format!("{} objects are more than the {most} of `{name}`", most + 1);
            assert_eq!(told, [(place.to_owned(), expected)], "nothing of it is looked at");
        }
    }

    #[test]
    fn a_patch_cannot_grow_a_collection_beyond_its_bound() {
        let interface =
            |number: usize| json!({"device": format!("eth{number}"), "roles": ["guest"], "addresses": []});
        let full = json!({"version": 1, "interfaces": collection(MAX_INTERFACES, interface)});
        let config = Config::default().replace(full).unwrap();
        let refused = config.patch(json!({"interfaces": {"one-more": interface(999)}})).unwrap_err();
        assert_eq!(refused.to_string(), "/interfaces: 257 objects are more than the 256 of `interfaces`");
        assert!(config.patch(json!({"interfaces": {"o0": null, "one-more": interface(999)}})).is_ok());
    }

    #[test]
    fn a_rule_set_has_so_many_rules() {
        let set = |count: usize| json!({"interface": "guest", "passage": "in", "rules": collection(count, |number| json!({"priority": number, "action": "drop"}))});
        let document = |count: usize| {
            json!({"version": 1, "firewall": {"rule_sets": {"s": set(count)}}, "interfaces":
                {"guest": {"device": "eth0", "roles": ["guest"], "addresses": ["10.1.1.1/24"]}}})
        };
        assert!(Config::default().replace(document(MAX_RULES_OF_SET)).is_ok());
        let expected = "10001 rules are more than the 10000 of a rule set";
        assert_eq!(
            faults(document(MAX_RULES_OF_SET + 1)),
            [("/firewall/rule_sets/s/rules".to_owned(), expected.to_owned())]
        );
    }

    /// Each kind counts: whatever the last object is, it is one too many.
    #[test]
    fn objects_of_every_kind_are_counted_together() {
        let empty = Config::default().replace(json!({"version": 1})).unwrap();
        let before = &empty.parts;
        let route = |number: usize| json!({"destination": format!("10.{}.{}.0/24", number / 256, number % 256), "via": "10.1.1.2"});
        let document = json!({"version": 1, "routes": collection(10, route),
            "qos": collection(10, |number| json!({"address": format!("198.51.100.{}", number + 1), "ingress_bits_per_second": 8000})),
            "interfaces": {"guest": {"device": "eth0", "roles": ["guest"], "addresses": ["10.1.1.1/24"]},
                           "public": {"device": "eth1", "roles": ["public"], "addresses": ["198.51.100.250/24"]}},
            "firewall": {"rule_sets": {"s": {"interface": "guest", "passage": "in",
                "rules": collection(10, |number| json!({"priority": number, "action": "drop"}))}}}});
        let config = Config::default().replace(document).unwrap();
        assert_eq!(total(&config.parts) - total(before), 30);
    }

    #[test]
    fn backends_are_counted_over_all_balancers() {
        let backends = |balancer: usize| {
            collection(
                1000,
                |number| json!({"address": format!("10.{balancer}.{}.{}", number / 200, number % 200 + 1), "port": 80}),
            )
        };
        let balancer = |number: usize| json!({"address": "198.51.100.8", "port": 1000 + number, "protocol": "tcp", "pools": {"p": {"backends": backends(number)}}});
        let told = faults(json!({"version": 1, "load_balancers": collection(101, balancer)}));
        let expected = "101000 backends are more than the 100000 of a router";
        assert!(
            told.iter().any(|(place, detail)| place == "/load_balancers" && detail == expected),
            "{:?}",
            told.first()
        );
        assert!(told.len() <= MAX_FAULTS + 1);
    }

    #[test]
    fn what_is_read_is_bounded_by_depth_values_and_lists() {
        let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(parse(deep(MAX_DEPTH).as_bytes()).is_ok());
        let list = |count: usize| format!("{{\"a\": [{}0]}}", "0,".repeat(count - 1));
        assert!(parse(list(MAX_ELEMENTS).as_bytes()).is_ok());
        let many = |count: usize| {
            let of: String = (0..count).map(|number| format!("\"{number}\":{{}},")).collect();
            format!("{{{of}\"last\":0}}")
        };
        assert!(parse(many(1000).as_bytes()).is_ok());
        let plain = |count: usize| {
            let of: String = (0..count).map(|number| format!("\"{number}\":0,")).collect();
            format!("{{{of}\"last\":0}}")
        };
        for (text, place, detail) in [
            (deep(MAX_DEPTH + 1), "/0".repeat(MAX_DEPTH), "values are nested deeper than 32"),
            ("{\"a\":".repeat(100_000), "/a".repeat(MAX_DEPTH), "values are nested deeper than 32"),
            (list(MAX_ELEMENTS + 1), "/a".to_owned(), "a list has at most 10000 elements"),
            (
                many(MAX_CONTAINERS),
                format!("/{}", MAX_CONTAINERS - 1),
                "a document has at most 300000 objects and lists",
            ),
            (plain(MAX_VALUES), format!("/{}", MAX_VALUES - 1), "a document has at most 2000000 values"),
        ] {
            let faults = parse(text.as_bytes()).unwrap_err();
            let [fault] = faults.as_slice() else { panic!("{} faults", faults.as_slice().len()) };
            assert_eq!((fault.pointer.as_str(), fault.detail.as_str()), (place.as_str(), detail));
            assert_eq!(fault.rule, Rule::OutOfRange);
        }
    }

    #[test]
    fn faults_are_counted_beyond_those_that_are_told() {
        let unknown = collection(5000, |number| json!(number));
        let told = faults(json!({"version": 1, "dhcp": {"guest": unknown}}));
        assert_eq!(told.len(), MAX_FAULTS + 1);
        let (place, detail) = told.last().unwrap();
        assert!(
            place.is_empty() && detail.starts_with("there are ") && detail.ends_with(" faults more"),
            "{detail}"
        );
        let twice = format!("{{{}\"a\":0}}", "\"a\":0,".repeat(5000));
        let faults = parse(twice.as_bytes()).unwrap_err();
        assert_eq!(faults.as_slice().len(), MAX_FAULTS + 1);
        assert_eq!(faults.as_slice().last().unwrap().detail, "there are 4000 faults more");
    }
}
