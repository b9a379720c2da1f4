//! Bounds of orders at the provider.

use std::ops::RangeInclusive;
use std::time::Duration;

/// Fen of one order at most: ten million yuan.
pub const ORDER_FEN_CEILING: i64 = 1_000_000_000;
/// Fen that a limit of a user may be of: more than a user can have by then.
pub const USER_FEN_CEILING: i64 = 1_000_000_000_000;
/// Envelopes or payouts that a limit of a user may be of.
pub const USER_COUNT_CEILING: u32 = 1_000_000;
/// Milliseconds for which a server remembers what a user was credited today, where that is limited.
pub const RECEIVED_AGE_MS_MAX: i64 = 500;
/// Users of whom a server remembers that.
pub const RECEIVED_REMEMBERED_MAX: usize = 65_536;
/// Pages of a user's transfers that are read for it at most.
pub const RECEIVED_PAGES_MAX: u32 = 20;
/// How long a client waits for the provider's first answer to its order, which goes on without it.
pub const ORDER_ANSWER_WITHIN: Duration = Duration::from_secs(3);
/// Orders that a worker asks the provider about at the same time.
pub const ORDERS_ASKED_MAX: usize = 16;
/// Notifications of the provider that a process remembers, to pass over those that come again.
pub const NOTIFICATIONS_REMEMBERED_MAX: u64 = 65_536;
/// Seconds after which an order is asked for again, at first.
pub const ORDER_INTERVALS_S: [i64; 5] = [1, 2, 4, 10, 30];
/// Milliseconds after which it is asked for again from then on, as long as it has no outcome: a tenth of its age within
/// these bounds. So a notification that is lost delays an outcome by a tenth at most, or by a minute.
pub const ORDER_INTERVAL_MS: RangeInclusive<i64> = 60_000..=3_600_000;
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
/// Orders that are due among which a worker looks for those of users who have not left a database of the wallet.
pub const DUE_WINDOW_MAX: u32 = 65_536;
/// Milliseconds for which an order is left to the worker that has taken it up; longer than a request may take.
pub const ORDER_CLAIM_MS: i64 = 30_000;
/// Bytes of the secret that signs between the provider and us, at least.
pub const PROVIDER_SECRET_BYTES_MIN: usize = 32;
/// Milliseconds that a request to the provider may take, as an operator may set it.
pub const PROVIDER_TIMEOUT_MS: RangeInclusive<u64> = 100..=20_000;
/// How long a connection to the provider may take to be made.
pub const PROVIDER_CONNECT_WITHIN: Duration = Duration::from_secs(3);
/// How long a connection to the provider is kept without a request.
pub const PROVIDER_IDLE_WITHIN: Duration = Duration::from_secs(30);
/// Requests to the provider that are under way in a process; more are not sent.
pub const PROVIDER_IN_FLIGHT_MAX: usize = 64;
/// Bytes of an answer of the provider about an order.
pub const PROVIDER_ANSWER_BYTES_MAX: usize = 64 * 1024;
/// Bytes of a bill: some two million lines.
pub const PROVIDER_BILL_BYTES_MAX: usize = 256 * 1024 * 1024;
/// How long a bill may take to arrive.
pub const PROVIDER_BILL_WITHIN: Duration = Duration::from_secs(600);
/// Requests in a row that the provider did not answer, after which none is sent for a while.
pub const PROVIDER_FAILURES_MAX: u32 = 5;
/// How long none is sent then; after that one is tried.
pub const PROVIDER_OPEN_CIRCUIT: Duration = Duration::from_secs(10);
/// Seconds that the provider may ask to wait.
pub const PROVIDER_RETRY_AFTER_S_MAX: u32 = 3_600;
/// Characters of what is repeated of an error of the provider.
pub const PROVIDER_ERROR_CHARS_MAX: usize = 200;
/// Orders that a reconciliation reads at a time.
pub const RECONCILE_PAGE_MAX: u32 = 500;
/// Fen that WeChat Pay pays to a user whose name it is not given: less than 2,000 yuan.
pub const WECHAT_UNNAMED_FEN_MAX: i64 = 199_999;
/// Milliseconds for which WeChat Pay surely knows a transfer; it can be asked for one during 30 days alone.
pub const WECHAT_TRANSFER_KNOWN_MS: i64 = 29 * 86_400_000;
/// Milliseconds after which a code that has expired is surely paid no more: its clock may be behind ours, and a payment
/// under way.
pub const WECHAT_CODE_OVER_AFTER_MS: i64 = 5 * 60_000 + PROVIDER_CLOCK_APART_MS_MAX;
/// Orders in the books of a sandbox provider; more are refused.
pub const SANDBOX_ORDERS_MAX: usize = 1_000_000;
/// Notifications that wait in a sandbox provider; more are not sent.
pub const SANDBOX_NOTIFICATIONS_MAX: usize = 100_000;
/// Notifications of a sandbox provider that are under way.
pub const SANDBOX_NOTIFYING_MAX: usize = 16;
/// How long a notification of a sandbox provider may take.
pub const SANDBOX_NOTIFY_WITHIN: Duration = Duration::from_secs(5);
/// Seconds after which a notification that was not taken is sent again; then never.
pub const SANDBOX_NOTIFY_AGAIN_S: [i64; 4] = [1, 5, 30, 300];

const _: () = assert!(*PROVIDER_TIMEOUT_MS.end() < ORDER_CLAIM_MS as u64, "a claim outlasts its request");
const _: () = assert!(
    ORDER_ATTENTION_AFTER_MS > PAYOUT_CLOSE_AFTER_MS + PROVIDER_REQUEST_AGE_MS_MAX + PROVIDER_CLOCK_APART_MS_MAX
);
