//! `load_balancers.<id>.rules.<id>` on the wire: what a request is asked, and what becomes of it.

use deserr::Deserr;
use schemars::JsonSchema;
use serde::Serialize;

use crate::config::fault::Faults;
use crate::config::http::{
    FieldName, FieldValue, HostPattern, HttpPath, Location, Method, PathRegex, Replacement,
};
use crate::config::id::Id;
use crate::config::keyed::Keyed;
use crate::config::net::AddressMatch;

/// One rule of an http or https balancer.
#[derive(Debug, Clone, PartialEq, Deserr, Serialize, JsonSchema)]
#[deserr(error = Faults, deny_unknown_fields)]
pub struct BalancerRule {
    /// Lower decides first; rules of one priority go by id.
    pub priority: u32,
    /// What a request has to be; without a member, any request fits.
    #[serde(rename = "match")]
    #[deserr(rename = "match", default)]
    #[schemars(default)]
    pub matches: Match,
    /// What becomes of it.
    pub action: RuleAction,
}

/// What a request has to be: every member that is named fits, by any of its values.
#[derive(Debug, Clone, PartialEq, Default, Deserr, Serialize, JsonSchema)]
#[deserr(error = Faults, deny_unknown_fields)]
pub struct Match {
    /// The host, without its port: exact, or `*.demo.local` for all names below.
    #[deserr(default)]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub host: Vec<HostPattern>,
    /// The whole path.
    #[deserr(default)]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub path: Vec<HttpPath>,
    /// What the path begins with.
    #[deserr(default)]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub path_prefix: Vec<HttpPath>,
    /// What the path holds, as a regular expression (syntax: the Rust crate `regex`).
    #[deserr(default)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_regex: Option<PathRegex>,
    /// Header fields: a value, or `*` for any.
    #[deserr(default)]
    #[serde(skip_serializing_if = "super::is_without_entries")]
    #[schemars(default)]
    pub headers: Keyed<FieldName, FieldValue>,
    /// The methods.
    #[deserr(default)]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub methods: Vec<Method>,
    /// Parameters of the query, decoded: a value, or `*` for any.
    #[deserr(default)]
    #[serde(skip_serializing_if = "super::is_without_entries")]
    #[schemars(default)]
    pub query: Keyed<String, String>,
    /// Cookies: a value, or `*` for any.
    #[deserr(default)]
    #[serde(skip_serializing_if = "super::is_without_entries")]
    #[schemars(default)]
    pub cookies: Keyed<String, String>,
    /// The client's address.
    #[deserr(default)]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub sources: Vec<AddressMatch>,
}

/// What becomes of a request: at most one of `pool`, `redirect` and `reject`, which ends the rules; edits before it.
#[derive(Debug, Clone, PartialEq, Default, Deserr, Serialize, JsonSchema)]
#[deserr(error = Faults, deny_unknown_fields)]
pub struct RuleAction {
    /// The pool that serves it.
    #[deserr(default)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pool: Option<Id>,
    /// The client is sent elsewhere.
    #[deserr(default)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redirect: Option<Redirect>,
    /// The client is refused.
    #[deserr(default)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reject: Option<Reject>,
    /// Header fields that the backend sees, in place of the client's.
    #[deserr(default)]
    #[serde(skip_serializing_if = "super::is_without_entries")]
    #[schemars(default)]
    pub set_headers: Keyed<FieldName, FieldValue>,
    /// Header fields that the backend does not see.
    #[deserr(default)]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub remove_headers: Vec<FieldName>,
    /// Header fields that the client sees, in place of the backend's.
    #[deserr(default)]
    #[serde(skip_serializing_if = "super::is_without_entries")]
    #[schemars(default)]
    pub set_response_headers: Keyed<FieldName, FieldValue>,
    /// Header fields that the client does not see.
    #[deserr(default)]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub remove_response_headers: Vec<FieldName>,
    /// The path that the backend sees.
    #[deserr(default)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rewrite_path: Option<RewritePath>,
}

/// Where a client is sent.
#[derive(Debug, Clone, PartialEq, Eq, Deserr, Serialize, JsonSchema)]
#[deserr(error = Faults, deny_unknown_fields)]
pub struct Redirect {
    /// The Location field; `{scheme}`, `{host}`, `{port}`, `{path}` and `{query}` are the request's.
    pub location: Location,
    /// The status.
    #[deserr(default)]
    #[schemars(default)]
    pub status: RedirectStatus,
}

/// The statuses that send a client elsewhere (RFC 9110 section 15.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RedirectStatus {
    /// 301: for ever, perhaps with another method.
    MovedPermanently,
    /// 302: for now, perhaps with another method.
    #[default]
    Found,
    /// 303: by GET.
    SeeOther,
    /// 307: for now, with the same method.
    TemporaryRedirect,
    /// 308: for ever, with the same method.
    PermanentRedirect,
}

/// How a client is refused.
#[derive(Debug, Clone, PartialEq, Eq, Deserr, Serialize, JsonSchema)]
#[deserr(error = Faults, deny_unknown_fields)]
pub struct Reject {
    /// The status, from 400 to 599.
    #[deserr(default = 403)]
    #[schemars(default = "forbidden", range(min = 400, max = 599))]
    pub status: u16,
    /// The text that the client sees.
    #[deserr(default)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
}

const fn forbidden() -> u16 {
    403
}

/// How the path changes on its way to the backend: one of `path`, `prefix` and `regex`; the query stays.
#[derive(Debug, Clone, PartialEq, Deserr, Serialize, JsonSchema)]
#[deserr(error = Faults, deny_unknown_fields)]
pub struct RewritePath {
    /// The path as a whole.
    #[deserr(default)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<HttpPath>,
    /// What the path begins with; `replacement` stands in its place.
    #[deserr(default)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<HttpPath>,
    /// What the path holds; `replacement` stands in its place, `$1` for the first group.
    #[deserr(default)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub regex: Option<PathRegex>,
    /// What stands in its place; by default nothing.
    #[deserr(default)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replacement: Option<Replacement>,
}
