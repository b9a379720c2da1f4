//! One point of the two axes: how many open an envelope at once, and how many
//! envelopes are hot; and which requests make it so.
//!
//! As many envelopes as the connections can serve are open at a time, each by as
//! many users as were asked for, in random order among one another; then come the
//! next envelopes, until all had their turn and the first comes again. What is
//! under way at any moment is as many requests as there are connections, and
//! these follow one another. So an envelope that is being opened is being opened
//! by that many at once, even when there are fewer connections than openers x
//! envelopes: then only some envelopes are open at a time.

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
    pub envelopes: u32,
}

/// What one run of a cell sends.
#[derive(Debug)]
pub struct CellPlan {
    /// Envelopes that the requests can reach; a run is over before it comes to others.
    pub envelopes: u32,
    /// Shares of each, enough for all openers.
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

    fn open_at_a_time(self) -> usize {
        (self.connections() / self.openers).max(1) as usize
    }

    /// Requests that a scheme cannot use up in `seconds`.
    pub fn requests(self, scheme: Scheme, seconds: f64) -> u32 {
        let per_s = scheme.requests_per_s_max().min(self.connections() * PER_CONNECTION_S_MAX);
        (f64::from(per_s) * seconds).ceil() as u32
    }

    /// Shares that the service must allow an envelope of this cell.
    pub fn shares_max(self, scheme: Scheme, seconds: f64) -> u32 {
        Extent::of(self, self.requests(scheme, seconds)).shares
    }

    /// What is sent for `seconds`; the users' numbers begin with `first_user`.
    pub fn plan(self, scheme: Scheme, seconds: f64, first_user: u32) -> CellPlan {
        let requests = self.requests(scheme, seconds);
        let Extent { envelopes, shares } = Extent::of(self, requests);
        let mut random = SmallRng::seed_from_u64(u64::from(first_user));
        let mut order: Vec<u32> = (0..envelopes).collect();
        let mut openings = Vec::with_capacity(requests as usize);
        while openings.len() < requests as usize {
            order.shuffle(&mut random);
            for open in order.chunks(self.open_at_a_time()) {
                let mut these = open.repeat(self.openers as usize);
                these.shuffle(&mut random);
                let users = first_user + openings.len() as u32..first_user + requests;
                openings.extend(users.zip(these).map(|(user, envelope)| Opening { user, envelope }));
            }
        }
        CellPlan { envelopes, shares, openings }
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
        for (envelopes, at_a_time) in [(100, 100), (10_000, 128)] {
            let cell = Cell { openers: 8, envelopes };
            assert_eq!(cell.connections(), 8 * at_a_time);
            let plan = cell.plan(Scheme::Serial, 0.5, 0);
            for under_way in plan.openings.chunks_exact(cell.connections() as usize).take(3) {
                let mut openers = HashMap::<u32, u32>::new();
                under_way.iter().for_each(|opening| *openers.entry(opening.envelope).or_default() += 1);
                assert!(openers.len() as u32 == at_a_time && openers.values().all(|count| *count == 8));
            }
        }
    }

    #[test]
    fn there_are_never_more_connections_than_the_generator_drives() {
        let connections = |openers, envelopes| Cell { openers, envelopes }.connections();
        assert_eq!([connections(1, 1), connections(64, 1), connections(64, 100)], [1, 64, CONNECTIONS_MAX]);
        assert_eq!(connections(u32::MAX, 2), CONNECTIONS_MAX);
    }
}
