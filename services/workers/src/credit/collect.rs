//! Which entries to credit next.
//!
//! **The tail** of a hot table gives new entries in the order of writing, at the
//! price of one read. A tail begins where its table ends when it is first seen,
//! and a sweep at full speed covers what lay before. **The sweep** goes through
//! the envelopes whose journal is longer than their `settled_seq`; it also
//! comes round all tables for ever, slowly, because positions are no promise:
//! on some databases a transaction may commit after one with a higher position,
//! and a tail then passes its rows unseen. [Rechecks](super::gaps) find
//! nearly all of these, and soon. Entries that lie ahead of a tail are left to it, unless its last visit failed.
//!
//! The `settled_seq` that comes with a row is fresh: a run reads it after the
//! settlements of the run before have been committed, and one run takes an
//! envelope up once ([`Batch`]). Should another process settle at the
//! same time, it can only be higher by now; then the wallet knows the
//! transfers, and a settlement never moves backward.

use std::collections::{BTreeMap, HashMap};

use hongbao_core::id::TableRef;
use hongbao_core::{Date, Entry, EnvelopeId, Timestamp};
use hongbao_store::{Store, StoreError, TailEntry};

use super::batch::{Batch, Parties};
use super::gaps::{GapTracker, RECHECK_PAGE};
use crate::job::JobError;

/// Envelopes that one read of a sweep brings.
const SWEEP_PAGE: u32 = 200;
/// Pages that the sweep over all tables reads in one run.
pub(super) const SWEEP_PAGES_PER_RUN: usize = 4;
/// How long that sweep rests between tables in which there was nothing to find.
const SWEEP_PAUSE_MS: i64 = 1_000;

/// Where to look next. All of it can be forgotten.
#[derive(Clone, Debug, Default)]
pub(super) struct Cursors {
    tails: HashMap<TableRef, Tail>,
    round: Round,
}

#[derive(Clone, Debug)]
struct Tail {
    position: i64,
    /// Where the table ended when it was visited last.
    end: i64,
    /// What has to be looked at again.
    gaps: GapTracker,
    /// The sweep over what lies before the position, until it is done.
    sweep: Option<Sweep>,
    /// What was written before this time has been taken up.
    reached: Timestamp,
    /// Its last visit failed: it may stay where it is.
    has_failed: bool,
}

impl Tail {
    /// One that begins where its table ends.
    fn at_end(end: i64, now: Timestamp) -> Tail {
        Tail {
            position: end,
            end,
            gaps: GapTracker::at_end(end),
            sweep: Some(Sweep::default()),
            reached: now,
            has_failed: false,
        }
    }

    /// Whether nothing is to be read of a table that ends there.
    fn is_at(&mut self, end: i64, now: Timestamp) -> bool {
        end <= self.position && self.sweep.is_none() && self.gaps.due(now).is_none()
    }
}

/// A sweep over one table.
#[derive(Clone, Debug, Default)]
struct Sweep {
    /// Envelopes up to this one are done.
    after: Option<EnvelopeId>,
    /// An envelope that was too long for one run, and the last `seq` taken of it.
    within: Option<(EnvelopeId, u32)>,
    /// Something was left behind: sweep again.
    again: bool,
    /// When the oldest entry that it found was written.
    oldest: Option<Timestamp>,
}

impl Sweep {
    fn note(&mut self, entries: &[Entry]) {
        self.oldest = entries.first().map(|entry| entry.at).into_iter().chain(self.oldest).min();
    }
}

/// The sweep over all tables, one after the other, for ever.
#[derive(Clone, Debug, Default)]
struct Round {
    /// It goes on at this table or the next greater one, or behind it: tables come and go meanwhile.
    next: Option<Next>,
    sweep: Sweep,
    rounds: u64,
    /// Not before this time.
    due_at: Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    At(TableRef),
    Behind(TableRef),
}

/// What a visit to a tail came to.
pub(super) struct Followed {
    /// There is more to do at once.
    pub more: bool,
    /// Entries that were written since the visit before. Where positions have
    /// holes it is too many, which makes the job modest.
    pub arrived: u32,
}

