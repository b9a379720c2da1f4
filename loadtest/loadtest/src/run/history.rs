//! What was answered about money, answer by answer: the other side of the books.

use std::path::Path;

use hongbao_load::{Answered, Fallible, files};
use serde_json::json;

use super::request::UserCall;

/// One request to open or to pay, or a grab that found an opening, and what came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistoryEvent {
    pub call: UserCall,
    pub envelope: u32,
    pub user: u32,
    /// When it was sent, in microseconds since the load began.
    pub sent_us: u64,
    /// When the answer came, or was given up.
    pub answered_us: u64,
    pub answer: Answered,
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
    use hongbao_load::Accepted;

    use super::*;

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
            event(UserCall::Open, 7, opened),
            event(UserCall::Open, 8, Answered::Unknown),
            event(UserCall::Pay, 0, Answered::Paid),
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
        let event = HistoryEvent {
            call: UserCall::Pay,
            envelope: 0,
            user: 0,
            sent_us: 1,
            answered_us: 2,
            answer: Answered::Paid,
        };
        let kept = |path| export(path, &[event], &[None], |user| user.to_string());
        // It can be opened, and has no room.
        let message = kept(Some(Path::new("/dev/full"))).unwrap_err().to_string();
        assert!(message.starts_with("--history /dev/full: No space left"), "{message}");
        kept(None).unwrap();
    }
}
