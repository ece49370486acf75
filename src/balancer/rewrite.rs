//! What rules change in requests and answers: header fields and the path. Compiled once, applied to each.
//!
//! Every name and value was checked when the configuration was read; what comes of a client's path is checked here, so
//! that nothing a client sends can end a line. Called by `rules.rs`, and by whoever carries requests.

use http::{HeaderMap, HeaderName, HeaderValue};
use regex::Regex;

use super::path;
use crate::config::balancer_rule::{RewritePath, RuleAction};
use crate::config::http::{FieldName, FieldValue};
use crate::config::keyed::Keyed;

/// The longest path that may come of rewriting, with its query, in octets. Groups that are named twice make it grow.
const MAX_TARGET: usize = 64 * 1024;

/// A path that became too long by rewriting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the path is longer than {MAX_TARGET} octets once it is rewritten")]
pub struct TooLong;

/// What one rule changes.
#[derive(Debug, Default)]
pub struct Edits {
    request: Fields,
    response: Fields,
    rewrite: Option<Rewrite>,
}

/// Fields that go, and fields that are set in place of what there is.
#[derive(Debug, Default)]
struct Fields {
    remove: Vec<HeaderName>,
    set: Vec<(HeaderName, HeaderValue)>,
}

#[derive(Debug)]
enum Rewrite {
    Whole(String),
    Prefix(String, String),
    Pattern(Regex, String),
}

impl Edits {
    /// What a rule's action changes; nothing where it changes nothing.
    #[must_use]
    pub fn of(action: &RuleAction) -> Option<Self> {
        let request = Fields::of(&action.remove_headers, &action.set_headers);
        let response = Fields::of(&action.remove_response_headers, &action.set_response_headers);
        let rewrite = action.rewrite_path.as_ref().and_then(Rewrite::of);
        let edits = Self { request, response, rewrite };
        (!edits.request.is_empty() || !edits.response.is_empty() || edits.rewrite.is_some()).then_some(edits)
    }

    /// Changes the fields that the backend sees.
    pub fn on_request(&self, headers: &mut HeaderMap) {
        self.request.apply(headers);
    }

    /// Changes the fields that the client sees.
    pub fn on_response(&self, headers: &mut HeaderMap) {
        self.response.apply(headers);
    }

    /// Whether it changes fields of the answer.
    #[must_use]
    pub fn has_response(&self) -> bool {
        !self.response.is_empty()
    }
}

impl Fields {
    fn of(remove: &[FieldName], set: &Keyed<FieldName, FieldValue>) -> Self {
        let name = |name: &FieldName| HeaderName::try_from(name.as_str()).ok();
        let field = |(field, value): (&FieldName, &FieldValue)| {
            Some((name(field)?, HeaderValue::try_from(value.as_str()).ok()?))
        };
        Self { remove: remove.iter().filter_map(name).collect(), set: set.iter().filter_map(field).collect() }
    }

    fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.set.is_empty()
    }

    fn apply(&self, headers: &mut HeaderMap) {
        for name in &self.remove {
            headers.remove(name);
        }
        for (name, value) in &self.set {
            headers.insert(name, value.clone());
        }
    }
}

impl Rewrite {
    fn of(rewrite: &RewritePath) -> Option<Self> {
        let replacement =
            || rewrite.replacement.as_ref().map_or_else(String::new, |text| text.as_str().to_owned());
        match rewrite {
            RewritePath { path: Some(path), .. } => Some(Self::Whole(path.as_str().to_owned())),
            RewritePath { prefix: Some(prefix), .. } => {
                Some(Self::Prefix(path::wanted(prefix.as_str()).0, replacement()))
            }
            RewritePath { regex: Some(pattern), .. } => {
                Some(Self::Pattern(pattern.get().clone(), bounded(&replacement())))
            }
            _ => None,
        }
    }

    /// What comes of a path; nothing where it does not fit.
    fn apply(&self, path: &str) -> Option<String> {
        match self {
            Self::Whole(whole) => Some(whole.clone()),
            Self::Prefix(prefix, replacement) => {
                path.strip_prefix(prefix.as_str()).map(|rest| format!("{replacement}{rest}"))
            }
            Self::Pattern(pattern, replacement) => {
                let groups = pattern.captures(path)?;
                let whole = groups.get(0)?;
                let mut out = path.get(..whole.start())?.to_owned();
                groups.expand(replacement, &mut out);
                out.push_str(path.get(whole.end()..)?);
                Some(out)
            }
        }
    }
}

/// Puts braces around numbers of groups, so that `$1x` is the first group and an x, and not a group by the name of `1x`.
fn bounded(replacement: &str) -> String {
    let mut out = String::with_capacity(replacement.len() + 8);
    let mut rest = replacement;
    while let Some((before, behind)) = rest.split_once('$') {
        let digits = behind.len() - behind.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, next) = behind.split_at(digits);
        out.push_str(before);
        match (number, next.strip_prefix('$')) {
            // Two of them stand for one.
            ("", Some(next)) => {
                out.push_str("$$");
                rest = next;
                continue;
            }
            ("", None) => out.push('$'),
            (number, _) => {
                out.push_str("${");
                out.push_str(number);
                out.push('}');
            }
        }
        rest = next;
    }
    out.push_str(rest);
    out
}

