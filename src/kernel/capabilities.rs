//! What the kernel can do, found out by asking for it.

use netlink_packet_netfilter::nflog::{ConfigCmd, config_request};
use netlink_packet_netfilter::{NetfilterMessage, NetfilterProtoFamily};
use rtnetlink::packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::{InfoKind, LinkAttribute, LinkInfo, LinkMessage};

use super::KernelError;
use super::netlink::{NETLINK_NETFILTER, Netlink};

/// A group that nobody logs to, to see whether groups can be listened to at all.
const UNUSED_GROUP: u16 = 0xfffe;

/// Whether devices of a kind can be made: one is asked for without what it needs, and the kernel says either that it is
/// incomplete or that it does not know the kind.
pub(super) fn has_kind(netlink: &mut Netlink, kind: &str) -> Result<bool, KernelError> {
    let mut message = LinkMessage::default();
    message.attributes = vec![
        // No device can be named so: the kernel looks the kind up, and refuses before a device is there.
        LinkAttribute::IfName("probe/probe".to_owned()),
        LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Other(kind.to_owned()))]),
    ];
    let mut buffer = Vec::new();
    netlink.pack(&mut buffer, RouteNetlinkMessage::NewLink(message), NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL);
    let refusals = netlink.send(&buffer)?;
    Ok(refusals.first().is_some_and(|refusal| refusal.code != libc::EOPNOTSUPP))
}

/// Whether firewall logs can be listened to.
pub(super) fn log_group() -> bool {
    let Ok(mut netlink) = Netlink::open(NETLINK_NETFILTER) else { return false };
    let mut buffer = Vec::new();
    let message = config_request(NetfilterProtoFamily::Unspec, UNUSED_GROUP, vec![ConfigCmd::Bind.into()]);
    netlink.pack::<NetfilterMessage>(&mut buffer, message.payload, NLM_F_ACK);
    netlink.send(&buffer).is_ok_and(|refusals| refusals.is_empty())
}
