//! Reading: pages, and one moment at a time.

use std::collections::HashMap;

use hongbao_core::{Entry, Envelope, EnvelopeId, Journal, Opened, Stage};
use hongbao_store::{PendingPage, Settlement};

use super::{Fixture, NOW, created, id_at, ids_of_one_table, journal_of, make_active, openings, refund, user, write};

/// Who opened is told its own share for ever, also after the refund (I2).
pub async fn a_users_own_opening_is_found(on: &Fixture) {
    let ids = ids_of_one_table(&on.store, 2);
    let envelope = make_active(&on.store, ids[0]).await;
    make_active(&on.store, ids[1]).await;
    let mut entries = openings(&envelope, Journal::new(envelope.total), ["a", "b", "c"]);
    entries.push(refund(&envelope, Journal::after(&entries[2])));
    write(&on.store, &entries).await;
    for (name, entry) in ["a", "b", "c"].iter().zip(&entries) {
        let (found, journal, opened) = on.other.load_for(envelope.id, &user(name)).await.unwrap().expect("it exists");
        assert_eq!((found, journal), (envelope.clone(), Journal::after(&entries[3])));
        assert_eq!(opened, Some(Opened { seq: entry.seq, amount: entry.amount, at: entry.at }));
    }
    for (id, name) in [(ids[0], "sender"), (ids[0], "d"), (ids[1], "a")] {
        let (.., opened) = on.store.load_for(id, &user(name)).await.unwrap().expect("it exists");
        assert_eq!(opened, None, "{name}");
    }
}

/// Page after page gives the journal in order (I4).
pub async fn the_journal_is_read_in_pages(on: &Fixture) {
    let envelope = make_active(&on.store, ids_of_one_table(&on.store, 1)[0]).await;
    let entries = openings(&envelope, Journal::new(envelope.total), 0..7);
    write(&on.store, &entries).await;
    let mut pages: Vec<Vec<Entry>> = Vec::new();
    let mut after_seq = 0;
    while let page @ [.., last] = on.store.entries(envelope.id, after_seq, 3).await.unwrap().as_slice() {
        after_seq = last.seq;
        pages.push(page.to_vec());
    }
    assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [3, 3, 1]);
    assert_eq!(pages.concat(), entries);
}

/// Envelopes of several tables and databases, with journals of several lengths, and some that do not exist.
pub async fn many_envelopes_are_read_together_as_each_is_alone(on: &Fixture) {
    let ids: Vec<EnvelopeId> = (0..60).map(|number| id_at(NOW, number)).collect();
    let (absent, ids) = ids.split_at(10);
    let mut journals = HashMap::new();
    for (place, id) in ids.iter().enumerate() {
        if place % 5 == 0 {
            // Not paid.
            on.store.create(&[created(*id)]).await.unwrap();
            continue;
        }
        let envelope = make_active(&on.store, *id).await;
        let mut entries = openings(&envelope, Journal::new(envelope.total), 0..place % 7);
        if let Some(last) = entries.last().filter(|_| place % 3 == 0) {
            let last = refund(&envelope, Journal::after(last));
            entries.push(last);
        }
        write(&on.store, &entries).await;
        journals.insert(*id, entries);
    }
    journals.retain(|_, entries| !entries.is_empty());
    let asked = [absent, ids].concat();
    let mut found = on.other.load_many(&asked).await.unwrap();
    assert_eq!(found.len(), asked.len());
    for id in &asked {
        assert_eq!(found.remove(id).unwrap(), on.other.load(*id).await.unwrap(), "{id}");
    }
    assert_eq!(on.other.load_journals(&asked, 100).await.unwrap(), journals);
    let begun = journals.iter().map(|(id, entries)| (*id, entries[..entries.len().min(2)].to_vec())).collect();
    assert_eq!(on.other.load_journals(&asked, 2).await.unwrap(), begun);
    assert!(on.other.load_many(&[]).await.unwrap().is_empty());
    assert!(on.other.load_journals(&[], 2).await.unwrap().is_empty());
}

