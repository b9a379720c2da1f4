//! Rows, their manifests, and an archive in a folder.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use hongbao_core::manifest::{Manifest, Sealer};
use hongbao_core::{Audience, Date, Entry, EntryKind, Envelope, Fen, GroupId, Kind, Seed, Stage};
use hongbao_store::{Archive, ArchivedFile, Rows, StoreError};
use hongbao_testkit::store_suite::{NOW, archive_in, created, id_at, user};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

/// Rows of all kinds, in the order of their ids: with journals of so many entries, the last of which is a refund.
pub fn rows(lengths: impl IntoIterator<Item = u32>) -> Rows {
    let mut ids: Vec<_> = (0..).zip(lengths).map(|(number, length)| (id_at(NOW, number), number, length)).collect();
    ids.sort();
    let row = |(id, number, length): (_, u64, u32)| {
        let audience = match number % 3 {
            0 => Audience::Link,
            1 => Audience::Group(GroupId::parse("a_group").unwrap()),
            _ => Audience::User(user(format!("user_{number}"))),
        };
        let stage = if number % 5 == 4 { Stage::Created } else { Stage::Settled };
        let envelope = Envelope {
            kind: if number % 2 == 0 { Kind::Lucky } else { Kind::Equal },
            greeting: ["", "恭喜发财", "a \"quoted\" \u{1f9e7}\n"][number as usize % 3].to_owned(),
            audience,
            seed: Seed::new([number as u8; 32]),
            stage,
            expires_at: (stage == Stage::Settled).then(|| NOW.plus_millis(number as i64)),
            settled_seq: length,
            ..created(id)
        };
        let entry = |seq| Entry {
            envelope_id: id,
            seq,
            kind: if seq == length { EntryKind::Refund } else { EntryKind::Open(user(format!("opener-{seq}"))) },
            amount: Fen::new(i64::from(seq)).unwrap(),
            remaining: Fen::new(i64::from(length - seq)).unwrap(),
            at: NOW.plus_millis(i64::from(seq)),
        };
        (envelope, (1..=length).map(entry).collect())
    };
    ids.into_iter().map(row).collect()
}

pub fn manifest_of(rows: &Rows, number: u64) -> Manifest {
    let mut sealer = Sealer::default();
    for (envelope, journal) in rows {
        sealer.add(envelope, journal);
    }
    let date = Date::parse("20260217").unwrap();
    Manifest { number, database: 7, table: 3, date, content: sealer.content(), previous: [9; 32] }
}

pub async fn made(archive: &Arc<dyn Archive>, manifest: &Manifest, rows: &Rows) -> Vec<u8> {
    let mut file = archive.begin(manifest).unwrap();
    for (envelope, journal) in rows {
        file.add(envelope.clone(), journal.clone()).await.unwrap();
    }
    file.finish().await.unwrap()
}

pub struct World {
    pub dir: TempDir,
    pub archive: Arc<dyn Archive>,
}

impl World {
    pub fn new() -> World {
        let dir = tempfile::tempdir().unwrap();
        World { archive: archive_in(dir.path()), dir }
    }

    pub async fn put(&self, manifest: &Manifest, rows: &Rows) -> ArchivedFile {
        self.archive.put(manifest, made(&self.archive, manifest, rows).await).await.unwrap()
    }

    pub fn path(&self, file: &ArchivedFile) -> PathBuf {
        self.dir.path().join(&file.path)
    }

    /// The file that is in the place of one, as if it had been exported so.
    pub fn as_it_is(&self, file: &ArchivedFile) -> ArchivedFile {
        let all = fs::read(self.path(file)).unwrap();
        let sha256 = |bytes: &[u8]| Sha256::digest(bytes).into();
        let footer = &all[all.len() - file.footer_bytes as usize..];
        let (bytes, sha256, footer_sha256) = (all.len() as u64, sha256(&all), sha256(footer));
        ArchivedFile { bytes, sha256, footer_sha256, ..file.clone() }
    }

    pub async fn read(&self, file: &ArchivedFile, manifest: &Manifest) -> Result<(usize, Rows), StoreError> {
        let opened = self.archive.open(file, manifest.hash()).await?;
        let mut all = Rows::new();
        for part in 0..opened.parts().len() {
            let rows = opened.part(part).await?;
            assert!(opened.ids(part).await?.iter().eq(rows.iter().map(|(envelope, _)| &envelope.id)));
            assert_eq!(opened.parts()[part], (rows[0].0.id, rows[rows.len() - 1].0.id));
            all.extend(rows);
        }
        assert_eq!(opened.entries(), all.iter().map(|(_, journal)| journal.len() as u64).sum::<u64>());
        Ok((opened.parts().len(), all))
    }
}

pub fn damage(outcome: Result<impl Sized, StoreError>) -> String {
    match outcome.map(|_| ()) {
        Err(StoreError::Damaged(reason)) => reason,
        other => panic!("{other:?}"),
    }
}
