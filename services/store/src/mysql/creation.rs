//! Creating, activating and cancelling.
//!
//! | verb | round trips |
//! |---|---|
//! | `create` in one table | 1: the statement commits by itself |
//! | `create` in several tables | 1; on Galera one for each statement, and 2 more |
//! | `activate`, `cancel` that change something | 1 |
//! | `activate`, `cancel` that come too late | 2, and the barrier |

use async_trait::async_trait;
use hongbao_core::limits::DEADLOCK_TRIES_MAX;
use hongbao_core::{Envelope, EnvelopeId, Stage, Timestamp};
use hongbao_database::mysql::connection::within;
use hongbao_database::{Durable, durably};

use super::rows::put_envelope;
use super::statements::{Statement, Statements};
use super::store::MysqlStore;
use super::transaction::{SEALED_TABLE, execute};
use crate::day_tables::{OTHER_DATE, no_day_table, sealed};
use crate::failure::committing;
use crate::place::{check_day_table, find_by_id};
use crate::rows;
use crate::{Creation, StoreError};

#[async_trait]
impl Creation for MysqlStore {
    async fn create(&self, envelopes: &[Envelope]) -> Result<(), StoreError> {
        let head = |statements: &Statements| statements.create.clone();
        let put = |sql: &mut String, envelope: &Envelope| put_envelope(sql, envelope, &self.layout);
        for envelope in envelopes {
            check_day_table(self, envelope.id).await?;
        }
        let id_of = |envelope: &Envelope| envelope.id;
        for is_last in [false, true] {
            let Some(transaction) = self.insertion(&self.by_table(envelopes, id_of), head, put)? else {
                return Ok(());
            };
            let mut lease = self.connections.lease().await?;
            let done = execute(&mut lease, transaction).await;
            match lease.done(done) {
                Ok(_) => return Ok(()),
                Err(broken) if broken.takes_key(SEALED_TABLE) => return Err(sealed()),
                Err(broken) if broken.is_duplicate() => return Err(StoreError::Exists),
                Err(broken) if broken.is_null() => return Err(StoreError::NotHeld),
                Err(broken) if !broken.violates(OTHER_DATE) => return Err(committing(broken)),
                Err(_) if is_last => break,
                Err(_) => {
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
        let activate = |table| async move {
            let statements = self.at(table)?;
            let change = || sqlx::query(&statements.activate).bind(expires_at.millis()).bind(id.as_bytes().as_slice());
            if self.changes(change).await? {
                return Ok(Some((Stage::Active, Some(expires_at))));
            }
            self.in_force(&statements, id).await
        };
        find_by_id(self, id, activate, |envelope, _| (envelope.stage, envelope.expires_at)).await
    }

    async fn cancel(&self, id: EnvelopeId) -> Result<Option<Stage>, StoreError> {
        let cancel = |table| async move {
            let statements = self.at(table)?;
            let change = || sqlx::query(&statements.plain.cancel).bind(id.as_bytes().as_slice());
            if self.changes(change).await? {
                return Ok(Some(Stage::Cancelled));
            }
            Ok(self.in_force(&statements, id).await?.map(|(stage, _)| stage))
        };
        find_by_id(self, id, cancel, |envelope, _| envelope.stage).await
    }
}

impl MysqlStore {
    /// Runs an update; whether it found a row in the stage that it came for. (sqlx
    /// counts rows that were found, CLIENT_FOUND_ROWS.)
    async fn changes<'q>(&self, change: impl Fn() -> Statement<'q>) -> Result<bool, StoreError> {
        let mut lease = self.connections.lease().await?;
        let mut tries = 1;
        let done = loop {
            match within(lease.limit(), change().execute(lease.connection())).await {
                Err(broken) if broken.is_deadlock() && tries < DEADLOCK_TRIES_MAX => tries += 1,
                done => break done,
            }
        };
        Ok(lease.done(done).map_err(committing)?.rows_affected() > 0)
    }

    /// A stage that the change found beyond `Created` never goes back there, so what
    /// is read after the change is in force. The change committed nothing, and another
    /// may have written that stage a moment ago: the verb's answer is durable only after a barrier.
    async fn in_force(
        &self,
        statements: &Statements,
        id: EnvelopeId,
    ) -> Result<Option<(Stage, Option<Timestamp>)>, StoreError> {
        let found = durably(self, || async {
            let query = sqlx::query(&statements.plain.stage).bind(id.as_bytes().as_slice());
            let Some(row) = self.one(query).await? else { return Ok::<_, StoreError>(None) };
            Ok(Some((rows::stage(&row, 0)?, rows::time(&row, 1)?)))
        });
        Ok(found.await?.map(Durable::into_inner))
    }
}
