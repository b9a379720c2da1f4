//! Rows, their manifests, and an archive in a folder or a bucket.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hongbao_archive::Location;
use hongbao_core::manifest::{Manifest, Sealer};
use hongbao_core::{Audience, Date, Entry, EntryKind, Envelope, Fen, GroupId, Kind, Seed, Stage};
use hongbao_store::{Archive, ArchivedFile, Rows, StoreError, TableFile};
use hongbao_testkit::s3::new_bucket;
use hongbao_testkit::store_suite::{NOW, archive_at, archive_in, created, id_at, user};
use object_store::local::LocalFileSystem;
use object_store::{ObjectStore, ObjectStoreExt as _};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

/// The file by which an archive is known.
pub const MARK: &str = "hongbao-archive";

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

/// An archive in some place, and the files there without it.
pub struct World {
    pub archive: Arc<dyn Archive>,
    pub files: Arc<dyn ObjectStore>,
    /// Of every so many damages one is tried.
    pub every: usize,
    /// Where the files are, if they are in a folder.
    pub dir: Option<TempDir>,
}

impl World {
    pub fn in_folder() -> World {
        let dir = tempfile::tempdir().unwrap();
        let files = Arc::new(LocalFileSystem::new_with_prefix(dir.path()).unwrap());
        World { archive: archive_in(dir.path()), files, every: 1, dir: Some(dir) }
    }

    pub fn in_bucket() -> World {
        let bucket = new_bucket();
        let files = bucket.store();
        World { archive: archive_at(Location::Bucket(bucket)), files, every: 97, dir: None }
    }

    /// One in each kind of place.
    pub fn all() -> [World; 2] {
        [World::in_folder(), World::in_bucket()]
    }

    pub async fn put(&self, manifest: &Manifest, rows: &Rows) -> ArchivedFile {
        self.archive.put(manifest, made(&self.archive, manifest, rows).await).await.unwrap()
    }

    /// Some rows, the manifest of their table, its file, and the bytes of that.
    pub async fn sound(&self) -> (Rows, Manifest, ArchivedFile, Vec<u8>) {
        let rows = rows([3, 0, 5, 2]);
        let manifest = manifest_of(&rows, 1);
        let file = self.put(&manifest, &rows).await;
        let bytes = self.bytes(&file.path).await;
        (rows, manifest, file, bytes)
    }

    /// Where a file is, in a folder.
    pub fn path(&self, file: &ArchivedFile) -> PathBuf {
        self.dir.as_ref().unwrap().path().join(&file.path)
    }

    pub async fn bytes(&self, path: &str) -> Vec<u8> {
        self.files.get(&path.into()).await.unwrap().bytes().await.unwrap().into()
    }

    /// Writes other bytes into the place of a file.
    pub async fn damage(&self, path: &str, bytes: impl Into<Vec<u8>>) {
        self.files.put(&path.into(), bytes.into().into()).await.unwrap();
    }

    /// The file that is in the place of one, as if it had been exported so.
    pub async fn as_it_is(&self, file: &ArchivedFile) -> ArchivedFile {
        let all = self.bytes(&file.path).await;
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

/// Opens a file so many times at once, by these archives in turn, in vain. Requests go on meanwhile: `tick` is called
/// every 10 ms.
pub async fn opened_in_vain(
    archives: &[Arc<dyn Archive>],
    times: usize,
    file: &ArchivedFile,
    manifest: &Manifest,
    mut tick: impl FnMut(u32),
) -> Vec<Result<Arc<dyn TableFile>, StoreError>> {
    let reads = archives.iter().cycle().take(times).map(|archive| {
        let (archive, file, hash) = (archive.clone(), file.clone(), manifest.hash());
        tokio::spawn(async move { archive.open(&file, hash).await })
    });
    let reads: Vec<_> = reads.collect();
    let mut ticks = 0;
    while !reads.iter().all(|read| read.is_finished()) {
        tokio::time::sleep(Duration::from_millis(10)).await;
        ticks += 1;
        tick(ticks);
    }
    assert!(ticks > 100, "the runtime went on while they waited: {ticks}");
    let mut outcomes = Vec::new();
    for read in reads {
        outcomes.push(read.await.unwrap());
    }
    outcomes
}

pub fn damage(outcome: Result<impl Sized, StoreError>) -> String {
    match outcome.map(|_| ()) {
        Err(StoreError::Damaged(reason)) => reason,
        other => panic!("{other:?}"),
    }
}
