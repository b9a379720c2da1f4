//! Requests: every limit at its edge, and the field that is named.

use hongbao_core::field::FieldError;
use hongbao_core::request::{CreateEnvelope, CreationContext, GREETING_DEFAULT};
use hongbao_core::{Audience, Envelope, EnvelopeId, Fen, GroupId, Kind, Limits, Stage, UserId};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::sample::{NEW_YEAR, fen, scrambled, seed, sender};

fn create_within(body: Value, limits: &Limits) -> Result<Envelope, FieldError> {
    let request: CreateEnvelope = serde_json::from_value(body).unwrap();
    let birth = CreationContext {
        id: EnvelopeId::mint(NEW_YEAR, scrambled(1)),
        sender: sender(),
        seed: seed(1),
        now: NEW_YEAR,
    };
    request.into_envelope(birth, limits)
}

fn create(body: Value) -> Result<Envelope, FieldError> {
    create_within(body, &Limits::default())
}

/// A sound body with some fields replaced.
fn body(changes: Value) -> Value {
    let mut body = json!({"kind": "lucky", "total_fen": 10_000, "shares": 10});
    for (field, value) in changes.as_object().unwrap() {
        body[field] = value.clone();
    }
    body
}

#[track_caller]
fn assert_refused(changes: Value, field: &str) {
    let refusal = create(body(changes.clone())).expect_err(&changes.to_string());
    assert_eq!(refusal.field, field, "{changes}: {refusal}");
    assert!(!refusal.reason.is_empty());
}

#[track_caller]
fn assert_taken(changes: Value) -> Envelope {
    create(body(changes.clone())).unwrap_or_else(|refusal| panic!("{changes}: {refusal}"))
}

#[test]
fn a_plain_request_gets_the_defaults() {
    let envelope = assert_taken(json!({}));
    assert_eq!((envelope.kind, envelope.total, envelope.shares), (Kind::Lucky, fen(10_000), 10));
    assert_eq!((envelope.share_cap, envelope.settled_seq), (fen(20_000), 0));
    assert_eq!((envelope.stage, envelope.expires_at), (Stage::Created, None));
    assert_eq!((envelope.audience, envelope.greeting.as_str()), (Audience::Link, GREETING_DEFAULT));
    assert_eq!((envelope.created_at, envelope.lifetime_ms), (NEW_YEAR, 86_400_000));
    assert_eq!(envelope.sender, sender());
}

#[test]
fn shares_are_1_to_500() {
    for shares in [1, 500] {
        assert_eq!(i64::from(assert_taken(json!({"shares": shares, "total_fen": 1_000})).shares), shares);
    }
    for shares in [0, -1, 501, i64::from(u32::MAX) + 1, i64::from(u32::MAX) + 11, i64::MAX, i64::MIN] {
        assert_refused(json!({"shares": shares}), "shares");
    }
    // In JSON a number without a fraction is an integer, however it is written.
    assert_eq!(assert_taken(json!({"shares": 1.0, "total_fen": 1_000})).shares, 1);
    for shares in [json!(1.5), json!("10"), json!(true), json!(null), json!([10]), json!(u64::MAX)] {
        assert_refused(json!({"shares": shares}), "shares");
    }
}

#[test]
fn a_total_is_one_fen_to_the_cap_for_each_share() {
    for total in [10, 11, 199_999, 200_000] {
        assert_eq!(assert_taken(json!({"total_fen": total})).total, fen(total));
    }
    for total in [9, 0, -1, -10_000, 200_001, i64::MAX, i64::MIN] {
        assert_refused(json!({"total_fen": total}), "total_fen");
    }
    assert_taken(json!({"shares": 500, "total_fen": 10_000_000}));
    assert_refused(json!({"shares": 500, "total_fen": 10_000_001}), "total_fen");
    assert_taken(json!({"shares": 1, "total_fen": 1}));
    assert_refused(json!({"shares": 1, "total_fen": 20_001}), "total_fen");
}

#[test]
fn an_equal_total_divides() {
    assert_taken(json!({"kind": "equal", "total_fen": 30, "shares": 3}));
    assert_taken(json!({"kind": "equal", "total_fen": 60_000, "shares": 3}));
    for total in [31, 32, 59_999] {
        assert_refused(json!({"kind": "equal", "total_fen": total, "shares": 3}), "total_fen");
        assert_taken(json!({"kind": "lucky", "total_fen": total, "shares": 3}));
    }
}

#[test]
fn a_greeting_has_at_most_64_characters_whatever_their_bytes() {
    for character in ["a", "恭", "🧧", "\u{301}"] {
        let longest = character.repeat(64);
        assert_eq!(assert_taken(json!({"greeting": longest})).greeting, longest);
        assert_refused(json!({"greeting": character.repeat(65)}), "greeting");
    }
    assert_eq!(assert_taken(json!({"greeting": ""})).greeting, "");
    assert_eq!(assert_taken(json!({"greeting": null})).greeting, GREETING_DEFAULT);
    assert!(GREETING_DEFAULT.chars().count() <= Limits::default().greeting_chars_max);
}

#[test]
fn a_greeting_has_no_control_characters() {
    for control in ['\0', '\n', '\r', '\t', '\u{1b}', '\u{7f}', '\u{80}', '\u{85}', '\u{9f}'] {
        assert_refused(json!({"greeting": format!("恭喜{control}发财")}), "greeting");
    }
}

