//! Appending: the fence.

use std::collections::BTreeSet;

use hongbao_core::id::Span;
use hongbao_core::limits::OPEN_BATCH_SIZE_MAX;
use hongbao_core::{Day, Entry, EntryKind, Envelope, EnvelopeId, Fen, Journal};

use super::{
    DAY_MS, Fixture, NOW, created, id_at, ids, ids_of_one_table, ids_of_two_tables, journal_of, make_active, openings,
    refund, user, write,
};
use hongbao_store::Append;

/// The last entry tells what is left, and that plus all amounts is the total (I1).
pub async fn the_journal_folds_to_what_is_left(on: &Fixture) {
    let envelope = make_active(&on.store, ids_of_one_table(&on.store, 1)[0]).await;
    let mut journal = Journal::new(envelope.total);
    for name in 0..envelope.shares {
        let next = openings(&envelope, journal, [name]);
        write(&on.store, &next).await;
        let (found, fold) = on.other.load(envelope.id).await.unwrap().expect("it was created");
        journal = Journal::after(&next[0]);
        assert_eq!((found, fold), (envelope.clone(), journal));

        let opened: i64 = journal_of(&on.store, envelope.id).await.iter().map(|entry| entry.amount.get()).sum();
        assert_eq!(opened + fold.remaining.get(), envelope.total.get());
    }
    assert!(journal.has_ended() && !journal.refunded);
}

/// Of two servers that decided on the same state one writes, and the other
/// writes nothing at all, not even what is good of its batch (I5).
pub async fn two_writers_of_one_seq_have_one_winner(on: &Fixture) {
    let ids = ids_of_one_table(&on.store, 3);
    let contested = make_active(&on.store, ids[0]).await;
    let own = [make_active(&on.store, ids[1]).await, make_active(&on.store, ids[2]).await];
    let journal = Journal::new(contested.total);
    let batches = [("left", &own[0]), ("right", &own[1])].map(|(name, own)| {
        let mut batch = openings(own, journal, ["a", "b"]);
        batch.extend(openings(&contested, journal, [name]));
        batch
    });
    let (left, right) = tokio::join!(on.store.append(&batches[0]), on.other.append(&batches[1]));
    let outcomes = [left.unwrap(), right.unwrap()];
    assert!(outcomes == [Append::Done, Append::Fenced] || outcomes == [Append::Fenced, Append::Done], "{outcomes:?}");
    for ((outcome, batch), own) in outcomes.iter().zip(&batches).zip(&own) {
        let stored = journal_of(&on.store, own.id).await;
        let won = *outcome == Append::Done;
        assert_eq!(stored, if won { &batch[..2] } else { &[] });
        assert_eq!(journal_of(&on.store, contested.id).await == batch[2..], won);
    }
}

/// The second opening of a user is fenced, whatever its place says (I2).
pub async fn a_user_opens_an_envelope_once(on: &Fixture) {
    let envelope = make_active(&on.store, ids_of_one_table(&on.store, 1)[0]).await;
    let entries = openings(&envelope, Journal::new(envelope.total), ["a", "b", "a", "c"]);
    write(&on.store, &entries[..2]).await;
    assert_eq!(on.other.append(&entries[2..]).await.unwrap(), Append::Fenced);
    assert_eq!(on.store.append(&entries).await.unwrap(), Append::Fenced);
    assert_eq!(journal_of(&on.store, envelope.id).await, entries[..2]);
}

/// One transaction for a whole batch: a fenced entry takes all others back, in
/// other tables too, and the store goes on working afterwards.
pub async fn a_batch_over_several_tables_is_all_or_nothing(on: &Fixture) {
    let [one, two] = ids_of_two_tables(&on.store);
    let (one, two) = (make_active(&on.store, one).await, make_active(&on.store, two).await);
    let journal = Journal::new(one.total);
    let (ones, twos) = (openings(&one, journal, ["a", "b", "c"]), openings(&two, journal, ["a", "b", "c"]));
    write(&on.other, &twos[..1]).await;

    let fenced = [&ones[..2], &twos[..2]].concat();
    assert_eq!(on.store.append(&fenced).await.unwrap(), Append::Fenced);
    assert_eq!(journal_of(&on.store, one.id).await, []);
    assert_eq!(journal_of(&on.store, two.id).await, twos[..1]);

    // Its entries lie in turn in one table and in the other.
    let good = [ones[0].clone(), twos[1].clone(), ones[1].clone(), twos[2].clone(), ones[2].clone()];
    write(&on.store, &good).await;
    assert_eq!(journal_of(&on.other, one.id).await, ones);
    assert_eq!(journal_of(&on.other, two.id).await, twos);
    write(&on.store, &[]).await;
}

