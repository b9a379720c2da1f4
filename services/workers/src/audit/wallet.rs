//! The wallet's own rows: transfers, accounts, and the books.

use std::collections::{BTreeSet, HashSet};

use hongbao_core::audit::{
    RunningBalance, account_missing, check_balance, check_sealed_balance, check_transfer, envelope_missing, unreadable,
};
use hongbao_core::limits::AUDIT_ENVELOPES_REMEMBERED_MAX;
use hongbao_core::{Date, EnvelopeId, TransferKind};
use hongbao_store::StoreError;
use hongbao_wallet::{AccountRow, Line, SealedBalance, WalletError};

use super::auditor::Audit;
use super::damage::behind_transfer;
use super::set::AuditError;

/// Transfers and accounts that are read at once.
pub const ROWS_PAGE: u32 = 1_000;

impl Audit<'_> {
    /// Each transfer behind the sealed months.
    pub(super) async fn transfers(&mut self) -> Result<(), AuditError> {
        let places = self.wallet.shards();
        let ends = places.iter().skip(1).map(|place| place.base).chain([i64::MAX]);
        for (place, end) in places.iter().zip(ends) {
            let sealed = self.months.0.get(&place.shard).map(|boundary| boundary.position);
            self.lines(place.behind(sealed), end, true).await?;
        }
        Ok(())
    }

    /// Each transfer behind a position up to another one makes sense, and leads from its user's balance before it to
    /// the one after it, and one that moves money of an envelope names one that exists. With `compares`, those of
    /// sealed tables are compared as a set instead.
    pub(super) async fn lines(&mut self, mut after: i64, until: i64, compares: bool) -> Result<(), AuditError> {
        let mut size = ROWS_PAGE;
        // What was read before may not be what comes before these.
        self.wrong_balances.clear();
        loop {
            let mut page = match self.wallet.scan(after, size).await {
                Err(WalletError::Damaged(_)) if size > 1 => {
                    size = 1;
                    continue;
                }
                Err(WalletError::Damaged(reason)) => {
                    let next = behind_transfer(self.wallet, after).await?;
                    let words = next.map_or("the end".to_owned(), |next| next.to_string());
                    let detail = format!("transfers after position {after} up to {words}: {reason}");
                    self.tell([unreadable(None, detail)]);
                    let Some(next) = next.filter(|next| *next < until) else { return Ok(()) };
                    (after, size) = (next, ROWS_PAGE);
                    continue;
                }
                page => page?,
            };
            let last = page.last().filter(|last| page.len() as u32 == size && last.position < until);
            let next = last.map(|last| last.position);
            page.truncate(page.partition_point(|line| line.position <= until));
            self.found.transfers += page.len() as u64;
            self.transfers_of_no_order(&page.iter().map(|line| &line.transfer).collect::<Vec<_>>()).await?;
            let mut missing = HashSet::new();
            for line in &page {
                self.line(line);
                // What was cancelled may have been removed since.
                let transfer = &line.transfer;
                let moves = transfer.kind != TransferKind::Cancel;
                let Some(id) = transfer.id.envelope_id().filter(|_| moves) else { continue };
                if compares && self.is_tied(id, transfer) {
                    continue;
                }
                if !missing.contains(&id) && !self.exists(id).await? {
                    missing.insert(id);
                }
                if missing.contains(&id) {
                    self.tell([envelope_missing(transfer)]);
                }
            }
            match next {
                Some(next) => after = next,
                None => return Ok(()),
            }
        }
    }

    /// A transfer by itself, and the balance that it leads to. After a wrong one either what it says or what it should
    /// say may be gone on from, so that one wrong row is reported once.
    fn line(&mut self, line: &Line) {
        let Line { position, transfer, balance_fen, before_fen } = line;
        self.tell(check_transfer(transfer));
        let known = self.wrong_balances.remove(&transfer.user);
        let mut running = known.unwrap_or_else(|| RunningBalance::behind(*before_fen));
        let wrong = running.check(transfer.user.as_str(), *position, transfer.signed_amount(), *balance_fen);
        if wrong.is_some() && self.wrong_balances.len() < AUDIT_ENVELOPES_REMEMBERED_MAX {
            self.wrong_balances.insert(transfer.user.clone(), running);
        }
        self.tell(wrong);
    }

    /// Names those of the transfers of these dates whose envelope is not there.
    pub(super) async fn transfers_of_no_envelope(&mut self, dates: &BTreeSet<Date>) -> Result<(), AuditError> {
        let mut after = i64::MIN;
        loop {
            let page = match self.wallet.scan(after, ROWS_PAGE).await {
                // It was reported before; of what lies behind it the date is named.
                Err(WalletError::Damaged(_)) => return Ok(()),
                page => page?,
            };
            for Line { position, transfer, .. } in &page {
                let Some(id) = transfer.id.envelope_id().filter(|_| transfer.kind != TransferKind::Cancel) else {
                    continue;
                };
                let date = self.tied_date(id, *position);
                if date.is_some_and(|date| dates.contains(&date)) && !self.exists(id).await? {
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

    /// Each balance is the sum of its transfers, and all add up.
    pub(super) async fn accounts(&mut self) -> Result<(), AuditError> {
        let (mut after, mut sealed) = (None::<String>, (0, 0));
        loop {
            let page = match self.wallet.accounts(after.as_deref(), ROWS_PAGE, &self.months).await {
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
            for AccountRow { account, sealed: SealedBalance { row_fen, sealed_fen }, .. } in &page {
                self.tell(check_sealed_balance(account, *row_fen, *sealed_fen));
                sealed = (sealed.0 + u64::from(sealed_fen.is_some()), sealed.1 + i128::from(sealed_fen.unwrap_or(0)));
            }
            let full = page.len() as u32 == ROWS_PAGE;
            after = page.into_iter().last().filter(|_| full).map(|last| last.account);
            if after.is_none() {
                self.check_sealed_balances(sealed.0, sealed.1);
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
