//! Transfer ids: one key each, in order, and what they look like to people.

use hongbao_core::{EntryKind, EnvelopeId, Fen, Kind, Timestamp, Transfer, TransferId, TransferKind};
use proptest::prelude::*;
use uuid::Uuid;

use crate::sample::{self, NEW_YEAR, fen, opener, scrambled, sender, user};

fn ids() -> impl Strategy<Value = TransferId> {
    let envelope = (0..1_i64 << 48, any::<[u8; 10]>(), prop_oneof![0..3_u32, any::<u32>()])
        .prop_map(|(at, random, seq)| TransferId::Envelope(EnvelopeId::mint(Timestamp::from_millis(at), random), seq));
    prop_oneof![any::<[u8; 16]>().prop_map(|bytes| TransferId::TopUp(Uuid::from_bytes(bytes))), envelope]
}

proptest! {
    #[test]
    fn a_key_reads_back_as_its_id(id in ids()) {
        prop_assert_eq!(TransferId::from_key(&id.to_key()), Some(id));
    }

    #[test]
    fn keys_stand_in_the_order_of_their_ids(a in ids(), b in ids()) {
        prop_assert_eq!(a.to_key().cmp(&b.to_key()), a.cmp(&b));
    }

    #[test]
    fn a_strangers_key_is_refused_or_is_the_key_of_what_it_reads_as(
        key in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..40),
            (0..4_u8, any::<[u8; 20]>()).prop_map(|(class, rest)| [&[class], &rest[..]].concat()),
        ]
    ) {
        if let Some(id) = TransferId::from_key(&key) {
            prop_assert_eq!(id.to_key().to_vec(), key);
        }
    }
}

#[test]
fn strangers_keys_are_refused() {
    let envelope = TransferId::Envelope(EnvelopeId::mint(NEW_YEAR, scrambled(1)), 3).to_key();
    let top_up = TransferId::TopUp(Uuid::from_u128(5)).to_key();
    let changed = |key: [u8; 21], place: usize, byte: u8| {
        let mut key = key;
        key[place] = byte;
        key
    };
    assert_eq!(TransferId::from_key(&[]), None);
    assert_eq!(TransferId::from_key(&envelope[..20]), None);
    assert_eq!(TransferId::from_key(&[&envelope[..], &[0]].concat()), None);
    assert_eq!(TransferId::from_key(&changed(envelope, 0, 0)), None, "no such class");
    assert_eq!(TransferId::from_key(&changed(envelope, 0, 4)), None, "no such class");
    assert_eq!(TransferId::from_key(&changed(changed(envelope, 0, 3), 20, 4)), None, "no such movement");
    assert_eq!(TransferId::from_key(&changed(envelope, 7, 0x40)), None, "not a UUIDv7");
    assert_eq!(TransferId::from_key(&changed(top_up, 20, 1)), None, "a top-up has no entries");
}

#[test]
fn the_transfers_of_an_envelope_lie_together_in_order() {
    let [a, b] = [1, 2].map(|at| EnvelopeId::mint(NEW_YEAR.plus_millis(at), scrambled(1)));
    let ordered = [
        TransferId::TopUp(Uuid::max()),
        TransferId::Envelope(a, 0),
        TransferId::Envelope(a, 1),
        TransferId::Envelope(a, 256),
        TransferId::Envelope(a, u32::MAX),
        TransferId::Envelope(b, 0),
    ];
    assert!(ordered.windows(2).all(|pair| pair[0].to_key() < pair[1].to_key()));
}

#[test]
fn people_see_the_envelope_and_the_place() {
    let id = EnvelopeId::parse("019c672e-1800-7001-8203-040506070809").unwrap();
    assert_eq!(TransferId::Envelope(id, 0).to_string(), "019c672e-1800-7001-8203-040506070809");
    assert_eq!(TransferId::Envelope(id, 12).to_string(), "019c672e-1800-7001-8203-040506070809:12");
    assert_eq!(TransferId::TopUp(Uuid::from_u128(5)).to_string(), "00000000-0000-0000-0000-000000000005");
    assert_eq!(TransferId::Envelope(id, 12).envelope_id(), Some(id));
    assert_eq!(TransferId::TopUp(Uuid::nil()).envelope_id(), None);
}

#[test]
fn a_payment_and_its_cancel_take_the_same_id() {
    let envelope = sample::envelope(Kind::Lucky, 100, 3, 20_000);
    let (send, cancel) = (Transfer::send(&envelope, NEW_YEAR), Transfer::cancel(&envelope, NEW_YEAR));
    assert_eq!(send.id, TransferId::Envelope(envelope.id, 0));
    assert_eq!(cancel.id, send.id);
    assert_eq!((send.kind, &send.user, send.signed_amount()), (TransferKind::Send, &sender(), -100));
    assert_eq!((cancel.kind, cancel.amount, cancel.signed_amount()), (TransferKind::Cancel, Fen::ZERO, 0));
}

#[test]
fn each_entry_is_credited_under_its_own_id_to_the_one_it_pays() {
    let rows = sample::Rows::settled(sample::envelope(Kind::Lucky, 100, 3, 20_000), 2);
    for entry in &rows.entries {
        let credit = Transfer::credit(entry, &sender());
        assert_eq!(credit.id, TransferId::Envelope(rows.envelope.id, entry.seq));
        assert_eq!((credit.amount, credit.at, credit.signed_amount()), (entry.amount, entry.at, entry.amount.get()));
        let (kind, paid) = match &entry.kind {
            EntryKind::Open(_) => (TransferKind::Open, opener(entry)),
            EntryKind::Refund => (TransferKind::Refund, sender()),
        };
        assert_eq!((credit.kind, credit.user), (kind, paid));
    }
}

#[test]
fn a_top_up_brings_money_to_its_user() {
    let top_up = Transfer::top_up(Uuid::from_u128(5), user(1), fen(100), NEW_YEAR);
    assert_eq!((top_up.kind, top_up.user.clone(), top_up.signed_amount()), (TransferKind::TopUp, user(1), 100));
    assert_eq!(top_up.id, TransferId::TopUp(Uuid::from_u128(5)));
}
