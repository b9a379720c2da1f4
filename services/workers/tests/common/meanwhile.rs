//! An audit beside a worker that exports.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;

use hongbao_core::audit::Breach;
use hongbao_store::Store;
use hongbao_workers::{Ports, SealedRows, SetStore, audit_with};

use super::exported::{export_with, two_sealed_tables};
use super::{World, run_until_idle};

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
