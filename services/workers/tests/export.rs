//! The export job on real files, and what is read of exported tables.

mod common;

use std::path::Path;
use std::sync::Arc;

use common::archives::{Refusal, Refusing};
use common::columns::{Database as _, Side};
use common::damage::{Files, damage_store};
use common::exported::{
    ARCHIVE, a_death_at_any_step_loses_nothing, assert_same, each_damage_of_a_file_is_named, export, export_with,
    exported_tables_are_read_as_before, failures_of, files, many_rows_are_exported, two_sealed_tables,
    two_workers_export_while_others_read, what_the_archive_does_not_take_stays,
    without_an_archive_they_are_unavailable,
};
use common::meanwhile::{
    ALL_OR_ONE, a_noted_file_that_is_damaged_is_made_again_from_the_table,
    an_audit_finds_nothing_wrong_while_tables_are_exported, the_next_worker_reads_no_file_again,
};
use common::sealed::audited;
use common::{World, ZONE_S, open_store, run_until_idle};
use hongbao_archive::Location;
use hongbao_core::id::{Fold, TableRef};
use hongbao_database::sqlite::file::Mode;
use hongbao_store::sqlite::SqliteStore;
use hongbao_store::{Archive, Store};
use hongbao_testkit::s3::new_bucket;
use hongbao_testkit::store_suite::{archive_at, archive_in};
use hongbao_workers::export::Export;
use hongbao_workers::{Job as _, Ports, SealedRows};

/// A process's store on the files in this folder, with the archive in it.
async fn open(dir: &Path) -> Arc<dyn Store> {
    open_with(dir, archive_in(&dir.join(ARCHIVE))).await
}

async fn open_with(dir: &Path, archive: Arc<dyn Archive>) -> Arc<dyn Store> {
    let store = SqliteStore::open(dir, Fold::new(1, 1).unwrap(), ZONE_S, Mode::Volatile).await.unwrap();
    store.archive_in(archive);
    Arc::new(store)
}

async fn world() -> World {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join(ARCHIVE)).unwrap();
    World::on(open(dir.path()).await, dir).await
}

#[tokio::test]
async fn exported_tables_are_read_as_before_and_the_audit_takes_them_by_their_manifests() {
    let world = world().await;
    exported_tables_are_read_as_before(&world, async || open(world.dir.path()).await).await;
}

#[tokio::test]
async fn a_death_at_any_step_loses_nothing_and_the_next_worker_finishes() {
    a_death_at_any_step_loses_nothing(world, async |world| open(world.dir.path()).await).await;
}

#[tokio::test]
async fn two_workers_export_the_same_tables_while_others_read_them() {
    let world = world().await;
    two_workers_export_while_others_read(&world, async || open(world.dir.path()).await).await;
}

#[tokio::test]
async fn an_audit_finds_nothing_wrong_while_tables_are_exported_and_dropped() {
    let open = async |world: &World| open(world.dir.path()).await;
    let audits = (0..6).flat_map(|reads| ALL_OR_ONE.map(|rows| (reads, rows)));
    an_audit_finds_nothing_wrong_while_tables_are_exported(world, open, audits).await;
}

#[tokio::test]
async fn the_next_worker_reads_no_file_of_a_table_that_was_dropped() {
    let world = world().await;
    the_next_worker_reads_no_file_again(&world, async || open(world.dir.path()).await).await;
}

#[tokio::test]
async fn a_noted_file_that_is_damaged_before_the_drop_is_made_again_from_the_table() {
    let world = world().await;
    let open = async || open(world.dir.path()).await;
    a_noted_file_that_is_damaged_is_made_again_from_the_table(&world, open).await;
}

#[tokio::test]
async fn what_the_archive_does_not_take_or_has_damaged_stays_in_the_database() {
    what_the_archive_does_not_take_stays(&world().await).await;
}

#[tokio::test]
async fn i3_each_damage_of_an_exported_file_is_named() {
    let world = world().await;
    each_damage_of_a_file_is_named(&world, async || open(world.dir.path()).await).await;
}

#[tokio::test]
async fn without_an_archive_envelopes_of_exported_tables_are_unavailable() {
    let world = world().await;
    without_an_archive_they_are_unavailable(&world, async || open_store(world.dir.path(), 1).await).await;
}

#[tokio::test]
async fn a_table_is_not_exported_before_its_time() {
    let world = world().await;
    two_sealed_tables(&world).await;
    run_until_idle(&mut Export::new(world.ports(), ZONE_S, 71), 1_000).await;
    assert_eq!(world.store.exported_tables(), []);
    run_until_idle(&mut Export::new(world.ports(), ZONE_S, 70), 1_000).await;
    assert_eq!(world.store.exported_tables().len(), 1, "the other one is a day younger");
}

