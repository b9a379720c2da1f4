//! Recomputes a closed envelope's amounts from its public detail.

use crate::envelope::{Kind, State};
use crate::money::Fen;
use crate::split::{self, Seed};
use crate::wire::{Detail, OpenView};

/// Why a draw could not be confirmed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DrawError {
    /// The seed is shown when the envelope is closed.
    #[error("the envelope is not closed yet: its seed is still secret")]
    NotClosed,
    /// Not 64 hex digits.
    #[error("the seed is not 64 hex digits")]
    BadSeed,
    /// The seed is not the one that was committed to.
    #[error("the seed does not match the commitment: SHA-256 of the seed is {0}")]
    WrongCommitment(String),
    /// An opening is not in the pages given.
    #[error("opening {0} is missing: pass every page of the detail")]
    Missing(u32),
    /// An amount is not what the seed draws.
    #[error("opening {seq}: {user} got {got} fen, but {drawn} were drawn")]
    WrongAmount {
        /// Its place.
        seq: u32,
        /// Who opened.
        user: String,
        /// What was told.
        got: i64,
        /// What should have been.
        drawn: i64,
    },
    /// The terms cannot be split at all.
    #[error("{0} fen cannot be split into the shares left")]
    Impossible(i64),
}

/// Checks the commitment and every amount; gives the openings in order.
///
/// `pages` are all pages of the detail, in any order. Of an envelope that was
/// refunded the detail does not say how much went back: openings that are left
/// off its end by the one who wrote the pages cannot be noticed here.
pub fn verify_draw(pages: &[Detail]) -> Result<Vec<OpenView>, DrawError> {
    let first = pages.first().ok_or(DrawError::NotClosed)?;
    let envelope = &first.envelope;
    let seed = first.draw_seed.as_deref().ok_or(DrawError::NotClosed)?;
    let seed = Seed::from_hex(seed).ok_or(DrawError::BadSeed)?;
    if seed.commitment() != envelope.draw_commitment {
        return Err(DrawError::WrongCommitment(seed.commitment()));
    }
    let pages: Vec<&Detail> = pages.iter().filter(|page| page.envelope.id == envelope.id).collect();
    let mut opens: Vec<OpenView> = pages.iter().flat_map(|page| page.opens.iter().cloned()).collect();
    opens.sort_by_key(|open| open.seq);
    opens.dedup();

    let mut remaining = envelope.total_fen;
    for (seq, open) in (1_u32..).zip(&opens) {
        if open.seq != seq {
            return Err(DrawError::Missing(seq));
        }
        let shares_left = envelope.shares.saturating_sub(seq - 1);
        if !split::splits(remaining, shares_left, envelope.share_fen_max) {
            return Err(DrawError::Impossible(remaining.get()));
        }
        let drawn = match envelope.kind {
            Kind::Lucky => split::lucky_share(&seed, seq, remaining, shares_left, envelope.share_fen_max),
            Kind::Equal => split::equal_share(envelope.total_fen, envelope.shares),
        };
        if open.amount_fen != drawn {
            let (user, got) = (open.user_id.to_string(), open.amount_fen.get());
            return Err(DrawError::WrongAmount { seq, user, got, drawn: drawn.get() });
        }
        remaining = remaining.checked_sub(drawn).ok_or(DrawError::Impossible(remaining.get()))?;
    }
    // A finished envelope was opened to the last share, and the last page says
    // that it is the last, so a missing tail shows.
    let has_last_page = pages.iter().any(|page| page.next_seq.is_none());
    let cut_short = envelope.state == State::Finished && remaining != Fen::ZERO;
    if cut_short || !has_last_page {
        return Err(DrawError::Missing(opens.len() as u32 + 1));
    }
    Ok(opens)
}
