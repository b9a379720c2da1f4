//! What the workers follow and find.

use hongbao_core::{Entry, Envelope, EnvelopeId, Journal, Stage};

use super::{
    DAY_MS, Fixture, NOW, created, ids_of_one_table, ids_of_two_tables, make_active, openings, refund, user, write,
};
use hongbao_store::{Settlement, TailEntry, Waiting};

/// The credit worker sees every entry once, those of one server in the order in
/// which it wrote them (I6).
pub async fn the_tail_gives_entries_in_the_order_of_writing(on: &Fixture) {
    let ids = ids_of_one_table(&on.store, 2);
    let table = on.store.table_of(ids[0]);
    assert_eq!(on.store.tail_position(table).await.unwrap(), 0);
    assert_eq!(on.store.tail(table, 0, 10).await.unwrap(), []);

    let (one, two) = (make_active(&on.store, ids[0]).await, make_active(&on.store, ids[1]).await);
    let ones = openings(&one, Journal::new(one.total), ["a", "b", "c"]);
    let mut twos = openings(&two, Journal::new(two.total), ["a"]);
    twos.push(refund(&two, Journal::after(&twos[0])));
    write(&on.store, &ones[..2]).await;
    write(&on.store, &twos).await;
    write(&on.store, &ones[2..]).await;
    let settlement = Settlement { envelope_id: two.id, settled_seq: 1, ended: false };
    on.store.settle(&[settlement]).await.unwrap();

    let expected = [&ones[..2], &twos, &ones[2..]].concat();
    let mut found = Vec::new();
    let mut position = 0;
    while let page @ [.., last] = on.other.tail(table, position, 2).await.unwrap().as_slice() {
        assert!(page.iter().all(|row| row.position > position && row.sender == user("sender")));
        position = last.position;
        found.extend_from_slice(page);
    }
    assert_eq!(on.store.tail_position(table).await.unwrap(), position);
    assert_eq!(found.iter().map(|row| row.entry.clone()).collect::<Vec<_>>(), expected);
    assert_eq!(found.iter().map(|row| row.settled_seq).collect::<Vec<_>>(), [0, 0, 1, 1, 0]);
    assert!(found.is_sorted_by(|one, next| one.position < next.position));
}

/// One look at many tables, most of them empty, says of each what is in it, in their order.
pub async fn many_tables_are_looked_at_together(on: &Fixture) {
    let ids = ids_of_two_tables(&on.store);
    let [first, second] = ids.map(|id| on.store.table_of(id));
    let quiet = Waiting::default();
    let looks = async || {
        let mut tables = on.other.tables();
        tables.retain(|table| ![first, second].contains(table));
        let mut looked_at = vec![second];
        looked_at.extend(&tables);
        looked_at.push(first);
        let waiting = on.other.waiting(&looked_at).await.unwrap();
        let ends = on.other.tail_positions(&looked_at).await.unwrap();
        let last = looked_at.len() - 1;
        assert!(waiting[1..last].iter().all(|waiting| *waiting == quiet) && ends[1..last].iter().all(|end| *end == 0));
        assert_eq!((waiting.len(), ends.len()), (last + 1, last + 1));
        [(waiting[last], ends[last]), (waiting[0], ends[0])]
    };
    assert_eq!(looks().await, [(quiet, 0), (quiet, 0)]);
    on.store.create(&[created(ids[0])]).await.unwrap();
    let envelope = make_active(&on.store, ids[1]).await;
    write(&on.store, &openings(&envelope, Journal::new(envelope.total), ["a", "b", "c"])).await;
    let active = Waiting { first_expiry: envelope.expires_at, ..quiet };
    let [(of_first, end_of_first), (of_second, end_of_second)] = looks().await;
    assert_eq!((of_first, end_of_first), (Waiting { has_unpaid: true, ..quiet }, 0));
    assert_eq!((of_second, end_of_second), (active, on.store.tail_position(second).await.unwrap()));
    assert!(end_of_second > 0);
    on.store.cancel(ids[0]).await.unwrap();
    on.store.settle(&[Settlement { envelope_id: ids[1], settled_seq: 3, ended: true }]).await.unwrap();
    let waiting = looks().await.map(|(waiting, _)| waiting);
    assert_eq!(waiting, [Waiting { has_cancelled: true, ..quiet }, quiet]);
}

/// A worker that lags behind takes nothing back (I6).
pub async fn a_settlement_never_goes_backward(on: &Fixture) {
    let id = ids_of_one_table(&on.store, 1)[0];
    let envelope = make_active(&on.store, id).await;
    write(&on.store, &openings(&envelope, Journal::new(envelope.total), 0..10)).await;
    let steps = [
        ((4, false), (4, Stage::Active)),
        ((2, false), (4, Stage::Active)),
        ((2, true), (4, Stage::Active)),
        ((10, true), (10, Stage::Settled)),
        ((10, true), (10, Stage::Settled)),
        ((6, false), (10, Stage::Settled)),
    ];
    for ((settled_seq, ended), expected) in steps {
        on.store.settle(&[Settlement { envelope_id: id, settled_seq, ended }]).await.unwrap();
        let (found, _) = on.other.load(id).await.unwrap().expect("it exists");
        assert_eq!((found.settled_seq, found.stage), expected, "after {settled_seq} {ended}");
    }
    on.store.settle(&[]).await.unwrap();
}

