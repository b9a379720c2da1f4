//! Which ids a SET holds. That is a matter of the id's own time: a slot map is in force from a moment on, for the ids
//! that are minted from then on, so an envelope stays in the SET that it was made in.
//!
//! The topology file says it to every process, and files can differ. What decides is the [fence](crate::fence) in the
//! SET's own databases.

use std::collections::BTreeSet;

use crate::id::{EnvelopeId, Fold, Slot};
use crate::time::Timestamp;

/// The time of the first ids.
pub const BEGINNING: Timestamp = Timestamp::from_millis(0);
/// The end of what has none.
pub const NEVER: Timestamp = Timestamp::from_millis(i64::MAX);

/// What a SET holds while one slot map is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldSpan {
    /// From this time of ids on,
    pub from: Timestamp,
    /// up to this one, which is not in it.
    pub until: Timestamp,
    /// The slots that it holds.
    pub slots: Vec<Slot>,
    /// The databases and tables that the slots of all SETs would lie in if they were laid out as this one's.
    pub fold: Fold,
}

/// What a SET holds, map by map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldSlots(Vec<HeldSpan>);

impl HeldSlots {
    /// Spans that follow each other; the first begins at [`BEGINNING`], the last ends [`NEVER`].
    ///
    /// # Panics
    /// Where they do not.
    pub fn new(spans: Vec<HeldSpan>) -> HeldSlots {
        let ends = (spans.first().map(|span| span.from), spans.last().map(|span| span.until));
        assert_eq!(ends, (Some(BEGINNING), Some(NEVER)), "the spans hold all times");
        assert!(spans.windows(2).all(|pair| pair[0].until == pair[1].from), "the spans follow each other");
        HeldSlots(spans)
    }

    /// The same slots for ever.
    pub fn always(slots: impl IntoIterator<Item = Slot>, fold: Fold) -> HeldSlots {
        HeldSlots(vec![HeldSpan { from: BEGINNING, until: NEVER, slots: slots.into_iter().collect(), fold }])
    }

    /// The span that ids of this time belong to.
    pub fn at(&self, time: Timestamp) -> &HeldSpan {
        let later = self.0.partition_point(|span| span.from <= time);
        &self.0[later.saturating_sub(1)]
    }

    /// Whether an id belongs to the SET.
    pub fn holds(&self, id: EnvelopeId) -> bool {
        self.at(id.minted_at()).slots.contains(&id.slot())
    }

    /// All spans, in order.
    pub fn spans(&self) -> &[HeldSpan] {
        &self.0
    }

    /// The numbers of the databases that the SET has, or will have.
    pub fn databases(&self) -> BTreeSet<u8> {
        self.0.iter().flat_map(|span| span.slots.iter().map(|slot| span.fold.database_of(*slot))).collect()
    }

    /// The fold with which a database was made: that of the first span in which it holds a slot.
    pub fn fold_of(&self, database: u8) -> Option<Fold> {
        let has = |span: &&HeldSpan| span.slots.iter().any(|slot| span.fold.database_of(*slot) == database);
        self.0.iter().find(has).map(|span| span.fold)
    }
}
