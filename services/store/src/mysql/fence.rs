//! The fence in the databases of a SET ([`hongbao_core::fence`]): reading it, and bringing it to what the topology says.
//!
//! It is changed in two steps: first each SET loses what the topology gives to others ([`Fences::narrow`]), and when
//! all have lost it, each gets what is new to it ([`Fences::widen`]). So no id is accepted by two SETs, wherever the
//! process is killed that does it; what it has not come to is done when it is repeated.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use hongbao_core::fence::{Accepted, FenceRefusal, State, difference};
use hongbao_core::limits::{DEADLOCK_TRIES_MAX, FENCE_AHEAD_MS_MIN, FENCE_KNOWN_MS};
use hongbao_core::{Slot, Timestamp};
use hongbao_database::StoredRow as _;
use hongbao_database::mysql::connection::{Connections, Lease, MysqlOptions, within};
use hongbao_database::mysql::failure::QueryError;
use hongbao_database::mysql::session::CLOCK;
use sqlx::Executor as _;
use sqlx::mysql::MySqlRow;

use super::ddl::execute;
use super::layout::Layout;
use crate::StoreError;
use crate::failure::{committing, reading};

/// Makes the tables of a fence.
pub(super) const TABLES: &str = include_str!("../../../../sql/mysql/envelope/0005_fence.sql");
/// How long one change may take: what is left between what it is checked for and what others rely on.
const CHANGE_MAX: Duration = Duration::from_millis((FENCE_AHEAD_MS_MIN - FENCE_KNOWN_MS) as u64);

/// Reads the fences of all databases of a SET, each row with the number of its database; and what their clock
/// showed before. One round trip.
pub(super) async fn read(
    lease: &mut Lease,
    layout: &Layout,
) -> Result<Result<(Vec<(u8, Accepted)>, Timestamp), StoreError>, QueryError> {
    let of_database =
        |(number, _)| format!("SELECT {number}, slot, from_ms, until_ms, db_count FROM {}", layout.fence(number));
    let all: Vec<String> = layout.databases().into_iter().map(of_database).collect();
    let text = format!("{CLOCK}; {}", all.join(" UNION ALL "));
    let limit = lease.limit();
    let rows = within(limit, lease.connection().fetch_all(sqlx::raw_sql(&text))).await?;
    let decoded = || {
        let (clock, rows) = rows.split_first().ok_or_else(|| StoreError::Damaged("there is no clock".to_owned()))?;
        let rows: Result<_, StoreError> = rows.iter().map(|row| Ok((small(row, 0)?, accepted(row, 1)?))).collect();
        Ok((rows?, Timestamp::from_millis(clock.int(0)?)))
    };
    Ok(decoded())
}

fn small(row: &MySqlRow, column: usize) -> Result<u8, StoreError> {
    let number = row.int(column)?;
    u8::try_from(number).map_err(|_| StoreError::Damaged(format!("{number} in a fence")))
}

fn accepted(row: &MySqlRow, first: usize) -> Result<Accepted, StoreError> {
    let slot = small(row, first)?;
    Ok(Accepted {
        slot: Slot::new(slot).ok_or_else(|| StoreError::Damaged(format!("slot {slot} in a fence")))?,
        from: Timestamp::from_millis(row.int(first + 1)?),
        until: Timestamp::from_millis(row.int(first + 2)?),
        databases: small(row, first + 3)?,
    })
}

/// The fences of one SET's databases, to be changed.
pub struct Fences {
    connections: Arc<Connections>,
    layout: Layout,
}

impl Fences {
    /// Connects to databases that are up to date but for their fence.
    ///
    /// # Errors
    /// When they are not reached.
    pub async fn open(options: MysqlOptions, layout: Layout) -> Result<Fences, StoreError> {
        Ok(Fences { connections: Connections::open(options).await?, layout })
    }

    /// Whether [`narrow`](Fences::narrow) would take from the SET what the topology of this version does not give to it.
    ///
    /// # Errors
    /// Why not: the fence is of a later version, or the SET would lose ids that may be in use.
    pub async fn check(&self, version: u64) -> Result<(), StoreError> {
        let mut lease = self.connections.lease().await?;
        for (number, name) in self.databases(&mut lease).await? {
            let state = state(&mut lease, &self.layout, number, "").await?;
            state
                .narrowed(version, &self.layout.held.accepted_in(number))
                .map_err(|refusal| refused(&name, refusal))?;
        }
        lease.give_back();
        Ok(())
    }

    /// Takes from the SET what the topology of this version does not give to it, and gives what that was.
    /// `forced` is kept there: which SETs were left out, and why.
    ///
    /// # Errors
    /// As [`check`](Fences::check), and what the database says; it may be repeated.
    pub async fn narrow(&self, version: u64, forced: &str) -> Result<Vec<Accepted>, StoreError> {
        let forced = forced.replace(['\'', '\\'], "");
        let set_version = |database: &str| {
            format!("UPDATE {database}.slot_fence_version SET version = {version}, forced = '{forced}'")
        };
        self.change(|number, name, state| {
            let lost = state.narrowed(version, &self.layout.held.accepted_in(number))?;
            let kept = difference(&state.rows, &lost);
            Ok((lost, kept, Some(set_version(name))))
        })
        .await
    }

