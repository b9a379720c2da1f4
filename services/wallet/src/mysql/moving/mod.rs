//! Carries slots of users to another database while the wallet serves.
//!
//! A shard's slots, with all of their transfers, cancels and taken ids, and what else users have
//! ([`carried`]), go from one *source* database to one new *target*. Positions stay what they are, so the cursors
//! of lists do, too. Two files say where: the one in force, and the next one. Nothing
//! coordinates the processes that have one or the other; the table `fence` does, which
//! each transaction reads under the lock of its shard:
//!
//! | after the step | source | target |
//! |---|---|---|
//! | before all | serves | is not there, and no migration makes it |
//! | [`Make`](Step::Make) | serves; has announced the move, first | refuses (`is_arriving`), since before it was complete |
//! | [`Copy`](Step::Copy), [`Compare`](Step::Compare) | serves | refuses; has what was there, read back |
//! | [`Fence`](Step::Fence) | refuses the slots for good (`moved_slots`) | refuses |
//! | [`CopyRest`](Step::CopyRest), [`CompareRest`](Step::CompareRest) | refuses | refuses; has everything |
//! | [`Settle`](Step::Settle) | refuses; its system accounts are those of the users who stayed | refuses |
//! | [`Open`](Step::Open) | refuses | serves |
//!
//! So at no moment do both serve a user, with whatever files. The id of the move stands in both, and the name of the
//! target that has got the slots at the source: other files, and other databases, are refused. Each step finds out what is
//! done already, and what was done is committed before the next one begins: a run that
//! was killed is repeated. What a step has read of another run's writes, it makes durable
//! by a commit of its own before it goes on.

mod carried;
mod place;
mod plan;
mod rows;
mod source;
mod target;

use hongbao_core::limits::MOVE_ROUNDS_MAX;

use self::place::Place;
use self::plan::Pair;
use self::rows::PAGE;
use self::source::Source;
use self::target::{Target, TargetState};
use super::layout::{DatabaseServer, plan as plan_shards};
use super::migrate;
use super::slots::SlotSet;
use crate::WalletError;

/// What is done for one database, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The source announces the move; the target is made, and refuses.
    Make,
    /// Transfers are copied until few are left; this may take long.
    Copy,
    /// What was copied is read again in both databases.
    Compare,
    /// The source refuses the slots from here on.
    Fence,
    /// The last transfers are copied, and what else users have.
    CopyRest,
    /// And read again.
    CompareRest,
    /// The source's system accounts lose what has moved.
    Settle,
    /// The target serves.
    Open,
}

impl Step {
    /// All of them, in order: what stands here is what is done.
    pub const ALL: [Step; 8] = [
        Step::Make,
        Step::Copy,
        Step::Compare,
        Step::Fence,
        Step::CopyRest,
        Step::CompareRest,
        Step::Settle,
        Step::Open,
    ];
}

/// One database that a move is about, as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Carried {
    /// Its name, the same at both places.
    pub database: String,
    /// The slots, "52 56".
    pub slots: String,
    /// Transfers that this run has copied.
    pub copied: u64,
}

/// How a move ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moved {
    /// Every slot is where the next file says.
    All,
    /// `go_on` has ended it; the same call goes on from there.
    Stopped,
}

/// Carries each slot whose holder differs between `from`, the servers in force, and `to`, the
/// next ones, of the same `databases` over all slots. `go_on` is asked before each step. It
/// may be repeated at any time, until it says that all has moved and after that.
///
/// # Errors
/// [`WalletError::Unavailable`] for the operator: what cannot be moved, by name; a database that
/// is not reached; rows that differ. Nothing is lost by it: see the module.
pub async fn move_slots(
    from: &[DatabaseServer],
    to: &[DatabaseServer],
    databases: u8,
    go_on: &mut (dyn FnMut(&Carried, Step) -> bool + Send),
) -> Result<Moved, WalletError> {
    let mut moves = Vec::new();
    for pair in plan::pairs(from, to, databases)? {
        moves.push(Move::open(pair, databases).await?);
    }
    // What takes long goes first, for all databases: it disturbs no user.
    for one in &mut moves {
        let ahead = Step::ALL.into_iter().take_while(|step| *step != Step::Fence);
        if !one.run(ahead, go_on).await? {
            return Ok(Moved::Stopped);
        }
    }
    for one in &mut moves {
        if !one.run(Step::ALL.into_iter(), go_on).await? {
            return Ok(Moved::Stopped);
        }
    }
    // Also where the files do not differ: a run before may have been left unfinished.
    for plan in plan_shards(to, databases)? {
        let place = Place::open(to[plan.server].options.clone(), plan.name()).await?;
        migrate::check(&place.connections, &plan, databases).await?;
        place.check_serves(plan.slot_set()).await?;
    }
    Ok(Moved::All)
}