/// The target that the backend gets, path and query, after the edits of all rules that fitted, in their order. Nothing
/// where none of them rewrites it: then it is the path in its normal form and the query as it came.
///
/// What comes of a rewrite is an absolute path without dot segments, whatever the parts were. A query in it goes before
/// the client's own.
///
/// # Errors
/// It became too long.
pub fn target(edits: &[&Edits], path: &str, query: Option<&str>) -> Result<Option<String>, TooLong> {
    let mut rewritten: Option<(String, Option<String>)> = None;
    for rewrite in edits.iter().filter_map(|edits| edits.rewrite.as_ref()) {
        let (path, query) = match &rewritten {
            Some((path, query)) => (path.as_str(), query.as_deref()),
            None => (path, query),
        };
        let Some(text) = rewrite.apply(path) else { continue };
        if text.len() + query.map_or(0, str::len) > MAX_TARGET {
            return Err(TooLong);
        }
        let (path, added) =
            text.split_once('?').map_or((text.as_str(), None), |(path, query)| (path, Some(query)));
        let query = match (added.filter(|added| !added.is_empty()), query) {
            (Some(added), Some(query)) => Some(format!("{added}&{query}")),
            (added, query) => added.or(query).map(str::to_owned),
        };
        let slash = if path.starts_with('/') { "" } else { "/" };
        rewritten = Some((path::resolve(&format!("{slash}{path}")), query));
    }
    Ok(rewritten.map(|(path, query)| match query {
        Some(query) => format!("{path}?{query}"),
        None => path,
    }))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::testing::balancer;
    use super::*;

    fn edits(action: &Value) -> Edits {
        let web = balancer(&json!({
            "pools": { "app": {} },
            "rules": { "r": { "priority": 1, "action": action } },
        }));
        Edits::of(&web.rules.values().next().unwrap().action).unwrap()
    }

    fn rewritten(rewrite: &Value, path: &str, query: Option<&str>) -> Option<String> {
        target(&[&edits(&json!({ "rewrite_path": rewrite }))], path, query).unwrap()
    }

    #[test]
    fn paths_are_rewritten_and_queries_stay() {
        let strip = json!({ "prefix": "/api" });
        assert_eq!(rewritten(&strip, "/api/v1", Some("a=1")).unwrap(), "/v1?a=1");
        assert_eq!(rewritten(&strip, "/api", None).unwrap(), "/");
        assert_eq!(rewritten(&strip, "/other", None), None);
        // What is left of a segment leads nowhere above.
        assert_eq!(rewritten(&strip, "/api../etc", None).unwrap(), "/etc");
        assert_eq!(
            rewritten(&json!({ "prefix": "/%7eu", "replacement": "/u" }), "/~u/x", None).unwrap(),
            "/u/x"
        );
        let whole = json!({ "path": "/index.php?q=1" });
        assert_eq!(rewritten(&whole, "/x", Some("a=1")).unwrap(), "/index.php?q=1&a=1");
        let groups = json!({ "regex": "^/u/([0-9]+)/(.*)$", "replacement": "/$2/user-${1}" });
        assert_eq!(rewritten(&groups, "/u/17/show", None).unwrap(), "/show/user-17");
        assert_eq!(rewritten(&groups, "/u/x/show", None), None);
        let joined = json!({ "regex": "^/(a)(.*)", "replacement": "/$1x$$$2" });
        assert_eq!(rewritten(&joined, "/ab", None).unwrap(), "/ax$b");
        assert_eq!(
            rewritten(&json!({ "regex": "^(.*)$", "replacement": "$1$1" }), "/a", None).unwrap(),
            "/a/a"
        );
        assert_eq!(rewritten(&json!({ "regex": "b", "replacement": "../x" }), "/a/b", None).unwrap(), "/x");
        let (one, two) = (edits(&json!({ "rewrite_path": strip })), edits(&json!({ "rewrite_path": whole })));
        assert_eq!(target(&[&one, &two], "/api/v1", Some("a=1")).unwrap().unwrap(), "/index.php?q=1&a=1");
    }

    #[test]
    fn a_path_that_grows_without_end_is_refused() {
        let grow = edits(&json!({ "rewrite_path": { "regex": "^(.*)$", "replacement": "$1$1" } }));
        assert_eq!(target(&[&grow; 1000], "/abc", None), Err(TooLong));
    }

    #[test]
    fn fields_are_set_and_removed() {
        let edits = edits(&json!({
            "set_headers": { "X-Tier": "gold", "Host": "inside.demo.local" },
            "remove_headers": ["X-Secret"],
            "set_response_headers": { "Strict-Transport-Security": "max-age=31536000; includeSubDomains" },
            "remove_response_headers": ["Server"],
        }));
        let mut request = HeaderMap::new();
        for (name, value) in [("x-tier", "a"), ("x-tier", "b"), ("x-secret", "1"), ("host", "demo.local")] {
            request.append(name, HeaderValue::from_static(value));
        }
        edits.on_request(&mut request);
        let found: Vec<_> =
            request.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        assert_eq!(found.len(), 2);
        assert!(found.contains(&("x-tier", "gold")) && found.contains(&("host", "inside.demo.local")));
        let mut answer = HeaderMap::from_iter([(http::header::SERVER, HeaderValue::from_static("x"))]);
        edits.on_response(&mut answer);
        assert_eq!(answer.len(), 1);
        assert_eq!(answer["strict-transport-security"], "max-age=31536000; includeSubDomains");
        assert!(edits.has_response());
    }
}
