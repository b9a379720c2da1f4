//! Recomputes a closed envelope's amounts from its public detail.

use std::collections::HashSet;
use std::fmt::Display;

use crate::envelope::{Audience, Kind, State};
use crate::limits::{AUDIT_CLOCKS_APART_MS_MAX, ID_AGE_DAYS_MAX, ID_AHEAD_MS_MAX};
use crate::money::Fen;
use crate::split::{self, Seed};
use crate::wire::{Detail, EnvelopeView, OpenView};

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
        /// What the page says.
        got: i64,
        /// What should have been.
        drawn: i64,
    },
    /// The terms cannot be split at all.
    #[error("{0} fen cannot be split into the shares left")]
    Impossible(i64),
    /// The pages are not of one envelope, or not all of the time after it was closed.
    #[error("the pages contradict each other in {0}: get all of them again")]
    PagesDiffer(&'static str),
    /// Something else that the pages say is not so.
    #[error("{what} is given as {given}, and is {due}")]
    False {
        /// The field.
        what: String,
        /// What the pages say.
        given: String,
        /// What follows from the rest of them.
        due: String,
    },
}

/// Checks the commitment, every amount, and all else in the pages that follows
/// from the rest of them; gives the openings in order.
///
/// `pages` are all pages of the detail, in any order. Of an envelope that was
/// refunded the detail does not say how much went back: openings that are left
/// off its end by the one who wrote the pages cannot be noticed here. Nothing in
/// them says more of the sender, the greeting, a group that it is for, and the
/// lifetime; and who opened a share, and when, only has to be possible.
pub fn verify_draw(pages: &[Detail]) -> Result<Vec<OpenView>, DrawError> {
    let first = pages.first().ok_or(DrawError::NotClosed)?;
    let envelope = &first.envelope;
    let seed = first.draw_seed.as_deref().ok_or(DrawError::NotClosed)?;
    let seed = Seed::from_hex(seed).ok_or(DrawError::BadSeed)?;
    if seed.commitment() != envelope.draw_commitment {
        return Err(DrawError::WrongCommitment(seed.commitment()));
    }
    if !split::splits(envelope.total_fen, envelope.shares, envelope.share_fen_max) {
        return Err(DrawError::Impossible(envelope.total_fen.get()));
    }
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
    check_pages(pages, opens.len() as u32)?;
    check_end(envelope, remaining)?;
    check_openers(envelope, &opens)?;
    check_times(envelope, &opens)?;
    check_named(pages, &opens)?;
    Ok(opens)
}

/// They are of one envelope after it was closed, and each says rightly what comes after it.
fn check_pages(pages: &[Detail], opens: u32) -> Result<(), DrawError> {
    for page in pages {
        let first = &pages[0];
        let differs = [
            (page.envelope != first.envelope, "envelope"),
            (page.draw_seed != first.draw_seed, "draw_seed"),
            (page.luckiest != first.luckiest, "luckiest"),
        ];
        if let Some((_, field)) = differs.iter().find(|(differs, _)| *differs) {
            return Err(DrawError::PagesDiffer(field));
        }
        let due = page.opens.last().map(|open| open.seq).filter(|seq| *seq < opens);
        // An empty page comes after the last one, whatever was asked for.
        if page.next_seq != due {
            return Err(wrong("next_seq", format!("{:?}", page.next_seq), format!("{due:?}")));
        }
    }
    Ok(())
}

fn check_end(envelope: &EnvelopeView, remaining: Fen) -> Result<(), DrawError> {
    let state = if remaining == Fen::ZERO { State::Finished } else { State::Refunded };
    if envelope.state != state {
        return Err(wrong("state", format!("{:?}", envelope.state), format!("{state:?}")));
    }
    if (envelope.remaining_fen, envelope.remaining_shares) != (Fen::ZERO, 0) {
        let left = format!("{} and {}", envelope.remaining_fen.get(), envelope.remaining_shares);
        return Err(wrong("remaining_fen and remaining_shares", left, "0 and 0"));
    }
    Ok(())
}

/// Each opened once, and was among those whom it is for.
fn check_openers(envelope: &EnvelopeView, opens: &[OpenView]) -> Result<(), DrawError> {
    let audience = envelope.audience.clone().into_audience();
    let audience = audience.map_err(|error| wrong("audience", error, "another one"))?;
    let mut users = HashSet::new();
    for open in opens {
        if !users.insert(&open.user_id) {
            return Err(wrong(format!("opening {}", open.seq), &open.user_id, "a user's who had not opened it"));
        }
        let is_invited = match &audience {
            Audience::User(invited) => [invited, &envelope.sender].contains(&&open.user_id),
            // Who is in a group is not public.
            Audience::Link | Audience::Group(_) => true,
        };
        if !is_invited {
            return Err(wrong(format!("opening {}", open.seq), &open.user_id, "for somebody else"));
        }
    }
    Ok(())
}

/// Openings follow each other, as exactly as the clocks of several servers do, and come before the expiry.
fn check_times(envelope: &EnvelopeView, opens: &[OpenView]) -> Result<(), DrawError> {
    let minted_at = envelope.id.minted_at();
    let taken = minted_at.plus_millis(-ID_AHEAD_MS_MAX)..=minted_at.plus_millis(ID_AGE_DAYS_MAX * 86_400_000);
    if !taken.contains(&envelope.created_at) {
        return Err(wrong("created_at", envelope.created_at, format!("near {minted_at}, as its id says")));
    }
    let Some(expires_at) = envelope.expires_at else { return Err(wrong("expires_at", "null", "a time")) };
    let mut latest = envelope.created_at;
    for open in opens {
        let possible = latest.plus_millis(-AUDIT_CLOCKS_APART_MS_MAX)..expires_at;
        if !possible.contains(&open.opened_at) {
            let what = format!("opened_at of opening {}", open.seq);
            return Err(wrong(what, open.opened_at, format!("from {latest} on and before {expires_at}")));
        }
        latest = latest.max(open.opened_at);
    }
    Ok(())
}

/// The openings that are named apart are among the others, and the luckiest is it.
fn check_named(pages: &[Detail], opens: &[OpenView]) -> Result<(), DrawError> {
    // The earliest of equals: of equal keys, the last one is the maximum.
    let luckiest = opens.iter().rev().max_by_key(|open| open.amount_fen);
    let given_luckiest = pages[0].luckiest.as_ref();
    if given_luckiest != luckiest {
        return Err(wrong("luckiest", text_of(given_luckiest), text_of(luckiest)));
    }
    for mine in pages.iter().filter_map(|page| page.mine.as_ref()) {
        if !opens.contains(mine) {
            return Err(wrong("mine", text_of(Some(mine)), "none of the openings"));
        }
    }
    Ok(())
}

fn text_of(open: Option<&OpenView>) -> String {
    let Some(OpenView { seq, user_id, amount_fen, opened_at }) = open else { return "nobody".to_owned() };
    format!("opening {seq} of {} fen by {user_id} at {opened_at}", amount_fen.get())
}

fn wrong(what: impl Into<String>, given: impl Display, due: impl Display) -> DrawError {
    DrawError::False { what: what.into(), given: given.to_string(), due: due.to_string() }
}
