//! The wallet's own rows: transfers, accounts, and the books.

use std::collections::{BTreeSet, HashSet};

use hongbao_core::audit::{
    RunningBalance, account_missing, check_balance, check_transfer, envelope_missing, unreadable,
};
use hongbao_core::id::TableRef;
use hongbao_core::{EnvelopeId, TransferKind, UserId};
use hongbao_store::StoreError;
use hongbao_wallet::WalletError;

use super::auditor::Audit;
use super::damage::behind_transfer;
use super::set::AuditError;

/// Transfers and accounts that are read at once.
pub const ROWS_PAGE: u32 = 1_000;

impl Audit<'_> {
    /// Each transfer makes sense, and one that moves money of an envelope names one that exists.
    pub(super) async fn transfers(&mut self) -> Result<(), AuditError> {
        let (mut after, mut size) = (i64::MIN, ROWS_PAGE);
        loop {
            let page = match self.wallet.scan(after, size).await {
                Err(WalletError::Damaged(_)) if size > 1 => {
                    size = 1;
                    continue;
                }
                Err(WalletError::Damaged(reason)) => {
                    let next = behind_transfer(self.wallet, after).await?;
                    let until = next.map_or("the end".to_owned(), |next| next.to_string());
                    let detail = format!("transfers after position {after} up to {until}: {reason}");
                    self.tell([unreadable(None, detail)]);
                    let Some(next) = next else { return Ok(()) };
                    (after, size) = (next, ROWS_PAGE);
                    continue;
                }
                page => page?,
            };
            self.found.transfers += page.len() as u64;
            let mut missing = HashSet::new();
            for transfer in page.iter().map(|posted| &posted.transfer) {
                self.tell(check_transfer(transfer));
                // What was cancelled may have been removed since.
                let Some(id) = transfer.id.envelope_id().filter(|_| transfer.kind != TransferKind::Cancel) else {
                    continue;
                };
                if self.is_tied(id, transfer) {
                    continue;
                }
                if !missing.contains(&id) && !self.exists(id).await? {
                    missing.insert(id);
                }
                if missing.contains(&id) {
                    self.tell([envelope_missing(transfer)]);
                }
            }
            match page.last() {
                Some(last) if page.len() as u32 == size => after = last.position,
                _ => return Ok(()),
            }
        }
    }

    /// Names those of the transfers that belong to these tables whose envelope is not there.
    pub(super) async fn transfers_of_no_envelope(
        &mut self,
        tables: &BTreeSet<(usize, TableRef)>,
    ) -> Result<(), AuditError> {
        let mut after = i64::MIN;
        loop {
            let page = match self.wallet.scan(after, ROWS_PAGE).await {
                // It was reported before; of what lies behind it the table is named.
                Err(WalletError::Damaged(_)) => return Ok(()),
                page => page?,
            };
            for transfer in page.iter().map(|posted| &posted.transfer) {
                let Some(id) = transfer.id.envelope_id().filter(|_| transfer.kind != TransferKind::Cancel) else {
                    continue;
                };
                let place = (self.holder_number(id), self.holder(id).store.table_of(id));
                if tables.contains(&place) && !self.exists(id).await? {
                    self.tell([envelope_missing(transfer)]);
                }
            }
            match page.last() {
                Some(last) if page.len() as u32 == ROWS_PAGE => after = last.position,
                _ => return Ok(()),
            }
        }
    }

    async fn exists(&mut self, id: EnvelopeId) -> Result<bool, AuditError> {
        if self.known.contains(id) {
            return Ok(true);
        }
        let set = self.holder(id);
        match set.store.load(id).await {
            Ok(None) => return Ok(false),
            // A damaged row was reported when its table was read.
            Ok(Some(_)) | Err(StoreError::Damaged(_)) => {}
            Err(error) => return Err(set.failed(error)),
        }
        self.known.insert(id);
        Ok(true)
    }

    /// Each transfer leads from its user's balance before it to the one after it.
    pub(super) async fn balances(&mut self) -> Result<(), AuditError> {
        let mut last: Option<(UserId, i64)> = None;
        let (mut running, mut account) = (RunningBalance::default(), None);
        loop {
            let before = last.clone();
            let after = last.as_ref().map(|(user, position)| (user, *position));
            let page = match self.wallet.balances(after, ROWS_PAGE).await {
                Err(WalletError::Damaged(reason)) => {
                    self.tell([unreadable(None, format!("balances {}: {reason}", from_words(&last)))]);
                    return Ok(());
                }
                page => page?,
            };
            let is_full = page.len() as u32 == ROWS_PAGE;
            for line in page {
                if account.as_deref() != Some(&*line.account) {
                    (running, account) = (RunningBalance::default(), Some(line.account.clone()));
                }
                self.tell(running.check(&line.account, line.position, line.change_fen, line.balance_fen));
                // A name that no user can have is reported where the transfers are read.
                let Some(user) = UserId::parse(&line.account) else { continue };
                last = Some((user, line.position));
            }
            if !is_full {
                return Ok(());
            }
            if last == before {
                // No page can begin behind an account that is no user's.
                let reason = format!("balances {}: a page of accounts that are no user's", from_words(&last));
                self.tell([unreadable(None, reason)]);
                return Ok(());
            }
        }
    }

    /// Each balance is the sum of its transfers, and all add up.
    pub(super) async fn accounts(&mut self) -> Result<(), AuditError> {
        let mut after: Option<String> = None;
        loop {
            let page = match self.wallet.accounts(after.as_deref(), ROWS_PAGE).await {
                Err(WalletError::Damaged(reason)) => {
                    let from = after.as_deref().unwrap_or("the first");
                    self.tell([unreadable(None, format!("accounts from {from} on: {reason}"))]);
                    break;
                }
                page => page?,
            };
            self.found.accounts += page.len() as u64;
            self.tell(page.iter().filter_map(|row| match row.balance_fen {
                Some(balance_fen) => check_balance(&row.account, balance_fen, row.transfers_sum_fen),
                None => Some(account_missing(&row.account, row.transfers_sum_fen)),
            }));
            let full = page.len() as u32 == ROWS_PAGE;
            after = page.into_iter().last().filter(|_| full).map(|last| last.account);
            if after.is_none() {
                break;
            }
        }
        match self.wallet.books().await {
            Err(WalletError::Damaged(reason)) => self.tell([unreadable(None, format!("the books: {reason}"))]),
            books => {
                (self.found.books, self.found.books_read) = (books?, true);
                self.tell(self.found.books.check());
            }
        }
        Ok(())
    }
}

fn from_words(last: &Option<(UserId, i64)>) -> String {
    last.as_ref().map_or("from the first on".to_owned(), |(user, position)| format!("behind {position} of {user}"))
}
