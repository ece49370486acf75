//! The page at `/docs`: the API for people. It shows what `/openapi.json` says, so it can say nothing else.

use std::sync::LazyLock;

use axum::response::Response;

use super::html::Html;

const INDEX: &str = include_str!("index.html");
const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");

static DOCUMENT: LazyLock<Html> = LazyLock::new(|| Html::new(INDEX, STYLE, SCRIPT));

/// GET `/docs`.
pub(super) async fn page() -> Response {
    DOCUMENT.answer()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_holds_all_of_it_and_refers_to_nothing() {
        DOCUMENT.check(INDEX, STYLE, SCRIPT);
    }
}
