//! What an answer means to the one who asked.

use hongbao_load::{Accepted, Answer, Answered, describe};
use serde::Deserialize;

use super::recorder::AnswerKind;
use super::request::UserCall;

/// An answer, understood.
#[derive(Debug, PartialEq, Eq)]
pub struct ParsedResponse {
    pub kind: AnswerKind,
    /// Its name in tables: `opened`, `503 busy`.
    pub label: String,
    /// Of a create the envelope's id, of a grab the ticket.
    pub text: Option<Box<str>>,
    /// What goes into the history, of those calls that do.
    pub answered: Answered,
    /// Whether a user would ask again: refused for now, or unknown.
    pub may_ask_again: bool,
    /// Whether it was refused because of its ticket.
    pub is_bad_ticket: bool,
}

/// As much as any answer may hold.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Body<'a> {
    outcome: Option<&'a str>,
    ticket: Option<&'a str>,
    id: Option<&'a str>,
    code: Option<&'a str>,
    amount_fen: i64,
    seq: u32,
    replayed: bool,
}

impl ParsedResponse {
    /// A connection that was lost. What the server never saw as a whole has not happened.
    pub fn lost(label: String, sent_all: bool) -> ParsedResponse {
        let (kind, answered) =
            if sent_all { (AnswerKind::Unknown, Answered::Unknown) } else { (AnswerKind::Refused, Answered::Refused) };
        ParsedResponse { answered, may_ask_again: true, ..plain(kind, label) }
    }

    /// Whether it is what was hoped for.
    pub fn is_good(&self) -> bool {
        matches!(self.kind, AnswerKind::Committed | AnswerKind::Accepted)
    }
}

/// What an answer to `call` means.
pub fn parse(call: UserCall, answer: &Answer<'_>) -> ParsedResponse {
    let good = (200..300).contains(&answer.status);
    match call {
        UserCall::View | UserCall::Slow if good => return plain(AnswerKind::Accepted, "done".to_owned()),
        UserCall::Pay if good => {
            return ParsedResponse { answered: Answered::Paid, ..plain(AnswerKind::Accepted, "done".to_owned()) };
        }
        _ => (),
    }
    let body: Body<'_> = serde_json::from_slice(answer.body).unwrap_or_default();
    if !good {
        // A lost reply of the server to its gateway has the status 504.
        let is_unknown = answer.status == 504 || body.code == Some("outcome_unknown") || answer.status == 502;
        let again = is_unknown || matches!(answer.status, 429 | 503 | 500 | 502 | 421);
        let kind = if is_unknown || answer.status == 500 { AnswerKind::Unknown } else { AnswerKind::Refused };
        let answered = if kind == AnswerKind::Unknown { Answered::Unknown } else { Answered::Refused };
        let is_bad_ticket = body.code == Some("ticket_invalid");
        return ParsedResponse { answered, may_ask_again: again, is_bad_ticket, ..plain(kind, describe(answer)) };
    }
    match (call, body.outcome) {
        (UserCall::Create, _) => match body.id {
            Some(id) => ParsedResponse { text: Some(id.into()), ..plain(AnswerKind::Accepted, "done".to_owned()) },
            None => plain(AnswerKind::Unknown, "an answer without an id".to_owned()),
        },
        (_, Some("ready")) => {
            ParsedResponse { text: body.ticket.map(Into::into), ..plain(AnswerKind::Accepted, "ready".to_owned()) }
        }
        (_, Some("opened")) => {
            let (seq, amount_fen, replayed) = (body.seq, body.amount_fen, body.replayed);
            let answered = Answered::Opened { seq, amount_fen, replayed, accepted: Accepted::read(answer.accepted) };
            let (kind, label) = match call {
                UserCall::Open if !replayed => (AnswerKind::Committed, "opened"),
                UserCall::Open => (AnswerKind::Accepted, "opened before"),
                _ => (AnswerKind::Accepted, "opened"),
            };
            ParsedResponse { answered, ..plain(kind, label.to_owned()) }
        }
        (_, Some(outcome @ ("empty" | "expired"))) => {
            ParsedResponse { answered: Answered::Nothing, ..plain(AnswerKind::Accepted, outcome.to_owned()) }
        }
        _ => plain(AnswerKind::Unknown, "an answer that says nothing".to_owned()),
    }
}

