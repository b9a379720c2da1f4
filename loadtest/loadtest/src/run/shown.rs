//! Envelopes as the service shows them.

use hongbao_load::{Fallible, RequestBuffer};
use serde::Deserialize;

use super::books::Books;

/// Openings that a page of the detail holds.
const PAGE: u32 = 500;

/// An envelope with all its openings.
pub struct Shown {
    /// As the contract names it.
    pub state: String,
    pub total_fen: i64,
    pub remaining_fen: i64,
    /// By seq: who, and how much.
    pub opens: Vec<(u32, String, i64)>,
}

impl Shown {
    /// Whether its sender has paid, as the service says.
    pub fn is_paid(&self) -> bool {
        !matches!(self.state.as_str(), "created" | "cancelled")
    }

    /// What was not opened, in fen.
    pub fn unopened_fen(&self) -> i64 {
        self.total_fen - self.opens.iter().map(|(_, _, amount_fen)| amount_fen).sum::<i64>()
    }
}

impl Books<'_> {
    /// All envelopes that came to be, as their senders see them.
    ///
    /// # Errors
    /// When the service does not show them.
    pub fn read_envelopes(&self) -> Fallible<Vec<Option<Shown>>> {
        #[derive(Deserialize)]
        struct Detail {
            envelope: View,
            opens: Vec<Open>,
            next_seq: Option<u32>,
        }
        #[derive(Deserialize)]
        struct View {
            state: String,
            total_fen: i64,
            remaining_fen: i64,
        }
        #[derive(Deserialize)]
        struct Open {
            seq: u32,
            user_id: String,
            amount_fen: i64,
        }
        let mut all: Vec<Option<Shown>> = self.envelopes.iter().map(|_| None).collect();
        let ids = self.envelopes.iter().enumerate().filter(|(_, id)| id.is_some());
        let mut pages: Vec<(u32, u32)> = ids.map(|(envelope, _)| (envelope as u32, 0)).collect();
        while !pages.is_empty() {
            let mut asks = RequestBuffer::default();
            for (envelope, after) in &pages {
                let sender = self.plan.envelopes[*envelope as usize].sender;
                let path = format!("{}?after_seq={after}&limit={PAGE}", self.path(*envelope));
                self.users.push_as(&mut asks, sender, "GET", &path, "");
            }
            let mut next = Vec::new();
            for ((envelope, _), body) in pages.iter().zip(self.users.ask_all("an envelope", &asks)?) {
                let detail: Detail = serde_json::from_slice(&body)?;
                let View { state, total_fen, remaining_fen } = detail.envelope;
                let shown = all[*envelope as usize].get_or_insert_with(|| Shown {
                    state: String::new(),
                    total_fen,
                    remaining_fen,
                    opens: Vec::new(),
                });
                // The last page counts: the envelope may have gone on in between.
                (shown.state, shown.remaining_fen) = (state, remaining_fen);
                shown.opens.extend(detail.opens.into_iter().map(|open| (open.seq, open.user_id, open.amount_fen)));
                next.extend(detail.next_seq.map(|after| (*envelope, after)));
            }
            pages = next;
        }
        Ok(all)
    }
}
