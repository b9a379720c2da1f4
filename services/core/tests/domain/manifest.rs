//! Manifests: what changes them, what does not, and their chain.

use hongbao_core::manifest::{Break, Chain, Content, Manifest, Month, MonthEnd, MonthSealer, Sealer, Tie, YearMonth};
use hongbao_core::{
    Audience, Date, Entry, EntryKind, Envelope, EnvelopeId, Kind, Seed, Stage, Timestamp, Transfer, UserId,
};

use crate::sample::{self, Rows, fen, user};

/// An envelope that two users have emptied, and its journal.
fn emptied(number: u8) -> (Envelope, Vec<Entry>) {
    let id = EnvelopeId::mint(sample::NEW_YEAR.plus_millis(i64::from(number)), [number; 10]);
    let envelope = Envelope { id, ..sample::envelope(Kind::Lucky, 1_000, 2, 20_000) };
    let Rows { envelope, entries, .. } = Rows::settled(envelope, 2);
    (envelope, entries)
}

fn content(rows: &[(Envelope, Vec<Entry>)]) -> Content {
    let mut sealer = Sealer::default();
    for (envelope, entries) in rows {
        sealer.add(envelope, entries);
    }
    sealer.content()
}

fn manifest(chain: &Chain, day: i32) -> Manifest {
    let (number, previous) = chain.next();
    let date = Date::parse("20260101").unwrap().plus_days(day);
    Manifest { number, database: 7, table: 3, date, content: content(&[emptied(1), emptied(2)]), previous }
}

#[test]
fn a_content_counts_and_adds_up() {
    let content = content(&[emptied(1), emptied(2)]);
    assert_eq!((content.envelopes, content.entries), (2, 4));
    assert_eq!((content.paid_fen, content.opened_fen, content.refunded_fen), (2_000, 2_000, 0));
    assert_eq!((content.tie.transfers, content.tie.amount_fen), (6, 4_000));
    assert_eq!(content.ends, Some((emptied(1).0.id, emptied(2).0.id)));
    assert!(content.adds_up());
    assert!(Sealer::default().content().adds_up(), "nothing adds up to nothing");
}

/// Each column of both rows, one at a time.
#[test]
fn every_change_of_a_row_changes_the_hash_of_the_rows() {
    let sound = content(&[emptied(1)]);
    let changes: [fn(&mut Envelope, &mut Vec<Entry>); 20] = [
        |envelope, _| envelope.id = emptied(3).0.id,
        |envelope, _| envelope.sender = user(9),
        |envelope, _| envelope.kind = Kind::Equal,
        |envelope, _| envelope.total = fen(1_001),
        |envelope, _| envelope.shares += 1,
        |envelope, _| envelope.share_cap = fen(17),
        |envelope, _| envelope.greeting.push('x'),
        |envelope, _| envelope.audience = Audience::User(user(9)),
        |envelope, _| envelope.seed = Seed::new([9; 32]),
        |envelope, _| envelope.created_at = envelope.created_at.plus_millis(1),
        |envelope, _| envelope.lifetime_ms += 1,
        |envelope, _| envelope.stage = Stage::Active,
        |envelope, _| envelope.expires_at = None,
        |envelope, _| envelope.settled_seq = 1,
        |_, entries| entries[0].envelope_id = emptied(3).0.id,
        |_, entries| entries[0].seq = 7,
        |_, entries| entries[0].kind = EntryKind::Refund,
        |_, entries| entries[0].amount = fen(1),
        |_, entries| entries[0].remaining = fen(1),
        |_, entries| entries[0].at = entries[0].at.plus_millis(1),
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let (mut envelope, mut entries) = emptied(1);
        change(&mut envelope, &mut entries);
        let changed = content(&[(envelope, entries)]);
        assert_ne!(changed.rows_hash, sound.rows_hash, "change {number}");
        assert!(sound.differences(&changed).contains("hash of the rows"), "change {number}");
    }
    assert_eq!(sound.differences(&content(&[emptied(1)])), "");
}

