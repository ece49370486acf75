//! From a path and a body to the document that should run: the table of paths, and who answers each.

use serde_json::{Map, Value};

use super::body::Body;
use super::draft::Draft;
use super::{
    Done, Facts, Manner, Refusal, absent, appliance, certificate, dhcp, dns, eip, firewall, listener, nic,
    port_forward, qos, route, rule_set, snat, vip,
};

/// What a command says in its result beside `success`.
pub(super) type Reply = Map<String, Value>;

/// Who changes the document as a command says.
type Change = fn(Body<'_>, &mut Draft, &Facts) -> Result<Reply, Refusal>;

/// What stands behind a path.
enum Command {
    /// It asks, and changes nothing.
    Ask(Manner, fn(&Draft, &Facts) -> Reply),
    /// It asks with a body.
    Look(fn(Body<'_>, &Draft, &Facts) -> Result<Reply, Refusal>),
    /// It changes the document.
    Change(Change),
    /// It asks for what this product does not do, if it asks for anything.
    Absent(absent::Asks, &'static str),
    /// It asks for what this product does not do.
    Never(Manner, &'static str),
}

/// The document that a command leads to.
///
/// `document` is the configuration that runs, keys and PEM bodies included. Commands of a burst are given one after the
/// other, each the document of the one before. A trailing slash and the case of the path count for nothing.
///
/// # Errors
/// Why it is not carried out; nothing is meant to change then.
pub fn command(path: &str, body: &Value, document: &Value, facts: &Facts) -> Result<Done, Refusal> {
    let mut draft = Draft::new(document);
    let change = match find(path).ok_or_else(|| Refusal::NoPath(path.to_owned()))? {
        Command::Ask(_, answer) => return Ok(Done { document: None, reply: answer(&draft, facts) }),
        Command::Look(answer) => {
            return Ok(Done { document: None, reply: answer(Body::new(body), &draft, facts)? });
        }
        Command::Absent(asks, reason) => {
            return match asks(Body::new(body))? {
                true => Err(Refusal::Unsupported(reason.to_owned())),
                false => Ok(Done::default()),
            };
        }
        Command::Never(_, reason) => return Err(Refusal::Unsupported(reason.to_owned())),
        Command::Change(change) => change,
    };
    if draft.is_blank() {
        appliance::take(&mut draft);
    } else if !draft.is_owned() {
        return Err(Refusal::Owned);
    }
    let reply = change(Body::new(body), &mut draft, facts)?;
    let next = draft.finish();
    Ok(Done { document: (next != *document).then_some(next), reply })
}

/// How a path is answered; nothing where there is no such path. A trailing slash and the case count for nothing.
#[must_use]
pub fn manner(path: &str) -> Option<Manner> {
    match find(path)? {
        Command::Ask(manner, _) | Command::Never(manner, _) => Some(manner),
        Command::Look(_) | Command::Change(_) | Command::Absent(..) => Some(Manner::Queued),
    }
}

const NO_VPN: &str = "IPsec is not built";
const NO_HA: &str = "a pair of routers is not built";
const NO_ROUTING: &str = "dynamic routing is not built";
const NO_FLOWS: &str = "flow export is not built";
const NO_POLICY_ROUTES: &str = "policy routes are not built";
const NO_CLOCK: &str = "the router keeps the host's time and serves none";
const NO_LOG_LEVEL: &str = "balancers have no log level of their own";
const NO_NETWORK_SERVICES: &str = "zsn is not built";

fn find(path: &str) -> Option<Command> {
    use Command::{Absent, Ask, Change, Look, Never};
    use Manner::{AtOnce, Queued};
    let path = path.strip_suffix('/').unwrap_or(path).to_ascii_lowercase();
    Some(match path.as_str() {
        "/echo" | "/appliancevm/echo" => Ask(AtOnce, appliance::nothing),
        "/type" => Ask(AtOnce, appliance::kind),
        "/test" => Ask(AtOnce, appliance::test),
        "/keepalived/garp" => Never(AtOnce, NO_HA),
        "/ping" => Ask(Queued, appliance::ping),
        "/init" => Change(appliance::init),
        "/appliancevm/init" => Change(appliance::no_change),
        "/appliancevm/refreshfirewall" => Change(appliance::refresh_firewall),
        "/configurenic" => Change(nic::configure),
        "/removenic" => Change(nic::remove),
        "/configurenicdefaultaction" => Change(firewall::default_action),
        "/changedefaultnic" => Change(nic::change_default),
        "/createvip" => Change(vip::create),
        "/removevip" => Change(vip::remove),
        "/adddhcp" => Change(dhcp::add),
        "/removedhcp" => Change(dhcp::remove),
        "/refreshdhcpserver" => Change(dhcp::refresh_servers),
        "/startdhcpserver" => Change(dhcp::start_servers),
        "/stopdhcpserver" => Change(dhcp::stop_servers),
        "/setdns" => Change(dns::set),
        "/removedns" => Change(dns::remove),
        "/setvpcdns" => Change(dns::set_vpc),
        "/setsnat" => Change(snat::set),
        "/removesnat" => Change(snat::remove),
        "/syncsnat" => Change(snat::sync),
        "/setsnatservicestate" => Change(snat::set_state),
        "/createeip" => Change(eip::create),
        "/removeeip" => Change(eip::remove),
        "/synceip" => Change(eip::sync),
        "/createportforwarding" => Change(port_forward::create),
        "/revokeportforwarding" => Change(port_forward::revoke),
        "/syncportforwarding" => Change(port_forward::sync),
        "/syncroutes" => Change(route::sync),
        "/getroutes" => Look(route::get),
        "/lb/refresh" => Change(listener::refresh),
        "/lb/delete" => Change(listener::delete),
        "/certificate/create" => Change(certificate::create),
        "/certificates/create" => Change(certificate::create_all),
        "/certificate/delete" => Change(certificate::delete),
        "/fw/apply/rule" => Change(rule_set::apply),
        "/fw/create/rule" => Change(rule_set::create_rule),
        "/fw/delete/rule" => Change(rule_set::delete_rule),
        "/fw/changestate/rule" => Change(rule_set::change_state),
        "/fw/apply/ruleset/changes" => Change(rule_set::apply_changes),
        "/fw/update/ruleset" => Change(rule_set::update),
        "/fw/attach/ruleset" => Change(rule_set::attach),
        "/fw/detach/ruleset" => Change(rule_set::detach),
        "/fw/delete/firewall" => Change(rule_set::delete_all),
        "/fw/getconfig" => Look(rule_set::get_config),
        "/fw/create/ruleset" | "/fw/delete/ruleset" => {
            Never(Queued, "a rule set without a NIC; rule sets stand at a NIC and a direction")
        }
        "/lb/log/level" => Never(Queued, NO_LOG_LEVEL),
        "/setvipqos" => Change(qos::create),
        "/deletevipqos" => Change(qos::delete),
        "/syncvipqos" => Change(qos::sync),
        "/policyroute/sync" => Absent(absent::policy_routes, NO_POLICY_ROUTES),
        "/configurentp" => Absent(absent::time_servers, NO_CLOCK),
        "/flowmeter/refresh" => Absent(absent::flows, NO_FLOWS),
        "/routerprotocol/ospf/refresh" => Absent(absent::ospf, NO_ROUTING),
        "/pimd/disable" => Absent(absent::removal, NO_ROUTING),
        "/vyos/syncipsecconnection" => Absent(absent::vpns, NO_VPN),
        "/vyos/deleteipsecconnection" => Absent(absent::removal, NO_VPN),
        "/enablevyosha" | "/syncvpcrouterha" | "/restartkeepalived" => Never(Queued, NO_HA),
        "/flowmeter/count" => Never(Queued, NO_FLOWS),
        path if path.starts_with("/routerprotocol/") || path.starts_with("/pimd/") => {
            Never(Queued, NO_ROUTING)
        }
        path if path.starts_with("/vyos/") => Never(Queued, NO_VPN),
        path if path.starts_with("/zsn/") => Never(Queued, NO_NETWORK_SERVICES),
        _ => return None,
    })
}
