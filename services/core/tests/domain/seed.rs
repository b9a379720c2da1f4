//! The seed: committed to, revealed, and never told in between.

use hongbao_core::{Kind, Seed};
use proptest::prelude::*;

use crate::sample;

proptest! {
    #[test]
    fn a_revealed_seed_reads_back(bytes: [u8; 32]) {
        let seed = Seed::new(bytes);
        prop_assert_eq!(Seed::from_hex(&seed.reveal()), Some(seed));
        prop_assert_eq!(Seed::from_slice(seed.as_bytes()), Some(seed));
        prop_assert_eq!(seed.commitment().len(), 64);
    }

    #[test]
    fn text_that_is_not_64_hex_digits_is_no_seed(text in "[0-9a-g+ ]{60,68}|.{0,64}") {
        let is_hex = text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
        prop_assert_eq!(Seed::from_hex(&text).is_some(), is_hex);
    }
}

#[test]
fn a_sign_is_not_a_hex_digit() {
    assert_eq!(Seed::from_hex(&"+f".repeat(32)), None);
}

#[test]
fn stored_bytes_of_another_length_are_no_seed() {
    for length in [0, 31, 33] {
        assert_eq!(Seed::from_slice(&vec![7; length]), None, "{length}");
    }
}

#[test]
fn the_commitment_is_the_sha_256_of_the_32_bytes() {
    assert_eq!(Seed::new([0; 32]).commitment(), "66687aadf862bd776c8fc18b8e9f8e20089714856ee233b3902a591d0d5f2925");
}

#[test]
fn printing_an_envelope_for_a_log_does_not_tell_its_seed() {
    let envelope = sample::envelope(Kind::Lucky, 100, 10, 20_000);
    let printed = format!("{envelope:?} {:?}", envelope.seed);
    assert!(printed.contains("Seed(..)"));
    assert!(!printed.contains(&envelope.seed.reveal()[..16]));
}
