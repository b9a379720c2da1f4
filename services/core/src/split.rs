//! The split: how much the next opener gets.
//!
//! `lucky`: every share holds 1 fen; what is left over, the *excess* `E`, is
//! drawn. With `n` shares left the mean of the excess is `E/n`, and the draw is
//! uniform on an interval that is symmetric around that mean (the double mean:
//! `0..2E/n`), narrowed on both sides alike where the cap would cut it. The
//! result is rounded up or down at random so that the expectation stays exactly
//! `E/n`. Hence the expectation of the excess per share left is a martingale:
//! each opener has the same expectation whatever its place (invariant I7).
//! `equal`: the total divides, and each share is the same.
//!
//! The draw is a pure function of (seed, seq, remaining, shares left, cap) made
//! from SHA-256 alone, so that anybody can recompute it in any language. The last
//! share (`n = 1`) is the remainder; every other one is:
//!
//! ```text
//! block = SHA-256(seed ‖ seq as 4 bytes, big endian)
//! a, b  = the first and second 8 bytes of block, big endian
//! E = remaining - n      C = cap - 1      D = min(E, n*C - E)
//! w = floor(a * (2D + 1) / 2^64)          uniform on 0..=2D
//! q, r = divmod(E - D + w, n)
//! share = 1 + q + (1 if floor(b * n / 2^64) < r else 0)
//! ```
//!
//! Taking the high half of a 64-bit product favours some values by at most one
//! part in 2^64 / range, and moves the mean by at most range / 2^65 fen. The
//! range is below twice the total: 1e-12 for the default limits, and less than a
//! thousandth of a fen for the largest that can be configured.

use std::fmt;

use sha2::{Digest, Sha256};

use crate::money::Fen;

/// The secret that all draws of one envelope come from; revealed when it closes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Seed([u8; 32]);

impl Seed {
    /// From 32 bytes of a good random source.
    pub const fn new(bytes: [u8; 32]) -> Seed {
        Seed(bytes)
    }

    /// From stored bytes; `None` unless there are 32.
    pub fn from_slice(bytes: &[u8]) -> Option<Seed> {
        bytes.try_into().ok().map(Seed)
    }

    /// The bytes, to store them.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// What is shown when the envelope is created: SHA-256 of the seed, in hex.
    pub fn commitment(&self) -> String {
        hex(&Sha256::digest(self.0))
    }

    /// The seed in hex, as it is shown when the envelope is closed.
    pub fn reveal(&self) -> String {
        hex(&self.0)
    }

    /// Reads what [`Seed::reveal`] wrote.
    pub fn from_hex(text: &str) -> Option<Seed> {
        let mut bytes = [0; 32];
        // `from_str_radix` would read a sign as well.
        if text.len() != 64 || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
            let pair = std::str::from_utf8(pair).ok()?;
            *byte = u8::from_str_radix(pair, 16).ok()?;
        }
        Some(Seed(bytes))
    }
}

/// A seed never reaches a log: it would tell every amount in advance.
impl fmt::Debug for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seed(..)")
    }
}

/// Without the formatter, which takes 8,000 instructions for a hash: every look at an envelope shows one.
fn hex(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from(b"0123456789abcdef"[usize::from(value)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 0xf)]).collect()
}

/// Whether `total` can be split into `shares` of 1 fen to `cap` each.
pub fn splits(total: Fen, shares: u32, cap: Fen) -> bool {
    let shares = i128::from(shares);
    let total = i128::from(total.get());
    shares >= 1 && total >= shares && total <= shares * i128::from(cap.get())
}

/// The share number `seq` (from 1) of a lucky envelope.
///
/// `remaining` and `shares_left` are those before the draw. Given that
/// [`splits`] holds for them, the share is 1 fen to `cap`, [`splits`] holds for
/// what is left, and the last share is the remainder.
pub fn lucky_share(seed: &Seed, seq: u32, remaining: Fen, shares_left: u32, cap: Fen) -> Fen {
    debug_assert!(splits(remaining, shares_left, cap));
    if shares_left <= 1 {
        return remaining;
    }
    let n = i128::from(shares_left);
    let excess = i128::from(remaining.get()) - n;
    let room = n * (i128::from(cap.get()) - 1) - excess;
    let half_width = excess.min(room).max(0);

    let block = Sha256::new().chain_update(seed.0).chain_update(seq.to_be_bytes()).finalize();
    let offset = below(&block[0..8], 2 * half_width + 1);
    let numerator = excess - half_width + offset;
    let round_up = below(&block[8..16], n) < numerator % n;
    let share = 1 + numerator / n + i128::from(round_up);
    i64::try_from(share).ok().and_then(Fen::new).expect("a share lies between 1 fen and the remaining money")
}

/// The share of an equal envelope of at least one share; the total divides by construction.
pub const fn equal_share(total: Fen, shares: u32) -> Fen {
    match Fen::new(total.get() / shares as i64) {
        Some(share) => share,
        None => unreachable!(),
    }
}

/// A number uniform on `0..bound`, from 8 random bytes.
fn below(bytes: &[u8], bound: i128) -> i128 {
    let word = u64::from_be_bytes(bytes.try_into().expect("the slice has 8 bytes"));
    ((u128::from(word) * bound as u128) >> 64) as i128
}
