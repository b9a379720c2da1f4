//! The fence: which ids the databases of a SET accept.
//!
//! An envelope is made only where the fence accepts its id, by the statement that makes it. So whatever files and clocks
//! processes have, none is made in a SET that does not hold it. No id is accepted by two SETs, and none is taken from
//! one that may have been minted: what a SET loses is taken from it only for ids of a time that lies well ahead
//! ([`State::narrow`]), and when all have lost what they lose, each gets what is new to it ([`State::widen`]).

use std::cmp::Ordering;

use crate::held::{BEGINNING, HeldSlots, NEVER};
use crate::id::{EnvelopeId, SLOTS, Slot};
use crate::limits::{FENCE_AHEAD_MS_MIN, FENCE_KNOWN_MS};
use crate::slot_maps::SlotMaps;
use crate::time::Timestamp;

/// The ids of a slot that a database accepts: one row of its fence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Accepted {
    /// Their slot.
    pub slot: Slot,
    /// From this time of ids on,
    pub from: Timestamp,
    /// up to this one, which is not in it.
    pub until: Timestamp,
    /// How many databases the fold has that leads here.
    pub databases: u8,
}

impl Accepted {
    fn is_alike(&self, other: &Accepted) -> bool {
        self.slot == other.slot && self.databases == other.databases
    }

    fn goes_on_in(&self, other: &Accepted) -> bool {
        self.is_alike(other) && self.until == other.from
    }

    /// What is in this one and in none of the others.
    fn without(self, others: &[Accepted]) -> Vec<Accepted> {
        let mut pieces = vec![self];
        for other in others.iter().filter(|other| other.is_alike(&self)) {
            let cut = |piece: Accepted| {
                let before = Accepted { until: piece.until.min(other.from), ..piece };
                let after = Accepted { from: piece.from.max(other.until), ..piece };
                [before, after].into_iter().filter(|piece| piece.from < piece.until)
            };
            pieces = pieces.into_iter().flat_map(cut).collect();
        }
        pieces
    }
}

impl HeldSlots {
    /// What a database has to accept, in order: one piece for as long as nothing changes.
    pub fn accepted_in(&self, database: u8) -> Vec<Accepted> {
        let mut pieces: Vec<Accepted> = Vec::new();
        for slot in Slot::all() {
            for span in self.spans().iter().filter(|span| span.slots.contains(&slot)) {
                if span.fold.database_of(slot) != database {
                    continue;
                }
                let piece = Accepted { slot, from: span.from, until: span.until, databases: span.fold.databases() };
                match pieces.last_mut().filter(|last| last.goes_on_in(&piece)) {
                    Some(last) => last.until = piece.until,
                    None => pieces.push(piece),
                }
            }
        }
        pieces
    }
}

/// What of `these` is in none of the `others`.
pub fn difference(these: &[Accepted], others: &[Accepted]) -> Vec<Accepted> {
    these.iter().flat_map(|one| one.without(others)).collect()
}

/// What of `these` is in the `others`, too.
fn common(these: &[Accepted], others: &[Accepted]) -> Vec<Accepted> {
    difference(these, &difference(these, others))
}

/// Whether an id belongs to the SET that was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    /// It does.
    Here,
    /// It does not.
    Elsewhere,
    /// The fence may have changed since it was read, for ids of this time.
    Unknown,
}

/// Which ids the databases of a SET accept, as they said at one moment.
///
/// A fence changes only for ids of a time that lies well ahead, so that what was read of it is right for ids up to
/// [`FENCE_KNOWN_MS`] after it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fence {
    by_slot: Vec<Vec<(Timestamp, Timestamp)>>,
    known_until: Timestamp,
    /// What SETs held that have left, and for which this one answers. It never changes, and nothing is made in it.
    left: Vec<HeldSlots>,
}

impl Fence {
    /// That of databases to which every id belongs, always.
    pub fn open() -> Fence {
        Fence { by_slot: vec![vec![(BEGINNING, NEVER)]; usize::from(SLOTS)], known_until: NEVER, left: Vec::new() }
    }

    /// What the databases of a SET accept of what the topology file gives to it; `read_at` is the time by the
    /// databases' clock at which they were asked. The rows come with the number of their database.
    pub fn new(held: &HeldSlots, rows: &[(u8, Accepted)], read_at: Timestamp) -> Fence {
        let mut by_slot = vec![Vec::new(); usize::from(SLOTS)];
        for database in held.databases() {
            let of_database: Vec<Accepted> =
                rows.iter().filter(|(number, _)| *number == database).map(|(_, row)| *row).collect();
            let wanted = held.accepted_in(database);
            for piece in common(&wanted, &of_database) {
                by_slot[usize::from(piece.slot.number())].push((piece.from, piece.until));
            }
        }
        Fence { by_slot, known_until: read_at.plus_millis(FENCE_KNOWN_MS), left: Vec::new() }
    }

    /// The same with what these SETs held, which have left.
    pub fn with_left(self, left: Vec<HeldSlots>) -> Fence {
        Fence { left, ..self }
    }

    /// Whether an id belongs to these databases.
    pub fn holds(&self, id: EnvelopeId) -> Holds {
        let at = id.minted_at();
        if at >= self.known_until {
            return Holds::Unknown;
        }
        let is_accepted = |(from, until): &(Timestamp, Timestamp)| *from <= at && at < *until;
        match self.by_slot[usize::from(id.slot().number())].iter().any(is_accepted) {
            true => Holds::Here,
            false if self.left.iter().any(|left| left.holds(id)) => Holds::Here,
            false => Holds::Elsewhere,
        }
    }
}

