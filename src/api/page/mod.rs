//! The page at `/`: what balancers do, for browsers. One document that is put together once; all that it shows it asks
//! the API for.

use std::sync::LazyLock;

use axum::response::Response;

use super::html::Html;

const INDEX: &str = include_str!("index.html");
const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");

static DOCUMENT: LazyLock<Html> = LazyLock::new(|| Html::new(INDEX, STYLE, SCRIPT));

/// GET `/`.
pub(super) async fn page() -> Response {
    DOCUMENT.answer()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balancer::LatencyHistogram;
    use crate::balancer::{BackendState, BalancerState};

    #[test]
    fn the_document_holds_all_of_it_and_refers_to_nothing() {
        DOCUMENT.check(INDEX, STYLE, SCRIPT);
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
