//! How much a user may send, receive and have paid out, as an operator configures it: for all, and by class.

use serde::{Deserialize, Serialize};

use crate::date::Date;
use crate::limits::{USER_COUNT_CEILING, USER_FEN_CEILING};
use crate::money::Fen;
use crate::settings::{self, setting};
use crate::time::Timestamp;

/// A limit of a user, by the name of its setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UserLimit {
    /// Fen sent on a day.
    SentFenADay,
    /// Envelopes sent on a day.
    SentCountADay,
    /// Fen of one envelope.
    EnvelopeFen,
    /// Envelopes that wait for their payment.
    UnpaidEnvelopes,
    /// Fen received on a day.
    ReceivedFenADay,
    /// Fen paid out on a day.
    PaidOutFenADay,
    /// Payouts on a day.
    PaidOutCountADay,
}

impl UserLimit {
    /// Every limit.
    pub const ALL: [UserLimit; 7] = [
        UserLimit::SentFenADay,
        UserLimit::SentCountADay,
        UserLimit::EnvelopeFen,
        UserLimit::UnpaidEnvelopes,
        UserLimit::ReceivedFenADay,
        UserLimit::PaidOutFenADay,
        UserLimit::PaidOutCountADay,
    ];

    /// The setting's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            UserLimit::SentFenADay => "sent_fen_a_day",
            UserLimit::SentCountADay => "sent_count_a_day",
            UserLimit::EnvelopeFen => "envelope_fen",
            UserLimit::UnpaidEnvelopes => "unpaid_envelopes",
            UserLimit::ReceivedFenADay => "received_fen_a_day",
            UserLimit::PaidOutFenADay => "paid_out_fen_a_day",
            UserLimit::PaidOutCountADay => "paid_out_count_a_day",
        }
    }
}

/// The limits of users: `[limits.users]`, or of those of a class. What is absent is not limited, or, in a class, as for
/// all users.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct UserLimits {
    /// Fen that a user may send on a day.
    pub sent_fen_a_day: Option<Fen>,
    /// Envelopes that a user may send on a day.
    pub sent_count_a_day: Option<u32>,
    /// Fen of one envelope at most.
    pub envelope_fen: Option<Fen>,
    /// Envelopes of a user that may wait for their payment at a time.
    pub unpaid_envelopes: Option<u32>,
    /// Fen that may have been credited to a user on a day for openings; who has them opens no more.
    pub received_fen_a_day: Option<Fen>,
    /// Fen that may be paid out to a user on a day.
    pub paid_out_fen_a_day: Option<Fen>,
    /// Payouts to a user on a day.
    pub paid_out_count_a_day: Option<u32>,
}

impl UserLimits {
    /// What a class says, and what all users have where it says nothing.
    pub fn or(self, all: UserLimits) -> UserLimits {
        UserLimits {
            sent_fen_a_day: self.sent_fen_a_day.or(all.sent_fen_a_day),
            sent_count_a_day: self.sent_count_a_day.or(all.sent_count_a_day),
            envelope_fen: self.envelope_fen.or(all.envelope_fen),
            unpaid_envelopes: self.unpaid_envelopes.or(all.unpaid_envelopes),
            received_fen_a_day: self.received_fen_a_day.or(all.received_fen_a_day),
            paid_out_fen_a_day: self.paid_out_fen_a_day.or(all.paid_out_fen_a_day),
            paid_out_count_a_day: self.paid_out_count_a_day.or(all.paid_out_count_a_day),
        }
    }

    /// Whether what is sent is limited.
    pub fn limit_sending(&self) -> bool {
        self.sent_fen_a_day.is_some() || self.sent_count_a_day.is_some()
    }

    /// Whether what is paid out is limited.
    pub fn limit_payouts(&self) -> bool {
        self.paid_out_fen_a_day.is_some() || self.paid_out_count_a_day.is_some()
    }

    /// The first limit that is out of its range, with the range.
    ///
    /// # Errors
    /// A sentence for the operator.
    pub fn check(&self, section: &str) -> Result<(), String> {
        let fen = |name, fen: Option<Fen>| setting(name, fen.unwrap_or_default().get(), 0..=USER_FEN_CEILING);
        let count = |name, count: Option<u32>| setting(name, count.unwrap_or_default(), 0..=USER_COUNT_CEILING);
        settings::check(
            section,
            &[
                fen(UserLimit::SentFenADay.as_str(), self.sent_fen_a_day),
                count(UserLimit::SentCountADay.as_str(), self.sent_count_a_day),
                fen(UserLimit::EnvelopeFen.as_str(), self.envelope_fen),
                count(UserLimit::UnpaidEnvelopes.as_str(), self.unpaid_envelopes),
                fen(UserLimit::ReceivedFenADay.as_str(), self.received_fen_a_day),
                fen(UserLimit::PaidOutFenADay.as_str(), self.paid_out_fen_a_day),
                count(UserLimit::PaidOutCountADay.as_str(), self.paid_out_count_a_day),
            ],
        )
    }
}

