//! Static routes as facts.

use super::facts::route::TABLE_MAIN;
use super::facts::{Facts, Route, RouteKey};
use super::target::Target;

/// Adds the routes whose devices are there.
pub(super) fn lower(target: &Target, facts: &mut Facts) {
    for route in target.config.routes().values() {
        let via = route.hop.via();
        let named = route.hop.interface();
        let on_link = via.and_then(|via| target.config.layout().on_link(via.get())).map(|(id, _)| id);
        let Some(link) = named.or(on_link).and_then(|id| target.surroundings.links.get(id)) else { continue };
        let key = RouteKey {
            table: TABLE_MAIN,
            destination: route.destination.net(),
            metric: route.metric.unwrap_or(0),
        };
        let device = link.device.clone();
        let hop = via
            .map_or_else(|| Route::OnLink(device.clone(), None), |via| Route::Via(via.get(), device.clone()));
        facts.routes.insert(key, hop);
    }
}