/// One batch may speak of an envelope more than once, and of several tables.
pub async fn the_furthest_of_several_settlements_counts(on: &Fixture) {
    let ids = ids_of_two_tables(&on.store);
    let mut settlements = Vec::new();
    for id in ids {
        make_active(&on.store, id).await;
        settlements.extend([(1, false), (3, true), (2, false)].map(|(settled_seq, ended)| Settlement {
            envelope_id: id,
            settled_seq,
            ended,
        }));
    }
    on.store.settle(&settlements).await.unwrap();
    for id in ids {
        let (found, _) = on.other.load(id).await.unwrap().expect("it exists");
        assert_eq!((found.settled_seq, found.stage), (3, Stage::Settled));
    }
}

/// Active envelopes that are credited less far than their journal goes (I6).
pub async fn what_the_tail_has_missed_is_found(on: &Fixture) {
    let mut ids = ids_of_one_table(&on.store, 8);
    ids.sort_unstable();
    let table = on.store.table_of(ids[0]);
    let mut behind = Vec::new();
    for (number, id) in ids.into_iter().enumerate() {
        let envelope = make_active(&on.store, id).await;
        // By turns: nothing opened, nothing credited, credited in part, credited in full.
        let (opened, settled_seq) = [(0, 0), (3, 0), (3, 2), (3, 3)][number % 4];
        write(&on.store, &openings(&envelope, Journal::new(envelope.total), 0..opened)).await;
        on.store.settle(&[Settlement { envelope_id: id, settled_seq, ended: false }]).await.unwrap();
        if settled_seq < opened {
            behind.push(Envelope { settled_seq, ..envelope });
        }
    }
    let mut found = Vec::new();
    let mut after: Option<EnvelopeId> = None;
    while let page @ [.., last] = on.other.unsettled(table, after, i64::MAX, 3).await.unwrap().as_slice() {
        after = Some(last.id);
        found.extend_from_slice(page);
    }
    assert_eq!(found, behind);

    let last = Settlement { envelope_id: behind[0].id, settled_seq: 3, ended: true };
    on.store.settle(&[last]).await.unwrap();
    assert_eq!(on.store.unsettled(table, None, i64::MAX, 10).await.unwrap(), behind[1..]);

    // As far as a tail has come: the entry that settles next is what counts.
    let tail = on.store.tail(table, 0, 1_000).await.unwrap();
    let is_next =
        |row: &&TailEntry| row.entry.envelope_id == behind[1].id && row.entry.seq == behind[1].settled_seq + 1;
    let next = tail.iter().find(is_next).expect("it was written").position;
    assert_eq!(on.store.unsettled(table, None, next - 1, 10).await.unwrap(), []);
    assert_eq!(on.store.unsettled(table, None, next, 10).await.unwrap(), behind[1..2]);
}

/// Those that wait for a payment for too long, page by page; no others.
pub async fn unpaid_envelopes_are_found_by_age(on: &Fixture) {
    let mut ids = ids_of_one_table(&on.store, 7);
    ids.sort_unstable();
    let table = on.store.table_of(ids[0]);
    let old: Vec<_> = ids[..5].iter().map(|id| created(*id)).collect();
    let young = Envelope { created_at: NOW.plus_millis(1), ..created(ids[5]) };
    on.store.create(&old).await.unwrap();
    on.store.create(&[young]).await.unwrap();
    make_active(&on.store, ids[6]).await;
    on.store.activate(ids[0], NOW).await.unwrap();
    on.store.cancel(ids[2]).await.unwrap();

    assert_eq!(on.store.unpaid(table, NOW, None, 10).await.unwrap(), []);
    let before = NOW.plus_millis(1);
    let first = on.other.unpaid(table, before, None, 2).await.unwrap();
    assert_eq!(first, [old[1].clone(), old[3].clone()]);
    assert_eq!(on.other.unpaid(table, before, Some(ids[3]), 2).await.unwrap(), old[4..]);
    assert_eq!(on.other.unpaid(table, before, Some(ids[4]), 2).await.unwrap(), []);
}

/// Those that nobody can pay for any more, page by page; no others.
pub async fn cancelled_envelopes_are_found_by_age(on: &Fixture) {
    let mut ids = ids_of_one_table(&on.store, 6);
    ids.sort_unstable();
    let table = on.store.table_of(ids[0]);
    let old: Vec<_> = ids[..5].iter().map(|id| created(*id)).collect();
    on.store.create(&old).await.unwrap();
    on.store.create(&[Envelope { created_at: NOW.plus_millis(1), ..created(ids[5]) }]).await.unwrap();
    on.store.activate(ids[1], NOW).await.unwrap();
    for place in [0, 3, 4, 5] {
        on.store.cancel(ids[place]).await.unwrap();
    }

    assert_eq!(on.store.cancelled(table, NOW, None, 10).await.unwrap(), []);
    let before = NOW.plus_millis(1);
    assert_eq!(on.other.cancelled(table, before, None, 2).await.unwrap(), [ids[0], ids[3]]);
    assert_eq!(on.other.cancelled(table, before, Some(ids[3]), 2).await.unwrap(), [ids[4]]);
    assert_eq!(on.other.cancelled(table, before, Some(ids[4]), 2).await.unwrap(), []);
}

