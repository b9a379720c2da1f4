//! Requests that a client may repeat under a key of its own: the header `Idempotency-Key`.
//!
//! A client that got no answer does not know whether there is an envelope, or whether it was paid out. With a key it asks
//! again, and what was made the first time is what it gets: the key is stored with the id before anything is made under
//! that id, or together with it.

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::user::{is_name, must_be_a_name, name_type};

name_type! {
    /// What a client names a request by.
    RequestKey
}

/// The calls that take a key. Each has keys of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyedCall {
    /// Makes an envelope.
    Create,
    /// Has the user pay at the provider.
    Charge,
    /// Pays the user at the provider.
    Payout,
}

/// A request under a key: the same key with another body is another request, and refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyedRequest {
    /// What is asked for.
    pub call: KeyedCall,
    /// What the client names it by.
    pub key: RequestKey,
    /// SHA-256 of the body as it was read: white space, the order of fields and the notation of numbers are no part of it.
    pub body_hash: [u8; 32],
}

impl KeyedRequest {
    /// A request with this body, as it was parsed.
    pub fn new(call: KeyedCall, key: RequestKey, body: &impl Serialize) -> KeyedRequest {
        let text = serde_json::to_vec(body).expect("bodies are numbers and texts under fixed names");
        KeyedRequest { call, key, body_hash: Sha256::digest(text).into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::CreateEnvelope;

    fn hash(body: &str) -> [u8; 32] {
        let body: CreateEnvelope = serde_json::from_str(body).unwrap();
        KeyedRequest::new(KeyedCall::Create, RequestKey::parse("k").unwrap(), &body).body_hash
    }

    #[test]
    fn the_same_request_written_in_another_way_has_the_same_hash() {
        let first = hash(r#"{"kind":"lucky","total_fen":500,"shares":5}"#);
        for same in [
            r#"{ "shares": 5, "total_fen": 5e2, "kind": "lucky" }"#,
            r#"{"kind":"lucky","total_fen":500.0,"shares":5,"greeting":null,"audience":null,"expires_in_s":null}"#,
        ] {
            assert_eq!(hash(same), first, "{same}");
        }
    }

    #[test]
    fn each_field_changes_the_hash() {
        let bodies = [
            r#"{"kind":"lucky","total_fen":500,"shares":5}"#,
            r#"{"kind":"equal","total_fen":500,"shares":5}"#,
            r#"{"kind":"lucky","total_fen":501,"shares":5}"#,
            r#"{"kind":"lucky","total_fen":500,"shares":4}"#,
            r#"{"kind":"lucky","total_fen":500,"shares":5,"greeting":"a"}"#,
            r#"{"kind":"lucky","total_fen":500,"shares":5,"greeting":"b"}"#,
            r#"{"kind":"lucky","total_fen":500,"shares":5,"audience":{"type":"link"}}"#,
            r#"{"kind":"lucky","total_fen":500,"shares":5,"audience":{"type":"group","id":"a"}}"#,
            r#"{"kind":"lucky","total_fen":500,"shares":5,"audience":{"type":"user","id":"a"}}"#,
            r#"{"kind":"lucky","total_fen":500,"shares":5,"expires_in_s":60}"#,
        ];
        let hashes: std::collections::HashSet<_> = bodies.iter().map(|body| hash(body)).collect();
        assert_eq!(hashes.len(), bodies.len());
    }
}
