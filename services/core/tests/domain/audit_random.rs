//! The audit against chance: a random change of one field of sound rows is
//! always found, whatever the envelope.

use hongbao_core::{EntryKind, Envelope, Fen, Kind, Seed, Stage, TransferId, TransferKind};
use proptest::prelude::*;
use proptest::sample::Index;

use crate::audit::check;
use crate::sample::{self, Rows, fen, sender, user};

/// A settled envelope, opened by any number of users, the rest refunded.
fn settled() -> impl Strategy<Value = Rows> {
    (sample::terms(9), any::<bool>(), any::<Index>(), any::<[u8; 32]>()).prop_map(
        |((total, shares, cap), equal, opens, bytes)| {
            let total = if equal { total - total % i64::from(shares) } else { total };
            let mut envelope = sample::envelope(if equal { Kind::Equal } else { Kind::Lucky }, total, shares, cap);
            envelope.seed = Seed::new(bytes);
            Rows::settled(envelope, opens.index(shares as usize + 1) as u32)
        },
    )
}

/// One changed field, or one row too few or too many.
#[derive(Clone, Debug)]
enum Damage {
    EntryAmount(Index, i64),
    EntryRemaining(Index, i64),
    EntrySeq(Index, u32),
    EntryUser(Index, u32),
    EntryRefund(Index),
    EntryRemoved(Index),
    EntryDoubled(Index),
    TransferAmount(Index, i64),
    TransferUser(Index, u32),
    TransferKind(Index, TransferKind),
    TransferSeq(Index, u32),
    TransferRemoved(Index),
    TransferDoubled(Index),
    Total(i64),
    Sender(u32),
    Unpaid(Stage),
    SettledBeyond(u32),
}

fn damages() -> impl Strategy<Value = Damage> {
    let amount = || prop_oneof![0..40_i64, 0..=i64::MAX];
    let seq = || prop_oneof![0..12_u32, any::<u32>()];
    let users = || 0..12_u32;
    let index = any::<Index>;
    let kind = prop::sample::select(vec![
        TransferKind::TopUp,
        TransferKind::Send,
        TransferKind::Open,
        TransferKind::Refund,
        TransferKind::Cancel,
    ]);
    let entry = prop_oneof![
        (index(), amount()).prop_map(|(at, amount)| Damage::EntryAmount(at, amount)),
        (index(), amount()).prop_map(|(at, amount)| Damage::EntryRemaining(at, amount)),
        (index(), seq()).prop_map(|(at, seq)| Damage::EntrySeq(at, seq)),
        (index(), users()).prop_map(|(at, user)| Damage::EntryUser(at, user)),
        index().prop_map(Damage::EntryRefund),
        index().prop_map(Damage::EntryRemoved),
        index().prop_map(Damage::EntryDoubled),
    ];
    let transfer = prop_oneof![
        (index(), amount()).prop_map(|(at, amount)| Damage::TransferAmount(at, amount)),
        (index(), users()).prop_map(|(at, user)| Damage::TransferUser(at, user)),
        (index(), kind).prop_map(|(at, kind)| Damage::TransferKind(at, kind)),
        (index(), seq()).prop_map(|(at, seq)| Damage::TransferSeq(at, seq)),
        index().prop_map(Damage::TransferRemoved),
        index().prop_map(Damage::TransferDoubled),
    ];
    let envelope = prop_oneof![
        amount().prop_map(Damage::Total),
        users().prop_map(Damage::Sender),
        prop_oneof![Just(Stage::Created), Just(Stage::Cancelled)].prop_map(Damage::Unpaid),
        seq().prop_map(Damage::SettledBeyond),
    ];
    prop_oneof![entry, transfer, envelope]
}