#[test]
fn rows_that_are_missing_doubled_or_exchanged_are_other_rows() {
    let sound = content(&[emptied(1), emptied(2)]);
    let (envelope, mut entries) = emptied(2);
    entries.pop();
    for other in [
        content(&[emptied(1)]),
        content(&[emptied(2), emptied(1)]),
        content(&[emptied(1), emptied(2), emptied(2)]),
        content(&[emptied(1), (envelope, entries)]),
    ] {
        assert_ne!(other.rows_hash, sound.rows_hash);
    }
}

/// Where one text ends and the next begins is part of what is hashed.
#[test]
fn no_two_texts_that_follow_each_other_run_together() {
    let with = |sender: &str, greeting: &str| {
        let (mut envelope, entries) = emptied(1);
        (envelope.sender, envelope.greeting) = (UserId::parse(sender).unwrap(), greeting.to_owned());
        content(&[(envelope, entries)]).rows_hash
    };
    assert_ne!(with("ab", "c"), with("a", "bc"));
}

#[test]
fn what_may_still_change_is_not_closed() {
    let closed = |change: fn(&mut Envelope, &mut Vec<Entry>)| {
        let (mut envelope, mut entries) = emptied(1);
        change(&mut envelope, &mut entries);
        let mut sealer = Sealer::default();
        sealer.add(&envelope, &entries);
        sealer.not_closed().is_none()
    };
    assert!(closed(|_, _| {}));
    assert!(!closed(|envelope, _| envelope.stage = Stage::Active));
    assert!(!closed(|envelope, _| envelope.settled_seq = 1));
    assert!(!closed(|envelope, _| envelope.expires_at = None));
    assert!(!closed(|_, entries| _ = entries.pop()));
    assert!(!closed(|_, entries| entries.clear()));
}

#[test]
fn a_tie_is_the_same_in_every_order_and_no_two_changes_cancel_out() {
    let (envelope, entries) = emptied(1);
    let mut transfers: Vec<Transfer> = entries.iter().map(|entry| Transfer::credit(entry, &envelope.sender)).collect();
    transfers.push(Transfer::send(&envelope, envelope.created_at));
    let tie = |transfers: &[Transfer]| {
        let mut tie = Tie::default();
        transfers.iter().for_each(|transfer| tie.add(transfer));
        tie
    };
    let sound = tie(&transfers);
    transfers.reverse();
    assert_eq!(tie(&transfers), sound);
    assert_eq!(content(&[(envelope, entries)]).tie, sound);

    let mut exchanged = transfers.clone();
    let (one, other) = (exchanged[0].user.clone(), exchanged[1].user.clone());
    (exchanged[0].user, exchanged[1].user) = (other, one);
    assert_ne!(tie(&exchanged), sound, "as many and as much, by others");
    let twice = [transfers[0].clone(), transfers[0].clone()];
    assert_ne!(tie(&twice).hash, Tie::default().hash, "a doubled one does not vanish");
}

#[test]
fn a_chain_names_what_does_not_go_on_from_it() {
    let mut chain = Chain::default();
    let first = manifest(&chain, 0);
    let second = manifest(&Chain::up_to(&first), 1);
    let third = manifest(&Chain::up_to(&second), 2);
    for manifest in [&first, &second, &third] {
        assert_eq!(chain.take(manifest, manifest.hash()), []);
    }
    let after_first = || Chain::up_to(&first);
    assert_eq!(after_first().take(&third, third.hash()), [Break::Number, Break::Previous], "one is gone");
    let mut forged = second.clone();
    forged.content.envelopes += 1;
    assert_eq!(after_first().take(&forged, second.hash()), [Break::Content, Break::Figures]);
    // A forger who computes the hash anew meets the one that the next manifest holds.
    forged = second.clone();
    forged.date = forged.date.plus_days(1);
    let mut chain = after_first();
    assert_eq!(chain.take(&forged, forged.hash()), []);
    assert_eq!(chain.take(&third, third.hash()), [Break::Previous]);
}