    /// Gives to the SET what the topology gives to it, and gives what is new of it. All SETs have lost before what it
    /// takes from them.
    ///
    /// # Errors
    /// When the fence has become of another topology meanwhile, and what the database says; it may be repeated.
    pub async fn widen(&self, version: u64) -> Result<Vec<Accepted>, StoreError> {
        self.change(|number, _, state| {
            let wanted = self.layout.held.accepted_in(number);
            Ok((state.widened(version, &wanted)?, wanted, None))
        })
        .await
    }

    /// Those of the topology, and all others that have a fence: a topology that is taken back may have had more.
    async fn databases(&self, lease: &mut Lease) -> Result<Vec<(u8, String)>, StoreError> {
        let text = "SELECT table_schema FROM information_schema.tables WHERE table_name = 'slot_fence'";
        let rows = within(lease.limit(), lease.connection().fetch_all(sqlx::raw_sql(text))).await.map_err(reading)?;
        let mut databases: BTreeMap<u8, String> = self.layout.databases().into_iter().collect();
        for row in rows {
            let found = row.text(0)?;
            let number = Slot::all().map(Slot::number).find(|number| self.layout.database(*number) == found);
            databases.extend(number.map(|number| (number, found.to_owned())));
        }
        Ok(databases.into_iter().collect())
    }

    /// Changes the fence of each database, in a transaction each, as `change` decides: what it reports, the
    /// rows that there are to be, and a statement that goes with them.
    async fn change(
        &self,
        change: impl Fn(u8, &str, &State) -> Result<(Vec<Accepted>, Vec<Accepted>, Option<String>), FenceRefusal>,
    ) -> Result<Vec<Accepted>, StoreError> {
        let mut reported = Vec::new();
        let mut lease = self.connections.lease().await?;
        let databases = self.databases(&mut lease).await?;
        lease.give_back();
        for (number, name) in databases {
            let mut tries = 1;
            let of_database = loop {
                let mut lease = self.connections.lease().await?;
                let work = async {
                    execute(&mut lease, "START TRANSACTION").await.map_err(reading)?;
                    let state = state(&mut lease, &self.layout, number, "FOR UPDATE").await?;
                    let (report, rows, statement) =
                        change(number, &name, &state).map_err(|refusal| refused(&name, refusal))?;
                    for text in rewrite(&self.layout.fence(number), &state.rows, &rows).into_iter().chain(statement) {
                        execute(&mut lease, &text).await.map_err(reading)?;
                    }
                    let done = within(lease.limit(), lease.connection().execute(sqlx::raw_sql("COMMIT"))).await;
                    Ok((report, done))
                };
                let done: Result<_, StoreError> = tokio::time::timeout(CHANGE_MAX, work)
                    .await
                    .unwrap_or_else(|_| Err(StoreError::Unknown(format!("{name}: its fence took too long to change"))));
                // A connection inside a transaction is of no use to others: it is closed.
                let (report, committed) = done?;
                match committed {
                    Ok(_) => {
                        lease.give_back();
                        break report;
                    }
                    Err(broken) if broken.is_deadlock() && tries < DEADLOCK_TRIES_MAX => tries += 1,
                    Err(broken) => return Err(committing(broken)),
                }
            };
            reported.extend(of_database);
        }
        Ok(reported)
    }
}

async fn state(lease: &mut Lease, layout: &Layout, number: u8, lock: &str) -> Result<State, StoreError> {
    let (database, fence) = (layout.database(number), layout.fence(number));
    let limit = lease.limit();
    let mut fetch =
        async |text: String| within(limit, lease.connection().fetch_all(sqlx::raw_sql(&text))).await.map_err(reading);
    let version = fetch(format!("SELECT version FROM {database}.slot_fence_version {lock}")).await?;
    let version = version.first().ok_or_else(|| refused(&database, "it has no fence: run `hongbao migrate`"))?;
    let now = fetch(CLOCK.to_owned()).await?;
    let rows =
        fetch(format!("SELECT slot, from_ms, until_ms, db_count FROM {fence} ORDER BY slot, from_ms {lock}")).await?;
    let rows: Result<Vec<Accepted>, StoreError> = rows.iter().map(|row| accepted(row, 0)).collect();
    let now = now.first().ok_or_else(|| StoreError::Damaged("there is no clock".to_owned()))?.int(0)?;
    Ok(State { version: version.int(0)?.unsigned_abs(), rows: rows?, now: Timestamp::from_millis(now) })
}

/// Writes the rows of the slots that change.
fn rewrite(fence: &str, rows: &[Accepted], wanted: &[Accepted]) -> Vec<String> {
    let of = |slot: Slot, rows: &[Accepted]| rows.iter().filter(|row| row.slot == slot).copied().collect::<Vec<_>>();
    let changed = Slot::all().filter(|slot| of(*slot, rows) != of(*slot, wanted));
    changed
        .flat_map(|slot| {
            let delete = format!("DELETE FROM {fence} WHERE slot = {}", slot.number());
            std::iter::once(delete).chain(of(slot, wanted).into_iter().map(|row| insert(fence, &row)))
        })
        .collect()
}

/// The statement that adds a row.
pub(super) fn insert(fence: &str, row: &Accepted) -> String {
    let Accepted { slot, from, until, databases } = row;
    let (slot, from, until) = (slot.number(), from.millis(), until.millis());
    format!("INSERT IGNORE INTO {fence} VALUES ({slot}, {from}, {until}, {databases})")
}

fn refused(database: &str, reason: impl fmt::Display) -> StoreError {
    StoreError::Unavailable(format!("{database}: {reason}"))
}