#[test]
fn an_audience_has_an_id_unless_it_is_a_link() {
    let taken = |audience: Value| assert_taken(json!({"audience": audience})).audience;
    assert_eq!(taken(json!({"type": "link"})), Audience::Link);
    assert_eq!(taken(json!(null)), Audience::Link);
    let family = GroupId::parse("family").unwrap();
    assert_eq!(taken(json!({"type": "group", "id": "family"})), Audience::Group(family));
    let longest = "x".repeat(64);
    assert_eq!(taken(json!({"type": "user", "id": longest})), Audience::User(UserId::parse(&longest).unwrap()));

    assert_refused(json!({"audience": {"type": "link", "id": "family"}}), "audience.id");
    for kind in ["group", "user"] {
        assert_refused(json!({"audience": {"type": kind}}), "audience.id");
        assert_refused(json!({"audience": {"type": kind, "id": null}}), "audience.id");
        for id in ["", "a b", "家", "a/b", &"x".repeat(65)] {
            assert_refused(json!({"audience": {"type": kind, "id": id}}), "audience.id");
        }
    }
}

#[test]
fn a_life_is_a_minute_to_a_day() {
    for seconds in [60, 61, 86_399, 86_400] {
        assert_eq!(assert_taken(json!({"expires_in_s": seconds})).lifetime_ms, seconds * 1_000);
    }
    for seconds in [59, 0, -1, 86_401, i64::MAX, i64::MIN] {
        assert_refused(json!({"expires_in_s": seconds}), "expires_in_s");
    }
    let dev = Limits { expires_in_s_min: 1, ..Limits::default() };
    assert_eq!(create_within(body(json!({"expires_in_s": 1})), &dev).unwrap().lifetime_ms, 1_000);
}

#[test]
fn the_limits_in_force_decide_and_are_named() {
    let limits = Limits { shares_max: 3, share_fen_max: fen(5), greeting_chars_max: 2, ..Limits::default() };
    let refusal = |changes: Value| create_within(body(changes), &limits).unwrap_err().to_string();
    assert_eq!(refusal(json!({"shares": 4})), "shares: must be an integer from 1 to 3");
    for total_fen in [json!(16), json!(1.5), json!("15"), json!(null)] {
        assert_eq!(
            refusal(json!({"shares": 3, "total_fen": total_fen})),
            "total_fen: must be an integer from 3 to 15, for 3 shares of 1 to 5 fen"
        );
    }
    assert_eq!(
        refusal(json!({"shares": 3, "total_fen": 15, "greeting": "恭喜发"})),
        "greeting: must have at most 2 characters"
    );
}

#[test]
fn bodies_of_another_shape_are_refused_by_name() {
    let bad = [
        (json!({"kind": "random"}), "random"),
        (json!({"kind": 1}), "`lucky` or `equal`"),
        (json!({"kind": {"lucky": null}}), "`lucky` or `equal`"),
        (json!({"greeting": 7}), "7"),
        (json!({"audience": "link"}), "link"),
        (json!({"audience": ["group", "family"]}), "an object"),
        (json!({"audience": {"type": "everybody"}}), "everybody"),
        (json!({"audience": {"type": "link", "ids": []}}), "ids"),
        (json!({"audience": {"id": "family"}}), "type"),
        (json!({"total": 5}), "total"),
        (json!({"sender": "somebody"}), "sender"),
    ];
    for (changes, word) in bad {
        let error = serde_json::from_value::<CreateEnvelope>(body(changes.clone())).expect_err(&changes.to_string());
        assert!(error.to_string().contains(word), "{changes}: {error}");
    }
    for field in ["kind", "total_fen", "shares"] {
        let mut body = body(json!({}));
        body.as_object_mut().unwrap().remove(field);
        let error = serde_json::from_value::<CreateEnvelope>(body).unwrap_err();
        assert!(error.to_string().contains(field), "{error}");
    }
}

proptest! {
    #[test]
    fn whatever_is_taken_can_be_opened_to_its_last_fen(
        equal: bool,
        total_fen in prop_oneof![1..20_000_i64, 1..12_000_000_i64, any::<i64>()],
        shares in prop_oneof![1..40_i64, 1..600_i64, any::<i64>()],
        greeting in proptest::option::of(".{0,70}"),
        expires_in_s in proptest::option::of(prop_oneof![50..90_000_i64, any::<i64>()]),
    ) {
        let kind = if equal { "equal" } else { "lucky" };
        let body = json!({"kind": kind, "total_fen": total_fen, "shares": shares,
            "greeting": greeting, "expires_in_s": expires_in_s});
        match create(body) {
            Ok(mut envelope) => {
                prop_assert!((1..=500).contains(&shares) && (shares..=shares * 20_000).contains(&total_fen));
                envelope.stage = Stage::Active;
                envelope.expires_at = Some(NEW_YEAR.plus_millis(envelope.lifetime_ms));
                let entries = crate::sample::opened_by(&envelope, envelope.shares);
                prop_assert_eq!(entries.last().unwrap().remaining, Fen::ZERO);
            }
            Err(refusal) => {
                prop_assert!(["shares", "total_fen", "greeting", "expires_in_s"].contains(&refusal.field.as_str()));
            }
        }
    }
}
