//! Where new envelopes are born: their ids decide it, so the gateway chooses a SET and draws ids until one lies
//! in it.
//!
//! The SET is chosen by weight among those that take new envelopes. Within it every id is as likely as every
//! other, so that its slots stay evenly filled.

use hongbao_core::id::SLOTS;
use hongbao_core::limits::BIRTH_DRAWS_MAX;
use hongbao_core::{EnvelopeId, Timestamp, Traffic};
use hongbao_http::{Code, Problem};

use crate::fleet::{Fleet, Key};

#[cfg(test)]
mod tests;

/// Bytes that are fetched from the system at once: Linux gives up to 256 in one piece.
const FETCHED: usize = 250;

/// Random bytes, fetched in pieces: one id needs ten of them, and a SET that holds one slot a hundred ids.
struct Randomness<F> {
    fetch: F,
    bytes: [u8; FETCHED],
    used: usize,
}

impl<F: FnMut(&mut [u8]) -> Result<(), getrandom::Error>> Randomness<F> {
    fn new(fetch: F) -> Randomness<F> {
        Randomness { fetch, bytes: [0; FETCHED], used: FETCHED }
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], Problem> {
        if self.bytes.len() - self.used < N {
            (self.fetch)(&mut self.bytes).map_err(|_| Problem::new(Code::Unavailable, "no randomness to be had"))?;
            self.used = 0;
        }
        let taken = std::array::from_fn(|place| self.bytes[self.used + place]);
        self.used += N;
        Ok(taken)
    }
}

/// The id of a new envelope, which decides its SET.
pub(crate) fn mint(fleet: &Fleet, now: Timestamp, traffic: Traffic) -> Result<EnvelopeId, Problem> {
    let id = mint_with(fleet, now, getrandom::fill)?;
    fleet.set_of(id).births.count(traffic);
    Ok(id)
}

fn mint_with(
    fleet: &Fleet,
    now: Timestamp,
    fetch: impl FnMut(&mut [u8]) -> Result<(), getrandom::Error>,
) -> Result<EnvelopeId, Problem> {
    let mut random = Randomness::new(fetch);
    let mut chosen = choose(fleet, now, u64::from_le_bytes(random.take()?)).ok_or_else(|| nowhere(fleet, now))?;
    for _ in 0..BIRTH_DRAWS_MAX {
        let id = EnvelopeId::mint(now, random.take()?);
        if fleet.set_number_of(id) != chosen {
            continue;
        }
        if its_server_takes_new(fleet, id) {
            return Ok(id);
        }
        if fleet.open_weight(chosen, now).is_err() {
            // Its last server went away after the choice.
            chosen = choose(fleet, now, u64::from_le_bytes(random.take()?)).ok_or_else(|| nowhere(fleet, now))?;
        }
    }
    Err(nowhere(fleet, now))
}

/// A SET by weight among those that take new envelopes, by its number; `None` if none does.
fn choose(fleet: &Fleet, now: Timestamp, random: u64) -> Option<usize> {
    // What changes meanwhile must not change the sum.
    let mut weights = [0; SLOTS as usize];
    for (number, weight) in weights.iter_mut().enumerate().take(fleet.sets().len()) {
        *weight = fleet.open_weight(number, now).unwrap_or(0);
    }
    let sum: u64 = weights.iter().sum();
    let mut left = ((u128::from(random) * u128::from(sum)) >> u64::BITS) as u64;
    weights.iter().position(|weight| match left.checked_sub(*weight) {
        Some(rest) => {
            left = rest;
            false
        }
        None => true,
    })
}

/// Another server of the SET may know before its owner does that the database is back, or is the only one that
/// reaches it.
fn its_server_takes_new(fleet: &Fleet, id: EnvelopeId) -> bool {
    fleet.choose(Key::Envelope(id), &[]).is_some_and(|server| server.is_up() && server.takes_new())
}

fn nowhere(fleet: &Fleet, now: Timestamp) -> Problem {
    let reasons = fleet.sets().iter().enumerate().map(|(number, set)| match fleet.open_weight(number, now) {
        Ok(_) => format!("SET {:?}: it has just come back", set.name),
        Err(closed) => format!("SET {:?}: {}", set.name, closed.reason()),
    });
    Problem::new(Code::Unavailable, "no SET takes new envelopes now; nothing happened, try again")
        .caused_by(reasons.collect::<Vec<_>>().join("; "))
}
