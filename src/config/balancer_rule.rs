//! What a rule of an http or https balancer is: which requests it means, and what becomes of them.

use super::fault::{Faults, Pointer, Rule};
use super::http::{FieldName, FieldValue};
use super::id::Id;
use super::keyed::Keyed;
use super::load_balancer::within;
use super::wire::Pool;
pub use super::wire::{BalancerRule, Match, Redirect, RedirectStatus, Reject, RewritePath, RuleAction};

/// Fields that frame a message or name who is asked: nobody sets them by a rule.
const FRAMING: [&str; 8] = [
    "connection",
    "content-length",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

impl RuleAction {
    /// Whether no later rule is looked at.
    #[must_use]
    pub const fn is_final(&self) -> bool {
        self.pool.is_some() || self.redirect.is_some() || self.reject.is_some()
    }
}

/// Reports what a rule can get wrong among the pools of its balancer.
pub(super) fn check(rule: &BalancerRule, pools: &Keyed<Id, Pool>, at: &Pointer, faults: &mut Faults) {
    let action = &rule.action;
    let at = at.key("action");
    let finals = [action.pool.is_some(), action.redirect.is_some(), action.reject.is_some()]
        .into_iter()
        .filter(|on| *on);
    if finals.count() > 1 {
        let detail = "`pool`, `redirect` and `reject` each end the rules: one of them can be";
        faults.add(at.clone(), Rule::Contradiction, detail);
    }
    if *action == RuleAction::default() {
        faults.add(
            at.clone(),
            Rule::MissingField,
            "the action says nothing; name a pool, a redirect, a reject or an edit",
        );
    }
    if let Some(pool) = action.pool.as_ref().filter(|pool| !pools.contains_key(*pool)) {
        faults.add(
            at.key("pool"),
            Rule::DanglingReference,
            format!("there is no pool `{pool}` in this balancer"),
        );
    }
    if let Some(reject) = &action.reject {
        within(&at.key("reject").key("status"), reject.status.into(), 400..=599, faults);
    }
    let mut edited = |member: &str, names: &mut dyn Iterator<Item = &FieldName>| {
        for name in names.filter(|name| FRAMING.contains(&name.as_str())) {
            let detail = format!("`{name}` frames the message and is the proxy's own");
            faults.add(at.key(member).key(name.as_str()), Rule::Contradiction, detail);
        }
    };
    edited("set_headers", &mut action.set_headers.keys());
    edited("remove_headers", &mut action.remove_headers.iter().filter(|name| name.as_str() != "te"));
    edited("set_response_headers", &mut action.set_response_headers.keys());
    edited("remove_response_headers", &mut action.remove_response_headers.iter());
    if action.remove_headers.iter().any(|name| name.as_str() == "host") {
        faults.add(at.key("remove_headers"), Rule::Contradiction, "a request without Host is none");
    }
    if let Some(rewrite) = &action.rewrite_path {
        check_rewrite(rewrite, &at.key("rewrite_path"), faults);
    }
}

fn check_rewrite(rewrite: &RewritePath, at: &Pointer, faults: &mut Faults) {
    let named = [rewrite.path.is_some(), rewrite.prefix.is_some(), rewrite.regex.is_some()];
    if named.into_iter().filter(|on| *on).count() != 1 {
        faults.add(
            at.clone(),
            Rule::Contradiction,
            "one of `path`, `prefix` and `regex` says what is rewritten",
        );
    }
    if rewrite.path.is_some() && rewrite.replacement.is_some() {
        let detail = "`path` is the path as a whole; `replacement` goes with `prefix` or `regex`";
        faults.add(at.key("replacement"), Rule::Contradiction, detail);
    }
}

/// Whether a wanted value is met; `*` is any that is there.
#[must_use]
pub fn fits(wanted: &str, found: &str) -> bool {
    wanted == "*" || wanted == found
}

/// Whether a wanted field value is met; `*` is any that is there.
#[must_use]
pub fn field_fits(wanted: &FieldValue, found: &[u8]) -> bool {
    wanted.as_str() == "*" || wanted.as_str().as_bytes() == found
}
