//! Transfers that are compared as a set with what envelopes are due, and what is done where the two differ.

use hongbao_core::audit::sealed_transfers_wrong;
use hongbao_core::id::TableRef;
use hongbao_core::{Date, EnvelopeId, Transfer, TransferKind};
use hongbao_wallet::Posted;

use super::auditor::Audit;
use super::set::AuditError;
use super::table::Walk;
use super::ties::{Rows, date_of};

impl Audit<'_> {
    /// An envelope was read with its transfers, in a table that is not sealed.
    pub(super) fn tie_read(&mut self, id: EnvelopeId, table: TableRef, transfers: &[Posted]) {
        if self.months.0.is_empty() {
            return;
        }
        let number = self.holder_number(id);
        for Posted { position, transfer } in transfers {
            let boundary = self.months.covering(*position).filter(|_| transfer.kind != TransferKind::Cancel);
            if let Some(boundary) = boundary {
                let date = Date::of(id.minted_at(), boundary.zone_offset_s);
                self.ties.add_read(number, table, date, transfer);
            }
        }
    }

    /// Whether a transfer is of an envelope in a sealed table, with which it then is compared at the end.
    pub(super) fn is_tied(&mut self, id: EnvelopeId, transfer: &Transfer) -> bool {
        let Some(date) = self.sealed_table_of(id).and_then(|(_, table)| date_of(table)) else { return false };
        self.ties.add_later(date, transfer);
        true
    }

    /// The sealed table in which an envelope lies, and the place of its SET.
    pub(super) fn sealed_table_of(&self, id: EnvelopeId) -> Option<(usize, TableRef)> {
        if self.ties.sealed.is_empty() {
            return None;
        }
        let number = self.holder_number(id);
        let store = &self.sets[number].store;
        // The id of an envelope whose table is missing leads to a day table.
        let of_missing = self.missing.iter().find(|(of, table)| *of == number && store.may_lie_in(*table, id));
        let place = of_missing.copied().unwrap_or_else(|| (number, store.table_of(id)));
        self.ties.sealed.contains_key(&place).then_some(place)
    }

    /// After all transfers: those of each date are what its envelopes are due. Of a date
    /// where they are not, its sealed tables and the transfers are gone through to say which.
    pub(super) async fn ties(&mut self) -> Result<(), AuditError> {
        let wrong = self.ties.differences();
        for (date, (due, found)) in &wrong {
            self.tell([sealed_transfers_wrong(&format!("the envelopes of {date}"), due, found)]);
        }
        let is_wrong = |table: TableRef| date_of(table).is_some_and(|date| wrong.contains_key(&date));
        let unread: Vec<(usize, TableRef)> = self
            .ties
            .sealed
            .iter()
            .filter(|((_, table), (_, rows))| *rows == Rows::Unread && is_wrong(*table))
            .map(|(place, _)| *place)
            .collect();
        for (number, table) in unread {
            let set = &self.sets[number];
            self.table(set, &mut Walk::begin(table, None)).await?;
        }
        match wrong.is_empty() {
            true => Ok(()),
            false => self.transfers_of_no_envelope(&wrong.into_keys().collect()).await,
        }
    }

    /// The date under which a transfer is compared as one of a set; `None` for one that was looked at by itself, and
    /// where no envelope can be asked for, because its table is missing.
    pub(super) fn tied_date(&self, id: EnvelopeId, position: i64) -> Option<Date> {
        match self.sealed_table_of(id) {
            Some(place) if self.missing.contains(&place) => None,
            Some((_, table)) => date_of(table),
            None => {
                let boundary = self.months.covering(position)?;
                Some(Date::of(id.minted_at(), boundary.zone_offset_s))
            }
        }
    }
}
