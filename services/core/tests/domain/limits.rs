//! What an operator may configure, at its edges.

use hongbao_core::Limits;
use hongbao_core::limits::SHARES_CEILING;
use serde_json::{Value, json};

use crate::sample::fen;

fn limits(changes: Value) -> Limits {
    serde_json::from_value(changes).unwrap()
}

#[test]
fn the_default_limits_are_those_of_the_contract() {
    let limits = limits(json!({}));
    assert_eq!(limits, Limits::default());
    assert_eq!(limits.check(), Ok(()));
    assert_eq!((limits.shares_max, limits.share_fen_max, limits.greeting_chars_max), (500, fen(20_000), 64));
    assert_eq!((limits.expires_in_s_min, limits.expires_in_s_max, limits.ticket_life_ms), (60, 86_400, 60_000));
}

#[test]
fn limits_at_their_edges_are_taken() {
    let edges = [
        json!({"shares_max": 1, "share_fen_max": 1, "greeting_chars_max": 0, "expires_in_s_min": 1}),
        json!({"shares_max": SHARES_CEILING, "share_fen_max": 1_000_000_000, "greeting_chars_max": 1_000}),
        json!({"expires_in_s_min": 604_800, "expires_in_s_max": 604_800}),
        json!({"ticket_life_ms": 1_000, "pay_within_s": 1}),
        json!({"ticket_life_ms": 3_600_000, "pay_within_s": 86_400}),
    ];
    for edge in edges {
        assert_eq!(limits(edge.clone()).check(), Ok(()), "{edge}");
    }
}

#[test]
fn limits_beyond_their_edges_are_refused_by_name() {
    let beyond = [
        ("shares_max", json!({"shares_max": 0})),
        ("shares_max", json!({"shares_max": SHARES_CEILING + 1})),
        ("share_fen_max", json!({"share_fen_max": 0})),
        ("share_fen_max", json!({"share_fen_max": 1_000_000_001})),
        ("greeting_chars_max", json!({"greeting_chars_max": 1_001})),
        ("expires_in_s_min", json!({"expires_in_s_min": 0})),
        ("expires_in_s_min", json!({"expires_in_s_min": 61, "expires_in_s_max": 60})),
        ("expires_in_s_max", json!({"expires_in_s_max": 604_801})),
        ("ticket_life_ms", json!({"ticket_life_ms": 999})),
        ("ticket_life_ms", json!({"ticket_life_ms": 3_600_001})),
        ("pay_within_s", json!({"pay_within_s": 0})),
        ("pay_within_s", json!({"pay_within_s": 86_401})),
    ];
    for (name, changes) in beyond {
        let reason = limits(changes.clone()).check().unwrap_err();
        assert!(reason.contains(name), "{changes}: {reason}");
    }
}

#[test]
fn an_unknown_or_negative_limit_is_refused() {
    for changes in [json!({"share_max": 5}), json!({"share_fen_max": -1}), json!({"shares_max": -1})] {
        assert!(serde_json::from_value::<Limits>(changes.clone()).is_err(), "{changes}");
    }
}
