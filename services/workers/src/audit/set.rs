//! What is audited, and why an audit may not finish.

use std::sync::Arc;

use hongbao_core::held::HeldSlots;
use hongbao_core::id::Fold;
use hongbao_core::{Slot, Timestamp};
use hongbao_store::{Store, StoreError};
use hongbao_wallet::WalletError;

/// A SET: its envelopes, and which should be there.
#[derive(Clone)]
pub struct SetStore {
    /// Its name, for what is reported.
    pub name: String,
    /// The ids that it holds.
    pub held: HeldSlots,
    /// Its databases.
    pub store: Arc<dyn Store>,
}

impl SetStore {
    /// The one SET of a service that has no others: it holds all slots.
    pub fn whole(store: Arc<dyn Store>) -> SetStore {
        SetStore { name: "whole".to_owned(), held: HeldSlots::always(Slot::all(), Fold::WHOLE), store }
    }

    pub(super) fn failed(&self, error: impl Into<StoreError>) -> AuditError {
        AuditError::Store(self.name.clone(), error.into())
    }
}

/// Why the audit could not finish. It says nothing about the invariants.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// Some slot has no SET, or two.
    #[error("slot {0:02} is held by {2} SETs for ids from {1} on, and should be by one")]
    Slots(u8, Timestamp, usize),
    /// The store of a SET cannot be read.
    #[error("store of SET {0}: {1}")]
    Store(String, StoreError),
    /// The wallet cannot be read.
    #[error("wallet: {0}")]
    Wallet(#[from] WalletError),
    /// What was read may be gone.
    #[error("{0} was started anew, or replaced by another node, while it was read: run the audit again")]
    Restarted(String),
}
