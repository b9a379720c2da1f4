//! Dated tables that are closed and sealed.

use std::sync::Arc;

use hongbao_core::id::{Span, TableRef};
use hongbao_core::manifest::{Chain, Manifest, Sealer};
use hongbao_core::{Envelope, Journal, Stage};
use hongbao_store::{Append, Closed, Seal, Settlement, Store, StoreError};

use super::rotation::{DAYS_UNTIL_RENAMED, whole};
use super::{
    DAY_MS, Fixture, NOW, created, id_at, ids_of_one_table, journal_of, make_active, openings, refund, through,
};

/// An envelope that was refunded after an opening, and the dated table that it lies in.
async fn in_a_dated_table(on: &Fixture) -> (Envelope, TableRef) {
    on.store.rotate(through()).await.unwrap();
    let envelope = make_active(&on.store, ids_of_one_table(&on.store, 1)[0]).await;
    let opening = openings(&envelope, Journal::new(envelope.total), ["a"]);
    let last = refund(&envelope, Journal::after(&opening[0]));
    super::write(&on.store, &[&opening[..], &[last]].concat()).await;
    rename(on).await;
    let table = on.store.table_of(envelope.id);
    assert!(matches!(table.span, Span::Date(_)));
    (envelope, table)
}

async fn rename(on: &Fixture) {
    on.store.rotate(through().plus_days(DAYS_UNTIL_RENAMED)).await.unwrap();
}

async fn settle(store: &Arc<dyn Store>, envelope: &Envelope) {
    store.settle(&[Settlement { envelope_id: envelope.id, settled_seq: 2, ended: true }]).await.unwrap();
}

/// The manifest of what lies in a table, at this end of the chain.
async fn manifest_of(store: &Arc<dyn Store>, table: TableRef, chain: &Chain) -> Manifest {
    let mut sealer = Sealer::default();
    for (envelope, _) in store.scan(table, None, 100).await.unwrap() {
        sealer.add(&envelope, &journal_of(store, envelope.id).await);
    }
    assert_eq!(sealer.not_closed(), None);
    let Span::Date(date) = table.span else { panic!("{table:?}") };
    let (number, previous) = chain.next();
    let TableRef { database, table, .. } = table;
    Manifest { number, database, table, date, content: sealer.content(), previous }
}

async fn close(store: &Arc<dyn Store>, table: TableRef) -> Closed {
    store.close(table).await.unwrap().expect("it is not sealed")
}

pub(super) async fn sealed(on: &Fixture) -> (Envelope, TableRef, Manifest) {
    let (envelope, table) = in_a_dated_table(on).await;
    settle(&on.store, &envelope).await;
    let closed = close(&on.store, table).await;
    let manifest = manifest_of(&on.store, table, &Chain::default()).await;
    assert_eq!(on.store.seal(closed, &manifest).await.unwrap(), Seal::Done);
    (envelope, table, manifest)
}

pub(super) fn is_refused<T: std::fmt::Debug>(outcome: Result<T, StoreError>) {
    assert!(matches!(&outcome, Err(StoreError::Unavailable(reason)) if reason.contains("sealed")), "{outcome:?}");
}

/// What waits for a payment, a credit or its removal keeps a table from being quiet.
pub async fn a_table_is_quiet_once_nothing_in_it_waits(on: &Fixture) {
    let (envelope, table) = in_a_dated_table(on).await;
    assert!(!on.store.is_quiet(table).await.unwrap(), "it is not credited");
    settle(&on.store, &envelope).await;
    assert!(on.store.is_quiet(table).await.unwrap());
    let late = created(ids_of_one_table(&on.store, 2)[1]);
    on.store.create(std::slice::from_ref(&late)).await.unwrap();
    assert!(!on.store.is_quiet(table).await.unwrap(), "it waits for its payment");
    on.store.cancel(late.id).await.unwrap();
    assert!(!on.store.is_quiet(table).await.unwrap(), "it waits for its removal");
    on.store.purge(table, &[late.id]).await.unwrap();
    assert!(on.store.is_quiet(table).await.unwrap());
}

