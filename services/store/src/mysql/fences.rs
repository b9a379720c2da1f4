//! Bringing the fences of a SET to what the topology says.
//!
//! It is done in two steps: first each SET loses what the topology gives to others ([`Fences::narrow`]), and when
//! all have lost it, each gets what is new to it ([`Fences::widen`]). So no id is accepted by two SETs, wherever the
//! process is killed that does it; what it has not come to is done when it is repeated.

use std::sync::Arc;

use hongbao_core::Slot;
use hongbao_core::fence::{Accepted, FenceRefusal, State, Version, difference};
use hongbao_core::limits::{CLOCK_SKEW_MS_MAX, DEADLOCK_TRIES_MAX, FENCE_AHEAD_MS_MIN, FENCE_KNOWN_MS};
use hongbao_database::StoredRow as _;
use hongbao_database::mysql::connection::{Connections, Lease, MysqlOptions, within};
use hongbao_database::mysql::session::CLOCK;
use sqlx::Executor as _;

use super::fence::{Failed, refused, state, values};
use super::layout::Layout;
use crate::StoreError;
use crate::failure::{committing, reading};

/// How long one change may take: what is left between what it is checked for and what others rely on, less what clocks
/// may be apart.
const CHANGE_MS_MAX: i64 = FENCE_AHEAD_MS_MIN - FENCE_KNOWN_MS - CLOCK_SKEW_MS_MAX;

/// The fences of one SET's databases, to be changed.
pub struct Fences {
    connections: Arc<Connections>,
    set: String,
    layout: Layout,
}

/// The fence of a database of a SET.
#[derive(Debug)]
pub struct Fenced {
    /// The number of the database.
    number: u8,
    /// What was read of it.
    pub state: State,
}

impl Fences {
    /// Connects to the databases of a SET of this name.
    ///
    /// # Errors
    /// When they are not reached.
    pub async fn open(options: MysqlOptions, set: &str, layout: Layout) -> Result<Fences, StoreError> {
        Ok(Fences { connections: Connections::open(options).await?, set: set.to_owned(), layout })
    }

    /// Those that there are: a database that is still to be made has none.
    ///
    /// # Errors
    /// When one cannot be read, and when a database's clock is not ours.
    pub async fn read(&self) -> Result<Vec<Fenced>, StoreError> {
        let mut lease = self.connections.lease().await?;
        let mut fences = Vec::new();
        for (number, name) in self.databases(&mut lease).await? {
            match state(&mut lease, &self.layout, number, "").await {
                Ok(state) => fences.extend(state.map(|state| Fenced { number, state })),
                Err(Failed::Deadlock) => return Err(refused(&name, "its fence is being changed; try again")),
                Err(Failed::Other(error)) => return Err(error),
            }
        }
        lease.give_back();
        Ok(fences)
    }

    /// The latest version of the topology to which one of them has come.
    ///
    /// # Errors
    /// When one cannot be read.
    pub async fn version(&self) -> Result<u64, StoreError> {
        let (mut lease, mut latest) = (self.connections.lease().await?, 0);
        for (_, name) in self.databases(&mut lease).await? {
            let text = format!("SELECT GREATEST(narrowed, widened) FROM {name}.slot_fence_version");
            let limit = lease.limit();
            let rows = within(limit, lease.connection().fetch_all(sqlx::raw_sql(&text))).await.map_err(reading)?;
            for row in rows {
                latest = latest.max(row.int(0)?.unsigned_abs());
            }
        }
        lease.give_back();
        Ok(latest)
    }

    /// How many tables of these databases are exported: a backup must not begin before an export and end after it.
    ///
    /// # Errors
    /// When one cannot be read.
    pub async fn exported_tables(&self) -> Result<u64, StoreError> {
        let (mut lease, mut exported) = (self.connections.lease().await?, 0);
        for (number, _) in self.databases(&mut lease).await? {
            let text = format!("SELECT count(*) FROM {}", self.layout.exported(number));
            let limit = lease.limit();
            let row = within(limit, lease.connection().fetch_one(sqlx::raw_sql(&text))).await.map_err(reading)?;
            exported += row.int(0)?.unsigned_abs();
        }
        lease.give_back();
        Ok(exported)
    }

