//! Files that are no journals, or were: they open with entries that were written, or not at all.

#[path = "../../../core/tests/it/mangled.rs"]
mod mangled;

use super::tests::journal;
use super::{JournalFile, read};
use mangled::{bytes, mangled, mangled_json};
use proptest::prelude::*;
use proptest::sample::Index;
use std::path::Path;

/// Lines as they stand behind their checksums.
const ENTRIES: [&str; 5] = [
    r#"{"seq":1,"at":1,"event":"begun","plan":{"deployment":"d","service":"s","made_at":0,"blue":null,
        "green":{"revision":"/s","definition":{},"pending":{"kind":"none"}},"pools":[],"target":1,"floor":0,"room":1,
        "initial":1,"batch":1,"atomic_change":true,"dead":[],"notes":[],"settings":{"strategy":"rolling",
        "size":"live","initial":{"percent":25},"batch":null,"surge":null,"floor":null,"min_healthy_time":"10s",
        "healthy_deadline":"10m","unhealthy_limit":"10s","drain_interval":"200ms","drain_samples":3,
        "drain_deadline":"5m","on_drain_deadline":"rollback","force_reason":null,"keep_blue":null,"gates":[],
        "patience":"24h","without_health_checks":false}}}"#,
    r#"{"seq":2,"at":2,"event":"intended","action":{"instance":{"do":"kill","role":"blue","revision":"/s",
        "victims":[{"instance":"i","in_flight":0,"pending":{"count":0},"idle_samples":3,"why":"drained"}],
        "lock":"respect"}}}"#,
    r#"{"seq":2,"at":2,"event":"failed","intent":2,"reason":"r","retry":true,"effect":"unknown"}"#,
    r#"{"seq":2,"at":2,"event":"asked","command":{"promote":{"full":true}},"letter":"l"}"#,
    r#"{"seq":2,"at":2,"event":"ended","outcome":{"outcome":"stuck","reason":"r"}}"#,
];

fn with_checksum(json: &[u8]) -> Vec<u8> {
    let checksum = format!("{:08x} ", crc32fast::hash(json));
    [checksum.as_bytes(), json, b"\n"].concat()
}

/// Opens a file of these bytes, in both ways.
fn open(path: &Path, bytes: &[u8]) -> Option<JournalFile> {
    std::fs::write(path, bytes).unwrap();
    let entries = read(path);
    let opened = JournalFile::open(path).ok();
    assert!(opened.is_none() || entries.is_ok());
    opened
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_damaged_journal_opens_with_its_first_entries_or_not_at_all(
        at: Index, with in prop_oneof![bytes(), Just(vec![]), Just(b"\n".to_vec())], length in 0_usize..300,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let written = journal(folder.path());
        let mut bytes = std::fs::read(written.path()).unwrap();
        let from = at.index(bytes.len());
        let to = (from + length).min(bytes.len());
        bytes.splice(from..to, with);

        if let Some(opened) = open(written.path(), &bytes) {
            prop_assert!(written.entries.starts_with(&opened.entries));
        }
    }

    #[test]
    fn odd_entries_with_the_right_checksum_do_no_harm(
        first in mangled_json(&ENTRIES[..1]), more in proptest::collection::vec(mangled_json(&ENTRIES), 0..3),
        last in mangled(&ENTRIES), whole: bool,
    ) {
        let first = if whole { ENTRIES[0].replace('\n', "") } else { first };
        let lines = [first].into_iter().chain(more).map(|line| with_checksum(line.replace('\n', "").as_bytes()));
        let mut bytes = lines.collect::<Vec<_>>().concat();
        bytes.extend(with_checksum(&last));
        let folder = tempfile::tempdir().unwrap();

        drop(open(&folder.path().join("d.journal"), &bytes));
    }
}
