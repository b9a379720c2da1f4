//! Properties of the split that hold for every seed (invariants I1 and I7).

use hongbao_core::limits::SHARES_CEILING;
use hongbao_core::split::{equal_share, lucky_share, splits};
use hongbao_core::{Fen, Seed};
use proptest::prelude::*;

use crate::sample::{fen, seed, terms};

/// Draws one share, checks what a single step promises, and gives what is left.
fn step(seed: &Seed, seq: u32, remaining: Fen, shares_left: u32, cap: Fen) -> (Fen, Fen) {
    let share = lucky_share(seed, seq, remaining, shares_left, cap);
    assert!(share >= fen(1) && share <= cap, "share {seq} is {share:?} of {remaining:?} with {shares_left} left");
    let left = remaining.checked_sub(share).expect("a share is never more than what is left");
    if shares_left == 1 {
        assert_eq!(left, Fen::ZERO, "the last share is the remainder");
    } else {
        assert!(splits(left, shares_left - 1, cap), "{left:?} cannot be split into {} more", shares_left - 1);
    }
    (share, left)
}

fn draw_all(seed: &Seed, total: i64, shares: u32, cap: i64) -> Vec<Fen> {
    let mut remaining = fen(total);
    (1..=shares)
        .map(|seq| {
            let (share, left) = step(seed, seq, remaining, shares - (seq - 1), fen(cap));
            remaining = left;
            share
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn i1_the_shares_of_an_envelope_add_up_to_its_total((total, shares, cap) in terms(120), bytes: [u8; 32]) {
        let drawn = draw_all(&Seed::new(bytes), total, shares, cap);
        prop_assert_eq!(drawn.iter().map(|share| share.get()).sum::<i64>(), total);
    }

    #[test]
    fn the_same_place_always_draws_the_same_share((total, shares, cap) in terms(10_000_000), bytes: [u8; 32], seq: u32) {
        let draw = || lucky_share(&Seed::new(bytes), seq, fen(total), shares, fen(cap));
        prop_assert_eq!(draw(), draw());
    }

    #[test]
    fn one_step_keeps_the_rest_splittable_up_to_the_largest_envelope(
        (total, shares, cap) in terms(SHARES_CEILING),
        bytes: [u8; 32],
        seq: u32,
    ) {
        step(&Seed::new(bytes), seq, fen(total), shares, fen(cap));
    }

    #[test]
    fn no_number_that_splits_overflows(
        total in prop_oneof![Just(i64::MAX), 1..=i64::MAX],
        shares in prop_oneof![Just(u32::MAX), Just(2), 1..=u32::MAX],
        cap in prop_oneof![Just(i64::MAX), 1..=i64::MAX],
        bytes: [u8; 32],
    ) {
        prop_assume!(splits(fen(total), shares, fen(cap)));
        step(&Seed::new(bytes), 1, fen(total), shares, fen(cap));
    }

    #[test]
    fn splits_says_whether_the_money_lies_between_one_fen_and_the_cap_for_each(
        total in 0..3_000_i64,
        shares in 0..60_u32,
        cap in 0..60_i64,
    ) {
        let fits = shares > 0 && (i64::from(shares)..=i64::from(shares) * cap).contains(&total);
        prop_assert_eq!(splits(fen(total), shares, fen(cap)), fits);
    }

    #[test]
    fn equal_shares_add_up_to_the_total(share in 1..=1_000_000_000_i64, shares in 1..=SHARES_CEILING) {
        let total = share * i64::from(shares);
        prop_assert_eq!(equal_share(fen(total), shares).get() * i64::from(shares), total);
    }
}

#[test]
fn where_there_is_no_choice_every_share_is_the_same() {
    for number in 0..20 {
        assert!(draw_all(&seed(number), 50, 50, 20_000).iter().all(|share| share.get() == 1), "1 fen each");
        assert!(draw_all(&seed(number), 50 * 9, 50, 9).iter().all(|share| share.get() == 9), "the cap each");
        assert!(draw_all(&seed(number), 50, 50, 1).iter().all(|share| share.get() == 1), "a cap of 1 fen");
        assert_eq!(draw_all(&seed(number), 777, 1, 20_000), [fen(777)]);
    }
}

#[test]
fn two_shares_take_every_amount_that_the_cap_leaves() {
    // 12 fen over two shares of at most 9: the first may be 3 to 9.
    let mut counts = [0_u32; 10];
    for number in 0..7_000 {
        counts[draw_all(&seed(number), 12, 2, 9)[0].get() as usize] += 1;
    }
    assert_eq!(counts[..3], [0; 3]);
    // Of the 13 numerators, 4 to 16 in halves of a fen, two round to each amount
    // in the middle, and one and a half to each end.
    assert!(counts[4..9].iter().all(|count| count.abs_diff(7_000 * 4 / 26) < 130), "{counts:?}");
    assert!(counts[3].abs_diff(7_000 * 3 / 26) < 120 && counts[9].abs_diff(7_000 * 3 / 26) < 120, "{counts:?}");
}

#[test]
fn a_long_envelope_is_drawn_to_its_end() {
    draw_all(&seed(1), 1_000_000_000, 20_000, 1_000_000_000);
    draw_all(&seed(2), 20_000 * 500 - 7, 20_000, 500);
    draw_all(&seed(3), 20_003, 20_000, 20_000);
}

#[test]
fn another_seed_or_another_place_draws_another_share() {
    let draw = |number, seq| lucky_share(&seed(number), seq, fen(1_000_000), 10, fen(1_000_000));
    let by_seed: std::collections::HashSet<Fen> = (0..100).map(|number| draw(number, 1)).collect();
    let by_place: std::collections::HashSet<Fen> = (0..100).map(|seq| draw(0, seq)).collect();
    assert!(by_seed.len() > 95 && by_place.len() > 95, "{} and {}", by_seed.len(), by_place.len());
}
