//! Draws computed by another program from the formula in the documentation of
//! `hongbao_core::split`. They must never change: closed envelopes are verified
//! by the same formula for ever.
//!
//! The program, in Python:
//!
//! ```text
//! def share(seed, seq, remaining, n, cap):
//!     if n == 1: return remaining
//!     block = hashlib.sha256(seed + seq.to_bytes(4, "big")).digest()
//!     a, b = int.from_bytes(block[:8], "big"), int.from_bytes(block[8:16], "big")
//!     E, C = remaining - n, cap - 1
//!     D = min(E, n * C - E)
//!     w = a * (2 * D + 1) >> 64
//!     q, r = divmod(E - D + w, n)
//!     return 1 + q + (1 if b * n >> 64 < r else 0)
//! ```

use hongbao_core::Seed;
use hongbao_core::split::lucky_share;

use crate::sample::fen;

const ZEROES: [u8; 32] = [0; 32];
const ONES: [u8; 32] = [0xff; 32];

/// The bytes 0, 1, 2 to 31.
fn counting() -> [u8; 32] {
    std::array::from_fn(|place| place as u8)
}

#[test]
fn single_draws_are_those_of_the_published_formula() {
    let (z, f, c) = (ZEROES, ONES, counting());
    // seed, seq, remaining, shares left, cap, and the share
    let vectors: [([u8; 32], u32, i64, u32, i64, i64); 24] = [
        (z, 1, 20, 10, 20_000, 1),
        (z, 2, 20, 10, 20_000, 2),
        (z, 1, 10_000, 100, 20_000, 26),
        (f, 1, 10_000, 100, 20_000, 38),
        (f, 100, 10_000, 100, 20_000, 6),
        (c, 1, 10_000_000, 500, 20_000, 20_000),
        (c, 1, 9_999_999, 500, 20_000, 20_000),
        (c, 1, 5_000_000, 500, 20_000, 364),
        (c, 1, 7_500_000, 500, 20_000, 10_182),
        (c, 500, 12_345, 1, 20_000, 12_345),
        (c, 499, 12_345, 2, 20_000, 8_905),
        (c, 499, 39_999, 2, 20_000, 20_000),
        (c, 1, 2, 2, 1, 1),
        (c, 7, 11, 10, 2, 1),
        (c, 7, 19, 10, 2, 1),
        (c, 7, 15, 10, 2, 1),
        (c, 1, 5_000_000_000_000_000, 10_000_000, 1_000_000_000, 18_166_843),
        (c, 9_999_999, 1_000_000_000, 2, 1_000_000_000, 195_337_864),
        (c, 4_294_967_295, 1_000, 7, 1_000, 271),
        (f, 3, 1_003, 1_000, 20_000, 1),
        (z, 1, 9_999_999_999_999_999, 10_000_000, 1_000_000_000, 1_000_000_000),
        (z, 1, 1_000_000_000_000_000, 10_000_000, 1_000_000_000, 26_051_814),
        (c, 1, 9_223_372_036_854_775_807, 4_294_967_295, 9_223_372_036_854_775_807, 78_025_995),
        (c, 1, 9_223_372_036_854_775_807, 2, 9_223_372_036_854_775_806, 167_559_546_291_220_888),
    ];
    for (seed, seq, remaining, shares_left, cap, share) in vectors {
        let drawn = lucky_share(&Seed::new(seed), seq, fen(remaining), shares_left, fen(cap));
        assert_eq!(drawn, fen(share), "share {seq}: {remaining} fen in {shares_left} of at most {cap}");
    }
}

#[test]
fn whole_envelopes_are_those_of_the_published_formula() {
    let vectors: [([u8; 32], i64, i64, &[i64]); 3] = [
        (
            counting(),
            10_000,
            20_000,
            &[19, 65, 424, 208, 56, 767, 180, 217, 174, 605, 558, 1062, 163, 601, 818, 258, 469, 878, 2418, 60],
        ),
        (ZEROES, 20, 20_000, &[1, 3, 2, 2, 1, 3, 3, 2, 1, 2]),
        (ONES, 95, 10, &[9, 10, 9, 10, 9, 10, 9, 9, 10, 10]),
    ];
    for (seed, total, cap, shares) in vectors {
        let mut remaining = total;
        for (seq, share) in (1_u32..).zip(shares) {
            let shares_left = shares.len() as u32 - (seq - 1);
            let drawn = lucky_share(&Seed::new(seed), seq, fen(remaining), shares_left, fen(cap));
            assert_eq!(drawn.get(), *share, "share {seq} of {total} fen");
            remaining -= share;
        }
        assert_eq!(remaining, 0);
    }
}