/// I1: whatever a worker asks for, no row with money or a journal goes.
pub async fn nothing_but_cancelled_envelopes_without_entries_is_removed(on: &Fixture) {
    let ids = ids_of_one_table(&on.store, 7);
    let table = on.store.table_of(ids[0]);
    let active = make_active(&on.store, ids[0]).await;
    for id in &ids[1..6] {
        on.store.create(&[created(*id)]).await.unwrap();
    }
    for id in &ids[2..6] {
        on.store.cancel(*id).await.unwrap();
    }
    // Damage, but a journal all the same.
    write(&on.store, &openings(&active, Journal::new(active.total), ["a"])).await;
    let stray = openings(&active, Journal::new(active.total), ["a"]).remove(0);
    write(&on.store, &[Entry { envelope_id: ids[2], ..stray }]).await;

    assert_eq!(on.store.purge(table, &[]).await.unwrap(), 0);
    assert_eq!(on.store.purge(table, &[ids[0], ids[1], ids[2], ids[3], ids[5], ids[6]]).await.unwrap(), 2);
    let mut left = ids[..7].to_vec();
    left.retain(|id| ![ids[3], ids[5], ids[6]].contains(id));
    for id in &ids {
        assert_eq!(on.other.load(*id).await.unwrap().is_some(), left.contains(id), "{id}");
    }
    assert_eq!(on.store.purge(table, &ids).await.unwrap(), 1, "what was left out, once");
    assert_eq!(on.store.purge(table, &ids).await.unwrap(), 0);
    assert_eq!(on.other.load(active.id).await.unwrap().expect("it is there").1.last_seq, 1);
}

/// Those whose rest goes back to the sender; not those that have ended (I1).
pub async fn expired_envelopes_with_money_are_found_oldest_first(on: &Fixture) {
    let ids = ids_of_one_table(&on.store, 6);
    let table = on.store.table_of(ids[0]);
    let mut envelopes = Vec::new();
    for (number, id) in ids.iter().enumerate() {
        // The later it was made, the earlier it expires.
        let expires_at = NOW.plus_millis(DAY_MS - number as i64);
        on.store.create(&[created(*id)]).await.unwrap();
        on.store.activate(*id, expires_at).await.unwrap();
        envelopes.push(Envelope { stage: Stage::Active, expires_at: Some(expires_at), ..created(*id) });
    }
    let untouched = Journal::new(envelopes[0].total);
    let opened = openings(&envelopes[1], untouched, ["a", "b"]);
    let finished = openings(&envelopes[2], untouched, 0..10);
    let refunded = refund(&envelopes[3], untouched);
    for entries in [&opened, &finished, &vec![refunded]] {
        write(&on.store, entries).await;
    }
    on.store.settle(&[Settlement { envelope_id: ids[2], settled_seq: 10, ended: true }]).await.unwrap();

    let expected = [5, 4, 1, 0].map(|number: usize| {
        let journal = if number == 1 { Journal::after(&opened[1]) } else { untouched };
        (envelopes[number].clone(), journal)
    });
    let all = on.other.expired(table, NOW.plus_millis(DAY_MS), None, 10).await.unwrap();
    assert_eq!(all, expected);
    let earliest = on.store.expired(table, NOW.plus_millis(DAY_MS), None, 1).await.unwrap();
    assert_eq!(earliest, expected[..1]);
    let exactly_then = on.store.expired(table, NOW.plus_millis(DAY_MS - 4), None, 10).await.unwrap();
    assert_eq!(exactly_then, expected[..2]);
    for (place, (envelope, _)) in expected.iter().enumerate() {
        let after = envelope.expires_at.map(|at| (at, envelope.id));
        let behind = on.store.expired(table, NOW.plus_millis(DAY_MS), after, 10).await.unwrap();
        assert_eq!(behind, expected[place + 1..]);
    }
}

/// Envelopes that end in the same millisecond come by their ids, and a cursor between them counts.
pub async fn expiries_of_the_same_moment_are_paged_by_id(on: &Fixture) {
    let mut ids = ids_of_one_table(&on.store, 5);
    let table = on.store.table_of(ids[0]);
    for id in &ids {
        on.store.create(&[created(*id)]).await.unwrap();
        on.store.activate(*id, NOW).await.unwrap();
    }
    ids.sort();
    let (mut after, mut found) = (None, Vec::new());
    while let [(envelope, _)] = &on.other.expired(table, NOW, after, 1).await.unwrap()[..] {
        after = envelope.expires_at.map(|at| (at, envelope.id));
        found.push(envelope.id);
    }
    assert_eq!(found, ids);
}
