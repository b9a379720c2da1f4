//! The export job on a real MariaDB.

use std::path::Path;
use std::sync::Arc;

use hongbao_core::Slot;
use hongbao_store::Store;
use hongbao_testbed::Part;
use hongbao_testkit::store_suite::archive_in;
use hongbao_workers::SealedRows;
use sqlx::Executor as _;

use super::databases::{layout, migrated, open, wallet_on};
use crate::common::World;
use crate::common::exported::{
    ARCHIVE, a_death_at_any_step_loses_nothing, each_damage_of_a_file_is_named, exported_tables_are_read_as_before,
    many_rows_are_exported, two_workers_export_while_others_read, without_an_archive_they_are_unavailable,
};
use crate::common::meanwhile::{
    an_audit_finds_nothing_wrong_while_tables_are_exported, the_next_worker_reads_no_file_again,
};

const SLOT: u8 = 8;

/// A process's store, with the archive in this folder.
async fn with_archive(part: &Part, dir: &Path) -> Arc<dyn Store> {
    let store = open(part, layout(Slot::new(SLOT))).await;
    store.archive_in(archive_in(&dir.join(ARCHIVE)));
    store
}

async fn world_on(part: &Part) -> World {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join(ARCHIVE)).unwrap();
    migrated(part, &layout(Slot::new(SLOT))).await;
    let store = with_archive(part, dir.path()).await;
    let mut world = World::with(store, wallet_on(part).await, dir).await;
    world.slots = vec![Slot::new(SLOT).unwrap()];
    world
}

#[tokio::test]
async fn exported_tables_are_read_as_before_and_the_audit_takes_them_by_their_manifests() {
    let part = Part::mariadb(&[]);
    let world = world_on(&part).await;
    exported_tables_are_read_as_before(&world, async || with_archive(&part, world.dir.path()).await).await;
}

#[tokio::test]
async fn a_death_at_any_step_loses_nothing_and_the_next_worker_finishes() {
    let part = Part::mariadb(&[]);
    let new = async || {
        empty(&part).await;
        world_on(&part).await
    };
    a_death_at_any_step_loses_nothing(new, async |world| with_archive(&part, world.dir.path()).await).await;
}

/// Takes away what a test before has left on this server.
async fn empty(part: &Part) {
    let mut connection = super::databases::raw_on(part).await;
    for database in ["db_08", "db_08_cold", "wallet_00"] {
        connection.execute(&*format!("DROP DATABASE IF EXISTS {database}")).await.unwrap();
    }
}

#[tokio::test]
async fn two_workers_export_the_same_tables_while_others_read_them() {
    let part = Part::mariadb(&[]);
    let world = world_on(&part).await;
    two_workers_export_while_others_read(&world, async || with_archive(&part, world.dir.path()).await).await;
}

#[tokio::test]
async fn an_audit_finds_nothing_wrong_while_tables_are_exported_and_dropped() {
    let part = Part::mariadb(&[]);
    let new = async || {
        empty(&part).await;
        world_on(&part).await
    };
    let open = async |world: &World| with_archive(&part, world.dir.path()).await;
    an_audit_finds_nothing_wrong_while_tables_are_exported(new, open, [0, 2].map(|reads| (reads, SealedRows::All)))
        .await;
}

#[tokio::test]
async fn the_next_worker_reads_no_file_of_a_table_that_was_dropped() {
    let part = Part::mariadb(&[]);
    let world = world_on(&part).await;
    the_next_worker_reads_no_file_again(&world, async || with_archive(&part, world.dir.path()).await).await;
}

#[tokio::test]
async fn i3_each_damage_of_an_exported_file_is_named() {
    let part = Part::mariadb(&[]);
    let world = world_on(&part).await;
    each_damage_of_a_file_is_named(&world, async || with_archive(&part, world.dir.path()).await).await;
}

#[tokio::test]
async fn without_an_archive_envelopes_of_exported_tables_are_unavailable() {
    let part = Part::mariadb(&[]);
    let world = world_on(&part).await;
    without_an_archive_they_are_unavailable(&world, async || {
        open(&part, layout(Slot::new(SLOT))).await as Arc<dyn Store>
    })
    .await;
}

#[tokio::test]
async fn many_rows_are_exported_and_one_is_found_among_them() {
    let part = Part::mariadb(&[]);
    many_rows_are_exported(&world_on(&part).await).await;
}
