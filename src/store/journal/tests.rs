//! What a journal remembers, and what a full disk and a power cut leave of it.

use super::*;

fn open(path: &Path) -> (Journal, Vec<String>) {
    let (journal, records) = Journal::open(path).unwrap();
    (journal, records.into_iter().map(|record| String::from_utf8(record).unwrap()).collect())
}

#[tokio::test]
async fn what_was_acknowledged_is_there_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deep/journal");
    let (journal, records) = open(&path);
    assert!(records.is_empty());
    journal.append(b"one".to_vec()).await.unwrap();
    journal.append(b"two".to_vec()).await.unwrap();
    assert_eq!(open(&path).1, ["one", "two"]);
    journal.rewrite(vec![b"three".to_vec()]).await.unwrap();
    journal.append(b"four".to_vec()).await.unwrap();
    assert_eq!(open(&path).1, ["three", "four"]);
}

#[tokio::test]
async fn nobody_else_may_read_it_before_and_after_it_is_written_anew() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    fs::write(&path, "").unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
    let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    let (journal, _) = open(&path);
    assert_eq!(mode(), PRIVATE);
    journal.rewrite(vec![b"one".to_vec()]).await.unwrap();
    assert_eq!(mode(), PRIVATE);
}

#[tokio::test]
async fn a_torn_end_is_cut_off_at_every_length() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    let (journal, _) = open(&path);
    journal.append(b"whole".to_vec()).await.unwrap();
    let whole = fs::read(&path).unwrap();
    journal.append(b"torn".to_vec()).await.unwrap();
    let both = fs::read(&path).unwrap();
    for length in whole.len()..both.len() {
        fs::write(&path, &both[..length]).unwrap();
        let (again, records) = open(&path);
        assert_eq!(records, ["whole"], "cut at {length}");
        again.append(b"next".to_vec()).await.unwrap();
        assert_eq!(open(&path).1, ["whole", "next"], "cut at {length}");
    }
}

#[tokio::test]
async fn a_changed_byte_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    let (journal, _) = open(&path);
    for record in ["one", "two", "three"] {
        journal.append(record.as_bytes().to_vec()).await.unwrap();
    }
    let mut text = fs::read(&path).unwrap();
    let second = text.windows(3).position(|window| window == b"two").unwrap();
    text[second] ^= 1;
    fs::write(&path, text).unwrap();
    assert_eq!(open(&path).1, ["one"], "nothing behind a damaged record can be trusted");
}

#[tokio::test]
async fn many_that_wait_share_a_sync_and_keep_their_order() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    let (journal, _) = open(&path);
    let waiting: Vec<_> =
        (0..2000).map(|number| journal.submit(number.to_string().into_bytes()).unwrap()).collect();
    for done in waiting {
        done.await.unwrap().unwrap();
    }
    assert_eq!(open(&path).1, (0..2000).map(|number| number.to_string()).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_foreign_file_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    fs::write(&path, "somebody's notes\n").unwrap();
    assert!(matches!(Journal::open(&path), Err(StoreError::Foreign { .. })));
    assert_eq!(fs::read_to_string(&path).unwrap(), "somebody's notes\n");
    let (journal, _) = open(&folder.path().join("mine"));
    assert!(matches!(journal.append(b"a\nb".to_vec()).await, Err(StoreError::LineBreak)));
}

/// /dev/full answers every write with ENOSPC.
#[test]
fn a_full_disk_is_said_and_leaves_nothing_behind() {
    let file = OpenOptions::new().read(true).write(true).open("/dev/full").unwrap();
    let mut writer = Writer { file, path: PathBuf::from("/dev/full"), length: 0 };
    assert!(writer.write(b"line").is_err());
    assert_eq!(writer.length, 0);
}
