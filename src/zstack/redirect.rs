//! Redirect rules of listeners: three forms of haproxy's matchers, as the management node writes them.
//!
//! It writes a domain with `\.` for each dot and `.*` for a star. What is meant is the domain, so that is what is read:
//! exact, or all below one.

use serde_json::{Value, json};

use super::Refusal;
use crate::config::http::HostPattern;

/// What a request has to be.
pub(super) fn condition(rule: &str) -> Result<Value, Refusal> {
    let refusal = || Refusal::Unsupported(format!("the redirect rule `{rule}`"));
    let mut words = rule.split_whitespace();
    let form = words.next().ok_or_else(refusal)?;
    let values: Vec<&str> = words.filter(|word| *word != "-i").collect();
    if values.is_empty() {
        return Err(refusal());
    }
    match form {
        "path_beg" => Ok(json!({ "path_regex": prefixes(&values) })),
        "hdr_reg(host)" => {
            let hosts = values.iter().map(|value| host(value).ok_or_else(refusal));
            Ok(json!({ "host": hosts.collect::<Result<Vec<_>, _>>()? }))
        }
        "base_reg" => {
            let [value] = values.as_slice() else { return Err(refusal()) };
            let slash = value.find('/').ok_or_else(refusal)?;
            let (domain, path) = value.split_at(slash);
            let host = host(domain).ok_or_else(refusal)?;
            Ok(json!({ "host": [host], "path_regex": prefixes(&[path]) }))
        }
        _ => Err(refusal()),
    }
}

/// Paths that begin with one of these, whatever the case.
fn prefixes(values: &[&str]) -> String {
    let escaped: Vec<String> = values.iter().map(|value| regex::escape(value)).collect();
    match escaped.as_slice() {
        [one] => format!("(?i)^{one}"),
        many => format!("(?i)^(?:{})", many.join("|")),
    }
}

/// The host that a pattern of the management node means.
fn host(pattern: &str) -> Option<String> {
    let pattern = pattern.strip_prefix('^').unwrap_or(pattern);
    let pattern = pattern.strip_suffix('$').unwrap_or(pattern);
    let text = pattern.replace("\\.", ".").replace(".*", "*");
    text.parse::<HostPattern>().ok().map(|host| host.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_forms_are_read() {
        let cases = [
            ("path_beg -i /x", json!({ "path_regex": "(?i)^/x" })),
            ("path_beg -i /a.b", json!({ "path_regex": "(?i)^/a\\.b" })),
            ("path_beg /a /b", json!({ "path_regex": "(?i)^(?:/a|/b)" })),
            ("hdr_reg(host) -i www\\.demo\\.local", json!({ "host": ["www.demo.local"] })),
            ("hdr_reg(host) -i .*\\.demo\\.local", json!({ "host": ["*.demo.local"] })),
            (
                "base_reg -i .*\\.demo\\.local/api",
                json!({ "host": ["*.demo.local"], "path_regex": "(?i)^/api" }),
            ),
        ];
        for (rule, wanted) in cases {
            assert_eq!(condition(rule).unwrap(), wanted, "{rule}");
        }
    }

    #[test]
    fn what_is_no_such_form_is_refused() {
        for rule in
            ["", "path_beg", "path_end -i /x", "hdr_reg(host) -i a|b", "base_reg -i a\\.b", "src 10.0.0.1"]
        {
            assert!(matches!(condition(rule), Err(Refusal::Unsupported(_))), "{rule}");
        }
    }
}
