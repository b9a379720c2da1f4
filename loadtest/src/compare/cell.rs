//! One point of the two axes: how many open an envelope at once, and how many
//! envelopes are hot; and which requests make it so.
//!
//! The requests come in bursts: so many users as open at once, one after the
//! other, to the same envelope; then the next envelope, in random order, all of
//! them before the first comes again. What is under way at a time is as many
//! requests as there are connections, and these follow one another: so each
//! envelope that is being opened is being opened by that many, even when there
//! are fewer connections than openers x envelopes. Then only some envelopes are
//! open at a time.

use rand::SeedableRng as _;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom as _;
use serde::Serialize;

use super::scheme::Scheme;
use crate::prepare::Opening;

/// Connections of the generator at most: it is one thread, and opens a port for each.
pub const CONNECTIONS_MAX: u32 = 1_024;
/// More requests a second than one connection can carry, each waiting for its answer.
const PER_CONNECTION_S_MAX: u32 = 20_000;

/// One point of the axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Cell {
    /// Openers of one envelope at once.
    pub openers: u32,
    /// Hot envelopes.
    pub envelopes: u32,
}

/// What one run of a cell sends.
#[derive(Debug)]
pub struct Plan {
    /// Envelopes that the requests can reach; a run is over before it comes to others.
    pub envelopes: u32,
    /// Shares of each, enough for everybody.
    pub shares: u32,
    /// Who opens what, in order. No user comes twice.
    pub openings: Vec<Opening>,
}

impl Cell {
    /// All combinations, envelopes first.
    pub fn all(openers: &[u32], envelopes: &[u32]) -> Vec<Cell> {
        let cell = |&envelopes: &u32| openers.iter().map(move |&openers| Cell { openers, envelopes });
        envelopes.iter().flat_map(cell).collect()
    }

    /// Connections that are kept busy.
    pub fn connections(self) -> u32 {
        self.openers.saturating_mul(self.envelopes).min(CONNECTIONS_MAX)
    }

    /// Requests that a scheme cannot use up in `seconds`.
    fn requests(self, scheme: Scheme, seconds: f64) -> u32 {
        let per_s = scheme.requests_per_s_max().min(self.connections() * PER_CONNECTION_S_MAX);
        (f64::from(per_s) * seconds).ceil() as u32
    }

    /// Shares that the service must allow an envelope of this cell.
    pub fn shares_max(self, scheme: Scheme, seconds: f64) -> u32 {
        Extent::of(self, self.requests(scheme, seconds)).shares
    }

    /// What is sent for `seconds`; the users' numbers begin with `first_user`.
    pub fn plan(self, scheme: Scheme, seconds: f64, first_user: u32) -> Plan {
        let requests = self.requests(scheme, seconds);
        let Extent { envelopes, shares } = Extent::of(self, requests);
        let mut random = SmallRng::seed_from_u64(u64::from(first_user));
        let mut order: Vec<u32> = (0..envelopes).collect();
        let mut openings = Vec::with_capacity(requests as usize);
        while openings.len() < requests as usize {
            order.shuffle(&mut random);
            for &envelope in &order {
                let first = first_user + openings.len() as u32;
                let left = requests - openings.len() as u32;
                openings.extend((first..first + self.openers.min(left)).map(|user| Opening { user, envelope }));
            }
        }
        Plan { envelopes, shares, openings }
    }
}

struct Extent {
    envelopes: u32,
    shares: u32,
}

impl Extent {
    fn of(cell: Cell, requests: u32) -> Extent {
        let envelopes = cell.envelopes.min(requests.div_ceil(cell.openers));
        let rounds = requests.div_ceil(envelopes * cell.openers);
        Extent { envelopes, shares: rounds * cell.openers }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use super::*;

    #[test]
    fn every_user_comes_once_and_every_envelope_has_a_share_for_each() {
        for cell in Cell::all(&[1, 8, 1_024], &[1, 100, 10_000]) {
            let plan = cell.plan(Scheme::Serial, 0.3, 5);
            let users: HashSet<u32> = plan.openings.iter().map(|opening| opening.user).collect();
            assert_eq!(users.len(), plan.openings.len());
            assert_eq!(users.iter().min(), Some(&5));
            let mut openers = HashMap::<u32, u32>::new();
            plan.openings.iter().for_each(|opening| *openers.entry(opening.envelope).or_default() += 1);
            assert!(openers.values().all(|count| *count <= plan.shares), "{cell:?}");
            assert!(openers.keys().all(|envelope| *envelope < plan.envelopes));
            assert!(plan.envelopes <= cell.envelopes && plan.shares <= cell.shares_max(Scheme::Serial, 0.3));
        }
    }

    #[test]
    fn what_is_under_way_at_once_is_so_many_openers_of_each_envelope() {
        let cell = Cell { openers: 8, envelopes: 100 };
        assert_eq!(cell.connections(), 800);
        let plan = cell.plan(Scheme::Serial, 1.0, 0);
        for burst in plan.openings.chunks(8) {
            assert!(burst.iter().all(|opening| opening.envelope == burst[0].envelope));
        }
        let first: HashSet<u32> = plan.openings[..800].iter().map(|opening| opening.envelope).collect();
        assert_eq!(first.len(), 100, "all envelopes come before the first comes again");
    }

    #[test]
    fn there_are_never_more_connections_than_the_generator_drives() {
        let connections = |openers, envelopes| Cell { openers, envelopes }.connections();
        assert_eq!([connections(1, 1), connections(64, 1), connections(64, 100)], [1, 64, CONNECTIONS_MAX]);
        assert_eq!(connections(u32::MAX, 2), CONNECTIONS_MAX);
    }
}
