//! Reading the fence in the databases of a SET ([`hongbao_core::fence`]).

use std::fmt;

use hongbao_core::fence::{Accepted, State, Version};
use hongbao_core::slot_maps::SlotMaps;
use hongbao_core::{Clock as _, Slot, SystemClock, Timestamp};
use hongbao_database::mysql::connection::{Lease, within};
use hongbao_database::mysql::failure::QueryError;
use hongbao_database::mysql::session::CLOCK;
use hongbao_database::{DatabaseError, StoredRow as _};
use sqlx::Executor as _;
use sqlx::mysql::MySqlRow;

use super::layout::Layout;
use crate::StoreError;
use crate::clock::is_far_off;
use crate::failure::reading;

/// Makes the tables of a fence.
pub(super) const TABLES: &str = include_str!("../../../../sql/mysql/envelope/0005_fence.sql");
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

/// Why a transaction failed.
pub(super) enum Failed {
    /// It met another one, and was taken back as a whole.
    Deadlock,
    Other(StoreError),
}

impl From<QueryError> for Failed {
    fn from(broken: QueryError) -> Failed {
        if broken.is_deadlock() { Failed::Deadlock } else { Failed::Other(reading(broken)) }
    }
}

impl From<StoreError> for Failed {
    fn from(error: StoreError) -> Failed {
        Failed::Other(error)
    }
}

impl From<DatabaseError> for Failed {
    fn from(error: DatabaseError) -> Failed {
        Failed::Other(error.into())
    }
}

/// The fence of a database; `None` if it has not been begun.
pub(super) async fn state(lease: &mut Lease, layout: &Layout, number: u8, lock: &str) -> Result<Option<State>, Failed> {
    let (database, fence) = (layout.database(number), layout.fence(number));
    let limit = lease.limit();
    let mut fetch = async |text: String| within(limit, lease.connection().fetch_all(sqlx::raw_sql(&text))).await;
    let columns = "narrowed, narrowed_maps, widened, widened_maps";
    let versions = fetch(format!("SELECT {columns} FROM {database}.slot_fence_version {lock}")).await?;
    let Some(versions) = versions.first() else { return Ok(None) };
    let version = |first: usize| {
        let Some(text) = versions.text_or_null(first + 1)? else { return Ok(None) };
        let maps =
            SlotMaps::parse(text).ok_or_else(|| StoreError::Damaged(format!("{database}: the maps of its fence")))?;
        Ok::<_, StoreError>(Some(Version { number: versions.int(first)?.unsigned_abs(), maps }))
    };
    let (narrowed, widened) = (version(0)?, version(2)?);
    let clock = fetch(CLOCK.to_owned()).await?;
    let rows =
        fetch(format!("SELECT slot, from_ms, until_ms, db_count FROM {fence} ORDER BY slot, from_ms {lock}")).await?;
    let rows: Result<Vec<Accepted>, StoreError> = rows.iter().map(|row| accepted(row, 0)).collect();
    let clock = clock.first().ok_or_else(|| StoreError::Damaged("there is no clock".to_owned()))?.int(0)?;
    let (clock, own) = (Timestamp::from_millis(clock), SystemClock.now());
    if is_far_off(own.millis() - clock.millis()) {
        return Err(refused(&database, format!("its clock shows {clock}, and ours {own}")).into());
    }
    Ok(Some(State { narrowed, widened, rows: rows?, now: clock.max(own) }))
}

/// A row, as a statement has it that adds it.
pub(super) fn values(row: &Accepted) -> String {
    let Accepted { slot, from, until, databases } = row;
    format!("({}, {}, {}, {databases})", slot.number(), from.millis(), until.millis())
}

pub(super) fn refused(database: &str, reason: impl fmt::Display) -> StoreError {
    StoreError::Unavailable(format!("{database}: {reason}"))
}
