//! Rows of keys and what they mean, whatever database they come from.

use hongbao_core::{EnvelopeId, KeyedCall, KeyedRequest};
use hongbao_database::row::StoredRow;

use crate::row::hex;
use crate::{Reserved, WalletError};

/// The number that a call is stored as. It must never change.
pub(crate) const fn code_of_call(call: KeyedCall) -> i64 {
    match call {
        KeyedCall::Create => 1,
        KeyedCall::Charge => 2,
        KeyedCall::Payout => 3,
    }
}

/// What the row of a key says, which has `body_hash, id` from the column `start` on, of a request with this key.
pub(crate) fn held(row: &impl StoredRow, start: usize, request: &KeyedRequest) -> Result<Reserved, WalletError> {
    if row.bytes(start)? != request.body_hash {
        return Ok(Reserved::KeyConflict);
    }
    let id = row.bytes(start + 1)?;
    let damaged = || WalletError::Damaged(format!("the key {} stands for x'{}', which is no id", request.key, hex(id)));
    Ok(Reserved::Repeated(EnvelopeId::from_bytes(id).ok_or_else(damaged)?))
}
