//! What is remembered, for how long, and what it takes of the disk.

use std::fs;

use serde_json::json;

use super::*;

fn generation(number: Number) -> Generation {
    let time = Timestamp::from_seconds(number);
    let author = Author::default();
    Generation { generation: number, time, origin: "patch".into(), author, added: 1, changed: 0, removed: 0 }
}

async fn append(store: &mut Generations, number: Number, content: Value) {
    store.append(generation(number), Content::of(&content).unwrap()).await.unwrap();
}

#[tokio::test]
async fn every_generation_can_be_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let (mut store, document) = Generations::open(folder.path()).unwrap();
    assert_eq!((store.last(), document), (0, None));
    append(&mut store, 1, json!({"version": 1, "a": {"x": "a\tb\n"}})).await;
    append(&mut store, 2, json!({"a": {"y": 2}})).await;
    append(&mut store, 3, json!({"a": null})).await;
    let (again, document) = Generations::open(folder.path()).unwrap();
    assert_eq!((again.last(), document), (3, Some(json!({"version": 1}))));
    assert_eq!(again.document(2).unwrap(), Some(json!({"version": 1, "a": {"x": "a\tb\n", "y": 2}})));
    assert_eq!(again.document(1).unwrap(), Some(json!({"version": 1, "a": {"x": "a\tb\n"}})));
    assert_eq!(again.document(4).unwrap(), None);
}

#[tokio::test]
async fn the_file_stays_bounded_and_the_last_generations_stay() {
    let folder = tempfile::tempdir().unwrap();
    let (mut store, _) = Generations::open(folder.path()).unwrap();
    for number in 1..=(KEEP + GATHER + 1) as Number {
        append(&mut store, number, json!({"n": number, format!("m{}", number % 7): number})).await;
    }
    assert!(store.has_grown());
    let before = store.document(store.last() - 50).unwrap();
    let length = fs::metadata(&store.path).unwrap().len();
    store.shrink().await.unwrap();
    assert!(!store.has_grown());
    assert!(fs::metadata(&store.path).unwrap().len() < length / 3);
    assert_eq!(store.document(store.last() - 50).unwrap(), before);
    assert_eq!(store.document(1).unwrap(), None, "forgotten");
    let next = store.last() + 1;
    append(&mut store, next, json!({"n": next})).await;
    let (again, document) = Generations::open(folder.path()).unwrap();
    assert_eq!(again.known().len(), KEEP + 1);
    assert_eq!(document.unwrap()["n"], next);
}

/// A caller that posts ten thousand objects and takes them away again does not fill the disk.
#[tokio::test]
async fn great_changes_are_bounded_by_their_octets() {
    let folder = tempfile::tempdir().unwrap();
    let (mut store, _) = Generations::open(folder.path()).unwrap();
    store.most = 512 << 10;
    let mut longest = 0;
    for number in 1..=60 {
        let much = json!({"much": incompressible(128 << 10, number)});
        append(&mut store, number, much).await;
        if store.has_grown() {
            store.shrink().await.unwrap();
        }
        longest = fs::metadata(&store.path).unwrap().len().max(longest);
        assert_eq!(fs::metadata(&store.path).unwrap().len(), store.end);
    }
    assert!(longest > 700 << 10 && longest < 1200 << 10, "{longest} octets");
    assert!(store.known().len() > 2, "{}", store.known().len());
    for number in [59, 60] {
        assert_eq!(store.document(number).unwrap().unwrap()["much"], incompressible(128 << 10, number));
    }
}

/// Text that a compressor finds nothing in.
fn incompressible(length: usize, seed: Number) -> String {
    let mut state = seed | 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(b'!' + u8::try_from((state >> 33) % 90).unwrap())
    };
    (0..length).map(|_| next()).filter(|c| !matches!(c, '"' | '\\')).collect()
}

/// Ten thousand EIPs whose ids have nothing in common, as a management plane makes them.
fn eips(seed: u64) -> Value {
    let eip = |number: u64| {
        let id = (seed + 1)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .wrapping_add(number.wrapping_mul(0xd6e8_feb8_6659_fd93));
        let id = format!("{:016x}{:016x}", id, id.wrapping_mul(id | 1));
        let (high, low) = (number / 250, number % 250 + 1);
        let public = format!("198.{}.{high}.{low}", 51 + seed % 2);
        (
            id,
            json!({"address": public, "interface": "public", "target": format!("10.1.{high}.{low}"), "on_remove": "drop"}),
        )
    };
    json!({"version": 1, "eips": (0..10_000).map(eip).collect::<serde_json::Map<_, _>>()})
}