#[test]
fn months_follow_each_other_over_the_end_of_a_year_in_the_zone() {
    let at = |text: &str| YearMonth::of(Timestamp::parse_rfc3339(text).unwrap(), 8 * 3_600).number();
    assert_eq!((at("2026-12-31T15:59:59Z"), at("2026-12-31T16:00:00Z")), (202612, 202701));
    let december = YearMonth::new(202612).unwrap();
    assert_eq!((december.next().number(), december.next().next().number()), (202701, 202702));
    assert!([0, 202600, 202613].map(YearMonth::new).iter().all(Option::is_none));
}

#[test]
fn a_month_says_what_its_transfers_were_and_where_they_lead_to() {
    let (envelope, entries) = emptied(1);
    let (at, amount) = (envelope.created_at, envelope.total);
    let top_up = Transfer::top_up(uuid::Uuid::from_u128(7), envelope.sender.clone(), amount, at);
    let transfers: Vec<Transfer> = [top_up, Transfer::send(&envelope, at)]
        .into_iter()
        .chain(entries.iter().map(|entry| Transfer::credit(entry, &envelope.sender)))
        .collect();
    let sealed = |change: &dyn Fn(&mut Vec<Transfer>), balance_fen: i64| {
        let mut transfers = transfers.clone();
        change(&mut transfers);
        let mut sealer = MonthSealer::behind(MonthEnd::default(), 8 * 3_600);
        (1..).zip(&transfers).for_each(|(position, transfer)| sealer.add(position, transfer, 5));
        sealer.end_block(transfers.len() as i64);
        sealer.add_balance("ann", balance_fen, None);
        sealer.content()
    };
    let sound = sealed(&|_| {}, amount.get());
    assert_eq!(
        (sound.transfers, sound.topped_up_fen, sound.sent_fen),
        (transfers.len() as u64, amount.get(), amount.get())
    );
    assert_eq!(sound.opened_fen + sound.refunded_fen, amount.get());
    assert_eq!((sound.end.users, sound.end.system.clearing_fen, sound.end.system.top_ups_fen), (1, 0, -amount.get()));
    assert!(sound.adds_up() && !sealed(&|_| {}, amount.get() + 1).adds_up());
    let exchanged = sealed(&|transfers| transfers.swap(1, 2), amount.get());
    assert!(exchanged.rows_hash != sound.rows_hash && exchanged.ties_hash == sound.ties_hash);
    let changed = sealed(&|transfers| transfers[2].user = UserId::parse("thief").unwrap(), amount.get());
    assert!(changed.rows_hash != sound.rows_hash && changed.ties_hash != sound.ties_hash);
    let other = sealed(&|_| {}, amount.get() + 1);
    assert!(other.balances_hash != sound.balances_hash && other.rows_hash == sound.rows_hash);
}

#[test]
fn months_are_a_chain_as_tables_are() {
    let month = |number: u64, previous| Month {
        number,
        database: 0,
        month: YearMonth::new(202600 + number as u32).unwrap(),
        zone_offset_s: 0,
        moved_slots: String::new(),
        last_position: number as i64,
        content: MonthSealer::behind(MonthEnd::default(), 0).content(),
        previous,
    };
    let first = month(1, [0; 32]);
    let second = month(2, first.hash());
    let mut chain = Chain::default();
    assert_eq!(chain.take(&first, first.hash()), []);
    assert_eq!(chain.take(&second, second.hash()), []);
    let forged = Month { moved_slots: "07".to_owned(), ..second.clone() };
    assert_eq!(Chain::up_to(&first).take(&forged, second.hash()), [Break::Content]);
    assert_eq!(Chain::default().take(&second, second.hash()), [Break::Number, Break::Previous]);
}
