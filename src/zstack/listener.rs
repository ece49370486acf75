//! Listeners of load balancers, each by its UUID.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::body::{Body, id, set};
use super::command::Reply;
use super::draft::Draft;
use super::parameters::Parameters;
use super::{Facts, Refusal, redirect, vip};

/// The pool of whatever no redirect rule leads elsewhere.
const DEFAULT: &str = "default";

/// Which balancer of the management node each listener belongs to.
const OF: &[&str] = &["owner", "zstack", "listeners"];

/// `/lb/refresh`: states the listeners that are listed; one without servers, or with TLS and no certificate, stops.
pub(super) fn refresh(body: Body<'_>, draft: &mut Draft, _: &Facts) -> Result<Reply, Refusal> {
    for listener in body.list("lbs")? {
        let stopped = listener.texts("nicIps")?.is_empty()
            || (mode(listener)? == "https" && listener.text("certificateUuid").is_none());
        let id = id(listener.needed("listenerUuid")?)?;
        if stopped {
            remove(&id, draft);
        } else {
            let balancer = balancer(listener, draft).map_err(|refusal| of(&id, refusal))?;
            draft.put(&["load_balancers"], &id, balancer);
            // For metrics alone, so a balancer without a name is served all the same.
            if let Some(of) = listener.text("lbUuid").and_then(|uuid| self::id(uuid).ok()) {
                draft.put(OF, &id, of.into());
            }
        }
    }
    Ok(Reply::new())
}

/// `/lb/delete`
pub(super) fn delete(body: Body<'_>, draft: &mut Draft, _: &Facts) -> Result<Reply, Refusal> {
    for listener in body.list("lbs")? {
        remove(&id(listener.needed("listenerUuid")?)?, draft);
    }
    Ok(Reply::new())
}

fn remove(listener: &str, draft: &mut Draft) {
    draft.remove(&["load_balancers"], listener);
    draft.remove(OF, listener);
}

fn of(listener: &str, refusal: Refusal) -> Refusal {
    match refusal {
        Refusal::Unsupported(detail) => Refusal::Unsupported(format!("listener {listener}: {detail}")),
        Refusal::Invalid(detail) => Refusal::Invalid(format!("listener {listener}: {detail}")),
        other => other,
    }
}

fn mode(listener: Body<'_>) -> Result<String, Refusal> {
    let mode = listener.text("mode").unwrap_or("tcp").to_ascii_lowercase();
    match mode.as_str() {
        "tcp" | "udp" | "http" | "https" => Ok(mode),
        _ => Err(Refusal::Invalid(format!("`{mode}` is not one of tcp, udp, http, https"))),
    }
}

fn balancer(listener: Body<'_>, draft: &mut Draft) -> Result<Value, Refusal> {
    let mode = mode(listener)?;
    if listener.text("vip6").is_some() {
        return Err(Refusal::Unsupported("its VIP has an IPv6 address, and IPv6 is not built".to_owned()));
    }
    let address = listener.needed_address("vip")?;
    vip::home(address, listener, "publicNic", draft)?;
    let port = listener.number("loadBalancerPort")?;
    let port = port.ok_or_else(|| Refusal::Invalid("`loadBalancerPort` is missing".to_owned()))?;
    let parameters = Parameters::read(&listener.texts("parameters")?)?;
    let instance_port = listener.number("instancePort")?.unwrap_or(port);
    let mut balancer = Map::new();
    balancer.insert("address".to_owned(), address.to_string().into());
    balancer.insert("port".to_owned(), port.into());
    balancer.insert("protocol".to_owned(), mode.as_str().into());
    parameters.state(&mode, &mut balancer)?;
    let is_http = matches!(mode.as_str(), "http" | "https");
    let rules = if is_http { rules(listener)? } else { Rules::new() };
    let health_check = parameters.health_check(&mode, instance_port)?;
    let named: BTreeSet<String> = rules.iter().map(|(_, _, pool)| pool.clone()).collect();
    let mut pools = Map::new();
    for (name, servers) in pools_of(listener, &parameters, &named)? {
        let backends: Map<String, Value> = servers
            .into_iter()
            .map(|(ip, weight)| {
                let mut backend = json!({ "address": ip, "port": instance_port });
                if let Some(weight) = weight {
                    set(&mut backend, "weight", weight);
                }
                (ip, backend)
            })
            .collect();
        let mut pool = json!({ "backends": backends });
        if let Some(check) = &health_check {
            set(&mut pool, "health_check", check.clone());
        }
        pools.insert(name, pool);
    }
    let mut written = Map::new();
    if let Some(redirect) = parameters.redirect_to_https(&mode)? {
        written.insert("to-https".to_owned(), json!({ "priority": 0, "action": { "redirect": redirect } }));
    }
    for (id, condition, pool) in rules {
        if !pools.contains_key(&pool) {
            return Err(Refusal::Invalid(format!(
                "the redirect rule {id} leads to {pool}, which has no servers"
            )));
        }
        let priority = written.len() + 1;
        written.insert(id, json!({ "priority": priority, "match": condition, "action": { "pool": pool } }));
    }
    if !pools.contains_key(DEFAULT) && pools.len() == 1 {
        // A single pool would take whatever no rule leads to it.
        let reject = json!({ "priority": written.len() + 1, "action": { "reject": { "status": 503 } } });
        written.insert("otherwise".to_owned(), reject);
    } else if pools.contains_key(DEFAULT) {
        balancer.insert("default_pool".to_owned(), DEFAULT.into());
    }
    balancer.insert("pools".to_owned(), pools.into());
    if !written.is_empty() {
        balancer.insert("rules".to_owned(), written.into());
    }
    if mode == "https" {
        let certificate = id(listener.needed("certificateUuid")?)?;
        balancer.insert("tls".to_owned(), tls(listener, &certificate, &parameters)?);
    }
    Ok(Value::Object(balancer))
}

