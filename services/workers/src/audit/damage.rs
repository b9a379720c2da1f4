//! Where the audit goes on behind what cannot be read.

use hongbao_core::id::TableRef;
use hongbao_core::limits::ID_MS_MAX;
use hongbao_core::{EnvelopeId, Timestamp};
use hongbao_store::StoreError;
use hongbao_wallet::{Wallet, WalletError};

use super::gap::{Gap, Step, last_id_at};
use super::set::{AuditError, SetStore};

/// The first millisecond behind which the envelopes of a table can be read again.
pub async fn behind_envelope(
    set: &SetStore,
    table: TableRef,
    after: Option<EnvelopeId>,
) -> Result<Option<Timestamp>, AuditError> {
    let from = after.map_or(0, |id| id.minted_at().millis());
    let mut gap = Gap::after(from - 1, ID_MS_MAX);
    loop {
        let place = match gap.next() {
            Step::Ask(place) => place,
            Step::Behind(place) => return Ok(Some(Timestamp::from_millis(place))),
            Step::NoEnd => return Ok(None),
        };
        match set.store.scan(table, Some(last_id_at(Timestamp::from_millis(place))), 1).await {
            Ok(_) => gap.told(place, true),
            Err(StoreError::Damaged(_)) => gap.told(place, false),
            Err(error) => return Err(set.failed(error)),
        }
    }
}

/// The first position behind which transfers can be read again.
pub async fn behind_transfer(wallet: &dyn Wallet, after: i64) -> Result<Option<i64>, AuditError> {
    let mut gap = Gap::after(after, i64::MAX);
    loop {
        let place = match gap.next() {
            Step::Ask(place) => place,
            Step::Behind(place) => return Ok(Some(place)),
            Step::NoEnd => return Ok(None),
        };
        match wallet.scan(place, 1).await {
            Ok(_) => gap.told(place, true),
            Err(WalletError::Damaged(_)) => gap.told(place, false),
            Err(error) => return Err(error.into()),
        }
    }
}