/// What of a user is counted by the day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Daily {
    /// Payments for envelopes.
    Sent,
    /// Payouts.
    PaidOut,
}

/// Has a payment or a payout counted on a day, and says how much of it the user may have there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DayQuota {
    /// What it is counted as.
    pub daily: Daily,
    /// The day that it is counted on.
    pub date: Date,
    /// Fen on that day at most.
    pub fen_max: Option<Fen>,
    /// How many on that day at most.
    pub count_max: Option<u32>,
}

/// What was counted of a user on a day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DayCount {
    /// The sum.
    pub fen: Fen,
    /// How many.
    pub count: u32,
}

impl DayCount {
    /// With one more of this amount.
    pub fn plus(self, amount: Fen) -> DayCount {
        // It stops where no limit can be.
        let most = Fen::new(i64::MAX).expect("it is above zero");
        DayCount { fen: self.fen.checked_add(amount).unwrap_or(most), count: self.count.saturating_add(1) }
    }

    /// Without one of this amount.
    pub fn minus(self, amount: Fen) -> DayCount {
        DayCount { fen: self.fen.checked_sub(amount).unwrap_or_default(), count: self.count.saturating_sub(1) }
    }
}

impl DayQuota {
    /// For a payment.
    pub fn of_sending(limits: &UserLimits, date: Date) -> DayQuota {
        DayQuota { daily: Daily::Sent, date, fen_max: limits.sent_fen_a_day, count_max: limits.sent_count_a_day }
    }

    /// For a payout.
    pub fn of_payouts(limits: &UserLimits, date: Date) -> DayQuota {
        let (fen_max, count_max) = (limits.paid_out_fen_a_day, limits.paid_out_count_a_day);
        DayQuota { daily: Daily::PaidOut, date, fen_max, count_max }
    }

    /// The limit that one more of this amount would exceed.
    pub fn exceeded(&self, before: DayCount, amount: Fen) -> Option<UserLimit> {
        let DayCount { fen, count } = before.plus(amount);
        let (fen_limit, count_limit) = match self.daily {
            Daily::Sent => (UserLimit::SentFenADay, UserLimit::SentCountADay),
            Daily::PaidOut => (UserLimit::PaidOutFenADay, UserLimit::PaidOutCountADay),
        };
        match (self.count_max, self.fen_max) {
            (Some(most), _) if count > most => Some(count_limit),
            (_, Some(most)) if fen > most => Some(fen_limit),
            _ => None,
        }
    }
}

/// When the day after `now` begins, in a zone that is so many seconds ahead of UTC.
pub fn next_day(now: Timestamp, zone_offset_s: i32) -> Timestamp {
    Date::of(now, zone_offset_s).plus_days(1).starts_at(zone_offset_s)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fen(amount: i64) -> Fen {
        Fen::new(amount).unwrap()
    }

    #[test]
    fn a_class_replaces_limits_one_by_one() {
        let all = UserLimits { sent_fen_a_day: Some(fen(100)), sent_count_a_day: Some(3), ..UserLimits::default() };
        let class = UserLimits { sent_count_a_day: Some(9), envelope_fen: Some(fen(7)), ..UserLimits::default() };
        let merged = class.or(all);
        assert_eq!((merged.sent_fen_a_day, merged.sent_count_a_day), (Some(fen(100)), Some(9)));
        assert_eq!((merged.envelope_fen, merged.unpaid_envelopes), (Some(fen(7)), None));
    }

    #[test]
    fn a_limit_may_be_reached_and_not_exceeded() {
        let quota = DayQuota {
            daily: Daily::Sent,
            date: Date::parse("20261128").unwrap(),
            fen_max: Some(fen(10)),
            count_max: Some(2),
        };
        let one = DayCount::default().plus(fen(4));
        assert_eq!(quota.exceeded(one, fen(6)), None);
        assert_eq!(quota.exceeded(one, fen(7)), Some(UserLimit::SentFenADay));
        assert_eq!(quota.exceeded(one.plus(fen(1)), fen(1)), Some(UserLimit::SentCountADay));
        assert_eq!(one.plus(fen(6)).minus(fen(6)), one);
    }
}
