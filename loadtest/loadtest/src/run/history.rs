//! What the harness was told about money, answer by answer: the other side of the books.

use std::path::Path;

use hongbao_load::{Fallible, files};
use serde_json::json;

use super::request::Call;

/// One request to open or to pay, or a grab that found an opening, and what came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistoryEvent {
    /// What was asked.
    pub call: Call,
    /// The envelope's number.
    pub envelope: u32,
    /// The user's number.
    pub user: u32,
    /// When it was sent, in microseconds since the load began.
    pub sent_us: u64,
    /// When the answer came, or was given up.
    pub answered_us: u64,
    /// What it said.
    pub answer: Answered,
}

/// What the service said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answered {
    /// The envelope is paid for.
    Paid,
    /// The user has this share.
    Opened {
        /// Its place in the envelope's journal.
        seq: u32,
        /// What is in it.
        amount_fen: i64,
        /// Whether it had been opened before.
        replayed: bool,
        /// When the server accepted it, as it reports itself.
        accepted: Option<Accepted>,
    },
    /// Nothing left, or too late: final.
    Nothing,
    /// Refused, and nothing happened.
    Refused,
    /// It may have happened or not.
    Unknown,
}

impl Answered {
    /// Whether a request to open that was answered so may have opened.
    pub fn may_have_opened(self) -> bool {
        matches!(self, Answered::Opened { .. } | Answered::Unknown)
    }
}

/// The place of an opening in the order in which a server accepted them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// Which lane of which server since which start; places of different ones do not compare.
    pub lane: u64,
    /// The place.
    pub place: u64,
}

impl Accepted {
    /// Reads the header `x-hongbao-accepted`, `LANE-PLACE`, both hexadecimal.
    pub fn read(header: &[u8]) -> Option<Accepted> {
        let (lane, place) = std::str::from_utf8(header).ok()?.split_once('-')?;
        Some(Accepted { lane: u64::from_str_radix(lane, 16).ok()?, place: u64::from_str_radix(place, 16).ok()? })
    }
}

/// Writes the history as JSON, a line for each answer, to the file that `--history`
/// names, if it names one. Envelopes are named by the ids that the service gave them.
pub fn export(
    path: Option<&Path>,
    history: &[HistoryEvent],
    envelopes: &[Option<String>],
    user_id: impl Fn(u32) -> String,
) -> Fallible<()> {
    files::write_pieces("--history", path, |file| {
        for event in history {
            let answer = match event.answer {
                Answered::Paid => json!({ "outcome": "paid" }),
                Answered::Opened { seq, amount_fen, replayed, accepted } => {
                    let accepted = accepted.map(|accepted| format!("{:x}-{:x}", accepted.lane, accepted.place));
                    json!({ "outcome": "opened", "seq": seq, "amount_fen": amount_fen, "replayed": replayed, "accepted": accepted })
                }
                Answered::Nothing => json!({ "outcome": "nothing" }),
                Answered::Refused => json!({ "outcome": "refused" }),
                Answered::Unknown => json!({ "outcome": "unknown" }),
            };
            let line = json!({
                "call": event.call.text(),
                "envelope": envelopes[event.envelope as usize],
                "user": user_id(event.user),
                "sent_us": event.sent_us,
                "answered_us": event.answered_us,
                "answer": answer,
            });
            writeln!(file, "{line}")?;
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_that_a_server_reports_is_read_and_nonsense_is_not() {
        assert_eq!(Accepted::read(b"1f-a"), Some(Accepted { lane: 31, place: 10 }));
        for nonsense in [&b""[..], b"1f", b"-", b"x-1", b"1-", b"\xff-1"] {
            assert_eq!(Accepted::read(nonsense), None);
        }
    }

    #[test]
    fn an_exported_history_has_a_line_for_each_answer() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("history");
        let opened = Answered::Opened {
            seq: 1,
            amount_fen: 88,
            replayed: false,
            accepted: Some(Accepted { lane: 1, place: 2 }),
        };
        let event = |call, user, answer| HistoryEvent { call, envelope: 0, user, sent_us: 1, answered_us: 2, answer };
        let history = [
            event(Call::Open, 7, opened),
            event(Call::Open, 8, Answered::Unknown),
            event(Call::Pay, 0, Answered::Paid),
        ];
        export(Some(&path), &history, &[Some("an-id".into())], |user| format!("u{user}")).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 3);
        assert_eq!(lines[0]["answer"]["amount_fen"], 88);
        assert_eq!(lines[0]["answer"]["accepted"], "1-2");
        assert_eq!((&lines[2]["call"], &lines[2]["answer"]["outcome"]), (&"pay".into(), &"paid".into()));
        assert_eq!((&lines[1]["user"], &lines[1]["answer"]["outcome"]), (&"u8".into(), &"unknown".into()));
    }

    #[test]
    fn a_history_that_cannot_be_written_is_named_by_its_flag() {
        let event =
            HistoryEvent { call: Call::Pay, envelope: 0, user: 0, sent_us: 1, answered_us: 2, answer: Answered::Paid };
        let kept = |path| export(path, &[event], &[None], |user| user.to_string());
        // It can be opened, and has no room.
        let words = kept(Some(Path::new("/dev/full"))).unwrap_err().to_string();
        assert!(words.starts_with("--history /dev/full: No space left"), "{words}");
        kept(None).unwrap();
    }
}