/// Ten thousand objects are replaced by ten thousand others, sixty times: the last fifty generations are there, on a disk of
/// the image's size, and after a restart as well.
#[tokio::test]
async fn the_last_fifty_generations_are_there_however_great_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let (mut store, _) = Generations::open(folder.path()).unwrap();
    store.most = (60 << 20) / SHARE;
    let documents: Vec<Value> = (0..3).map(eips).collect();
    let of = |number: Number| &documents[usize::try_from(number % 3).unwrap()];
    let leading: Vec<Content> = (3..6).map(|number| leading(of(number - 1), of(number))).collect();
    let mut longest = 0;
    for number in 1..=60 {
        let content = match number {
            1 => Content::whole(of(1)).unwrap(),
            number => leading[usize::try_from(number % 3).unwrap()].clone(),
        };
        store.append(generation(number), content).await.unwrap();
        if store.has_grown() {
            store.shrink().await.unwrap();
        }
        longest = store.end.max(longest);
    }
    assert!(longest < 20 << 20, "{longest} octets");
    let (again, document) = Generations::open(folder.path()).unwrap();
    assert!(document.as_ref() == Some(of(60)));
    for store in [&store, &again] {
        let known: Vec<Number> = store.known().iter().map(|known| known.generation).collect();
        assert!(known.ends_with(&(11..=60).collect::<Vec<_>>()), "{known:?}");
        for number in [11, 12, 30, 59] {
            assert!(store.document(number).unwrap().as_ref() == Some(of(number)), "{number}");
        }
    }
}

/// What is stored where everything is replaced.
fn leading(before: &Value, after: &Value) -> Content {
    let mut patch = after.clone();
    let gone = before["eips"].as_object().unwrap().keys();
    patch["eips"].as_object_mut().unwrap().extend(gone.map(|id| (id.clone(), Value::Null)));
    Content::leading(&patch, || after).unwrap()
}

/// What an older version wrote: plain JSON, of which the first is whole.
#[tokio::test]
async fn generations_of_older_versions_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(&folder.path().join(FILE)).unwrap();
    for (number, content) in [(1, json!({"version": 1, "a": 1})), (2, json!({"a": 2, "b": 1}))] {
        let head = serde_json::to_string(&generation(number)).unwrap();
        journal.append(format!("{head}\t{content}").into_bytes()).await.unwrap();
    }
    let (mut store, document) = Generations::open(folder.path()).unwrap();
    assert_eq!(document, Some(json!({"version": 1, "a": 2, "b": 1})));
    store.append(generation(3), Content::leading(&json!({"b": null}), || 0).unwrap()).await.unwrap();
    assert_eq!(store.document(3).unwrap(), Some(json!({"version": 1, "a": 2})));
    assert_eq!(store.document(1).unwrap(), Some(json!({"version": 1, "a": 1})));
}

/// What a later version wrote: heads with more in them, heads of another kind, contents of another kind.
#[tokio::test]
async fn generations_of_later_versions_are_passed_over_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE);
    let head = |number| serde_json::to_string(&generation(number)).unwrap();
    let more = |number| head(number).replacen('{', "{\"signed\":true,", 1);
    {
        let (journal, _) = Journal::open(&path).unwrap();
        for record in [
            format!("{}\t{}", more(1), json!({"version": 1, "a": 1})),
            "{\"checkpoint\":true}\tx".to_owned(),
            format!("{}\t{}", more(2), json!({"b": 2})),
        ] {
            journal.append(record.into_bytes()).await.unwrap();
        }
    }
    let (mut store, document) = Generations::open(folder.path()).unwrap();
    assert_eq!((store.last(), document), (2, Some(json!({"version": 1, "a": 1, "b": 2}))));
    assert_eq!(store.document(1).unwrap(), Some(json!({"version": 1, "a": 1})));
    append(&mut store, 3, json!({"b": null})).await;
    assert_eq!(store.document(3).unwrap(), Some(json!({"version": 1, "a": 1})));
    store.shrink().await.unwrap();
    assert_eq!(store.document(3).unwrap(), Some(json!({"version": 1, "a": 1})));
    assert!(fs::read_to_string(&path).unwrap().contains("checkpoint"), "it is kept");
    drop(store);
    {
        let (journal, _) = Journal::open(&path).unwrap();
        journal.append(format!("{}\t!of another kind", head(4)).into_bytes()).await.unwrap();
        journal.append(b"{\"generation\":5,\"kind\":\"new\"}\t{}".to_vec()).await.unwrap();
    }
    let why = Generations::open(folder.path()).unwrap_err().to_string();
    assert!(why.contains("understand"), "{why}");
    let none = Generations::open_understood(folder.path(), "why", Timestamp::default(), |_| false).await;
    assert!(none.unwrap_err().to_string().ends_with("why"));
    let understands = |document: &Value| document.get("b").is_some();
    let opened = Generations::open_understood(folder.path(), "why", Timestamp::default(), understands).await;
    let (store, document) = opened.unwrap();
    assert_eq!((store.last(), &document), (6, &Some(json!({"version": 1, "a": 1, "b": 2}))));
    assert_eq!(store.known().back().unwrap().origin, "not understood by this version: back to 2");
    drop(store);
    // From now on it is a store as any other.
    let (mut store, again) = Generations::open(folder.path()).unwrap();
    assert_eq!((store.last(), again), (6, document));
    append(&mut store, 7, json!({"c": 3})).await;
    assert_eq!(store.document(7).unwrap(), Some(json!({"version": 1, "a": 1, "b": 2, "c": 3})));
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains("of another kind") && text.contains("\"kind\":\"new\""), "{text}");
}
