//! Envelope ids: one spelling, one version, minted in the order of time.

use hongbao_core::{EnvelopeId, Timestamp};
use proptest::prelude::*;
use uuid::Uuid;

use crate::sample::NEW_YEAR;

const SOUND: &str = "019c672e-1800-7001-8203-040506070809";

/// Times that a UUIDv7 can hold: 48 bits of milliseconds.
fn times() -> impl Strategy<Value = Timestamp> {
    prop_oneof![Just(0), Just((1_i64 << 48) - 1), 0..1_i64 << 48].prop_map(Timestamp::from_millis)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn a_minted_id_reads_back_from_text_and_bytes_and_json(at in times(), random: [u8; 10]) {
        let id = EnvelopeId::mint(at, random);
        let text = id.to_string();
        prop_assert_eq!(EnvelopeId::parse(&text), Some(id));
        prop_assert_eq!(EnvelopeId::parse(&text.to_uppercase()), Some(id));
        prop_assert_eq!(EnvelopeId::from_bytes(id.as_bytes()), Some(id));
        prop_assert_eq!(serde_json::from_str::<EnvelopeId>(&serde_json::to_string(&id).unwrap()).unwrap(), id);
        prop_assert_eq!(id.minted_at(), at);
    }

    #[test]
    fn only_version_7_of_the_rfc_variant_is_an_id(bytes: [u8; 16], version in 0..16_u8, variant in 0..16_u8) {
        let mut bytes = bytes;
        bytes[6] = (bytes[6] & 0x0f) | (version << 4);
        bytes[8] = (bytes[8] & 0x0f) | (variant << 4);
        let sound = version == 7 && variant & 0b1100 == 0b1000;
        prop_assert_eq!(EnvelopeId::from_bytes(&bytes).is_some(), sound);
        prop_assert_eq!(EnvelopeId::parse(&Uuid::from_bytes(bytes).hyphenated().to_string()).is_some(), sound);
    }

    #[test]
    fn an_id_in_any_other_spelling_is_refused(at in times(), random: [u8; 10]) {
        let uuid = Uuid::from_bytes(*EnvelopeId::mint(at, random).as_bytes());
        for text in [uuid.simple().to_string(), uuid.braced().to_string(), uuid.urn().to_string()] {
            prop_assert_eq!(EnvelopeId::parse(&text), None);
        }
    }

    #[test]
    fn whatever_is_read_is_36_characters_of_hex_and_hyphens(text in "[0-9a-fA-F-]{36}|.{30,40}|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}") {
        if let Some(id) = EnvelopeId::parse(&text) {
            prop_assert_eq!(id.to_string(), text.to_lowercase());
        }
    }

    #[test]
    fn one_changed_character_never_reads_as_the_same_id(place in 0..36_usize, other in any::<char>()) {
        let changed: String =
            SOUND.chars().enumerate().map(|(at, same)| if at == place { other } else { same }).collect();
        prop_assume!(changed.to_lowercase() != SOUND);
        prop_assert_ne!(EnvelopeId::parse(&changed), EnvelopeId::parse(SOUND));
    }

    #[test]
    fn a_later_id_is_a_greater_id(earlier in times(), later in times(), a: [u8; 10], b: [u8; 10]) {
        prop_assume!(earlier < later);
        let (first, second) = (EnvelopeId::mint(earlier, a), EnvelopeId::mint(later, b));
        prop_assert!(first < second);
        prop_assert!(first.to_string() < second.to_string(), "as text too");
        prop_assert!(first.as_bytes() < second.as_bytes(), "and as stored bytes");
    }

    #[test]
    fn other_random_bytes_make_another_id(a: [u8; 10], b: [u8; 10]) {
        // 74 of the 80 bits are kept: the version and the variant take six.
        let kept = |random: [u8; 10]| {
            let mut random = random;
            random[0] &= 0x0f;
            random[2] &= 0x3f;
            random
        };
        let same = EnvelopeId::mint(NEW_YEAR, a) == EnvelopeId::mint(NEW_YEAR, b);
        prop_assert_eq!(same, kept(a) == kept(b));
    }
}

#[test]
fn malformed_ids_are_refused() {
    assert!(EnvelopeId::parse(SOUND).is_some());
    let malformed = [
        "",
        "019c672e-1800-7001-8203-04050607080",
        "019c672e-1800-7001-8203-0405060708090",
        "019c672e18007001820304050607080 9    ",
        "{019c672e-1800-7001-8203-04050607080}",
        " 019c672e-1800-7001-8203-04050607080",
        "019c672e-1800-7001-8203-04050607080\n",
        "019c672e-18007-001-8203-040506070809",
        "019c672e-1800-7001-8203-04050607080g",
        "019c672e-1800-7001-8203-04050607包",
        "00000000-0000-0000-0000-000000000000",
        "ffffffff-ffff-ffff-ffff-ffffffffffff",
        "f47ac10b-58cc-4372-a567-0e02b2c3d479",
        "019c672e-1800-6001-8203-040506070809",
        "019c672e-1800-7001-c203-040506070809",
    ];
    for text in malformed {
        assert_eq!(EnvelopeId::parse(text), None, "{text:?}");
        assert!(serde_json::from_value::<EnvelopeId>(text.into()).is_err(), "{text:?}");
    }
    for length in [0, 15, 17, 36] {
        assert_eq!(EnvelopeId::from_bytes(&vec![0x70; length]), None, "{length} bytes");
    }
}

#[test]
fn a_clock_before_1970_mints_the_earliest_id() {
    let id = EnvelopeId::mint(Timestamp::from_millis(-1), [0; 10]);
    assert_eq!(id.minted_at(), Timestamp::from_millis(0));
}