/// The fence of one database, as it was read to be changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// The topology that has taken from it last, if one has.
    pub narrowed: Option<Version>,
    /// The topology that has given to it last.
    pub widened: Option<Version>,
    /// What it accepts.
    pub rows: Vec<Accepted>,
    /// The time: the later of the database's clock and of one's own.
    pub now: Timestamp,
}

/// The slot maps of a version of the topology.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// Its number.
    pub number: u64,
    /// Its maps.
    pub maps: SlotMaps,
}

/// Why fences are not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FenceRefusal {
    /// A fence is of a later version.
    #[error("a fence is that of version {is} of the topology, not {asked}")]
    Later {
        /// Of the fence.
        is: u64,
        /// Of the file.
        asked: u64,
    },
    /// Two files have the same version.
    #[error("a fence is that of another topology of version {0}: give this one a higher version")]
    Other(u64),
    /// The topology changes what it may not.
    #[error("it cannot follow version {version}, to which fences have come: {reason}")]
    Follows {
        /// The version in force.
        version: u64,
        /// What it changes.
        reason: String,
    },
    /// Ids would be taken from a database that may have been minted.
    #[error(
        "it accepts ids of slot {:02} from {} on, and the topology takes them from it; that is possible only for ids \
         from {} on, 5 minutes ahead of the clock", .lost.slot.number(), .lost.from, .earliest
    )]
    TooNear {
        /// What it would lose.
        lost: Accepted,
        /// The earliest time that can be taken from it.
        earliest: Timestamp,
    },
    /// Between the two steps the fence has become that of another topology.
    #[error("a fence has become that of another topology meanwhile; try again")]
    Changed,
}

/// The newest topology of which any database has what it gives: then all had lost before what it takes from them, but
/// those that were left out.
pub fn in_force<'a>(states: impl IntoIterator<Item = &'a State>) -> Option<&'a Version> {
    states.into_iter().filter_map(|state| state.widened.as_ref()).max_by_key(|version| version.number)
}

impl Version {
    /// Whether the fences of an installation, all that there are, may come to this topology.
    ///
    /// # Errors
    /// Why not.
    pub fn check<'a>(&self, states: impl IntoIterator<Item = &'a State> + Clone) -> Result<(), FenceRefusal> {
        for state in states.clone() {
            for known in state.narrowed.iter().chain(&state.widened) {
                self.check_number(known)?;
                let follows = self.maps.check_sets(&known.maps);
                follows.map_err(|reason| FenceRefusal::Follows { version: known.number, reason })?;
            }
        }
        let Some(in_force) = in_force(states.clone()).filter(|version| version.number < self.number) else {
            return Ok(());
        };
        let now = states.into_iter().map(|state| state.now).max().unwrap_or(BEGINNING);
        let follows = self.maps.check_follow(&in_force.maps, now.plus_millis(FENCE_AHEAD_MS_MIN));
        follows.map_err(|reason| FenceRefusal::Follows { version: in_force.number, reason })
    }

    /// Whether all fences have lost what this topology takes from them: those of databases that another migration
    /// has made meanwhile, too.
    ///
    /// # Errors
    /// When one has not.
    pub fn check_narrowed<'a>(&self, states: impl IntoIterator<Item = &'a State>) -> Result<(), FenceRefusal> {
        match states.into_iter().all(|state| state.narrowed.as_ref() == Some(self)) {
            true => Ok(()),
            false => Err(FenceRefusal::Changed),
        }
    }

    fn check_number(&self, known: &Version) -> Result<(), FenceRefusal> {
        match known.number.cmp(&self.number) {
            Ordering::Less => Ok(()),
            Ordering::Equal if known.maps == self.maps => Ok(()),
            Ordering::Equal => Err(FenceRefusal::Other(self.number)),
            Ordering::Greater => Err(FenceRefusal::Later { is: known.number, asked: self.number }),
        }
    }
}

impl State {
    /// The first step to a topology, by which a database accepts what is `wanted`: what it loses. By the topology in
    /// force it accepts `in_force`: what it accepts beyond that is another's already, because it was left out or
    /// restored, and goes at any time.
    ///
    /// # Errors
    /// When the topology is older than the fence, or takes away ids that may have been minted.
    pub fn narrow(
        &self,
        next: &Version,
        wanted: &[Accepted],
        in_force: Option<&[Accepted]>,
    ) -> Result<Vec<Accepted>, FenceRefusal> {
        self.narrowed.iter().chain(&self.widened).try_for_each(|known| next.check_number(known))?;
        let lost = difference(&self.rows, wanted);
        let own = match in_force {
            Some(in_force) => common(&lost, in_force),
            None => lost.clone(),
        };
        let earliest = self.now.plus_millis(FENCE_AHEAD_MS_MIN);
        match own.into_iter().find(|lost| lost.from < earliest) {
            None => Ok(lost),
            Some(lost) => Err(FenceRefusal::TooNear { lost, earliest }),
        }
    }

    /// The second step, after the first one of all databases: what is new to this one.
    ///
    /// # Errors
    /// When the fence is not what the first step has left.
    pub fn widen(&self, next: &Version, wanted: &[Accepted]) -> Result<Vec<Accepted>, FenceRefusal> {
        if self.narrowed.as_ref() != Some(next) || !difference(&self.rows, wanted).is_empty() {
            return Err(FenceRefusal::Changed);
        }
        Ok(difference(wanted, &self.rows))
    }
}
