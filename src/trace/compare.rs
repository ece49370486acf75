//! What the kernel does otherwise than the configuration says: stage by stage, the way that it would choose itself, and the
//! links that a packet needs.

use super::explain::Told;
use super::path::Path;
use super::places::Places;
use super::report::{Decision, Difference, Stage};
use super::way::Way;
use crate::plan::Target;
use crate::plan::facts::{Device, Observed, WayAnswer};

/// What is compared: first what is wanted, then what is observed.
#[derive(Debug)]
pub(super) struct Compared<'a> {
    pub(super) target: &'a Target,
    pub(super) observed: &'a Observed,
    /// The device that the packet comes in by.
    pub(super) input: &'a Device,
    pub(super) paths: (&'a Path<'a>, &'a Path<'a>),
    pub(super) told: (&'a Told, &'a Told),
    /// The kernel's own word on the way, if it has one.
    pub(super) answer: Option<&'a WayAnswer>,
}

const STAGES: [(Stage, &str); 6] = [
    (Stage::Steering, "steering"),
    (Stage::DestinationNat, "destination_nat"),
    (Stage::Route, "route"),
    (Stage::Firewall, "firewall"),
    (Stage::Input, "input"),
    (Stage::SourceNat, "source_nat"),
];

/// What differs; nothing where the kernel does as the configuration says.
pub(super) fn compare(compared: Compared<'_>) -> Vec<Difference> {
    let Compared { target, observed, input, paths, told, answer } = compared;
    let mut differences = Vec::new();
    let mut differ = |what: &str, wanted: String, observed: String| {
        if wanted != observed {
            differences.push(Difference { what: what.to_owned(), wanted, observed });
        }
    };
    let places = Places { config: &target.config, links: &target.surroundings.links };
    if observed.table.is_none() {
        differ("table inet vrouter", "there".to_owned(), "not there".to_owned());
    }
    for (chain, index) in &paths.1.unknown {
        let what = format!("chain {chain}");
        differ(
            &what,
            "the router's rules".to_owned(),
            format!("rule {index} is somebody else's; it is not known what it does"),
        );
    }
    for (stage, name) in STAGES {
        differ(name, at(stage, &told.0.decisions), at(stage, &told.1.decisions));
    }
    differ(
        "verdict",
        format!("{:?}", told.0.verdict).to_lowercase(),
        format!("{:?}", told.1.verdict).to_lowercase(),
    );
    if let (Some((_, way)), Some(answer)) = (&paths.0.way, answer) {
        differ("the kernel's way", wanted_way(way, places), told_way(answer, places, way));
    }
    let output = match &paths.0.way {
        Some((_, Way::Out(out))) => Some(&out.device),
        _ => None,
    };
    for device in std::iter::once(input).chain(output.filter(|device| *device != input)) {
        let state = match observed.links.get(&device.index) {
            None => "gone",
            Some(link) if !link.up => "down",
            Some(link) if !link.carrier => "up, without a carrier",
            Some(_) => "up",
        };
        differ(&format!("device {device}"), "up".to_owned(), state.to_owned());
    }
    differences
}

/// What was decided at a stage.
fn at(stage: Stage, decisions: &[Decision]) -> String {
    let told: Vec<&str> = decisions
        .iter()
        .filter(|decision| decision.stage == stage)
        .map(|decision| decision.detail.as_str())
        .collect();
    if told.is_empty() { "nothing".to_owned() } else { told.join("; ") }
}

fn wanted_way(way: &Way, places: Places<'_>) -> String {
    match way {
        Way::Local(_) => LOCAL.to_owned(),
        Way::Out(out) => out_by(out.via, &places.name(&out.device)),
        Way::Nowhere(_) => NOWHERE.to_owned(),
    }
}

fn told_way(answer: &WayAnswer, places: Places<'_>, wanted: &Way) -> String {
    match answer {
        WayAnswer::Local => LOCAL.to_owned(),
        WayAnswer::Out { device, via } => {
            let id = places.interface_of(*device);
            out_by(*via, &id.map_or_else(|| format!("device {device}"), |id| format!("`{id}`")))
        }
        // Why is told only where it matters.
        WayAnswer::Nowhere(_) if matches!(wanted, Way::Nowhere(_)) => NOWHERE.to_owned(),
        WayAnswer::Nowhere(why) => format!("{NOWHERE}: {why}"),
    }
}

const LOCAL: &str = "to the router itself";
const NOWHERE: &str = "nowhere";

fn out_by(via: Option<std::net::Ipv4Addr>, name: &str) -> String {
    via.map_or_else(|| format!("on the link of {name}"), |via| format!("by {via} on {name}"))
}