/// The audit misses no envelope and no entry, and sees none twice.
pub async fn a_scan_gives_each_envelope_once_and_all_journals(on: &Fixture) {
    let ids = ids_of_one_table(&on.store, 7);
    let mut expected = Vec::new();
    for (opened, id) in ids.iter().enumerate() {
        let envelope = make_active(&on.store, *id).await;
        let entries = openings(&envelope, Journal::new(envelope.total), 0..opened);
        write(&on.store, &entries).await;
        expected.push((envelope, entries));
    }
    expected.sort_by_key(|(envelope, _)| envelope.id);

    let table = on.store.table_of(ids[0]);
    let mut found = Vec::new();
    let mut after = None;
    while let page @ [.., (last, _)] = on.other.scan(table, after, 3).await.unwrap().as_slice() {
        after = Some(last.id);
        found.extend_from_slice(page);
    }
    let lengths = |(envelope, entries): &(Envelope, Vec<Entry>)| (envelope.clone(), entries.len() as u32);
    assert_eq!(found, expected.iter().map(lengths).collect::<Vec<_>>());

    let journals = |places: std::ops::Range<usize>| -> Vec<Entry> {
        expected[places].iter().flat_map(|(_, entries)| entries.clone()).collect()
    };
    let id_of = |place: usize| expected[place].0.id;
    assert_eq!(on.other.scan_entries(table, None, id_of(6), 100).await.unwrap(), journals(0..7));
    assert_eq!(on.other.scan_entries(table, Some(id_of(1)), id_of(4), 100).await.unwrap(), journals(2..5));
    assert_eq!(on.other.scan_entries(table, None, id_of(6), 5).await.unwrap(), journals(0..7)[..5]);
    assert_eq!(on.other.scan_entries(table, Some(id_of(6)), id_of(6), 100).await.unwrap(), []);
    let other_table = on.store.tables().into_iter().find(|other| *other != table).expect("there are several");
    assert_eq!(on.store.scan(other_table, None, 3).await.unwrap(), []);
    assert_eq!(on.store.scan_entries(other_table, None, id_of(6), 3).await.unwrap(), []);
}

/// Two journals that always grow in one transaction are never seen apart.
pub async fn a_scan_and_a_load_see_one_moment(on: &Fixture) {
    let ids = ids_of_one_table(&on.store, 2);
    let (one, two) = (make_active(&on.store, ids[0]).await, make_active(&on.store, ids[1]).await);
    let (ones, twos) = (Journal::new(one.total), Journal::new(two.total));
    let (ones, twos) = (openings(&one, ones, 0..10), openings(&two, twos, 0..10));
    let writer = async {
        for (one, two) in ones.iter().zip(&twos) {
            write(&on.store, &[one.clone(), two.clone()]).await;
        }
    };
    let reader = async {
        let table = on.other.table_of(one.id);
        let mut seen = 0;
        while seen < ones.len() {
            let page = on.other.scan(table, None, 10).await.unwrap();
            let lengths: Vec<_> = page.iter().map(|(_, last_seq)| *last_seq as usize).collect();
            assert_eq!(lengths, [lengths[0]; 2]);
            assert!(lengths[0] >= seen, "time does not go backward");
            seen = lengths[0];

            let (_, journal) = on.other.load(one.id).await.unwrap().expect("it exists");
            let left = journal.last_seq.checked_sub(1).map_or(one.total, |place| ones[place as usize].remaining);
            assert_eq!(journal.remaining, left);
        }
    };
    tokio::join!(writer, reader);
    assert_eq!(journal_of(&on.other, one.id).await.len(), 10);
    assert_eq!(on.other.load(id_at(NOW, u64::MAX)).await.unwrap(), None);
}

/// An operator sees what is left to be done, whatever is settled beside it.
pub async fn what_is_not_settled_is_counted_page_by_page(on: &Fixture) {
    let mut ids = ids_of_one_table(&on.store, 9);
    ids.sort_unstable();
    let table = on.store.table_of(ids[0]);
    let count = async |stage, after, limit| on.other.count_pending(table, stage, after, limit).await.unwrap();
    for stage in [Stage::Created, Stage::Active] {
        assert_eq!(count(stage, None, 10).await, PendingPage::default(), "an empty table");
    }
    for (number, id) in ids[..6].iter().enumerate() {
        let envelope = make_active(&on.store, *id).await;
        // By turns: nothing opened, opened and not credited, credited to its end.
        let (opened, ended) = [(0, false), (2, false), (2, true)][number % 3];
        write(&on.store, &openings(&envelope, Journal::new(envelope.total), 0..opened)).await;
        if ended {
            on.store.settle(&[Settlement { envelope_id: *id, settled_seq: 2, ended }]).await.unwrap();
        }
    }
    on.store.create(&[created(ids[6]), created(ids[7]), created(ids[8])]).await.unwrap();
    on.store.cancel(ids[7]).await.unwrap();

    let page = |envelopes, behind, ends| PendingPage { envelopes, behind, ends: Some(ends) };
    assert_eq!(count(Stage::Active, None, 10).await, page(4, 2, (ids[0], ids[4])));
    assert_eq!(count(Stage::Active, None, 3).await, page(3, 1, (ids[0], ids[3])));
    assert_eq!(count(Stage::Active, Some(ids[3]), 3).await, page(1, 1, (ids[4], ids[4])));
    assert_eq!(count(Stage::Active, Some(ids[4]), 3).await, PendingPage::default());
    assert_eq!(count(Stage::Created, None, 10).await, page(2, 0, (ids[6], ids[8])));
    for stage in [Stage::Cancelled, Stage::Settled] {
        assert_eq!(count(stage, None, 10).await, PendingPage::default(), "nothing is left to be done");
    }
}
