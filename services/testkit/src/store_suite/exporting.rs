//! Sealed tables that are exported to an archive.

use std::path::Path;
use std::sync::Arc;

use hongbao_archive::{FileArchive, Location};
use hongbao_core::id::TableRef;
use hongbao_core::manifest::{Hash, Manifest, Sealer};
use hongbao_core::{Entry, Envelope, Journal, Stage};
use hongbao_store::{Append, Archive, ArchivedFile, Exported, Outline, Store, StoreError};

use super::rotation::whole;
use super::sealing::{is_refused, sealed};
use super::{DAY_MS, Fixture, NOW, created, ids_of_one_table, journal_of, openings, user};

/// The archive of a SET in a folder, for a fixture.
pub fn archive_in(folder: &Path) -> Arc<dyn Archive> {
    archive_at(Location::Folder(folder.to_owned()))
}

/// That in any place.
pub fn archive_at(location: Location) -> Arc<dyn Archive> {
    Arc::new(FileArchive::new(location, None, "a", ""))
}

/// Puts the rows of a sealed table into its file, as the job does.
async fn put(store: &Arc<dyn Store>, manifest: &Manifest) -> ArchivedFile {
    let (archive, table) = (store.archive().expect("the fixture has one"), manifest.table_ref());
    let mut file = archive.begin(manifest).unwrap();
    for (envelope, _) in store.scan(table, None, 100).await.unwrap() {
        let journal = journal_of(store, envelope.id).await;
        file.add(envelope, journal).await.unwrap();
    }
    archive.put(manifest, file.finish().await.unwrap()).await.unwrap()
}

/// A sealed table that is noted as exported, and not dropped, and its envelope. The other process knows the table, and
/// not the note.
pub async fn noted(on: &Fixture) -> (Envelope, TableRef) {
    let (envelope, table, manifest) = sealed(on).await;
    let file = put(&on.store, &manifest).await;
    on.other.look().await.unwrap();
    assert!(on.store.note_exported(&manifest, &file).await.unwrap());
    (envelope, table)
}

/// What is in a file.
async fn content_of(
    store: &Arc<dyn Store>,
    manifest: &Manifest,
    file: &ArchivedFile,
) -> hongbao_core::manifest::Content {
    let archive = store.archive().expect("the fixture has one");
    archive.check(file).await.unwrap();
    let opened = archive.open(file, manifest.hash()).await.unwrap();
    let mut sealer = Sealer::default();
    for part in 0..opened.parts().len() {
        for (envelope, journal) in opened.part(part).await.unwrap() {
            sealer.add(&envelope, &journal);
        }
    }
    sealer.content()
}

/// Everything that a store says of a table, and of one of its envelopes.
async fn said(
    store: &Arc<dyn Store>,
    table: TableRef,
    envelope: &Envelope,
) -> impl PartialEq + std::fmt::Debug + use<> {
    let id = envelope.id;
    let (of_a, of_b) = (store.load_for(id, &user("a")).await.unwrap(), store.load_for(id, &user("b")).await.unwrap());
    let second = store.entries(id, 1, 1).await.unwrap();
    let scans = (store.scan(table, None, 10).await.unwrap(), store.scan(table, Some(id), 10).await.unwrap());
    let entries: Vec<Entry> = store.scan_entries(table, None, id, 10).await.unwrap();
    let first: Vec<Entry> = store.scan_entries(table, None, id, 1).await.unwrap();
    let outline: Option<Outline> = store.outline(table).await.unwrap();
    (whole(store, id).await, of_a, of_b, second, scans, (entries, first), outline)
}

