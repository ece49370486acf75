//! The page at `/`: what balancers do, for browsers. One document that is put together once; all that it shows it asks
//! the API for.
//!
//! What a browser may do with it is said in its headers: run this script and no other, ask this router and nobody else,
//! and stand in no frame. The script writes text and never markup, which browsers that know Trusted Types enforce.

use std::sync::LazyLock;

use axum::http::{HeaderName, header};
use axum::response::IntoResponse;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ring::digest::{SHA256, digest};

const INDEX: &str = include_str!("index.html");
const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");
/// Where the two others stand in the document.
const STYLE_PLACE: &str = "/* style.css */";
const SCRIPT_PLACE: &str = "/* script.js */";

/// The document.
static DOCUMENT: LazyLock<String> =
    LazyLock::new(|| INDEX.replacen(STYLE_PLACE, STYLE, 1).replacen(SCRIPT_PLACE, SCRIPT, 1));

/// What the document may do (Content Security Policy Level 3).
static POLICY: LazyLock<String> = LazyLock::new(|| {
    let [style, script] =
        [STYLE, SCRIPT].map(|text| BASE64_STANDARD.encode(digest(&SHA256, text.as_bytes())));
    format!(
        "default-src 'none'; script-src 'sha256-{script}'; style-src 'sha256-{style}'; img-src data:; \
         connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
         require-trusted-types-for 'script'; trusted-types 'none'"
    )
});

/// GET `/`.
pub(super) async fn page() -> impl IntoResponse {
    let headers: [(HeaderName, &str); 7] = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CACHE_CONTROL, "no-cache"),
        (header::CONTENT_SECURITY_POLICY, POLICY.as_str()),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ];
    (headers, DOCUMENT.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balancer::LatencyHistogram;
    use crate::balancer::{BackendState, BalancerState};

    #[test]
    fn the_document_holds_all_of_it_and_refers_to_nothing() {
        assert_eq!((INDEX.matches(STYLE_PLACE).count(), INDEX.matches(SCRIPT_PLACE).count()), (1, 1));
        assert!(DOCUMENT.contains(STYLE) && DOCUMENT.contains(SCRIPT));
        // Addresses of other places: only the name of a language is one.
        let rest = DOCUMENT.replace("http://www.w3.org/2000/svg", "");
        for reference in ["http:", "https:", "src=", "@import", "url(", "//cdn"] {
            assert!(!rest.contains(reference), "{reference}");
        }
        // The element ends where it says so, not earlier.
        assert_eq!((SCRIPT.matches("</").count(), STYLE.matches("</").count()), (0, 0));
        assert!(DOCUMENT.len() < 40_000, "{} octets", DOCUMENT.len());
    }

    #[test]
    fn the_script_makes_no_markup_of_text() {
        for way in
            ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function(", ".style"]
        {
            assert!(!SCRIPT.contains(way), "{way}");
        }
    }

    #[test]
    fn the_script_knows_the_bounds_and_the_states() {
        let bounds = LatencyHistogram::BOUNDS_MS.map(|bound| bound.to_string()).join(", ");
        assert!(SCRIPT.contains(&format!("BOUNDS_MS = [{bounds}]")), "{bounds}");
        let states = BalancerState::ALL.map(|state| format!("\"{}\"", state.name())).join(", ");
        assert!(SCRIPT.contains(&format!("STATES = [{states}]")), "{states}");
        for state in BalancerState::ALL
            .map(BalancerState::name)
            .into_iter()
            .chain(BackendState::ALL.map(BackendState::name))
        {
            assert!(STYLE.contains(&format!("[data-state=\"{state}\"]")), "{state} has no colour");
        }
    }
}
