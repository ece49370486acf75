//! A rule as a message, and what a rule that is read back is known by.

use netlink_packet_netfilter::nftables::{NfTablesMessage, RuleAttribute, RuleMessage};

use super::expression::expression;
use super::operation::operations;
use super::simple;
use crate::plan::facts::ruleset::Fingerprint;
use crate::plan::facts::{Rule, TABLE};

/// The comment of a rule in its user data (nft: NFTNL_UDATA_RULE_COMMENT).
const COMMENT: u8 = 0;
/// The fingerprint of a rule in its user data; a number that nft leaves to others.
const FINGERPRINT: u8 = 118;
/// The longest comment that nft takes, with its final zero.
const MAX_COMMENT: usize = 128;

/// A message that adds a rule: from rustables where it can say it, else of our own.
pub(super) enum RuleMessageBytes {
    /// The bytes of one message.
    Ready(Vec<u8>),
    /// A message still to be written.
    Message(NfTablesMessage),
}

/// The message that adds a rule to a chain, in front of the one with the handle `before` or at the end.
pub(super) fn add(chain: &str, rule: &Rule, before: Option<u64>) -> RuleMessageBytes {
    let operations = operations(rule.statements());
    let userdata = userdata(rule);
    if let Some(bytes) = simple::rule(chain, &operations, &userdata, before) {
        return RuleMessageBytes::Ready(bytes);
    }
    let mut attributes = vec![
        RuleAttribute::Table(TABLE.to_owned()),
        RuleAttribute::Chain(chain.to_owned()),
        RuleAttribute::Expressions(operations.iter().map(expression).collect()),
        RuleAttribute::UserData(userdata),
    ];
    attributes.extend(before.map(RuleAttribute::Position));
    RuleMessageBytes::Message(NfTablesMessage::NewRule(RuleMessage { attributes }))
}

fn userdata(rule: &Rule) -> Vec<u8> {
    let mut data = Vec::new();
    if let Some(comment) = rule.comment() {
        let mut text = comment.as_bytes().to_vec();
        text.truncate(MAX_COMMENT - 1);
        text.push(0);
        data.push(COMMENT);
        data.push(u8::try_from(text.len()).unwrap_or(u8::MAX));
        data.extend(text);
    }
    data.extend([FINGERPRINT, 8]);
    data.extend(rule.fingerprint().0.to_be_bytes());
    data
}

/// The fingerprint in a rule's user data; nothing where the rule is not ours.
pub(super) fn fingerprint(userdata: &[u8]) -> Option<Fingerprint> {
    let mut rest = userdata;
    while let [kind, length, more @ ..] = rest {
        let (value, behind) = more.split_at_checked(usize::from(*length))?;
        if *kind == FINGERPRINT {
            return Some(Fingerprint(u64::from_be_bytes(value.try_into().ok()?)));
        }
        rest = behind;
    }
    None
}