/// From the closing on no process writes a row into it, whether it knows of the closing or not.
pub async fn a_closed_table_takes_no_rows_until_it_is_opened_again(on: &Fixture) {
    let (envelope, table) = in_a_dated_table(on).await;
    let [_, late] = ids_of_one_table(&on.store, 2).try_into().expect("two ids");
    let entries = openings(&Envelope { id: late, ..envelope.clone() }, Journal::new(envelope.total), ["b"]);
    assert_eq!(on.store.closing(table).await.unwrap(), None);
    let closed = close(&on.store, table).await;
    assert_eq!(close(&on.other, table).await, closed, "to close it again changes nothing");
    assert_eq!(on.other.closing(table).await.unwrap(), Some(closed));
    for store in [&on.store, &on.other] {
        is_refused(store.create(&[created(late)]).await);
        // The one that has not looked yet knows the day table, which fences it first.
        match store.append(&entries).await {
            Ok(Append::Fenced) => is_refused(store.append(&entries).await),
            refused => is_refused(refused),
        }
        assert_eq!(whole(store, envelope.id).await.2.len(), 2, "it is read as ever");
    }
    assert!(on.store.unsealed_tables().contains(&table));

    on.other.reopen(closed).await.unwrap();
    on.store.create(&[created(late)]).await.unwrap();
    super::write(&on.store, &entries).await;
    assert_eq!(journal_of(&on.other, late).await, entries);
}

/// Appends, stages and creates are refused or find nothing to change; and every process learns it.
pub async fn a_sealed_table_never_changes_and_none_of_its_date_is_made(on: &Fixture) {
    let (envelope, table, _) = sealed(on).await;
    let before = (whole(&on.store, envelope.id).await, on.store.scan(table, None, 10).await.unwrap());
    assert!(on.store.tables().contains(&table) && !on.store.unsealed_tables().contains(&table));
    on.other.look().await.unwrap();
    assert!(on.other.tables().contains(&table) && !on.other.unsealed_tables().contains(&table));

    let late = ids_of_one_table(&on.store, 2)[1];
    let opening = openings(&envelope, Journal::after(&before.0.2[0]), ["b"]);
    let settled = Some((Stage::Settled, envelope.expires_at));
    for store in [&on.store, &on.other] {
        assert_eq!(store.close(table).await.unwrap(), None);
        assert_eq!(store.closing(table).await.unwrap(), None);
        is_refused(store.create(&[created(late)]).await);
        is_refused(store.append(&opening).await);
        is_refused(store.append(&[refund(&envelope, Journal::after(&before.0.2[0]))]).await);
        assert_eq!(store.activate(envelope.id, NOW.plus_millis(9 * DAY_MS)).await.unwrap(), settled);
        assert_eq!(store.cancel(envelope.id).await.unwrap(), Some(Stage::Settled));
        settle(store, &envelope).await;
        assert_eq!(store.purge(table, &[envelope.id]).await.unwrap(), 0);
        assert_eq!(store.load(late).await.unwrap(), None);
    }
    let after = (whole(&on.store, envelope.id).await, on.store.scan(table, None, 10).await.unwrap());
    assert_eq!(after, before);
}

