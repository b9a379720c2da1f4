//! Dates, and which of them a day table holds.

use hongbao_core::{Date, Day, Timestamp};
use proptest::prelude::*;

const UTC_8: i32 = 8 * 3_600;

fn date(text: &str) -> Date {
    Date::parse(text).unwrap_or_else(|| panic!("{text} is a date"))
}

fn day(number: u8) -> Day {
    Day::new(number).unwrap()
}

#[test]
fn a_date_begins_at_midnight_of_the_zone() {
    let midnight = Timestamp::parse_rfc3339("2026-02-17T00:00:00.000+08:00").unwrap();
    assert_eq!(Date::of(midnight, UTC_8), date("20260217"));
    assert_eq!(Date::of(midnight.plus_millis(-1), UTC_8), date("20260216"));
    assert_eq!(date("20260217").starts_at(UTC_8), midnight);
}

#[test]
fn what_is_no_date_is_not_read() {
    for text in ["", "2026022", "202602177", "20260229", "20261301", "20260100", "2026-2-1", "+2026217", "２０２６０２"]
    {
        assert_eq!(Date::parse(text), None, "{text}");
    }
    assert!(Date::parse("20280229").is_some());
}

/// By name: a February of 28 days and one of 29, and the months around them.
#[test]
fn a_day_table_holds_the_last_date_of_its_day_of_month() {
    for (through, of_day, held) in [
        ("20260228", 28, "20260228"),
        ("20260228", 29, "20260129"),
        ("20260228", 31, "20260131"),
        ("20260301", 1, "20260301"),
        ("20260301", 29, "20260129"),
        ("20260328", 29, "20260129"),
        ("20260329", 29, "20260329"),
        ("20260330", 31, "20260131"),
        ("20280229", 29, "20280229"),
        ("20280228", 29, "20280129"),
        ("20280331", 30, "20280330"),
        ("20260801", 31, "20260731"),
        ("20260901", 31, "20260831"),
        ("20270101", 31, "20261231"),
    ] {
        assert_eq!(date(through).last_with(day(of_day)), date(held), "day {of_day} up to {through}");
    }
}

proptest! {
    #[test]
    fn a_date_is_read_as_it_is_written(millis in 0..253_402_300_799_999_i64, zone_offset_s in -43_200..=50_400_i32) {
        let found = Date::of(Timestamp::from_millis(millis), zone_offset_s);
        if found.to_string().len() == 8 {
            prop_assert_eq!(Date::parse(&found.to_string()), Some(found));
        }
        let starts_at = found.starts_at(zone_offset_s);
        prop_assert!(starts_at.millis() <= millis && millis < found.plus_days(1).starts_at(zone_offset_s).millis());
        prop_assert_eq!(found.day(), Day::of(starts_at, zone_offset_s));
    }

    /// No date within 27 days of another has its table: what is open is never renamed away.
    #[test]
    fn a_date_keeps_its_day_table_for_28_days_at_least(number in 0..100_000_i32, later in 0..28_i32) {
        let first = Date::of(Timestamp::from_millis(0), 0).plus_days(number);
        prop_assert_eq!(first.plus_days(later).last_with(first.day()), first);
    }
}