fn plain(kind: AnswerKind, label: String) -> ParsedResponse {
    ParsedResponse { kind, label, text: None, answered: Answered::Unknown, may_ask_again: false, is_bad_ticket: false }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(call: UserCall, status: u16, body: &str) -> ParsedResponse {
        parse(call, &Answer::of(status, body.as_bytes()))
    }

    #[test]
    fn an_opening_is_parsed_with_all_that_the_audit_needs() {
        let body = br#"{"outcome":"opened","amount_fen":7,"seq":3,"opened_at":"x","replayed":false}"#;
        let parsed = parse(UserCall::Open, &Answer { accepted: b"2-9", ..Answer::of(200, body) });
        assert_eq!(parsed.kind, AnswerKind::Committed);
        let accepted = Some(Accepted { lane: 2, place: 9 });
        assert_eq!(parsed.answered, Answered::Opened { seq: 3, amount_fen: 7, replayed: false, accepted });
    }

    #[test]
    fn what_may_have_happened_is_never_taken_for_a_refusal() {
        let busy = answer(UserCall::Open, 503, r#"{"code":"busy"}"#);
        assert_eq!((busy.kind, busy.answered, busy.may_ask_again), (AnswerKind::Refused, Answered::Refused, true));
        for (status, body) in [(504, r#"{"code":"outcome_unknown"}"#), (502, ""), (500, "oops"), (200, "{}")] {
            let parsed = answer(UserCall::Open, status, body);
            assert_eq!((parsed.kind, parsed.answered), (AnswerKind::Unknown, Answered::Unknown), "{status}");
        }
        assert_eq!(ParsedResponse::lost("x".into(), true).answered, Answered::Unknown);
        assert_eq!(ParsedResponse::lost("x".into(), false).answered, Answered::Refused);
        let forbidden = answer(UserCall::Open, 403, r#"{"code":"ticket_invalid"}"#);
        assert_eq!((forbidden.answered, forbidden.may_ask_again), (Answered::Refused, false));
        assert!(forbidden.is_bad_ticket && !busy.is_bad_ticket);
    }

    #[test]
    fn a_grab_brings_a_ticket_or_an_end() {
        assert_eq!(answer(UserCall::Grab, 200, r#"{"outcome":"ready","ticket":"t"}"#).text.as_deref(), Some("t"));
        let empty = answer(UserCall::Grab, 200, r#"{"outcome":"empty"}"#);
        assert_eq!((empty.kind, empty.text, empty.label.as_str()), (AnswerKind::Accepted, None, "empty"));
        let opened = answer(UserCall::Grab, 200, r#"{"outcome":"opened","amount_fen":7,"seq":3,"replayed":true}"#);
        let expected = Answered::Opened { seq: 3, amount_fen: 7, replayed: true, accepted: None };
        assert_eq!((opened.kind, opened.answered), (AnswerKind::Accepted, expected));
        assert_eq!(answer(UserCall::Create, 201, r#"{"id":"e"}"#).text.as_deref(), Some("e"));
    }

    #[test]
    fn a_payment_is_acknowledged_or_it_is_not() {
        assert_eq!(answer(UserCall::Pay, 200, r#"{"id":"e","state":"active"}"#).answered, Answered::Paid);
        assert_eq!(answer(UserCall::Pay, 402, r#"{"code":"insufficient_funds"}"#).answered, Answered::Refused);
        assert_eq!(answer(UserCall::Pay, 504, r#"{"code":"outcome_unknown"}"#).answered, Answered::Unknown);
    }
}
