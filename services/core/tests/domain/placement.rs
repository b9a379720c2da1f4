//! Where an id lives. It decides where money lies: these values must never change.

use chrono::{Datelike as _, FixedOffset, TimeZone as _};
use hongbao_core::id::{Fold, stable_hash};
use hongbao_core::{Day, EnvelopeId, Slot, Timestamp};
use proptest::prelude::*;

use crate::sample::{NEW_YEAR, scrambled};

const UTC_8: i32 = 8 * 3_600;

fn at(text: &str) -> Timestamp {
    Timestamp::parse_rfc3339(text).unwrap()
}

/// Computed by another program: FNV-1a (64 bits), then `fmix64` of MurmurHash3.
#[test]
fn the_fixed_hash_gives_the_published_values() {
    assert_eq!(stable_hash(b""), 0xefd0_1f60_ba99_2926);
    assert_eq!(stable_hash(b"a"), 0x82a2_a958_a9be_ce5b);
    assert_eq!(stable_hash(b"hongbao"), 0x56af_7026_e3f1_81aa);
    assert_eq!(stable_hash(&[0; 16]), 0xa5e0_dba6_c385_580a);
    assert_eq!(stable_hash(&[0xff; 16]), 0xb985_182d_97d9_d96f);
    assert_eq!(stable_hash(&std::array::from_fn::<u8, 16, _>(|place| place as u8)), 0xf110_b958_da43_f7e6);
}

/// Computed by another program; a change here would lose envelopes that exist.
#[test]
fn envelopes_stay_where_they_are() {
    let homes = [
        ("019c672e-1800-7000-8000-000000000000", 82, 9, 17),
        ("019c672e-1800-7fff-bfff-ffffffffffff", 10, 8, 17),
        ("019c672e-17ff-7001-8203-040506070809", 5, 6, 16),
        ("018df071-b400-7a0b-8c0d-0e0f10111213", 57, 6, 29),
        ("00000000-0000-7000-8000-000000000000", 50, 0, 1),
    ];
    for (text, slot, table, day) in homes {
        let placement = EnvelopeId::parse(text).unwrap().placement(UTC_8);
        assert_eq!(
            (placement.slot.number(), placement.table, placement.date.day().number()),
            (slot, table, day),
            "{text}"
        );
    }
}

/// Pearson's statistic over the 1,000 tables; about 999 ± 45 for a uniform hash.
fn chi_square(ids: impl Iterator<Item = EnvelopeId>) -> f64 {
    let mut counts = vec![0_u32; 1_000];
    for id in ids {
        let home = id.placement(UTC_8);
        counts[usize::from(home.slot.number()) * 10 + usize::from(home.table)] += 1;
    }
    let expected = f64::from(counts.iter().sum::<u32>()) / 1_000.0;
    counts.iter().map(|count| (f64::from(*count) - expected).powi(2) / expected).sum()
}

#[test]
fn ids_minted_one_after_another_spread_evenly_over_the_thousand_tables() {
    const IDS: u32 = 50_000;
    let by_time = (0..IDS).map(|n| EnvelopeId::mint(NEW_YEAR.plus_millis(i64::from(n)), [0; 10]));
    let by_count = (0..IDS).map(|n| {
        let mut random = [0; 10];
        random[6..].copy_from_slice(&n.to_be_bytes());
        EnvelopeId::mint(NEW_YEAR, random)
    });
    let by_both = (0..IDS).map(|n| EnvelopeId::mint(NEW_YEAR.plus_millis(i64::from(n)), scrambled(n.into())));
    for (order, statistic) in
        [("time", chi_square(by_time)), ("count", chi_square(by_count)), ("both", chi_square(by_both))]
    {
        assert!((999.0 - 225.0..999.0 + 225.0).contains(&statistic), "by {order}: {statistic}");
    }
}

#[test]
fn a_day_begins_at_midnight_of_the_zone_and_not_of_utc() {
    let days = [
        ("2026-02-16T15:59:59.999Z", 16, 16),
        ("2026-02-16T16:00:00.000Z", 17, 16),
        ("2026-02-17T00:00:00.000Z", 17, 17),
        ("2026-02-28T15:59:59.999Z", 28, 28),
        ("2026-02-28T16:00:00.000Z", 1, 28),
        ("2024-02-28T16:00:00.000Z", 29, 28),
        ("2024-02-29T15:59:59.999Z", 29, 29),
        ("2024-02-29T16:00:00.000Z", 1, 29),
        ("2026-04-30T16:00:00.000Z", 1, 30),
        ("2026-12-31T16:00:00.000Z", 1, 31),
    ];
    for (text, local, utc) in days {
        assert_eq!(Day::of(at(text), UTC_8).number(), local, "{text} in UTC+8");
        assert_eq!(Day::of(at(text), 0).number(), utc, "{text} in UTC");
    }
    assert_eq!(Day::of(at("2026-03-01T04:59:59.999Z"), -5 * 3_600).number(), 28, "west of Greenwich");
}

proptest! {
    #[test]
    fn the_day_is_that_of_the_calendar(millis in 0..1_i64 << 48, zone_offset_s in -43_200..=50_400_i32) {
        let zone = FixedOffset::east_opt(zone_offset_s).unwrap();
        let day = zone.timestamp_millis_opt(millis).unwrap().day();
        prop_assert_eq!(u32::from(Day::of(Timestamp::from_millis(millis), zone_offset_s).number()), day);
    }

    #[test]
    fn every_id_has_a_home(millis: i64, random: [u8; 10], zone_offset_s: i32) {
        let home = EnvelopeId::mint(Timestamp::from_millis(millis), random).placement(zone_offset_s);
        prop_assert!(Slot::new(home.slot.number()).is_some() && home.table < 10);
        prop_assert!(Day::new(home.date.day().number()).is_some());
        prop_assert!(Day::new(Day::of(Timestamp::from_millis(millis), zone_offset_s).number()).is_some());
    }
}

#[test]
fn there_are_100_slots_and_31_days() {
    assert_eq!(Slot::all().count(), 100);
    assert_eq!(Day::all().count(), 31);
    assert!(Slot::new(99).is_some() && Slot::new(100).is_none());
    assert!(Day::new(0).is_none() && Day::new(1).is_some() && Day::new(31).is_some() && Day::new(32).is_none());
}

/// A log names a table as the database does, so that one finds the other.
#[test]
fn a_table_is_named_as_in_its_database() {
    let id = EnvelopeId::mint(NEW_YEAR, scrambled(7));
    let placement = id.placement(UTC_8);
    let day = Fold::new(4, 1).unwrap().table_of(placement);
    let named = format!("db_{:02} envelope_0_", day.database);
    assert_eq!(day.to_string(), format!("{named}{:02}", placement.date.day().number()));
    assert_eq!(day.dated(placement.date).to_string(), format!("{named}{}", placement.date));
}
