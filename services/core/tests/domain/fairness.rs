//! Invariant I7, measured: whatever its place, an opener expects the same.
//!
//! The mean of the share at each place, over many seeds, must lie within a few
//! standard errors of total / shares. The seeds are fixed, so the outcome is.

use hongbao_core::split::lucky_share;

use crate::sample::{fen, seed};

/// Standard errors that a mean may be off. Chance exceeds it once in 150,000 places.
const STANDARD_ERRORS_MAX: f64 = 4.5;

/// How a split gives share `seq`, from (seed, seq, remaining, shares left, cap).
type Split = fn(u64, u32, i64, u32, i64) -> i64;

fn ours(number: u64, seq: u32, remaining: i64, shares_left: u32, cap: i64) -> i64 {
    lucky_share(&seed(number), seq, fen(remaining), shares_left, fen(cap)).get()
}

/// The widely copied version: at least 1 fen, else the floor of a random part of
/// twice the mean. Its first openers get too little, its last one too much.
fn floored(number: u64, seq: u32, remaining: i64, shares_left: u32, _cap: i64) -> i64 {
    if shares_left == 1 {
        return remaining;
    }
    let word = u64::from_be_bytes(crate::sample::scrambled(number * 1_000 + u64::from(seq))[..8].try_into().unwrap());
    let part = (word >> 11) as f64 / (1_u64 << 53) as f64;
    ((part * 2.0 * remaining as f64 / f64::from(shares_left)) as i64).max(1)
}

/// The mean at each place, and its standard error.
fn means(split: Split, total: i64, shares: u32, cap: i64, seeds: u64) -> Vec<(f64, f64)> {
    let mut sums = vec![(0_i128, 0_i128); shares as usize];
    for number in 0..seeds {
        let mut remaining = total;
        for (seq, (sum, squares)) in (1_u32..).zip(&mut sums) {
            let share = split(number, seq, remaining, shares - (seq - 1), cap);
            remaining -= share;
            *sum += i128::from(share);
            *squares += i128::from(share) * i128::from(share);
        }
        assert_eq!(remaining, 0);
    }
    let count = seeds as f64;
    sums.into_iter()
        .map(|(sum, squares)| {
            let mean = sum as f64 / count;
            let variance = (squares as f64 / count - mean * mean).max(0.0);
            (mean, (variance / count).sqrt())
        })
        .collect()
}

/// The places whose mean is too far from total / shares, in words.
fn unfair_places(split: Split, total: i64, shares: u32, cap: i64, seeds: u64) -> Vec<String> {
    let fair = total as f64 / f64::from(shares);
    let is_off = |(mean, error): &(f64, f64)| (mean - fair).abs() > STANDARD_ERRORS_MAX * error + 1e-9;
    let means = means(split, total, shares, cap, seeds);
    let off = (1..).zip(&means).filter(|(_, place)| is_off(place));
    off.map(|(seq, (mean, error))| format!("place {seq}: {mean:.4}±{error:.4}, fair is {fair:.4}")).collect()
}

#[track_caller]
fn assert_fair(total: i64, shares: u32, cap: i64, seeds: u64) {
    let unfair = unfair_places(ours, total, shares, cap, seeds);
    assert!(unfair.is_empty(), "{total} fen in {shares} shares of at most {cap}: {unfair:?}");
}

#[test]
fn i7_small_totals_are_fair_at_every_place() {
    assert_fair(20, 10, 20_000, 20_000);
    assert_fair(11, 10, 20_000, 20_000);
    assert_fair(37, 10, 20_000, 20_000);
}

#[test]
fn i7_ordinary_totals_are_fair_at_every_place() {
    assert_fair(10_000, 10, 20_000, 20_000);
    assert_fair(10_001, 7, 20_000, 20_000);
    assert_fair(10_000, 100, 20_000, 1_000);
}

#[test]
fn i7_a_tight_cap_is_fair_at_every_place() {
    assert_fair(30, 10, 4, 20_000);
    assert_fair(55, 10, 6, 20_000);
    assert_fair(180_000, 10, 20_000, 10_000);
    assert_fair(105_000, 10, 20_000, 10_000);
}

#[test]
fn i7_few_shares_are_fair_at_every_place() {
    assert_fair(3, 2, 20_000, 40_000);
    assert_fair(101, 2, 20_000, 40_000);
    assert_fair(29_999, 2, 20_000, 40_000);
    assert_fair(4, 3, 20_000, 40_000);
    assert_fair(20_000, 1, 20_000, 10);
}

#[test]
fn i7_the_largest_envelope_of_the_default_limits_is_fair_at_every_place() {
    assert_fair(5_000_000, 500, 20_000, 300);
}

#[test]
fn the_measurement_rejects_the_widely_copied_floor_version() {
    let unfair = unfair_places(floored, 20, 10, 20_000, 20_000);
    assert!(unfair.len() >= 9, "{unfair:?}");
    let means = means(floored, 20, 10, 20_000, 20_000);
    assert!((means[0].0 - 1.75).abs() < 0.05 && (means[9].0 - 2.71).abs() < 0.1, "{means:?}");
}

#[test]
fn the_measurement_rejects_a_small_bias() {
    /// Fair but for the first opener, who gets one fen more in every 25th envelope.
    fn tilted(number: u64, seq: u32, remaining: i64, shares_left: u32, cap: i64) -> i64 {
        let share = ours(number, seq, remaining, shares_left, cap);
        let can_tilt = share < cap && remaining - share > i64::from(shares_left - 1);
        share + i64::from(seq == 1 && number.is_multiple_of(25) && can_tilt)
    }
    assert!(!unfair_places(tilted, 20, 10, 20_000, 20_000).is_empty());
}
