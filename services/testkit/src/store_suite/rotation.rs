//! Day tables that come round, and the dated tables that they become.

use std::sync::Arc;

use hongbao_core::id::Span;
use hongbao_core::limits::ROTATION_AHEAD_DAYS;
use hongbao_core::{Date, Entry, Envelope, EnvelopeId, Journal, Stage};
use hongbao_store::{Append, Settlement, Store};

use super::{
    DAY_MS, Fixture, NOW, created, id_at, ids_of_one_table, journal_of, make_active, openings, refund, through, user,
    write,
};

/// `NOW` is in a February: its date's table is renamed so many days later.
pub(super) const DAYS_UNTIL_RENAMED: i32 = 28 - ROTATION_AHEAD_DAYS;

/// The last date that has its table before that of `NOW` is renamed.
fn before() -> Date {
    through().plus_days(DAYS_UNTIL_RENAMED - 1)
}

/// Everything that the store says of an envelope.
pub(super) async fn whole(store: &Arc<dyn Store>, id: EnvelopeId) -> (Envelope, Journal, Vec<Entry>) {
    let (envelope, journal) = store.load(id).await.unwrap().expect("it was created");
    (envelope, journal, journal_of(store, id).await)
}

fn is_dated(store: &Arc<dyn Store>, id: EnvelopeId) -> bool {
    matches!(store.table_of(id).span, Span::Date(_))
}

/// Each process finds what a table held that another one has renamed, and each date keeps a table of its own (I9).
pub async fn what_a_renamed_table_held_is_found_by_every_process(on: &Fixture) {
    on.store.rotate(through()).await.unwrap();
    let envelope = make_active(&on.store, ids_of_one_table(&on.store, 1)[0]).await;
    let id = envelope.id;
    write(&on.store, &openings(&envelope, Journal::new(envelope.total), ["a", "b"])).await;
    let before_it = whole(&on.store, id).await;

    for store in [&on.store, &on.other] {
        store.rotate(before()).await.unwrap();
        assert!(!is_dated(store, id));
    }
    on.store.rotate(before().plus_days(1)).await.unwrap();
    assert!(is_dated(&on.store, id) && on.store.tables().contains(&on.store.table_of(id)));
    // The other one has not looked since.
    assert!(!is_dated(&on.other, id));
    for store in [&on.store, &on.other] {
        assert_eq!(store.load_many(&[id]).await.unwrap().get(&id), None, "it is not in a day table, and not absent");
        assert_eq!(whole(store, id).await, before_it);
        let opened = store.load_for(id, &user("b")).await.unwrap().expect("it was created").2;
        assert_eq!(opened.expect("b has opened it").seq, 2);
        assert!(is_dated(store, id), "it has looked");
    }
    let table = on.store.table_of(id);
    assert_eq!(on.other.tail(table, 0, 10).await.unwrap().len(), 2);
    assert_eq!(on.other.scan(table, None, 10).await.unwrap().len(), 1);
    assert!(on.store.load(id_at(NOW, 77)).await.unwrap().is_none(), "an old id that never existed");
}

/// A refund or an opening that was decided before a rename is decided again, and never
/// lands in the table of the next month (I9).
pub async fn a_late_entry_is_fenced_and_then_written_into_the_dated_table(on: &Fixture) {
    on.store.rotate(through()).await.unwrap();
    let envelope = make_active(&on.store, ids_of_one_table(&on.store, 1)[0]).await;
    let id = envelope.id;
    let opening = openings(&envelope, Journal::new(envelope.total), ["a"]);
    write(&on.store, &opening).await;
    on.other.rotate(before()).await.unwrap();
    on.store.rotate(before().plus_days(1)).await.unwrap();

    let late = [refund(&envelope, Journal::after(&opening[0]))];
    assert_eq!(on.other.append(&late).await.unwrap(), Append::Fenced);
    assert_eq!(journal_of(&on.store, id).await, opening);
    write(&on.other, &late).await;
    assert_eq!(journal_of(&on.store, id).await, [&opening[..], &late[..]].concat());
    let expired = on.store.expired(on.store.table_of(id), NOW.plus_millis(90 * DAY_MS), None, 10).await.unwrap();
    assert_eq!(expired, [], "it is refunded");
}

