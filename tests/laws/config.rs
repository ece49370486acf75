//! Laws of the configuration: what is read is what is written, and a patch is a replacement made short.

use proptest::prelude::*;
use serde_json::{Value, json};
use vrouter::config::ssh::PublicKey;
use vrouter::config::{Config, changes, json as wire};
use vrouter::merge_patch;

use crate::generate::{document, edit, nearly_a_key};

fn read(document: Value) -> Config {
    Config::default().replace(document.clone()).unwrap_or_else(|faults| panic!("{faults}\n{document:#}"))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Reading what was written gives the same configuration.
    #[test]
    fn what_is_read_is_what_was_written(document in document()) {
        let config = read(document);
        prop_assert_eq!(&read(config.to_json()), &config);
    }

    /// A document posted again changes nothing.
    #[test]
    fn the_same_document_changes_nothing(document in document()) {
        let config = read(document.clone());
        let again = config.replace(document).unwrap();
        prop_assert_eq!(changes(&config, &again).objects, vec![]);
    }

    /// Going from one configuration to another ends where starting there ends.
    #[test]
    fn the_way_there_does_not_matter(first in document(), second in document()) {
        let direct = read(second.clone());
        let by_way = read(first).replace(second).unwrap();
        prop_assert_eq!(&by_way, &direct);
        prop_assert_eq!(by_way.layout(), direct.layout());
    }

    /// A merge patch on the configuration ends where merging the JSON and reading it whole ends, accepted or refused.
    #[test]
    fn a_patch_is_a_replacement_made_short(document in document(), patch in edit()) {
        let config = read(document);
        let mut merged = config.to_json();
        merge_patch::merge(&mut merged, patch.clone());
        merged["version"] = json!(1);
        match (config.patch(patch.clone()), Config::default().replace(merged.clone())) {
            (Ok(patched), Ok(replaced)) => prop_assert_eq!(patched, replaced),
            (Err(_), Err(_)) => {}
            (Ok(_), Err(faults)) => prop_assert!(false, "only the patch was accepted: {faults}\n{patch:#}\n{merged:#}"),
            (Err(faults), Ok(_)) => prop_assert!(false, "only the patch was refused: {faults}\n{patch:#}\n{merged:#}"),
        }
    }

    /// What is stored of a generation makes it out of the one before.
    #[test]
    fn the_difference_of_documents_leads_from_one_to_the_other(first in document(), second in document()) {
        let (first, second) = (read(first), read(second));
        let patch = Value::Object(changes(&first, &second).patch);
        let mut document = first.to_json();
        merge_patch::merge(&mut document, patch.clone());
        prop_assert_eq!(&read(document), &second);
        prop_assert_eq!(first.patch(patch).unwrap(), second);
    }

    /// A line that is taken for a key is written as the same key, in one form.
    #[test]
    fn a_key_is_written_in_one_form(line in nearly_a_key()) {
        if let Ok(key) = line.parse::<PublicKey>() {
            let written = key.to_string();
            prop_assert!(line.contains(written.split(' ').nth(1).unwrap()), "{line:?} became {written}");
            prop_assert_eq!(written.parse::<PublicKey>().unwrap(), key);
        }
    }

    /// Whatever JSON is posted, the answer is a configuration or faults.
    #[test]
    fn no_json_makes_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = wire::parse(&bytes).and_then(|document| Config::default().replace(document));
    }
}
