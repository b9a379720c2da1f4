//! Sound envelopes, journals and transfers to start from.

use hongbao_core::{
    Audience, Entry, EntryKind, Envelope, EnvelopeId, Fen, Journal, Kind, Seed, Stage, Timestamp, Transfer, UserId,
};
use hongbao_core::{envelope::OpenDecision, split};
use proptest::prelude::*;

/// 2026-02-16T16:00:00Z: midnight of New Year's Day in UTC+8.
pub const NEW_YEAR: Timestamp = Timestamp::from_millis(1_771_257_600_000);
/// How long sample envelopes can be opened.
pub const LIFETIME_MS: i64 = 86_400_000;

pub fn fen(amount: i64) -> Fen {
    Fen::new(amount).unwrap()
}

pub fn user(number: u32) -> UserId {
    UserId::parse(&format!("user_{number}")).unwrap()
}

pub fn sender() -> UserId {
    UserId::parse("sender").unwrap()
}

pub fn seed(number: u64) -> Seed {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    Seed::new(bytes)
}

/// Bytes that look random and are always the same for `number` (SplitMix64).
pub fn scrambled(number: u64) -> [u8; 10] {
    let mut bytes = [0; 10];
    let mut word = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^= word >> 31;
    bytes[..8].copy_from_slice(&word.to_be_bytes());
    bytes[8..].copy_from_slice(&word.to_be_bytes()[3..5]);
    bytes
}

/// A paid envelope that can be opened from [`NEW_YEAR`] on.
pub fn envelope(kind: Kind, total: i64, shares: u32, cap: i64) -> Envelope {
    Envelope {
        id: EnvelopeId::mint(NEW_YEAR, scrambled(7)),
        sender: sender(),
        kind,
        total: fen(total),
        shares,
        share_cap: fen(cap),
        greeting: "恭喜发财".to_owned(),
        audience: Audience::Link,
        seed: seed(7),
        created_at: NEW_YEAR,
        lifetime_ms: LIFETIME_MS,
        stage: Stage::Active,
        expires_at: Some(NEW_YEAR.plus_millis(LIFETIME_MS)),
        settled_seq: 0,
    }
}

/// The journal after `opens` different users opened.
pub fn opened_by(envelope: &Envelope, opens: u32) -> Vec<Entry> {
    let mut entries = Vec::new();
    let mut journal = Journal::new(envelope.total);
    for number in 1..=opens {
        let at = NEW_YEAR.plus_millis(i64::from(number));
        match envelope.decide_open(&journal, None, &user(number), at) {
            OpenDecision::Append(entry) => {
                journal = Journal::after(&entry);
                entries.push(entry);
            }
            other => panic!("opening {number} of {} shares: {other:?}", envelope.shares),
        }
    }
    entries
}

/// Adds the refund of what is left, if anything is.
pub fn refund_rest(envelope: &Envelope, entries: &mut Vec<Entry>) {
    let journal = entries.last().map_or(Journal::new(envelope.total), Journal::after);
    entries.extend(envelope.decide_refund(&journal, NEW_YEAR.plus_millis(LIFETIME_MS)));
}

/// The payment, and the credits of all entries.
pub fn transfers_of(envelope: &Envelope, entries: &[Entry]) -> Vec<Transfer> {
    let payment = Transfer::send(envelope, NEW_YEAR);
    std::iter::once(payment).chain(entries.iter().map(|entry| Transfer::credit(entry, &envelope.sender))).collect()
}

/// The rows of one envelope, owned, so that a test can damage them.
#[derive(Clone, Debug)]
pub struct Rows {
    pub envelope: Envelope,
    pub entries: Vec<Entry>,
    pub transfers: Vec<Transfer>,
}

impl Rows {
    /// An envelope that came to its end: `opens` openings, the refund of the rest, all credited.
    pub fn settled(mut envelope: Envelope, opens: u32) -> Rows {
        let mut entries = opened_by(&envelope, opens);
        refund_rest(&envelope, &mut entries);
        let transfers = transfers_of(&envelope, &entries);
        envelope.stage = Stage::Settled;
        envelope.settled_seq = entries.len() as u32;
        Rows { envelope, entries, transfers }
    }
}

/// The user of an opening.
pub fn opener(entry: &Entry) -> UserId {
    match &entry.kind {
        EntryKind::Open(user) => user.clone(),
        EntryKind::Refund => panic!("entry {} is the refund", entry.seq),
    }
}

/// Terms that can be split: (total, shares, cap), the edges included.
pub fn terms(shares_max: u32) -> impl Strategy<Value = (i64, u32, i64)> {
    let shares =
        prop_oneof![1 => Just(1), 1 => Just(2_u32.min(shares_max)), 1 => Just(shares_max), 5 => 1..=shares_max];
    let cap = prop_oneof![Just(1), Just(2), 3..100_i64, Just(20_000), Just(1_000_000_000)];
    (shares, cap).prop_flat_map(|(shares, cap)| {
        let (least, most) = (i64::from(shares), i64::from(shares) * cap);
        let near = |total: i64| total.clamp(least, most);
        let total = prop_oneof![
            Just(least),
            Just(near(least + 1)),
            Just(near(most - 1)),
            Just(most),
            Just(near(least * 2)),
            least..=most,
        ];
        total.prop_map(move |total| {
            assert!(split::splits(fen(total), shares, fen(cap)));
            (total, shares, cap)
        })
    })
}

/// An id of this slot.
pub fn id_in(slot: u8, at: Timestamp) -> EnvelopeId {
    (0..).map(|number| EnvelopeId::mint(at, scrambled(number))).find(|id| id.slot().number() == slot).unwrap()
}
