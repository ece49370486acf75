//! Leases on disk: what a client was promised outlives a power cut.
//!
//! A record of the journal is a JSON array of leases; the last that speaks of an address is the one that counts. The
//! file is written anew from the live leases when it has grown to several times their number, so it stays bounded by
//! them. Called by the DHCP service, whose table the leases are.

use std::borrow::Cow;
use std::fmt;
use std::net::Ipv4Addr;
use std::path::Path;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::foreign::Foreign;
use super::journal::{Journal, StoreError};
use crate::clock::Timestamp;

/// The name of the file in the state directory.
const FILE: &str = "leases.journal";
/// How many leases one record of a rewritten file holds.
const LEASES_PER_RECORD: usize = 256;
/// The file may hold so many entries for each live lease, and as many more as [`SPARE_ENTRIES`], before it is rewritten.
const ENTRIES_PER_LEASE: usize = 4;
/// Entries that are always allowed, so that a few leases do not make a rewrite of every write.
const SPARE_ENTRIES: usize = 8192;

/// What is known of one address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The address.
    #[serde(rename = "ip")]
    pub address: Ipv4Addr,
    /// The hardware type (RFC 1700; 1 is Ethernet) and behind it the hardware address of the client.
    #[serde(rename = "hw")]
    pub hardware: Octets,
    /// Option 61, where the client gave one.
    #[serde(rename = "id", default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<Octets>,
    /// The name that the client calls itself by, or that it is configured with.
    #[serde(rename = "name", default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<Box<str>>,
    /// What the address is.
    pub state: LeaseState,
    /// Since when that is so.
    pub since: Timestamp,
    /// Until when; it is over at this second.
    pub expires: Timestamp,
}

/// What an address is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LeaseState {
    /// A client's, from a range.
    Dynamic,
    /// A configured host's.
    Static,
    /// Nobody's for a while: something else answered for it, or a client declined it.
    Quarantined,
    /// Nobody's.
    Free,
}

impl Lease {
    /// What tells the client from all others (RFC 2131 section 4.2): its identifier, else its hardware address.
    #[must_use]
    pub fn client(&self) -> &[u8] {
        &self.client_id.as_ref().unwrap_or(&self.hardware).0
    }

    /// Whether it counts at this time.
    #[must_use]
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.state != LeaseState::Free && self.expires > now
    }
}

/// Octets, written as hexadecimal digits.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Octets(pub Box<[u8]>);

impl fmt::Display for Octets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

impl fmt::Debug for Octets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Octets {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let digit = |value: u8| DIGITS.get(usize::from(value & 0xf)).map_or('0', |digit| char::from(*digit));
        let mut text = String::with_capacity(2 * self.0.len());
        for octet in &self.0 {
            text.push(digit(octet >> 4));
            text.push(digit(*octet));
        }
        serializer.serialize_str(&text)
    }
}

impl<'de> Deserialize<'de> for Octets {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        let digit = |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
        let octets = pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect();
        match octets {
            Some(octets) if rest.is_empty() => Ok(Self(octets)),
            _ => Err(de::Error::custom("expected pairs of hexadecimal digits")),
        }
    }
}

impl JsonSchema for Octets {
    fn schema_name() -> Cow<'static, str> {
        "Octets".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "pattern": "^([0-9a-f]{2})*$", "description": "Octets in hexadecimal."})
    }
}

/// The file of the leases.
#[derive(Debug)]
pub struct LeaseFile {
    journal: Journal,
    entries: usize,
    foreign: Foreign,
}

impl LeaseFile {
    /// Opens or creates the file in `state_dir` and reads the leases, the last word on each address. What cannot be
    /// understood is reported and skipped: a router that serves without some old leases is better than none.
    ///
    /// # Errors
    /// The file cannot be opened or read, or it is not a journal.
    pub fn open(state_dir: &Path) -> Result<(Self, Vec<Lease>), StoreError> {
        let (journal, records) = Journal::open(&state_dir.join(FILE))?;
        let (mut leases, mut foreign) = (Vec::new(), Foreign::default());
        for record in records {
            leases.append(&mut foreign.entries(&record));
        }
        foreign.tell(FILE);
        Ok((Self { journal, entries: leases.len(), foreign }, leases))
    }

