//! An audit, or another worker, beside one that exports.

use std::collections::VecDeque;
use std::fs;
use std::pin::Pin;
use std::sync::Arc;

use hongbao_core::audit::Breach;
use hongbao_store::Store;
use hongbao_workers::{Job as _, Ports, SealedRows, SetStore, audit_with};

use super::exported::{assert_same, export, export_with, failures_of, files, two_sealed_tables};
use super::faults::{Death, Verb};
use super::{DAY_MS, World, run_until_idle};

/// Which tables the audits read.
pub const ALL_OR_ONE: [SealedRows; 2] = [SealedRows::All, SealedRows::Sample { tables: 1, turn: 0 }];

/// All tables are exported and dropped after so many reads of an audit, each time in another world.
pub async fn an_audit_finds_nothing_wrong_while_tables_are_exported(
    new: impl AsyncFn() -> World,
    open: impl AsyncFn(&World) -> Arc<dyn Store>,
    audits: impl IntoIterator<Item = (usize, SealedRows)>,
) {
    let mut exported = 0;
    for (reads, rows) in audits {
        let world = new().await;
        two_sealed_tables(&world).await;
        let mut worker = export_with(Ports { store: open(&world).await, ..world.ports() });
        let mut meanwhile: VecDeque<Pin<Box<dyn Future<Output = ()> + Send>>> = VecDeque::new();
        meanwhile.extend((0..reads).map(|_| Box::pin(std::future::ready(())) as Pin<Box<_>>));
        meanwhile.push_back(Box::pin(async move { _ = run_until_idle(&mut worker, 1_000).await }));
        *world.faults.meanwhile.lock().unwrap() = meanwhile;
        let (ports, mut found) = (world.ports(), Vec::new());
        let mut tell = |breach: &Breach| found.push(breach.to_string());
        let done = audit_with(&[SetStore::whole(ports.store)], &*ports.wallet, rows, &mut tell).await;
        let report = done.unwrap_or_else(|error| panic!("{rows:?} after {reads} reads: {error}"));
        assert!(found.is_empty(), "{rows:?} after {reads} reads: {found:#?}");
        assert!(report.sealed.tables >= 2, "{rows:?} after {reads} reads");
        world.store.look().await.unwrap();
        exported += u32::from(world.store.exported_tables().len() as u64 == report.sealed.tables);
    }
    assert!(exported >= 2, "the audits ended before the export");
}

/// A worker that knows tables which another one has exported and dropped since looks, and leaves their files alone.
pub async fn the_next_worker_reads_no_file_again(world: &World, open: impl AsyncFn() -> Arc<dyn Store>) {
    two_sealed_tables(world).await;
    let other = open().await;
    let known = other.sealed_tables();
    run_until_idle(&mut export(world), 1_000).await;
    assert_eq!((other.sealed_tables(), world.store.sealed_tables()), (known.clone(), vec![]));
    for file in files(world) {
        fs::remove_file(file).unwrap();
    }
    let mut job = export_with(Ports { store: other.clone(), ..world.ports() });
    for table in known {
        assert_eq!(job.run_once(1_000).await.unwrap().failures, 0, "{table:?}");
    }
    assert_eq!(other.sealed_tables(), []);
}

/// The file of a table that is noted and not dropped yet is damaged, or gone: the rows are read from the table, and
/// once the file is removed it is made again, to the last byte.
pub async fn a_noted_file_that_is_damaged_is_made_again_from_the_table(
    world: &World,
    open: impl AsyncFn() -> Arc<dyn Store>,
) {
    let before = two_sealed_tables(world).await;
    let mut job = export(world);
    world.faults.arm(Verb::DropExported, Death::Before);
    while world.faults.is_armed() {
        _ = job.run_once(1_000).await;
    }
    let [noted] = world.store.exported_tables().try_into().unwrap();
    assert!(world.store.sealed_tables().contains(&noted));
    let [file] = files(world).try_into().unwrap();
    let sound = fs::read(&file).unwrap();
    fs::write(&file, &sound[..sound.len() - 1]).unwrap();
    assert_same(&[&world.store, &open().await], &before).await;
    world.clock.advance_millis(DAY_MS);
    let mut job = export(world);
    assert_eq!(failures_of(&mut job).await, 1, "nothing is overwritten");
    assert!(world.store.sealed_tables().contains(&noted), "it is not dropped");
    assert_same(&[&world.store, &open().await], &before).await;
    fs::remove_file(&file).unwrap();
    assert_same(&[&world.store, &open().await], &before).await;
    world.clock.advance_millis(DAY_MS);
    assert_eq!(failures_of(&mut job).await, 0);
    assert_eq!((world.store.sealed_tables(), fs::read(&file).unwrap()), (vec![], sound));
    assert_same(&[&world.store, &open().await], &before).await;
}
