//! Certificates: one PEM text with chain and key, as haproxy reads it, taken apart.

use serde_json::{Value, json};

use super::body::{Body, id};
use super::command::Reply;
use super::draft::Draft;
use super::{Facts, Refusal};

/// `/certificate/create`
pub(super) fn create(body: Body<'_>, draft: &mut Draft, _: &Facts) -> Result<Reply, Refusal> {
    put(body.needed("uuid")?, body.needed("certificate")?, draft)?;
    Ok(Reply::new())
}

/// `/certificates/create`
pub(super) fn create_all(body: Body<'_>, draft: &mut Draft, _: &Facts) -> Result<Reply, Refusal> {
    for (uuid, pem) in body.entries("certs") {
        let pem = pem.as_str().ok_or_else(|| Refusal::Invalid(format!("certificate {uuid} is no text")))?;
        put(uuid, pem, draft)?;
    }
    Ok(Reply::new())
}

/// `/certificate/delete`
pub(super) fn delete(body: Body<'_>, draft: &mut Draft, _: &Facts) -> Result<Reply, Refusal> {
    let certificate = id(body.needed("uuid")?)?;
    let named = |balancer: &Value| {
        let list = balancer.pointer("/tls/certificates").and_then(Value::as_array);
        list.is_some_and(|list| list.iter().any(|one| *one == certificate))
    };
    if let Some((listener, _)) = draft.entries(&["load_balancers"]).find(|(_, balancer)| named(balancer)) {
        return Err(Refusal::Invalid(format!("listener {listener} uses the certificate {certificate}")));
    }
    draft.remove(&["certificates"], &certificate);
    Ok(Reply::new())
}

fn put(uuid: &str, pem: &str, draft: &mut Draft) -> Result<(), Refusal> {
    let (mut chain, mut key) = (String::new(), String::new());
    for block in blocks(pem) {
        if block.label.ends_with("PRIVATE KEY") && key.is_empty() {
            key.push_str(block.text);
            key.push('\n');
        } else if block.label.ends_with("CERTIFICATE") {
            chain.push_str(block.text);
            chain.push('\n');
        }
    }
    if chain.is_empty() || key.is_empty() {
        let lack = if chain.is_empty() { "certificate" } else { "private key" };
        return Err(Refusal::Invalid(format!("certificate {uuid}: there is no {lack} in it")));
    }
    draft.put(&["certificates"], &id(uuid)?, json!({ "chain_pem": chain, "key_pem": key }));
    Ok(())
}

/// One block of a PEM text (RFC 7468).
struct Block<'a> {
    label: &'a str,
    /// From the first hyphen to the last.
    text: &'a str,
}

fn blocks(pem: &str) -> impl Iterator<Item = Block<'_>> {
    const BEGIN: &str = "-----BEGIN ";
    let mut rest = pem;
    std::iter::from_fn(move || {
        let from = rest.find(BEGIN)?;
        let text = rest.get(from..)?;
        let label = text.strip_prefix(BEGIN)?.split("-----").next()?;
        let end = format!("-----END {label}-----");
        let length = text.find(&end)? + end.len();
        rest = text.get(length..)?;
        Some(Block { label, text: text.get(..length)? })
    })
}