/// All of it or nothing; a batch over two writers' databases is not written at all.
pub async fn a_batch_over_two_databases_is_written_where_one_writer_has_both(on: &Fixture) {
    let home = on.store.table_of(id_at(NOW, 0)).database;
    let databases: BTreeSet<u8> = on.store.tables().iter().map(|table| table.database).collect();
    let mut of_home = ids(&on.store, |table| table.database == home);
    assert!(databases.len() > 1, "there is one database");
    for database in databases.into_iter().filter(|database| *database != home) {
        let mut of_other = ids(&on.store, |table| table.database == database);
        let next = async |ids: &mut dyn Iterator<Item = EnvelopeId>| {
            make_active(&on.store, ids.next().expect("there are enough ids")).await
        };
        let (first, raced) = (next(&mut of_home).await, next(&mut of_home).await);
        let (second, other) = (next(&mut of_other).await, next(&mut of_other).await);
        let journal = Journal::new(first.total);
        let of = |envelope| openings(envelope, journal, ["a"]);

        let appended = on.store.append(&[of(&first), of(&second)].concat()).await;
        if on.store.writer_of(home) != on.store.writer_of(database) {
            appended.unwrap_err();
            assert_eq!(journal_of(&on.store, first.id).await, []);
            assert_eq!(journal_of(&on.store, second.id).await, []);
            continue;
        }
        assert_eq!(appended.unwrap(), Append::Done);
        assert_eq!(journal_of(&on.other, first.id).await, of(&first));
        assert_eq!(journal_of(&on.other, second.id).await, of(&second));
        // A key that is taken in one of them.
        write(&on.other, &of(&raced)).await;
        let appended = on.store.append(&[of(&other), of(&raced)].concat()).await;
        assert_eq!(appended.unwrap(), Append::Fenced);
        assert_eq!(journal_of(&on.store, other.id).await, []);
    }
}

/// From one entry to more than the largest batch, in the order given (I4).
pub async fn batches_of_every_size_are_written_in_order(on: &Fixture) {
    let sizes = [1, 2, 3, 15, 16, 17, 127, 128, 129, OPEN_BATCH_SIZE_MAX - 1, OPEN_BATCH_SIZE_MAX + 1];
    for (id, size) in ids_of_one_table(&on.store, sizes.len()).into_iter().zip(sizes) {
        let total = Fen::new(10_000).expect("positive");
        let envelope = Envelope { total, shares: 10_000, ..created(id) };
        on.store.create(&[envelope]).await.unwrap();
        // The draw is of no interest here, so each entry takes one fen.
        let entries: Vec<Entry> = (1..=size as u32)
            .map(|seq| Entry {
                envelope_id: id,
                seq,
                kind: EntryKind::Open(user(seq)),
                amount: Fen::new(1).expect("positive"),
                remaining: Fen::new(10_000 - i64::from(seq)).expect("positive"),
                at: NOW.plus_millis(i64::from(seq)),
            })
            .collect();
        write(&on.store, &entries).await;
        assert_eq!(journal_of(&on.other, id).await, entries, "{size} entries");
    }
}

/// Either the opener gets a share and the refund is decided again, or the rest
/// went back and the opener comes too late; never both (I1, I5).
pub async fn a_refund_and_an_opening_that_race_have_one_winner(on: &Fixture) {
    for id in ids_of_one_table(&on.store, 20) {
        let envelope = make_active(&on.store, id).await;
        let journal = Journal::new(envelope.total);
        let (opening, refund) = (openings(&envelope, journal, ["late"]), [refund(&envelope, journal)]);
        let (opened, refunded) = tokio::join!(on.store.append(&opening), on.other.append(&refund));
        let winner = match (opened.unwrap(), refunded.unwrap()) {
            (Append::Done, Append::Fenced) => opening,
            (Append::Fenced, Append::Done) => refund.to_vec(),
            both => panic!("{both:?}"),
        };
        assert_eq!(journal_of(&on.store, id).await, winner);
        let (_, fold) = on.store.load(id).await.unwrap().expect("it was created");
        assert_eq!(fold, Journal::after(&winner[0]));
    }
}

/// The key of a user fences a second refund as well (I1).
pub async fn an_envelope_is_refunded_once(on: &Fixture) {
    let envelope = make_active(&on.store, ids_of_one_table(&on.store, 1)[0]).await;
    let opening = openings(&envelope, Journal::new(envelope.total), ["a"]);
    write(&on.store, &opening).await;
    let first = refund(&envelope, Journal::after(&opening[0]));
    write(&on.store, std::slice::from_ref(&first)).await;
    let second = Entry { seq: first.seq + 1, ..first.clone() };
    assert_eq!(on.other.append(&[second]).await.unwrap(), Append::Fenced);
    let (_, fold) = on.store.load(envelope.id).await.unwrap().expect("it was created");
    assert!(fold.refunded && fold.has_ended() && fold.last_seq == first.seq);
}

/// Each of 31 days leads to tables of its own, and all of them can be used.
pub async fn every_day_has_its_own_tables(on: &Fixture) {
    let mut found = BTreeSet::new();
    for day in 0..31 {
        let noon = NOW.plus_millis((day - 27) * DAY_MS + DAY_MS / 2);
        let envelope = make_active(&on.store, id_at(noon, 0)).await;
        let entries = openings(&envelope, Journal::new(envelope.total), ["a"]);
        write(&on.store, &entries).await;
        let table = on.store.table_of(envelope.id);
        assert!(on.store.tables().contains(&table));
        let tail = on.other.tail(table, 0, 10).await.unwrap();
        assert!(tail.iter().any(|row| row.entry == entries[0]), "{table:?}");
        found.insert(table.span);
    }
    assert_eq!(found, Day::all().map(Span::Day).collect());
}
