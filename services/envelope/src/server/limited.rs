//! What the limits of users have to do with a request. They are checked and counted by the wallet, in the transaction
//! that moves the money.

use hongbao_core::user_limits::next_day;
use hongbao_core::{Date, DayQuota, Fen, Timestamp, UserLimit, UserLimits};
use hongbao_wallet::UnpaidQuota;

use super::{Caller, Server};
use crate::refusal::Refusal;

impl Server {
    /// The limits of a caller.
    pub(super) fn limits_of(&self, caller: &Caller<'_>) -> UserLimits {
        self.parts.limits.of_user(caller.class)
    }

    /// What a payment of this caller is counted as; `None` where no class is limited, nor its envelopes that wait for
    /// one. Those of a class without a limit count too: the class of a user may change within a day.
    pub(super) fn quota_of_sending(&self, caller: &Caller<'_>, now: Timestamp) -> Option<DayQuota> {
        let is_counted = self.parts.limits.is_any(|limits| limits.limit_sending() || limits.unpaid_envelopes.is_some());
        is_counted.then(|| DayQuota::of_sending(&self.limits_of(caller), self.date_of(now)))
    }

    /// The same of a payout.
    pub(super) fn quota_of_payouts(&self, caller: &Caller<'_>, now: Timestamp) -> Option<DayQuota> {
        let is_counted = self.parts.limits.is_any(UserLimits::limit_payouts);
        is_counted.then(|| DayQuota::of_payouts(&self.limits_of(caller), self.date_of(now)))
    }

    /// What a new envelope of this caller is counted as until it is paid; `None` where no class is limited.
    pub(super) fn quota_of_unpaid(&self, caller: &Caller<'_>, now: Timestamp) -> Option<UnpaidQuota> {
        let limits = &self.parts.limits;
        let until = now.plus_millis(i64::from(limits.pay_within_s) * 1_000);
        let is_counted = limits.is_any(|limits| limits.unpaid_envelopes.is_some());
        is_counted.then(|| UnpaidQuota { count_max: self.limits_of(caller).unpaid_envelopes, until })
    }

    /// The refusal of an opening of this caller, who has been credited as much today as the limit allows; `None` where
    /// there is no such limit, or room in it.
    ///
    /// # Errors
    /// Where it cannot be found out: nothing is opened then.
    pub(super) async fn refusal_of_receiving(
        &self,
        caller: &Caller<'_>,
        now: Timestamp,
    ) -> Result<Option<Refusal>, Refusal> {
        let Some(most) = self.limits_of(caller).received_fen_a_day else { return Ok(None) };
        let zone_offset_s = self.parts.zone_offset_s;
        let today = Date::of(now, zone_offset_s);
        let wallet = &*self.parts.wallet;
        let received = self.received.today(wallet, caller.user, today, zone_offset_s, most, now).await;
        let received = received.map_err(|error| Refusal::from(error).of_reading())?;
        let is_ever_less = most > Fen::ZERO;
        let resets_at = is_ever_less.then(|| next_day(now, self.parts.zone_offset_s));
        Ok((received >= most).then(|| self.exceeded(UserLimit::ReceivedFenADay, resets_at)))
    }

    /// Whether an opening of this caller asks how much was received today.
    pub(super) fn limits_receiving(&self, caller: &Caller<'_>) -> bool {
        self.limits_of(caller).received_fen_a_day.is_some()
    }

    /// The refusal of a payment: of a limit of a day the wallet does not tell when the day ends.
    pub(super) fn refusal_of_payment(
        &self,
        refusal: Refusal,
        of: Option<DayQuota>,
        amount: Fen,
        now: Timestamp,
    ) -> Refusal {
        match (refusal, of) {
            (Refusal::LimitExceeded { limit, .. }, Some(quota)) => self.exceeded_today(limit, quota, amount, now),
            (other, _) => other,
        }
    }

    /// The refusal of an amount that would exceed a limit of a day: it may come again the next day, unless no day has
    /// room for it.
    fn exceeded_today(&self, limit: UserLimit, quota: DayQuota, amount: Fen, now: Timestamp) -> Refusal {
        let ever_fits = quota.fen_max.is_none_or(|most| amount <= most) && quota.count_max != Some(0);
        self.exceeded(limit, ever_fits.then(|| next_day(now, self.parts.zone_offset_s)))
    }

    /// The refusal of what would exceed a limit.
    pub(super) fn exceeded(&self, limit: UserLimit, resets_at: Option<Timestamp>) -> Refusal {
        self.limited.count(limit);
        Refusal::LimitExceeded { limit, resets_at }
    }

    fn date_of(&self, now: Timestamp) -> Date {
        Date::of(now, self.parts.zone_offset_s)
    }
}
