//! Creating, activating and cancelling.
//!
//! | verb | round trips to the connection |
//! |---|---|
//! | `create` in one table | 1: the statement commits by itself |
//! | `create` in several tables | 2 and 1 a table |
//! | `activate`, `cancel` that change something | 1 |
//! | `activate`, `cancel` that come too late | 2 |

use async_trait::async_trait;
use hongbao_core::{Envelope, EnvelopeId, Stage, Timestamp};
use sqlx::SqliteConnection;

use super::rows::put_envelope;
use super::statements::Statements;
use super::store::SqliteStore;
use super::transaction::{Batch, Written};
use crate::day_tables::no_day_table;
use crate::failure::{commit_failed, unavailable};
use crate::place::{check_day_table, find_by_id};
use crate::rows::{self, ENVELOPE_WIDTH};
use crate::{Creation, StoreError};

#[async_trait]
impl Creation for SqliteStore {
    async fn create(&self, envelopes: &[Envelope]) -> Result<(), StoreError> {
        let batch = Batch {
            text: |statements| &statements.create,
            columns: ENVELOPE_WIDTH,
            put: put_envelope,
            id: |envelope: &Envelope| envelope.id,
        };
        for envelope in envelopes {
            check_day_table(self, envelope.id).await?;
        }
        for is_last in [false, true] {
            match self.write_all(&batch, envelopes).await? {
                Written::Done => return Ok(()),
                Written::Taken => return Err(StoreError::Exists),
                Written::OtherDate if is_last => break,
                Written::OtherDate => {
                    for envelope in envelopes {
                        self.make_room(envelope.id).await?;
                    }
                }
            }
        }
        Err(no_day_table())
    }

    async fn activate(
        &self,
        id: EnvelopeId,
        expires_at: Timestamp,
    ) -> Result<Option<(Stage, Option<Timestamp>)>, StoreError> {
        let change = |table| async move {
            let (file, statements) = self.writable(table)?;
            let mut writer = file.writer().await?;
            let change = sqlx::query(&statements.activate).bind(id.as_bytes().as_slice()).bind(expires_at.millis());
            let changed = change.execute(&mut *writer).await.map_err(commit_failed)?.rows_affected();
            writer.committed()?;
            if changed > 0 {
                return Ok(Some((Stage::Active, Some(expires_at))));
            }
            in_force(&mut writer, &statements, id).await
        };
        find_by_id(self, id, change, |envelope, _| (envelope.stage, envelope.expires_at)).await
    }

    async fn cancel(&self, id: EnvelopeId) -> Result<Option<Stage>, StoreError> {
        let change = |table| async move {
            let (file, statements) = self.writable(table)?;
            let mut writer = file.writer().await?;
            let change = sqlx::query(&statements.plain.cancel).bind(id.as_bytes().as_slice());
            let changed = change.execute(&mut *writer).await.map_err(commit_failed)?.rows_affected();
            writer.committed()?;
            if changed > 0 {
                return Ok(Some(Stage::Cancelled));
            }
            Ok(in_force(&mut writer, &statements, id).await?.map(|(stage, _)| stage))
        };
        find_by_id(self, id, change, |envelope, _| envelope.stage).await
    }
}

/// A stage that the change found beyond `Created` never goes back there, so
/// what is read after the change is in force.
async fn in_force(
    writer: &mut SqliteConnection,
    statements: &Statements,
    id: EnvelopeId,
) -> Result<Option<(Stage, Option<Timestamp>)>, StoreError> {
    let query = sqlx::query(&statements.plain.stage).bind(id.as_bytes().as_slice());
    let Some(row) = query.fetch_optional(writer).await.map_err(unavailable)? else {
        return Ok(None);
    };
    Ok(Some((rows::stage(&row, 0)?, rows::time(&row, 1)?)))
}