/// The rules in their order: id, condition, and the pool that it leads to.
type Rules = Vec<(String, Value, String)>;

fn rules(listener: Body<'_>) -> Result<Rules, Refusal> {
    let mut rules = Rules::new();
    for rule in listener.list("redirectRules")? {
        let condition = redirect::condition(rule.needed("redirectRule")?)?;
        rules.push((id(rule.needed("redirectRuleUuid")?)?, condition, id(rule.needed("serverGroupUuid")?)?));
    }
    Ok(rules)
}

/// Servers with their weights, where weights count.
type Servers = BTreeMap<String, Option<u64>>;

/// The pools: server groups that a redirect rule names, and all others together. Without groups, the listener's own servers.
fn pools_of(
    listener: Body<'_>,
    parameters: &Parameters<'_>,
    named: &BTreeSet<String>,
) -> Result<BTreeMap<String, Servers>, Refusal> {
    let mut pools: BTreeMap<String, Servers> = BTreeMap::new();
    let groups = listener.list("serverGroups")?;
    for group in &groups {
        let uuid = id(group.needed("serverGroupUuid")?)?;
        let is_default = group.flag("isDefault").unwrap_or(false) || named.is_empty();
        for server in group.list("backendServers")? {
            let ip = server.needed_address("ip")?.to_string();
            let weight = parameters.weight(&ip, server.number("weight")?);
            if is_default {
                pools.entry(DEFAULT.to_owned()).or_default().insert(ip.clone(), weight);
            }
            if named.contains(&uuid) {
                pools.entry(uuid.clone()).or_default().insert(ip, weight);
            }
        }
    }
    if groups.is_empty() {
        for ip in listener.texts("nicIps")? {
            let ip = super::body::address(ip)?.to_string();
            let weight = parameters.weight(&ip, None);
            pools.entry(DEFAULT.to_owned()).or_default().insert(ip, weight);
        }
    }
    Ok(pools)
}

fn tls(listener: Body<'_>, certificate: &str, parameters: &Parameters<'_>) -> Result<Value, Refusal> {
    let mut tls = json!({ "certificates": [certificate], "alpn": parameters.alpn()? });
    match listener.text("securityPolicyType").unwrap_or("tls_cipher_policy_default") {
        "tls_cipher_policy_default" | "tls_cipher_policy_1_2" | "tls_cipher_policy_1_2_strict" => {}
        "tls_cipher_policy_1_2_strict_with_1_3" => set(&mut tls, "min_version", "1.3"),
        other => {
            let detail = format!("the security policy {other}: TLS older than 1.2 is not spoken");
            return Err(Refusal::Unsupported(detail));
        }
    }
    Ok(tls)
}