/// New entries of one table, as far as the batch has capacity left. `end` is where the table ended a moment ago, if
/// that is known.
pub(super) async fn follow_tail(
    store: &dyn Store,
    cursors: &mut Cursors,
    batch: &mut Batch,
    table: TableRef,
    end: Option<i64>,
    now: Timestamp,
) -> Result<Followed, StoreError> {
    let mut tail = match (cursors.tails.get(&table), end) {
        (Some(tail), _) => tail.clone(),
        (None, Some(end)) => Tail::at_end(end, now),
        (None, None) => Tail::at_end(store.tail_position(table).await?, now),
    };
    if end.is_some_and(|end| tail.is_at(end, now)) {
        (tail.reached, tail.has_failed) = (now, false);
        cursors.tails.insert(table, tail);
        return Ok(Followed { more: false, arrived: 0 });
    }
    let (mut complete, rechecks_again) = recheck(store, &mut tail, batch, table, now).await?;
    let asked = batch.capacity_left();
    let rows = match store.tail(table, tail.position, asked).await {
        Ok(rows) => rows,
        Err(error) => {
            // One damaged row hides all that follow it in the tail: the sweep
            // goes around it, envelope by envelope.
            let sweep = tail.sweep.get_or_insert_default();
            let swept = sweep_page(store, batch, table, sweep, i64::MAX).await;
            cursors.tails.insert(table, tail);
            swept?;
            return Err(error);
        }
    };
    let full = rows.len() as u32 == asked;
    let last = rows.last().map(|last| (last.position, last.entry.at));
    tail.gaps.note(tail.position, rows.iter().map(|row| row.position));
    complete &= take_rows(store, batch, rows).await?;
    if !complete {
        match &mut tail.sweep {
            Some(sweep) => sweep.again = true,
            none => *none = Some(Sweep::default()),
        }
    }
    let mut damage = None;
    if let Some(sweep) = &mut tail.sweep
        && batch.capacity_left() > 0
    {
        let through = last.map_or(tail.position, |(position, _)| position);
        match sweep_page(store, batch, table, sweep, through).await {
            Ok(true) => tail.sweep = None,
            Ok(false) => {}
            // The tail goes on.
            Err(error @ StoreError::Damaged(_)) => damage = Some(error),
            Err(error) => return Err(error),
        }
    }
    tail.reached = match (&tail.sweep, last) {
        (Some(sweep), _) => sweep.oldest.map_or(tail.reached, |oldest| oldest.min(tail.reached)),
        (None, Some((_, at))) if full => at,
        (None, _) => now,
    };
    if let Some((position, _)) = last {
        tail.position = position;
    }
    let end = match (full, end) {
        (false, _) => tail.position,
        (true, Some(end)) => end.max(tail.position),
        (true, None) => store.tail_position(table).await?,
    };
    let arrived = u32::try_from(end.saturating_sub(tail.end)).unwrap_or(0);
    tail.end = end;
    let more = full || rechecks_again || tail.sweep.is_some();
    tail.has_failed = false;
    cursors.tails.insert(table, tail);
    match damage {
        Some(error) => Err(error),
        None => Ok(Followed { more, arrived }),
    }
}

/// One page of a recheck, if one is due. Gives whether all that it found was
/// taken up, and whether there is more to look at.
async fn recheck(
    store: &dyn Store,
    tail: &mut Tail,
    batch: &mut Batch,
    table: TableRef,
    now: Timestamp,
) -> Result<(bool, bool), StoreError> {
    let Some((look, span)) = tail.gaps.due(now) else { return Ok((true, false)) };
    let asked = batch.capacity_left().min(RECHECK_PAGE);
    let mut rows = match store.tail(table, span.after, asked).await {
        Ok(rows) => rows,
        Err(StoreError::Damaged(_)) => {
            // As below, the sweep goes around it.
            tail.gaps = GapTracker::default();
            return Ok((false, false));
        }
        Err(error) => return Err(error),
    };
    let full = rows.len() as u32 == asked;
    rows.retain(|row| row.position <= span.to);
    let seen_to = rows.last().map(|last| last.position).filter(|_| full).unwrap_or(span.to);
    tail.gaps.rechecked(look, span, rows.iter().map(|row| row.position), seen_to);
    let complete = take_rows(store, batch, rows).await?;
    Ok((complete, seen_to < span.to))
}

/// Takes up what the rows of a tail say. False if something was left behind.
async fn take_rows(store: &dyn Store, batch: &mut Batch, rows: Vec<TailEntry>) -> Result<bool, StoreError> {
    let mut by_envelope: BTreeMap<EnvelopeId, (Parties, u32, Vec<Entry>)> = BTreeMap::new();
    for row in rows.into_iter().filter(|row| row.entry.seq > row.settled_seq) {
        let parties = Parties { sender: row.sender, audience: row.audience };
        let group = by_envelope.entry(row.entry.envelope_id).or_insert_with(|| (parties, row.settled_seq, Vec::new()));
        group.2.push(row.entry);
    }
    let mut complete = true;
    let mut gaps = Vec::new();
    for (id, (parties, settled_seq, mut entries)) in by_envelope {
        entries.sort_by_key(|entry| entry.seq);
        if batch.has(id) {
            complete &= batch.extend(id, &entries);
        } else if entries.iter().map(|entry| entry.seq).eq(settled_seq + 1..=settled_seq + entries.len() as u32) {
            batch.add(id, parties, entries, Some(settled_seq));
        } else {
            let last_seq = entries.last().map_or(0, |entry| entry.seq);
            gaps.push((id, parties, settled_seq, last_seq));
        }
    }
    // Rows before these are not settled yet: read the journal itself, as far as
    // there is capacity beside the rows that need no reading.
    for (id, parties, settled_seq, last_seq) in gaps {
        if batch.capacity_left() == 0 {
            return Ok(false);
        }
        let entries = match store.entries(id, settled_seq, batch.capacity_left()).await {
            // The sweep comes by it, too, and says so.
            Err(StoreError::Damaged(_)) => {
                complete = false;
                continue;
            }
            read => read?,
        };
        complete &= entries.last().is_some_and(|last| last.seq >= last_seq);
        batch.add(id, parties, entries, Some(settled_seq));
    }
    Ok(complete)
}