    /// Whether [`narrow`](Fences::narrow) could take from fences that were read what a topology does not give to them.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self, fences: &[Fenced], next: &Version, in_force: Option<&Version>) -> Result<(), StoreError> {
        for Fenced { number, state } in fences {
            let lost = state.narrow(next, &self.wanted(*number), self.in_force(*number, in_force).as_deref());
            lost.map_err(|refusal| refused(&self.layout.database(*number), refusal))?;
        }
        Ok(())
    }

    /// Whether each database of the SET has come to the topology in force, and accepts nothing that this does not
    /// give to it.
    ///
    /// # Errors
    /// Which one has not.
    pub fn check_follows(&self, fences: &[Fenced], in_force: &Version) -> Result<(), StoreError> {
        for (number, name) in self.layout.databases() {
            let state = fences.iter().find(|fence| fence.number == number).map(|fence| &fence.state);
            let has_come =
                |state: &&State| state.narrowed.as_ref().is_some_and(|version| version.number >= in_force.number);
            let given = in_force.maps.held_by(&self.set).accepted_in(number);
            match state.filter(has_come) {
                Some(state) if difference(&state.rows, &given).is_empty() => {}
                _ => {
                    return Err(refused(
                        &name,
                        "its fence has not come to the topology in force: run `hongbao migrate` with that",
                    ));
                }
            }
        }
        Ok(())
    }

    /// Takes from the SET what the next topology does not give to it, and gives what that was. `forced` is kept there
    /// if it is not empty: which SETs were left out, and why.
    ///
    /// # Errors
    /// As [`check`](Fences::check), and what the database says; it may be repeated.
    pub async fn narrow(
        &self,
        next: &Version,
        in_force: Option<&Version>,
        forced: &str,
    ) -> Result<Vec<Accepted>, StoreError> {
        let (version, maps) = (next.number, next.maps.to_text());
        let reason = match forced.replace(['\'', '\\'], "") {
            none if none.is_empty() => String::new(),
            forced => format!(", forced = '{forced}'"),
        };
        self.change(|number, name, state| {
            let lost = state.narrow(next, &self.wanted(number), self.in_force(number, in_force).as_deref())?;
            let kept = difference(&state.rows, &lost);
            let set =
                format!("UPDATE {name}.slot_fence_version SET narrowed = {version}, narrowed_maps = '{maps}'{reason}");
            Ok((lost, kept, set))
        })
        .await
    }

    /// Gives to the SET what the topology gives to it, and gives what is new of it. All SETs have lost before what it
    /// takes from them.
    ///
    /// # Errors
    /// When a fence has become of another topology meanwhile, and what the database says; it may be repeated.
    pub async fn widen(&self, next: &Version) -> Result<Vec<Accepted>, StoreError> {
        self.change(|number, name, state| {
            let wanted = self.wanted(number);
            let set = format!("UPDATE {name}.slot_fence_version SET widened = narrowed, widened_maps = narrowed_maps");
            Ok((state.widen(next, &wanted)?, wanted, set))
        })
        .await
    }

    fn wanted(&self, number: u8) -> Vec<Accepted> {
        self.layout.held.accepted_in(number)
    }

    /// What a database accepts by the topology in force.
    fn in_force(&self, number: u8, in_force: Option<&Version>) -> Option<Vec<Accepted>> {
        in_force.map(|version| version.maps.held_by(&self.set).accepted_in(number))
    }

    /// Those of the topology, and all others that have a fence: a topology that is taken back may have had more.
    async fn databases(&self, lease: &mut Lease) -> Result<Vec<(u8, String)>, StoreError> {
        let text = "SELECT table_schema FROM information_schema.tables WHERE table_name = 'slot_fence_version'";
        let rows = within(lease.limit(), lease.connection().fetch_all(sqlx::raw_sql(text))).await.map_err(reading)?;
        let mut databases = Vec::new();
        for row in rows {
            let found = row.text(0)?;
            let number = Slot::all().map(Slot::number).find(|number| self.layout.database(*number) == found);
            databases.extend(number.map(|number| (number, found.to_owned())));
        }
        databases.sort_unstable();
        Ok(databases)
    }

    /// Changes the fence of each database, in a transaction each, as `change` decides: what it reports, the
    /// rows that there are to be, and the statement that says which topology that is.
    async fn change(
        &self,
        change: impl Fn(u8, &str, &State) -> Result<(Vec<Accepted>, Vec<Accepted>, String), FenceRefusal>,
    ) -> Result<Vec<Accepted>, StoreError> {
        let mut reported = Vec::new();
        let mut lease = self.connections.lease().await?;
        let databases = self.databases(&mut lease).await?;
        lease.give_back();
        for (number, name) in databases {
            let mut tries = 1;
            reported.extend(loop {
                let mut lease = self.connections.lease().await?;
                // A connection that is inside a transaction is not given back, but closed.
                match self.transact(&mut lease, number, &name, &change).await {
                    Ok(report) => {
                        lease.give_back();
                        break report;
                    }
                    Err(Failed::Deadlock) if tries < DEADLOCK_TRIES_MAX => tries += 1,
                    Err(Failed::Deadlock) => return Err(refused(&name, "its fence is being changed; try again")),
                    Err(Failed::Other(error)) => return Err(error),
                }
            });
        }
        Ok(reported)
    }

    /// One try. No statement is repeated by itself: an error 1213 has taken back those before it.
    async fn transact(
        &self,
        lease: &mut Lease,
        number: u8,
        name: &str,
        change: &impl Fn(u8, &str, &State) -> Result<(Vec<Accepted>, Vec<Accepted>, String), FenceRefusal>,
    ) -> Result<Vec<Accepted>, Failed> {
        let limit = lease.limit();
        let run =
            async |lease: &mut Lease, text: &str| within(limit, lease.connection().execute(sqlx::raw_sql(text))).await;
        run(lease, "START TRANSACTION").await?;
        // A database whose making has not come so far accepts nothing.
        let Some(state) = state(lease, &self.layout, number, "FOR UPDATE").await? else {
            run(lease, "ROLLBACK").await?;
            return Ok(Vec::new());
        };
        let (report, rows, version) = change(number, name, &state).map_err(|refusal| refused(name, refusal))?;
        for text in rewrite(&self.layout.fence(number), &state.rows, &rows).iter().chain([&version]) {
            run(lease, text).await?;
        }
        // The time was taken by which the change was checked; later than this it is refused, for a column cannot be NULL.
        let until = state.now.plus_millis(CHANGE_MS_MAX).millis();
        let in_time =
            format!("UPDATE {name}.slot_fence_version SET narrowed = IF(({CLOCK}) < {until}, narrowed, NULL)");
        run(lease, &in_time).await?;
        // A command of its own: on Galera a COMMIT at the end of a text may succeed after the transaction was taken back.
        match run(lease, "COMMIT").await {
            Ok(_) => Ok(report),
            Err(broken) if broken.is_deadlock() => Err(Failed::Deadlock),
            Err(broken) => Err(Failed::Other(committing(broken))),
        }
    }
}

/// Writes the rows of the slots that change.
fn rewrite(fence: &str, rows: &[Accepted], wanted: &[Accepted]) -> Vec<String> {
    let of = |slot: Slot, rows: &[Accepted]| rows.iter().filter(|row| row.slot == slot).copied().collect::<Vec<_>>();
    let changed = Slot::all().filter(|slot| of(*slot, rows) != of(*slot, wanted));
    changed
        .flat_map(|slot| {
            let delete = format!("DELETE FROM {fence} WHERE slot = {}", slot.number());
            std::iter::once(delete)
                .chain(of(slot, wanted).into_iter().map(|row| format!("INSERT INTO {fence} VALUES {}", values(&row))))
        })
        .collect()
}