    /// Stores these leases as one record; they are on disk when this returns.
    ///
    /// # Errors
    /// The disk refused; nothing of the record remains.
    pub async fn append(&mut self, leases: &[&Lease]) -> Result<(), StoreError> {
        if leases.is_empty() {
            return Ok(());
        }
        self.journal.append(record(leases)?).await?;
        self.entries += leases.len();
        Ok(())
    }

    /// Whether the file holds so much that is superseded that it should be rewritten for `live` leases.
    #[must_use]
    pub fn is_due(&self, live: usize) -> bool {
        self.entries > ENTRIES_PER_LEASE * live + SPARE_ENTRIES
    }

    /// Replaces the file by these leases, at once. They have to hold everything that was appended and still counts.
    ///
    /// # Errors
    /// The disk refused; the file goes on as it was, and the next attempt is made when it has grown further.
    pub async fn rewrite(&mut self, leases: &[Lease]) -> Result<(), StoreError> {
        // Whatever comes of it, the next attempt has to wait: a disk that is full is not to be tried at every write.
        self.entries = leases.len();
        let groups = leases.chunks(LEASES_PER_RECORD).map(|group| record(&group.iter().collect::<Vec<_>>()));
        let records = self.foreign.records().map(Ok).chain(groups);
        self.journal.rewrite(records.collect::<Result<_, _>>()?).await
    }
}

fn record(leases: &[&Lease]) -> Result<Vec<u8>, StoreError> {
    serde_json::to_vec(leases).map_err(|error| StoreError::Io {
        action: "write as JSON for",
        path: FILE.to_owned(),
        reason: error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(last: u8, expires: u64) -> Lease {
        Lease {
            address: Ipv4Addr::new(10, 1, 1, last),
            hardware: Octets([1, 0xfa, 0xaa, 0, 0, 0, last].into()),
            client_id: last.is_multiple_of(2).then(|| Octets([0, last].into())),
            hostname: Some("a\n\"b\"".into()),
            state: LeaseState::Dynamic,
            since: Timestamp::from_seconds(1),
            expires: Timestamp::from_seconds(expires),
        }
    }

    #[tokio::test]
    async fn leases_come_back_and_the_file_stays_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let (mut file, leases) = LeaseFile::open(folder.path()).unwrap();
        assert!(leases.is_empty());
        file.append(&[&lease(1, 10), &lease(2, 10)]).await.unwrap();
        file.append(&[&lease(1, 20)]).await.unwrap();
        assert!(!file.is_due(2));
        let (mut file, leases) = LeaseFile::open(folder.path()).unwrap();
        assert_eq!(leases, [lease(1, 10), lease(2, 10), lease(1, 20)]);
        let many: Vec<Lease> = (0..9000).map(|_| lease(1, 20)).collect();
        file.append(&many.iter().collect::<Vec<_>>()).await.unwrap();
        assert!(file.is_due(2));
        file.rewrite(&[lease(1, 20), lease(2, 10)]).await.unwrap();
        assert!(!file.is_due(2));
        assert_eq!(LeaseFile::open(folder.path()).unwrap().1, [lease(1, 20), lease(2, 10)]);
    }

    #[tokio::test]
    async fn what_another_version_wrote_is_passed_over_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let (journal, _) = Journal::open(&folder.path().join(FILE)).unwrap();
        journal.append(b"{\"from\":\"the future\"}".to_vec()).await.unwrap();
        let known = serde_json::to_string(&lease(3, 5)).unwrap();
        let group = format!(
            "[{known},{},{}]",
            known.replace("dynamic", "shared"),
            known.replace("\"ip\"", "\"new\":1,\"ip\"")
        );
        journal.append(group.into_bytes()).await.unwrap();
        for _ in 0..2 {
            let (mut file, leases) = LeaseFile::open(folder.path()).unwrap();
            assert_eq!(leases.last(), Some(&lease(3, 5)));
            file.rewrite(&[lease(3, 5)]).await.unwrap();
        }
        let (_, records) = Journal::open(&folder.path().join(FILE)).unwrap();
        assert_eq!(records[0], b"{\"from\":\"the future\"}");
        assert!(String::from_utf8_lossy(&records[1]).contains("shared") && records.len() == 3);
    }
}