/// What is read of an exported table is what was read before, whether its table is still there or not, and also by a
/// process that knows only the table; and nothing is written into it.
pub async fn an_exported_table_is_read_as_before_and_takes_no_rows(on: &Fixture) {
    let (envelope, table, manifest) = sealed(on).await;
    let before = said(&on.store, table, &envelope).await;
    on.other.look().await.unwrap();
    let file = put(&on.store, &manifest).await;
    assert_eq!(content_of(&on.store, &manifest, &file).await, manifest.content);
    assert_eq!(on.store.manifest(table).await.unwrap().expect("it is sealed").manifest, manifest);
    assert_eq!((on.store.sealed_tables(), on.store.exported(table).await.unwrap()), (vec![table], None));

    assert!(on.store.note_exported(&manifest, &file).await.unwrap());
    let exported = Exported { number: 1, manifest_hash: manifest.hash(), file: file.clone() };
    assert_eq!(on.other.exported(table).await.unwrap(), Some(exported));
    assert_eq!((on.store.sealed_tables(), on.store.exported_tables()), (vec![table], vec![table]));
    assert_eq!(said(&on.store, table, &envelope).await, before, "from its file");
    assert!(on.store.drop_exported(table).await.unwrap());
    assert!(on.store.drop_exported(table).await.unwrap(), "to drop it again changes nothing");
    assert_eq!((on.store.sealed_tables(), on.store.exported_tables()), (vec![], vec![table]));
    assert!(!on.store.tables().contains(&table) && !on.store.unsealed_tables().contains(&table));
    // The other one knows nothing of it.
    assert!(!on.other.is_exported(table));
    assert_eq!(whole(&on.other, envelope.id).await, whole(&on.store, envelope.id).await);
    assert!(on.other.is_exported(table), "it has looked");

    let late = ids_of_one_table(&on.store, 2)[1];
    let opening = openings(&envelope, Journal::after(&journal_of(&on.store, envelope.id).await[0]), ["b"]);
    let settled = Some((Stage::Settled, envelope.expires_at));
    for store in [&on.store, &on.other] {
        assert_eq!(said(store, table, &envelope).await, before);
        assert_eq!(store.table_of(envelope.id), table);
        assert_eq!(store.load(late).await.unwrap(), None);
        is_refused(store.create(&[created(late)]).await);
        match store.append(&opening).await {
            Ok(Append::Fenced) => is_refused(store.append(&opening).await),
            refused => is_refused(refused),
        }
        assert_eq!(store.activate(envelope.id, NOW.plus_millis(9 * DAY_MS)).await.unwrap(), settled);
        assert_eq!(store.cancel(envelope.id).await.unwrap(), Some(Stage::Settled));
    }
}

/// Of a manifest that is not in the database as it was read nothing is noted, nor a second time; and what was not noted
/// is not dropped.
pub async fn only_what_is_noted_for_its_manifest_is_dropped(on: &Fixture) {
    let (envelope, table, manifest) = sealed(on).await;
    let file = put(&on.store, &manifest).await;
    let refused = on.store.drop_exported(table).await.unwrap_err();
    assert!(matches!(&refused, StoreError::Unavailable(reason) if reason.contains("not exported")), "{refused}");
    let mut content = manifest.content.clone();
    content.paid_fen += 1;
    for other in [Manifest { number: 2, ..manifest.clone() }, Manifest { content, ..manifest.clone() }] {
        assert!(!on.store.note_exported(&other, &file).await.unwrap());
    }
    assert_eq!((on.store.exported(table).await.unwrap(), on.store.exported_tables()), (None, vec![]));
    assert!(on.store.note_exported(&manifest, &file).await.unwrap());
    let elsewhere = ArchivedFile { path: "elsewhere".to_owned(), ..file.clone() };
    assert!(!on.other.note_exported(&manifest, &elsewhere).await.unwrap());
    assert_eq!(on.other.exported(table).await.unwrap().expect("it is noted").file, file);
    assert_eq!(whole(&on.store, envelope.id).await.2.len(), 2);
}

/// A file that is known by other hashes is not read, and one of another manifest neither.
pub async fn a_file_that_is_not_what_was_exported_is_refused(on: &Fixture) {
    let (_, _, manifest) = sealed(on).await;
    let (file, archive) = (put(&on.store, &manifest).await, on.store.archive().expect("the fixture has one"));
    let zeros: Hash = [0; 32];
    let damaged =
        |outcome: Result<(), StoreError>| assert!(matches!(outcome, Err(StoreError::Damaged(_))), "{outcome:?}");
    let open = async |file: &ArchivedFile, hash| archive.open(file, hash).await.map(|_| ());
    assert_eq!(open(&file, manifest.hash()).await.unwrap(), ());
    damaged(open(&file, zeros).await);
    damaged(open(&ArchivedFile { footer_sha256: zeros, ..file.clone() }, manifest.hash()).await);
    damaged(open(&ArchivedFile { bytes: file.bytes + 1, ..file.clone() }, manifest.hash()).await);
    damaged(open(&ArchivedFile { footer_bytes: file.bytes + 1, ..file.clone() }, manifest.hash()).await);
    damaged(open(&ArchivedFile { path: "nowhere".to_owned(), ..file.clone() }, manifest.hash()).await);
    damaged(archive.check(&ArchivedFile { sha256: zeros, ..file.clone() }).await);
}