impl Damage {
    fn apply(&self, rows: &mut Rows) {
        let (entries, transfers) = (&mut rows.entries, &mut rows.transfers);
        match self {
            Damage::EntryAmount(at, amount) => at.get_mut(entries).amount = fen(*amount),
            Damage::EntryRemaining(at, amount) => at.get_mut(entries).remaining = fen(*amount),
            Damage::EntrySeq(at, seq) => at.get_mut(entries).seq = *seq,
            Damage::EntryUser(at, number) => at.get_mut(entries).kind = EntryKind::Open(user(*number)),
            Damage::EntryRefund(at) => at.get_mut(entries).kind = EntryKind::Refund,
            Damage::EntryRemoved(at) => drop(entries.remove(at.index(entries.len()))),
            Damage::EntryDoubled(at) => entries.push(at.get(entries).clone()),
            Damage::TransferAmount(at, amount) => at.get_mut(transfers).amount = fen(*amount),
            Damage::TransferUser(at, number) => at.get_mut(transfers).user = user(*number),
            Damage::TransferKind(at, kind) => at.get_mut(transfers).kind = *kind,
            Damage::TransferSeq(at, seq) => {
                at.get_mut(transfers).id = TransferId::Envelope(rows.envelope.id, *seq);
            }
            Damage::TransferRemoved(at) => drop(transfers.remove(at.index(transfers.len()))),
            Damage::TransferDoubled(at) => transfers.push(at.get(transfers).clone()),
            Damage::Total(total) => rows.envelope.total = fen(*total),
            Damage::Sender(number) => rows.envelope.sender = user(*number),
            Damage::Unpaid(stage) => rows.envelope.stage = *stage,
            Damage::SettledBeyond(more) => {
                rows.envelope.settled_seq = rows.envelope.settled_seq.saturating_add(more.saturating_add(1));
            }
        }
        // The database gives them in this order, whatever was done to them.
        rows.entries.sort_by_key(|entry| entry.seq);
    }
}

fn same(a: &Rows, b: &Rows) -> bool {
    a.envelope == b.envelope && a.entries == b.entries && a.transfers == b.transfers
}

/// Whether these terms, from the same journal, draw the same amounts.
fn draws_the_same(rows: &Rows, changed: &Envelope) -> bool {
    let mut active = changed.clone();
    active.stage = Stage::Active;
    let opens = rows.entries.iter().filter(|entry| entry.kind != EntryKind::Refund).count() as u32;
    if opens > active.shares {
        return false;
    }
    let mut changed = sample::opened_by(&active, opens);
    sample::refund_rest(&active, &mut changed);
    let amounts = |entries: &[hongbao_core::Entry]| -> Vec<Fen> { entries.iter().map(|entry| entry.amount).collect() };
    amounts(&changed) == amounts(&rows.entries)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn a_sound_settled_envelope_has_no_breach(rows in settled()) {
        prop_assert_eq!(check(&rows), []);
    }

    #[test]
    fn any_single_damage_to_a_settled_envelope_is_found(sound in settled(), damage in damages()) {
        let mut rows = sound.clone();
        damage.apply(&mut rows);
        prop_assume!(!same(&rows, &sound));
        prop_assert!(!check(&rows).is_empty(), "not found in {:#?}", rows);
    }

    #[test]
    fn changed_terms_of_the_draw_are_found_unless_they_draw_the_same(
        sound in settled(),
        shares in 1..12_u32,
        cap in 1..60_i64,
        bytes: [u8; 32],
        field in 0..4_u8,
    ) {
        let mut rows = sound.clone();
        let envelope = &mut rows.envelope;
        match field {
            0 => envelope.shares = shares,
            1 => envelope.share_cap = fen(cap),
            2 => envelope.seed = Seed::new(bytes),
            _ => envelope.kind = if envelope.kind == Kind::Lucky { Kind::Equal } else { Kind::Lucky },
        }
        let total = envelope.total;
        let divides = envelope.kind == Kind::Lucky || total.get() % i64::from(envelope.shares) == 0;
        let possible = divides && hongbao_core::split::splits(total, envelope.shares, envelope.share_cap);
        let harmless = possible && draws_the_same(&sound, &rows.envelope);
        prop_assert_eq!(check(&rows).is_empty(), harmless, "{:#?}", rows);
    }

    #[test]
    fn no_rows_make_the_audit_panic(
        sound in settled(),
        damages in proptest::collection::vec(damages(), 0..6),
        shares: u32,
        cap in 0..=i64::MAX,
    ) {
        let mut rows = sound;
        for damage in &damages {
            if !rows.entries.is_empty() && !rows.transfers.is_empty() {
                damage.apply(&mut rows);
            }
        }
        check(&rows);
        rows.envelope.shares = shares;
        check(&rows);
        rows.envelope.share_cap = fen(cap);
        check(&rows);
    }
}

#[test]
fn the_sender_who_opened_and_was_refunded_is_no_breach() {
    let mut rows = Rows::settled(sample::envelope(Kind::Lucky, 1_000, 5, 20_000), 2);
    rows.entries[0].kind = EntryKind::Open(sender());
    rows.transfers = sample::transfers_of(&rows.envelope, &rows.entries);
    assert_eq!(check(&rows), []);
}