#[tokio::test]
async fn a_table_that_was_exported_to_a_bucket_is_read_from_there() {
    let location = Location::Bucket(new_bucket());
    let open = async |dir: &Path| open_with(dir, archive_at(location.clone())).await;
    let dir = tempfile::tempdir().unwrap();
    let world = World::on(open(dir.path()).await, dir).await;
    let before = two_sealed_tables(&world).await;
    run_until_idle(&mut export(&world), 100).await;
    assert_eq!((world.store.sealed_tables(), world.store.exported_tables().len()), (vec![], 2));
    assert_same(&[&world.store, &open(world.dir.path()).await], &before).await;
    assert_eq!(audited(&world, SealedRows::All).await.0, [""; 0]);
}

/// Rows or a manifest that were changed since the sealing are for the audit to name.
#[tokio::test]
async fn a_table_that_was_changed_since_it_was_sealed_is_not_exported() {
    for damage in ["rows", "manifest"] {
        let world = world().await;
        let id = *two_sealed_tables(&world).await.keys().next().unwrap();
        match damage {
            "rows" => {
                Files(&world).execute(Side::Store, "PRAGMA user_version").await;
                damage_store(&world, id, "UPDATE {e} SET greeting = 'x' WHERE id = {id}").await;
            }
            _ => {
                _ = Files(&world)
                    .execute(Side::Store, "UPDATE manifest SET paid_fen = paid_fen + 1 WHERE number = 1")
                    .await
            }
        }
        let mut job = export(&world);
        let mut failures = 0;
        for _ in 0..20 {
            failures += job.run_once(1_000).await.unwrap().failures;
        }
        assert_eq!((failures, world.store.exported_tables().len(), files(&world).len()), (1, 1, 1), "{damage}");
        assert_eq!(world.store.sealed_tables(), [world.table(id)], "{damage}");
    }
}

const MINUTE_MS: i64 = 60_000;

/// A world with two sealed tables, the oldest of which the archive refuses so, and a worker of it.
async fn refusing_the_oldest(refusal: Refusal) -> (World, [TableRef; 2], Arc<Refusing>, Export) {
    let world = world().await;
    two_sealed_tables(&world).await;
    let archive = Arc::new(Refusing::new(archive_in(&world.dir.path().join(ARCHIVE))));
    let store = open_with(world.dir.path(), archive.clone()).await;
    let tables: [TableRef; 2] = store.sealed_tables().try_into().unwrap();
    archive.refuse(Some((tables[0], refusal)));
    let job = export_with(Ports { store, ..world.ports() });
    (world, tables, archive, job)
}

/// Runs the job until it finds nothing to do; which tables are exported then, and how often it failed.
async fn exported_now(world: &World, job: &mut Export) -> (Vec<TableRef>, u32) {
    let failures = failures_of(job).await;
    world.store.look().await.unwrap();
    (world.store.exported_tables(), failures)
}

#[tokio::test]
async fn a_table_that_can_never_be_exported_holds_up_no_other() {
    for refusal in [Refusal::TooLarge, Refusal::Panics] {
        let (world, [oldest, younger], archive, mut job) = refusing_the_oldest(refusal).await;
        assert_eq!(exported_now(&world, &mut job).await, (vec![younger], 1), "{refusal:?}");
        world.clock.advance_millis(5 * 60 * MINUTE_MS);
        assert_eq!(exported_now(&world, &mut job).await, (vec![younger], 0), "{refusal:?}: it is left out for hours");
        world.clock.advance_millis(60 * MINUTE_MS);
        archive.refuse(None);
        assert_eq!(exported_now(&world, &mut job).await, (vec![oldest, younger], 0), "{refusal:?}");
    }
}

/// What looks like the archive's failure may be that of one file.
#[tokio::test]
async fn after_a_failure_of_the_archive_another_table_begins() {
    let (world, [oldest, younger], archive, mut job) = refusing_the_oldest(Refusal::NoRoom).await;
    assert_eq!(exported_now(&world, &mut job).await, (vec![], 1), "the archive rests");
    world.clock.advance_millis(10 * MINUTE_MS);
    assert_eq!(exported_now(&world, &mut job).await, (vec![younger], 1));
    archive.refuse(None);
    world.clock.advance_millis(10 * MINUTE_MS);
    assert_eq!(exported_now(&world, &mut job).await, (vec![oldest, younger], 0));
}

/// `HONGBAO_EXPORT_ROWS=1100000 cargo test --release --workspace --test export many -- --nocapture`
#[tokio::test]
async fn many_rows_are_exported_and_one_is_found_among_them() {
    many_rows_are_exported(&world().await).await;
}
