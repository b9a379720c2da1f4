//! Creating, paying and cancelling.

use hongbao_core::{Audience, Envelope, Fen, GroupId, Journal, Kind, Seed, Stage};

use hongbao_store::StoreError;

use super::{Fixture, NOW, created, ids, ids_of_one_table, make_active, user};

/// What is created is loaded, to the last field and the largest number.
pub async fn every_field_of_an_envelope_comes_back(on: &Fixture) {
    let ids = ids_of_one_table(&on.store, 4);
    let largest = Fen::new(i64::MAX).expect("positive");
    let envelopes = [
        created(ids[0]),
        Envelope {
            kind: Kind::Equal,
            total: largest,
            shares: u32::MAX,
            share_cap: largest,
            greeting: String::new(),
            audience: Audience::Group(GroupId::parse("family").expect("plain")),
            seed: Seed::new(std::array::from_fn(|place| place as u8)),
            created_at: NOW.plus_millis(7),
            lifetime_ms: 1,
            ..created(ids[1])
        },
        Envelope {
            sender: user("x".repeat(64)),
            greeting: "'; -- \u{1F9E7}".to_owned(),
            audience: Audience::User(user("only_you")),
            ..created(ids[2])
        },
        Envelope {
            stage: Stage::Settled,
            expires_at: Some(NOW.plus_millis(1)),
            settled_seq: u32::MAX,
            ..created(ids[3])
        },
    ];
    on.store.create(&envelopes).await.unwrap();
    for envelope in envelopes {
        let (found, journal) = on.other.load(envelope.id).await.unwrap().expect("it was created");
        assert_eq!(journal, Journal::new(envelope.total));
        assert_eq!(found, envelope);
    }
}

/// No verb makes something up for an id that nobody stored.
pub async fn what_does_not_exist_is_none(on: &Fixture) {
    let id = ids_of_one_table(&on.store, 1)[0];
    assert_eq!(on.store.load(id).await.unwrap(), None);
    assert_eq!(on.store.load_for(id, &user("somebody")).await.unwrap(), None);
    assert_eq!(on.store.entries(id, 0, 10).await.unwrap(), []);
    assert_eq!(on.store.activate(id, NOW).await.unwrap(), None);
    assert_eq!(on.store.cancel(id).await.unwrap(), None);
    assert_eq!(on.store.load(id).await.unwrap(), None);
}

/// A second envelope under one id would change what was paid for (I1).
pub async fn an_id_that_exists_is_refused_with_its_whole_batch(on: &Fixture) {
    let home = on.store.table_of(ids_of_one_table(&on.store, 1)[0]);
    let ids: Vec<_> = ids(&on.store, |table| table.database == home.database).take(3).collect();
    let first = make_active(&on.store, ids[1]).await;
    let batch = [created(ids[0]), Envelope { sender: user("thief"), ..created(ids[1]) }, created(ids[2])];
    let refused = on.other.create(&batch).await;
    assert!(matches!(refused, Err(StoreError::Exists)), "{refused:?}");
    assert_eq!(on.store.load(ids[0]).await.unwrap(), None);
    assert_eq!(on.store.load(ids[1]).await.unwrap().expect("it was created").0, first);
    assert_eq!(on.store.load(ids[2]).await.unwrap(), None);
}

/// A repeated payment tells the same expiry as the first.
pub async fn activating_again_answers_the_first_expiry(on: &Fixture) {
    let id = ids_of_one_table(&on.store, 1)[0];
    on.store.create(&[created(id)]).await.unwrap();
    let first = NOW.plus_millis(1_000);
    for expires_at in [first, NOW.plus_millis(2_000)] {
        let in_force = on.store.activate(id, expires_at).await.unwrap();
        assert_eq!(in_force, Some((Stage::Active, Some(first))));
    }
    let (found, _) = on.other.load(id).await.unwrap().expect("it was created");
    assert_eq!((found.stage, found.expires_at), (Stage::Active, Some(first)));
}

/// What was cancelled stays so: its sender was told that nothing is paid.
pub async fn a_cancelled_envelope_is_not_revived(on: &Fixture) {
    let id = ids_of_one_table(&on.store, 1)[0];
    on.store.create(&[created(id)]).await.unwrap();
    assert_eq!(on.store.cancel(id).await.unwrap(), Some(Stage::Cancelled));
    assert_eq!(on.store.cancel(id).await.unwrap(), Some(Stage::Cancelled));
    assert_eq!(on.store.activate(id, NOW).await.unwrap(), Some((Stage::Cancelled, None)));
    let (found, _) = on.other.load(id).await.unwrap().expect("it was created");
    assert_eq!((found.stage, found.expires_at), (Stage::Cancelled, None));
}

/// What was paid can be opened; a cancel that comes late changes nothing.
pub async fn an_active_envelope_is_not_cancelled(on: &Fixture) {
    let envelope = make_active(&on.store, ids_of_one_table(&on.store, 1)[0]).await;
    assert_eq!(on.store.cancel(envelope.id).await.unwrap(), Some(Stage::Active));
    assert_eq!(on.other.load(envelope.id).await.unwrap().expect("it was created").0, envelope);
}

/// Both are told the one stage that came into force (I5).
pub async fn a_payment_and_a_cancel_that_race_have_one_winner(on: &Fixture) {
    for id in ids_of_one_table(&on.store, 20) {
        on.store.create(&[created(id)]).await.unwrap();
        let (paid, cancelled) = tokio::join!(on.store.activate(id, NOW), on.other.cancel(id));
        let (stage, _) = paid.unwrap().expect("it was created");
        assert_eq!(cancelled.unwrap(), Some(stage));
        assert_eq!(on.store.load(id).await.unwrap().expect("it was created").0.stage, stage);
    }
}
