//! Records that another version wrote and this one does not understand: passed over, and carried along when a file is written
//! anew, so that the version that understands them finds them again. Called by the stores whose files are rewritten.

use serde::de::DeserializeOwned;
use serde_json::Value;

/// How many records are carried along at most.
const MOST: usize = 4096;

/// Records of another version, in their order.
#[derive(Debug, Clone, Default)]
pub struct Foreign(Vec<Vec<u8>>);

impl Foreign {
    /// Reads a record that is an array of entries; those that are not understood are kept here.
    pub fn entries<T: DeserializeOwned>(&mut self, record: &[u8]) -> Vec<T> {
        if let Ok(entries) = serde_json::from_slice(record) {
            return entries;
        }
        let Ok(values) = serde_json::from_slice::<Vec<Value>>(record) else {
            self.keep(record.to_vec());
            return Vec::new();
        };
        let mut entries = Vec::new();
        for value in values {
            let alone = Value::Array(vec![value]);
            match serde_json::from_value::<Vec<T>>(alone.clone()) {
                Ok(mut one) => entries.append(&mut one),
                Err(_) => self.keep(alone.to_string().into_bytes()),
            }
        }
        entries
    }

    /// Keeps a record; of too many, the oldest are forgotten.
    pub fn keep(&mut self, record: Vec<u8>) {
        if self.0.len() >= MOST {
            self.0.remove(0);
        }
        self.0.push(record);
    }

    /// Says once that there are some, in the journal.
    pub fn tell(&self, file: &str) {
        if !self.0.is_empty() {
            tracing::warn!(
                file,
                records = self.0.len(),
                "passed over what another version wrote; it is kept"
            );
        }
    }

    /// The records, to stand before this version's own in a file that is written anew: whatever those say later counts.
    pub fn records(&self) -> impl Iterator<Item = Vec<u8>> + '_ {
        self.0.iter().cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_understood_is_read_and_the_rest_is_kept_as_it_was() {
        let mut foreign = Foreign::default();
        assert_eq!(foreign.entries::<u8>(b"[1,2]"), [1, 2]);
        assert_eq!(foreign.entries::<u8>(br#"[3,{"kind":"new"},4]"#), [3, 4]);
        assert_eq!(foreign.entries::<u8>(b"{\"a\":1}"), [0_u8; 0]);
        assert_eq!(foreign.entries::<u8>(b"not JSON"), [0_u8; 0]);
        let kept: Vec<_> = foreign.records().collect();
        assert_eq!(kept, [br#"[{"kind":"new"}]"#.to_vec(), b"{\"a\":1}".to_vec(), b"not JSON".to_vec()]);
    }

    #[test]
    fn no_more_is_kept_than_fits() {
        let mut foreign = Foreign::default();
        (0..2 * MOST).for_each(|number| foreign.keep(number.to_string().into_bytes()));
        assert_eq!(foreign.records().count(), MOST);
        assert_eq!(foreign.records().last().unwrap(), (2 * MOST - 1).to_string().into_bytes());
    }
}
