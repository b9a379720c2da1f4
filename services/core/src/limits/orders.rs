//! Bounds of orders at the provider.

/// Seconds after which an order is asked for again: the first ones in this order, then the last one for ever.
pub const ORDER_INTERVALS_S: [i64; 10] = [1, 2, 4, 10, 30, 60, 300, 900, 1_800, 3_600];
/// Milliseconds after which a charge that was not paid is closed: a payer who has not paid by then has gone away.
pub const CHARGE_CLOSE_AFTER_MS: i64 = 15 * 60_000;
/// Milliseconds after which a payout, or the refund of a charge, that the provider does not take is closed and comes back.
pub const PAYOUT_CLOSE_AFTER_MS: i64 = 86_400_000;
/// Milliseconds after which an order without an outcome is shown to people.
pub const ORDER_ATTENTION_AFTER_MS: i64 = 2 * 86_400_000;
/// Milliseconds for which a payout that succeeded is asked for now and then, since the provider may return it.
pub const PAYOUT_RETURN_WITHIN_MS: i64 = 30 * 86_400_000;
/// Milliseconds between two such questions.
pub const PAYOUT_RETURN_EVERY_MS: i64 = 86_400_000;
/// Milliseconds for which a provider may take a request after it was signed; one that travels longer is refused there.
pub const PROVIDER_REQUEST_AGE_MS_MAX: i64 = 300_000;
/// Milliseconds that the provider's clock and ours may be apart.
pub const PROVIDER_CLOCK_APART_MS_MAX: i64 = 60_000;
/// Characters of what a provider calls an order.
pub const PROVIDER_REFERENCE_CHARS_MAX: usize = 64;
/// Characters of the word for why an order failed.
pub const PROVIDER_FAILURE_CHARS_MAX: usize = 64;
/// Characters of the address where a payer goes on.
pub const ACTION_URL_CHARS_MAX: usize = 512;
/// Orders that a worker takes up in one database of the wallet in a run.
pub const ORDERS_CLAIMED_MAX: u32 = 64;
/// Milliseconds for which an order is left to the worker that has taken it up; longer than a request may take.
pub const ORDER_CLAIM_MS: i64 = 30_000;

const _: () = assert!(
    ORDER_ATTENTION_AFTER_MS > PAYOUT_CLOSE_AFTER_MS + PROVIDER_REQUEST_AGE_MS_MAX + PROVIDER_CLOCK_APART_MS_MAX
);
