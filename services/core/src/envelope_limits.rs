//! The bounds of envelopes and orders, and the limits of users, that an operator configures.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use crate::limits::{
    GREETING_CHARS_CEILING, LIFETIME_S_CEILING, ORDER_FEN_CEILING, PAY_WITHIN_S, SHARE_FEN_CEILING, SHARES_CEILING,
    TICKET_LIFE_MS,
};
use crate::money::Fen;
use crate::settings::{self, setting};
use crate::user::UserClass;
use crate::user_limits::UserLimits;

/// What an operator may configure of envelopes and orders.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Shares of one envelope at most.
    pub shares_max: u32,
    /// Fen that one share may hold, at most and on average.
    pub share_fen_max: Fen,
    /// Characters of a greeting at most.
    pub greeting_chars_max: usize,
    /// Seconds that an envelope can be opened: the least that may be asked for.
    pub expires_in_s_min: u32,
    /// The most, and the default.
    pub expires_in_s_max: u32,
    /// Milliseconds that a ticket is good for.
    pub ticket_life_ms: i64,
    /// Seconds after which an envelope that was not paid is cancelled.
    pub pay_within_s: u32,
    /// Fen of one charge at most.
    pub charge_fen_max: Fen,
    /// Fen of one payout at least.
    pub payout_fen_min: Fen,
    /// Fen of one payout at most.
    pub payout_fen_max: Fen,
    /// What a user may do.
    pub users: UserLimits,
    /// What users of a class may do, where it is something else.
    pub classes: BTreeMap<UserClass, UserLimits>,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            shares_max: 500,
            share_fen_max: Fen::new(20_000).expect("positive"),
            greeting_chars_max: 64,
            expires_in_s_min: 60,
            expires_in_s_max: 86_400,
            ticket_life_ms: 60_000,
            pay_within_s: 900,
            charge_fen_max: Fen::new(10_000_000).expect("positive"),
            payout_fen_min: Fen::new(1).expect("positive"),
            payout_fen_max: Fen::new(10_000_000).expect("positive"),
            users: UserLimits::default(),
            classes: BTreeMap::new(),
        }
    }
}

impl Limits {
    /// Shares that an envelope may have.
    pub fn shares(&self) -> RangeInclusive<i64> {
        1..=self.shares_max.into()
    }

    /// Fen that an envelope of so many shares may hold.
    pub fn total_fen(&self, shares: u32) -> RangeInclusive<i64> {
        shares.into()..=i64::from(shares) * self.share_fen_max.get()
    }

    /// Fen that a charge may be of.
    pub fn charge_fen(&self) -> RangeInclusive<i64> {
        1..=self.charge_fen_max.get()
    }

    /// Fen that a payout may be of.
    pub fn payout_fen(&self) -> RangeInclusive<i64> {
        self.payout_fen_min.get()..=self.payout_fen_max.get()
    }

    /// Seconds that an envelope may be open for.
    pub fn expires_in_s(&self) -> RangeInclusive<i64> {
        self.expires_in_s_min.into()..=self.expires_in_s_max.into()
    }

    /// What a user of a class may do. One of no class, or of a class that has no limits here, has those of all.
    pub fn of_user(&self, class: Option<&UserClass>) -> UserLimits {
        match class.and_then(|class| self.classes.get(class)) {
            Some(of_class) => of_class.or(self.users),
            None => self.users,
        }
    }

    /// Whether this is so of the limits of all users, or of any class.
    pub fn is_any(&self, has: impl Fn(&UserLimits) -> bool) -> bool {
        has(&self.users) || self.classes.values().any(has)
    }

    /// The first bound that is out of its range, with the range.
    ///
    /// # Errors
    /// A sentence for the operator.
    pub fn check(&self) -> Result<(), String> {
        self.users.check("limits.users")?;
        self.classes.iter().try_for_each(|(class, limits)| limits.check(&format!("limits.classes.{class}")))?;
        settings::check(
            "limits",
            &[
                setting("shares_max", self.shares_max, 1..=SHARES_CEILING),
                setting("share_fen_max", self.share_fen_max.get(), 1..=SHARE_FEN_CEILING),
                setting("greeting_chars_max", self.greeting_chars_max, 0..=GREETING_CHARS_CEILING),
                setting("expires_in_s_max", self.expires_in_s_max, 1..=LIFETIME_S_CEILING)
                    .because("day tables are used again"),
                setting("expires_in_s_min", self.expires_in_s_min, 1..=self.expires_in_s_max)
                    .because("it must not exceed expires_in_s_max"),
                setting("ticket_life_ms", self.ticket_life_ms, TICKET_LIFE_MS),
                setting("pay_within_s", self.pay_within_s, PAY_WITHIN_S),
                setting("charge_fen_max", self.charge_fen_max.get(), 1..=ORDER_FEN_CEILING),
                setting("payout_fen_max", self.payout_fen_max.get(), 1..=ORDER_FEN_CEILING),
                setting("payout_fen_min", self.payout_fen_min.get(), 1..=self.payout_fen_max.get())
                    .because("it must not exceed payout_fen_max"),
            ],
        )
    }
}