/// What changes an envelope by its id changes it in the dated table.
pub async fn an_envelope_in_a_dated_table_is_paid_cancelled_and_settled(on: &Fixture) {
    on.store.rotate(through()).await.unwrap();
    let [paid, cancelled, opened] = ids_of_one_table(&on.store, 3).try_into().expect("three ids");
    for id in [paid, cancelled] {
        on.store.create(&[created(id)]).await.unwrap();
    }
    let envelope = make_active(&on.store, opened).await;
    write(&on.store, &openings(&envelope, Journal::new(envelope.total), ["a"])).await;
    on.other.rotate(before()).await.unwrap();
    on.store.rotate(before().plus_days(1)).await.unwrap();

    let settled = Settlement { envelope_id: opened, settled_seq: 1, ended: false };
    on.other.settle(&[settled]).await.unwrap();
    assert_eq!(whole(&on.store, opened).await.0.settled_seq, 1);
    let expires_at = NOW.plus_millis(DAY_MS);
    let stage = on.other.activate(paid, expires_at).await.unwrap();
    assert_eq!(stage, Some((Stage::Active, Some(expires_at))));
    assert_eq!(on.store.cancel(cancelled).await.unwrap(), Some(Stage::Cancelled));
    assert_eq!(on.store.activate(cancelled, expires_at).await.unwrap(), Some((Stage::Cancelled, None)));
    let table = on.store.table_of(paid);
    assert_eq!(on.store.purge(table, &[cancelled]).await.unwrap(), 1);
    assert_eq!(on.store.unpaid(table, expires_at, None, 10).await.unwrap(), []);
}

/// A create that comes a month late, as after a clock was wrong, finds a table of its date.
pub async fn an_envelope_whose_day_table_has_gone_on_is_made_in_a_dated_table(on: &Fixture) {
    on.store.rotate(through().plus_days(31)).await.unwrap();
    let envelope = make_active(&on.store, ids_of_one_table(&on.store, 1)[0]).await;
    write(&on.store, &openings(&envelope, Journal::new(envelope.total), ["a"])).await;
    assert!(is_dated(&on.store, envelope.id));
    on.other.rotate(through()).await.unwrap();
    assert_eq!(whole(&on.other, envelope.id).await, whole(&on.store, envelope.id).await);
}

/// Of processes that rotate at the same time each finds the work done, by itself or by another.
pub async fn several_processes_rotate_at_the_same_time(on: &Fixture) {
    on.store.rotate(through()).await.unwrap();
    let envelope = make_active(&on.store, ids_of_one_table(&on.store, 1)[0]).await;
    let before_it = whole(&on.store, envelope.id).await;
    for days in [20, 31] {
        let next = through().plus_days(days);
        let (one, other) = tokio::join!(on.store.rotate(next), on.other.rotate(next));
        one.unwrap();
        other.unwrap();
        // What one of them found in use it finds done.
        for store in [&on.store, &on.other] {
            store.rotate(next).await.unwrap();
            let again = store.rotate(next).await.unwrap();
            assert_eq!((again.tables, again.in_use), (0, 0), "{days} days later");
            assert_eq!(whole(store, envelope.id).await, before_it);
            assert_eq!(store.tables(), on.store.tables());
        }
    }
}

/// Five weeks day by day, out of a February: each day has its table, no
/// table has two, and everything is found all the time (I9).
pub async fn days_go_by_and_every_envelope_is_found(on: &Fixture) {
    let mut made: Vec<Envelope> = Vec::new();
    for day in 0..36 {
        on.store.rotate(through().plus_days(day)).await.unwrap();
        let noon = NOW.plus_millis(i64::from(day) * DAY_MS + DAY_MS / 2);
        let envelope = make_active(&on.store, id_at(noon, day as u64)).await;
        write(&on.store, &openings(&envelope, Journal::new(envelope.total), ["a"])).await;
        made.push(envelope);
        if day % 7 != 0 {
            continue;
        }
        for envelope in &made {
            let (found, _, journal) = whole(&on.store, envelope.id).await;
            assert_eq!((&found, journal.len()), (envelope, 1), "day {day}");
        }
    }
    on.other.rotate(through().plus_days(35)).await.unwrap();
    for store in [&on.store, &on.other] {
        let mut seen = 0;
        for table in store.tables() {
            let page = store.scan(table, None, 1_000).await.unwrap();
            seen += page.len();
            let dates: Vec<Date> = page.iter().map(|(row, _)| Date::of(row.id.minted_at(), 28_800)).collect();
            assert!(dates.windows(2).all(|pair| pair[0] == pair[1]), "{table:?} holds {dates:?}");
            assert!(page.iter().all(|(row, _)| store.table_of(row.id) == table), "{table:?}");
        }
        assert_eq!(seen, made.len());
    }
}
