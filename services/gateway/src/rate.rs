//! How often one user may call, and all of them together.

use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultDirectRateLimiter, DefaultKeyedRateLimiter, NotUntil, Quota, RateLimiter};
use hongbao_core::UserId;
use serde::{Deserialize, Serialize};

/// How often users whose tokens are remembered are looked through.
const FORGET_EVERY: Duration = Duration::from_secs(30);

/// Requests of one user, and of all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RateLimits {
    /// Requests a second, in the long run.
    pub user_per_s: NonZeroU32,
    /// Requests that may come at once.
    pub user_burst: NonZeroU32,
    /// Requests a second of all users together, through one gateway; as many
    /// may come at once. Not limited unless it is given.
    pub global_per_s: Option<NonZeroU32>,
}

impl Default for RateLimits {
    fn default() -> RateLimits {
        const {
            RateLimits {
                user_per_s: NonZeroU32::new(20).unwrap(),
                user_burst: NonZeroU32::new(60).unwrap(),
                global_per_s: None,
            }
        }
    }
}

impl RateLimits {
    /// What does not fit together, for the operator.
    pub fn check(&self) -> Result<(), String> {
        if self.user_burst < self.user_per_s {
            return Err("rate_limit: user_burst must be at least user_per_s".to_owned());
        }
        Ok(())
    }
}

/// A request that comes too early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limited {
    /// Seconds after which it gets through.
    pub wait_s: u32,
    /// Whether all users together are over the limit, as against this one.
    pub everybody: bool,
}

/// Counts the requests of each user and of all. Memory is bounded by the users of the last
/// burst's time: who has been quiet that long is forgotten.
pub struct UserRates {
    limiter: DefaultKeyedRateLimiter<UserId>,
    global: Option<DefaultDirectRateLimiter>,
    clock: DefaultClock,
}

impl UserRates {
    /// Counts against `limits`.
    pub fn new(limits: &RateLimits) -> UserRates {
        let quota = Quota::per_second(limits.user_per_s).allow_burst(limits.user_burst);
        let global = limits.global_per_s.map(|per_s| RateLimiter::direct(Quota::per_second(per_s)));
        UserRates { limiter: RateLimiter::keyed(quota), global, clock: DefaultClock::default() }
    }

    /// Lets the request pass, or says when the next one may. A user who is over
    /// its own limit does not use up what there is for all.
    pub fn admit(&self, user: &UserId) -> Result<(), Limited> {
        let limited = |refused: NotUntil<_>, everybody| {
            let wait = refused.wait_time_from(self.clock.now());
            // Rounded up: a client that waits that long gets through.
            let wait_s = u32::try_from(wait.as_millis().div_ceil(1_000)).unwrap_or(u32::MAX).max(1);
            Limited { wait_s, everybody }
        };
        self.limiter.check_key(user).map_err(|refused| limited(refused, false))?;
        match &self.global {
            Some(global) => global.check().map_err(|refused| limited(refused, true)),
            None => Ok(()),
        }
    }

    /// Users that are remembered.
    pub fn len(&self) -> usize {
        self.limiter.len()
    }

    /// Whether no caller is remembered.
    pub fn is_empty(&self) -> bool {
        self.limiter.is_empty()
    }

    /// Forgets who has been quiet.
    pub fn forget_quiet(&self) {
        self.limiter.retain_recent();
        self.limiter.shrink_to_fit();
    }
}

/// Keeps forgetting who has been quiet, until it is aborted.
pub async fn forget_quiet_forever(rates: std::sync::Arc<UserRates>) {
    let mut tick = tokio::time::interval(FORGET_EVERY);
    loop {
        tick.tick().await;
        rates.forget_quiet();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(user_per_s: u32, user_burst: u32, global_per_s: Option<u32>) -> RateLimits {
        let number = |n| NonZeroU32::new(n).unwrap();
        RateLimits {
            user_per_s: number(user_per_s),
            user_burst: number(user_burst),
            global_per_s: global_per_s.map(number),
        }
    }

    #[test]
    fn all_users_together_are_limited_too() {
        let rates = UserRates::new(&limits(10, 10, Some(3)));
        for user in ["li", "wang", "zhao"] {
            assert_eq!(rates.admit(&UserId::parse(user).unwrap()), Ok(()));
        }
        let refused = rates.admit(&UserId::parse("chen").unwrap());
        assert_eq!(refused, Err(Limited { wait_s: 1, everybody: true }));
    }

    #[test]
    fn a_burst_passes_and_then_the_user_waits_while_others_do_not() {
        let limits = limits(1, 3, None);
        let rates = UserRates::new(&limits);
        let (li, wang) = (UserId::parse("li").unwrap(), UserId::parse("wang").unwrap());
        for _ in 0..3 {
            assert_eq!(rates.admit(&li), Ok(()));
        }
        assert_eq!(rates.admit(&li), Err(Limited { wait_s: 1, everybody: false }));
        assert_eq!(rates.admit(&wang), Ok(()));
    }

    #[test]
    fn who_has_been_quiet_is_forgotten() {
        let limits = limits(1_000, 1_000, None);
        let rates = UserRates::new(&limits);
        for number in 0..100 {
            rates.admit(&UserId::parse(&format!("u{number}")).unwrap()).unwrap();
        }
        std::thread::sleep(Duration::from_millis(20));
        rates.forget_quiet();
        assert!(rates.is_empty(), "{} are still remembered", rates.len());
    }
}