/// One page of a table's sweep over entries up to the position `through`. True when the sweep is done. It passes
/// journals that cannot be read, and gives an error at the end of the page.
async fn sweep_page(
    store: &dyn Store,
    batch: &mut Batch,
    table: TableRef,
    sweep: &mut Sweep,
    through: i64,
) -> Result<bool, StoreError> {
    let mut damage = None;
    if let Some((id, seq)) = sweep.within
        && !batch.has(id)
    {
        if let Some((envelope, _)) = store.load(id).await? {
            // Where the last run settled all that it took, this goes on from
            // there; where a credit was refused, the rest is credited, not settled.
            let after = seq.max(envelope.settled_seq);
            let settled_seq = (after == envelope.settled_seq).then_some(after);
            let asked = batch.capacity_left();
            let entries = readable(store.entries(id, after, asked).await, &mut damage)?;
            let unfinished = entries.len() as u32 == asked;
            let last = entries.last().map_or(after, |last| last.seq);
            sweep.note(&entries);
            batch.add(id, Parties::of(envelope), entries, settled_seq);
            if unfinished {
                sweep.within = Some((id, last));
                return ended(false, damage);
            }
        }
        sweep.after = Some(id);
    }
    sweep.within = None;

    let asked = batch.capacity_left().min(SWEEP_PAGE);
    let page = store.unsettled(table, sweep.after, through, asked).await?;
    let full = page.len() as u32 == asked;
    for envelope in page {
        let id = envelope.id;
        if batch.has(id) {
            sweep.after = Some(id);
            continue;
        }
        let asked = batch.capacity_left();
        if asked == 0 {
            return ended(false, damage);
        }
        let entries = readable(store.entries(id, envelope.settled_seq, asked).await, &mut damage)?;
        let unfinished = entries.len() as u32 == asked;
        sweep.note(&entries);
        if let Some(last) = entries.last().filter(|_| unfinished) {
            sweep.within = Some((id, last.seq));
            let settled_seq = envelope.settled_seq;
            batch.add(id, Parties::of(envelope), entries, Some(settled_seq));
            return ended(false, damage);
        }
        let settled_seq = envelope.settled_seq;
        batch.add(id, Parties::of(envelope), entries, Some(settled_seq));
        sweep.after = Some(id);
    }
    let done = !full && !sweep.again;
    if !full {
        *sweep = Sweep::default();
    }
    ended(done, damage)
}

/// What a page of a sweep came to.
fn ended(done: bool, damage: Option<StoreError>) -> Result<bool, StoreError> {
    damage.map_or(Ok(done), Err)
}

/// The entries of a journal; none, and the damage, of one that cannot be read.
fn readable(read: Result<Vec<Entry>, StoreError>, damage: &mut Option<StoreError>) -> Result<Vec<Entry>, StoreError> {
    match read {
        Err(error @ StoreError::Damaged(_)) => {
            damage.get_or_insert(error);
            Ok(Vec::new())
        }
        read => read,
    }
}

/// One page of the sweep over all tables. What it finds lets it go on at once.
pub(super) async fn sweep_table(
    store: &dyn Store,
    cursors: &mut Cursors,
    batch: &mut Batch,
    table: TableRef,
    now: Timestamp,
) -> Result<(), StoreError> {
    let capacity_left = batch.capacity_left();
    let through = cursors.sweeps_through(table);
    if sweep_page(store, batch, table, &mut cursors.round.sweep, through).await? {
        cursors.pass(now);
    }
    if batch.capacity_left() < capacity_left {
        cursors.round.due_at = now;
    }
    Ok(())
}

impl Cursors {
    /// The tail of a table, if it has one, could not be followed.
    pub fn tail_failed(&mut self, table: TableRef) {
        if let Some(tail) = self.tails.get_mut(&table) {
            tail.has_failed = true;
        }
    }

    /// Through which position the sweep over all tables looks in this one.
    fn sweeps_through(&self, table: TableRef) -> i64 {
        let tail = self.tails.get(&table).filter(|tail| !tail.has_failed);
        tail.map_or(i64::MAX, |tail| tail.position)
    }

