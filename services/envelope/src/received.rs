//! How much users were credited today for openings, as far as a limit asks: a server remembers it for a moment.

use hongbao_core::limits::{PAGE_MAX, RECEIVED_AGE_MS_MAX, RECEIVED_PAGES_MAX, RECEIVED_REMEMBERED_MAX};
use hongbao_core::{Date, Fen, Timestamp, TransferKind, UserId};
use hongbao_wallet::{Wallet, WalletError};
use quick_cache::sync::Cache;

/// What was read of users.
pub(crate) struct ReceivedToday(Cache<UserId, Received>);

/// What was read of a user.
#[derive(Clone, Copy)]
struct Received {
    date: Date,
    sum: Fen,
    /// Transfers up to here are in the sum.
    position: i64,
    read_at: Timestamp,
}

impl ReceivedToday {
    pub(crate) fn new() -> ReceivedToday {
        ReceivedToday(Cache::new(RECEIVED_REMEMBERED_MAX))
    }

    /// What a user was credited for openings of this day; what reached `most` is not read again.
    pub(crate) async fn today(
        &self,
        wallet: &dyn Wallet,
        user: &UserId,
        date: Date,
        zone_offset_s: i32,
        most: Fen,
        now: Timestamp,
    ) -> Result<Fen, WalletError> {
        let known = self.0.get(user).filter(|known| known.date == date);
        if let Some(known) = known
            && (known.sum >= most || (0..=RECEIVED_AGE_MS_MAX).contains(&(now.millis() - known.read_at.millis())))
        {
            return Ok(known.sum);
        }
        let known = known.unwrap_or(Received { date, sum: Fen::ZERO, position: 0, read_at: now });
        let (mut sum, mut newest, mut before) = (known.sum, None, None);
        'pages: for _ in 0..RECEIVED_PAGES_MAX {
            let page = wallet.history(user, &[TransferKind::Open], before, PAGE_MAX).await?;
            newest = newest.or(page.first().map(|posted| posted.position));
            // They are credited nearly in the order of the openings: behind a page without one of this day there is none.
            let mut is_any = false;
            for posted in &page {
                if posted.position <= known.position {
                    break 'pages;
                }
                if Date::of(posted.transfer.at, zone_offset_s) == date {
                    sum = sum.checked_add(posted.transfer.amount).unwrap_or(sum);
                    is_any = true;
                }
            }
            before = page.last().map(|posted| posted.position);
            if !is_any || page.len() < PAGE_MAX as usize {
                break;
            }
        }
        let position = newest.unwrap_or(known.position);
        self.0.insert(user.clone(), Received { date, sum, position, read_at: now });
        Ok(sum)
    }
}
