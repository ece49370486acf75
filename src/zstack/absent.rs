//! Services that are not built: what asks for nothing of them is carried out, as there is nothing of them; the rest is
//! refused. A management node that connects syncs every service, empty ones too.

use super::Refusal;
use super::body::Body;

/// Whether a command asks for something.
pub(super) type Asks = fn(Body<'_>) -> Result<bool, Refusal>;

/// `/policyroute/sync`
pub(super) fn policy_routes(body: Body<'_>) -> Result<bool, Refusal> {
    any(body, &["rules", "routes", "refs"])
}

/// `/configurentp`
pub(super) fn time_servers(body: Body<'_>) -> Result<bool, Refusal> {
    Ok(!body.texts("timeServers")?.is_empty())
}

/// `/flowmeter/refresh`
pub(super) fn flows(body: Body<'_>) -> Result<bool, Refusal> {
    any(body.object("flowMeterInfor"), &["collectors", "networkInfos"])
}

/// `/routerprotocol/ospf/refresh`
pub(super) fn ospf(body: Body<'_>) -> Result<bool, Refusal> {
    any(body, &["areaInfos", "networkInfos"])
}

/// `/vyos/syncipsecconnection` and its kin.
pub(super) fn vpns(body: Body<'_>) -> Result<bool, Refusal> {
    any(body, &["infos"])
}

/// What is taken away is not there.
pub(super) fn removal(_: Body<'_>) -> Result<bool, Refusal> {
    Ok(false)
}

fn any(body: Body<'_>, lists: &[&str]) -> Result<bool, Refusal> {
    for list in lists {
        if !body.list(list)?.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}
