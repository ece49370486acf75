//! Documents for browsers: a page, its style and its script put together once, with headers that say what they may do.
//!
//! They may run this script and no other, ask this router and nobody else, and stand in no frame. Scripts write text and
//! never markup, which browsers that know Trusted Types enforce. Called by `page` and `docs`.

use axum::http::{HeaderName, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ring::digest::{SHA256, digest};

/// Where the style stands in a page.
const STYLE_PLACE: &str = "/* style.css */";
/// Where the script stands in a page.
const SCRIPT_PLACE: &str = "/* script.js */";

/// A document with what it may do.
#[derive(Debug)]
pub(super) struct Html {
    text: String,
    /// Content Security Policy Level 3.
    policy: String,
}

impl Html {
    /// Puts a document together.
    pub(super) fn new(page: &str, style: &str, script: &str) -> Self {
        let text = page.replacen(STYLE_PLACE, style, 1).replacen(SCRIPT_PLACE, script, 1);
        let [style, script] =
            [style, script].map(|text| BASE64_STANDARD.encode(digest(&SHA256, text.as_bytes())));
        let policy = format!(
            "default-src 'none'; script-src 'sha256-{script}'; style-src 'sha256-{style}'; img-src data:; \
             connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
             require-trusted-types-for 'script'; trusted-types 'none'"
        );
        Self { text, policy }
    }

    /// The document as an answer.
    pub(super) fn answer(&'static self) -> Response {
        let headers: [(HeaderName, &str); 7] = [
            (header::CONTENT_TYPE, "text/html; charset=utf-8"),
            (header::CACHE_CONTROL, "no-cache"),
            (header::CONTENT_SECURITY_POLICY, &self.policy),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::X_FRAME_OPTIONS, "DENY"),
            (header::REFERRER_POLICY, "no-referrer"),
            (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        ];
        (headers, self.text.as_str()).into_response()
    }

    /// Checks that a document holds all of its parts, refers to nothing elsewhere, and makes no markup of text.
    #[cfg(test)]
    pub(super) fn check(&self, page: &str, style: &str, script: &str) {
        assert_eq!((page.matches(STYLE_PLACE).count(), page.matches(SCRIPT_PLACE).count()), (1, 1));
        assert!(self.text.contains(style) && self.text.contains(script));
        // Addresses of other places: only the name of a language is one.
        let rest = self.text.replace("http://www.w3.org/2000/svg", "");
        for reference in ["http:", "https:", "src=", "@import", "url(", "//cdn"] {
            assert!(!rest.contains(reference), "{reference}");
        }
        // The element ends where it says so, not earlier.
        assert_eq!((script.matches("</").count(), style.matches("</").count()), (0, 0));
        assert!(self.text.len() < 40_000, "{} octets", self.text.len());
        for way in
            ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function(", ".style"]
        {
            assert!(!script.contains(way), "{way}");
        }
    }
}