/// Two workers that have read the same end of the chain.
pub async fn of_two_manifests_for_one_place_in_the_chain_one_is_written(on: &Fixture) {
    let (envelope, table) = in_a_dated_table(on).await;
    settle(&on.store, &envelope).await;
    let late = make_active(&on.store, id_at(NOW.plus_millis(-31 * DAY_MS), 5)).await;
    let opening = openings(&late, Journal::new(late.total), ["a"]);
    super::write(&on.store, &[opening[0].clone(), refund(&late, Journal::after(&opening[0]))]).await;
    settle(&on.store, &late).await;
    let tables = [table, on.store.table_of(late.id)];
    assert_ne!(tables[0], tables[1]);
    let chain = Chain::default();
    let closed = [close(&on.store, tables[0]).await, close(&on.other, tables[1]).await];
    let manifests = [manifest_of(&on.store, tables[0], &chain).await, manifest_of(&on.store, tables[1], &chain).await];
    let (one, other) = tokio::join!(on.store.seal(closed[0], &manifests[0]), on.other.seal(closed[1], &manifests[1]));
    let (one, other) = (one.unwrap(), other.unwrap());
    assert!(matches!((one, other), (Seal::Done, Seal::Fenced) | (Seal::Fenced, Seal::Done)), "{one:?} {other:?}");

    let winner = usize::from(one == Seal::Fenced);
    assert_eq!(on.store.seal(closed[winner], &manifests[winner]).await.unwrap(), Seal::Fenced, "it is sealed");
    let next = manifest_of(&on.store, tables[1 - winner], &Chain::up_to(&manifests[winner])).await;
    assert_eq!(on.store.seal(closed[1 - winner], &next).await.unwrap(), Seal::Done);
    assert_eq!(on.other.manifests(0, 0, 10).await.unwrap().len(), 2);
}

/// A worker that was stopped while another opened the table again, and a row came in.
pub async fn a_closing_that_was_taken_back_seals_nothing(on: &Fixture) {
    let (envelope, table) = in_a_dated_table(on).await;
    settle(&on.store, &envelope).await;
    let stopped = close(&on.store, table).await;
    let manifest = manifest_of(&on.store, table, &Chain::default()).await;
    on.other.reopen(stopped).await.unwrap();
    assert_eq!(on.store.seal(stopped, &manifest).await.unwrap(), Seal::Fenced);
    on.other.create(&[created(ids_of_one_table(&on.store, 2)[1])]).await.unwrap();
    let closed = close(&on.other, table).await;
    assert_ne!(closed, stopped);
    assert_eq!(on.store.seal(stopped, &manifest).await.unwrap(), Seal::Fenced);
    on.store.reopen(stopped).await.unwrap();
    assert_eq!(close(&on.store, table).await, closed, "an old closing opens nothing");
    // A database that was restored gives the same numbers again, to others.
    let mut other = closed;
    other.table.table ^= 1;
    on.store.reopen(other).await.unwrap();
    let of_other = Manifest { table: other.table.table, ..manifest.clone() };
    assert_eq!(on.store.seal(other, &of_other).await.unwrap(), Seal::Fenced);
    assert_eq!(close(&on.store, table).await, closed, "the number of another table opens nothing");
    assert_eq!(on.store.last_manifest(table.database).await.unwrap(), None);
}

/// In order, page by page, and the last of them; that of an empty table too.
pub async fn manifests_are_read_as_they_were_written(on: &Fixture) {
    let (_, table, first) = sealed(on).await;
    let empty = created(id_at(NOW.plus_millis(-31 * DAY_MS), 5));
    on.store.create(std::slice::from_ref(&empty)).await.unwrap();
    on.store.cancel(empty.id).await.unwrap();
    let other_table = on.store.table_of(empty.id);
    assert_eq!(on.store.purge(other_table, &[empty.id]).await.unwrap(), 1);
    let closed = close(&on.store, other_table).await;
    let second = manifest_of(&on.store, other_table, &Chain::up_to(&first)).await;
    assert_eq!((second.content.ends, second.content.envelopes), (None, 0));
    assert_eq!(on.store.seal(closed, &second).await.unwrap(), Seal::Done);

    // A table that is closed and not sealed has no manifest.
    let (database, mut chain) = (table.database, Chain::default());
    for (after, manifest) in [(0, &first), (1, &second)] {
        let page = on.other.manifests(database, after, 1).await.unwrap();
        let [row] = &page[..] else { panic!("{page:?}") };
        let stored = row.manifest.as_ref().unwrap();
        assert_eq!(row.number, stored.manifest.number);
        assert_eq!((&stored.manifest, stored.hash), (manifest, manifest.hash()));
        assert_eq!(chain.take(&stored.manifest, stored.hash), []);
    }
    assert_eq!(on.other.last_manifest(database).await.unwrap().map(|last| last.manifest), Some(second));
}