/// Refuses where some database does not serve all slots that it has by these servers: while they move, what is there
/// is not all that there is. A database of an earlier version has no fence, and serves.
///
/// # Errors
/// [`WalletError::Unavailable`] names the database.
pub async fn check_serves_all(servers: &[DatabaseServer], databases: u8) -> Result<(), WalletError> {
    for plan in plan_shards(servers, databases)? {
        let place = Place::open(servers[plan.server].options.clone(), plan.name()).await?;
        place.check_serves(plan.slot_set()).await?;
    }
    Ok(())
}

/// The move of one database.
struct Move {
    source: Source,
    target: Target,
    slots: SlotSet,
    shown: Carried,
}

impl Move {
    async fn open(pair: Pair, databases: u8) -> Result<Move, WalletError> {
        let (database, slots) = (pair.target.name(), pair.target.slot_set());
        let source = Source::open(pair.from, &pair.source, databases, slots).await?;
        let target = Target::open(pair.to, &pair.target, databases).await?;
        Ok(Move { source, target, slots, shown: Carried { database, slots: slots.to_string(), copied: 0 } })
    }

    /// Whether it was not stopped.
    async fn run(
        &mut self,
        steps: impl Iterator<Item = Step>,
        go_on: &mut (dyn FnMut(&Carried, Step) -> bool + Send),
    ) -> Result<bool, WalletError> {
        for step in steps {
            if let Some(state) = self.target.opened().await? {
                state.fence.check_all(&self.shown.database, self.slots)?;
                self.source.stay_fenced(&state).await?;
                return Ok(true);
            }
            if !go_on(&self.shown, step) {
                return Ok(false);
            }
            self.take(step).await?;
        }
        Ok(true)
    }

    async fn take(&mut self, step: Step) -> Result<(), WalletError> {
        match step {
            Step::Make => {
                if !self.target.is_made().await? {
                    let id = self.source.announce().await?;
                    self.target.make(&id).await?;
                }
                self.target.check().await?;
                // In every run: a file of before names another source, whose positions are others.
                self.source.check_announced(&self.target.state().await?.id).await
            }
            Step::Copy => {
                for _ in 0..MOVE_ROUNDS_MAX {
                    let end = self.source.last_position().await?;
                    let state = self.target.state().await?;
                    self.check_not_ahead(&state, end)?;
                    if end - state.last_position <= i64::from(PAGE) {
                        break;
                    }
                    self.copy(end).await?;
                }
                Ok(())
            }
            Step::Compare => self.compare().await,
            Step::Fence => self.source.fence(&self.target.state().await?.id).await,
            Step::CopyRest => {
                let state = self.target.state().await?;
                let end = self.source.fenced_position(&state.id).await?;
                self.check_not_ahead(&state, end)?;
                self.copy(end).await?;
                self.copy_carried().await
            }
            Step::CompareRest => {
                self.compare().await?;
                carried::compare(self.source.place(), self.target.place(), self.slots).await
            }
            Step::Settle => self.source.settle(&self.target.state().await?).await,
            Step::Open => {
                let state = self.target.state().await?;
                self.source.check_settled(&state).await?;
                self.target.open_for_users(&state).await
            }
        }
    }

    /// Refuses a target that was filled beyond the end of its source, which then is not what it was.
    fn check_not_ahead(&self, state: &TargetState, end: i64) -> Result<(), WalletError> {
        match state.last_position > end {
            true => Err(WalletError::Unavailable(format!(
                "{}: the target was filled up to position {}, and its source ends at {end}: it was restored as it was \
                 before. Drop the new database, which has not served, and run it again",
                self.shown.database, state.last_position
            ))),
            false => Ok(()),
        }
    }

    /// Up to a position of the source.
    async fn copy(&mut self, end: i64) -> Result<(), WalletError> {
        loop {
            let state = self.target.state().await?;
            if state.last_position >= end {
                return Ok(());
            }
            let page = self.source.page(state.last_position, end).await?;
            self.target.append(&state, &page).await?;
            self.shown.copied += page.rows.len() as u64;
        }
    }

    /// What the slots have beside transfers, which does not change any more.
    async fn copy_carried(&self) -> Result<(), WalletError> {
        let target = &self.target;
        let (from, to) = (self.source.place(), target.place());
        carried::copy(from, to, self.slots, |sql, rows| target.add(sql, rows)).await?;
        carried::go_on_from(from, to, |sql, rows| target.add(sql, rows)).await
    }

    /// All that was copied and not compared yet, row by row.
    async fn compare(&mut self) -> Result<(), WalletError> {
        let state = self.target.state().await?;
        let mut after = state.compared_to;
        while after < state.last_position {
            let page = self.source.page(after, state.last_position).await?;
            let there = self.target.rows(after, page.until).await?;
            if let Some(position) = rows::first_difference(&page.rows, &there) {
                return Err(WalletError::Damaged(format!(
                    "{}: what was copied differs from its source at position {position}; nothing was opened",
                    self.shown.database
                )));
            }
            after = page.until;
        }
        self.target.note_compared(&state).await
    }
}