    /// Forgets the tails of days that are over.
    pub fn keep_hot(&mut self, hot_dates: &[Date]) {
        self.tails.retain(|table, _| table.is_of(hot_dates));
    }

    /// Everything in these tables that was written before this time has been
    /// taken up; tables that were never visited count from `started_at`.
    pub fn reached(&self, hot: impl Iterator<Item = TableRef>, started_at: Timestamp) -> Option<Timestamp> {
        hot.map(|table| self.tails.get(&table).map_or(started_at, |tail| tail.reached)).min()
    }

    /// Whether every tail stands where it stood in `before`: nothing new was passed.
    pub fn are_where(&self, before: &Cursors) -> bool {
        let stands = |(table, tail): (&TableRef, &Tail)| {
            before.tails.get(table).is_some_and(|old| old.position == tail.position)
        };
        self.tails.iter().all(stands)
    }

    /// Takes over the cursors of a run, but not those of databases in which it
    /// could not settle. The sweep over all tables stays where it was, too; the
    /// table that it is at is left out the next time if it was the cause.
    pub fn replace_except(&mut self, mut new: Cursors, failed: &HashMap<u8, JobError>) {
        if !failed.is_empty() {
            new.round = self.round.clone();
            new.tails.retain(|table, _| !failed.contains_key(&table.database));
            let kept = self.tails.iter().filter(|(table, _)| failed.contains_key(&table.database));
            new.tails.extend(kept.map(|(table, tail)| (*table, tail.clone())));
        }
        *self = new;
    }

    /// Whether the sweep over all tables has something to do now: at once in
    /// its first round, which finds what an earlier process has left.
    pub fn sweep_is_due(&self, now: Timestamp) -> bool {
        self.round.rounds == 0 || now >= self.round.due_at
    }

    /// The table that it is at.
    pub fn table_to_sweep(&mut self, tables: &[TableRef], now: Timestamp) -> Option<TableRef> {
        if tables.is_empty() || !self.sweep_is_due(now) {
            return None;
        }
        let in_turn = |table: &TableRef| match self.round.next {
            None => true,
            Some(Next::At(at)) => *table >= at,
            Some(Next::Behind(passed)) => *table > passed,
        };
        let next = tables.iter().copied().filter(in_turn).min();
        if next.is_none() {
            self.round.rounds += 1;
        }
        let table = next.or_else(|| tables.iter().copied().min())?;
        if self.round.next.replace(Next::At(table)) != Some(Next::At(table)) {
            self.round.sweep = Sweep::default();
        }
        Some(table)
    }

    /// It is done with this table, or cannot use it.
    pub fn pass(&mut self, now: Timestamp) {
        if let Some(Next::At(table)) = self.round.next {
            self.round.next = Some(Next::Behind(table));
        }
        self.round.sweep = Sweep::default();
        self.round.due_at = now.plus_millis(SWEEP_PAUSE_MS);
    }
}

#[cfg(test)]
mod tests {
    use hongbao_core::id::Span;

    use super::*;

    fn tables(days: &[&str]) -> Vec<TableRef> {
        let of = |day: &&str| TableRef { database: 0, table: 0, span: Span::Date(Date::parse(day).unwrap()) };
        days.iter().map(of).collect()
    }

    #[test]
    fn a_sweep_leaves_to_a_tail_what_lies_ahead_of_it_unless_the_tail_failed() {
        let table = tables(&["20260101"])[0];
        let mut cursors = Cursors::default();
        assert_eq!(cursors.sweeps_through(table), i64::MAX);
        cursors.tails.insert(table, Tail::at_end(7, Timestamp::from_millis(0)));
        assert_eq!(cursors.sweeps_through(table), 7);
        cursors.tail_failed(table);
        assert_eq!(cursors.sweeps_through(table), i64::MAX);
    }

    #[test]
    fn a_sweep_passes_over_no_table_when_others_are_sealed_meanwhile() {
        let now = Timestamp::from_millis(1_000_000);
        let all = tables(&["20260101", "20260102", "20260103", "20260104"]);
        let mut cursors = Cursors::default();
        for table in &all[..2] {
            assert_eq!(cursors.table_to_sweep(&all, now), Some(*table));
            cursors.pass(now);
        }
        let now = now.plus_millis(10 * SWEEP_PAUSE_MS);
        let left = &all[1..];
        assert_eq!(cursors.table_to_sweep(left, now), Some(all[2]), "the first one is gone");
        let left = &all[3..];
        assert_eq!(cursors.table_to_sweep(left, now), Some(all[3]), "the one that it was at is gone");
        cursors.pass(now);
        let now = now.plus_millis(10 * SWEEP_PAUSE_MS);
        assert_eq!(cursors.table_to_sweep(&all, now), Some(all[0]), "the next round");
    }
}
