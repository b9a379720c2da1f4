//! Each behaviour of a wallet, stated once, for every implementation.
//!
//! A behaviour is a function of an empty wallet, and panics where the wallet
//! does not behave. [`wallet_behaviours!`](crate::wallet_behaviours) makes one
//! test of each:
//!
//! ```text
//! async fn empty() -> (Arc<dyn Wallet>, Guard) { .. }
//! hongbao_testkit::wallet_behaviours!(empty);
//! ```
//!
//! The wallet may have one shard or many: users are named without regard to
//! where they lie, and nothing is expected that only one of the two would do.

mod batches;
mod books;
mod events;
mod freezes;
mod guards;
mod ids;
mod limits;
mod order_keys;
mod orders;
mod random_limits;
mod reading;

use std::sync::Arc;

use hongbao_core::id::stable_hash;
use hongbao_core::{EnvelopeId, Fen, Timestamp, Transfer, TransferId, TransferKind, TransferOutcome, UserId};
use hongbao_wallet::{Wallet, WalletError};
use uuid::Uuid;

pub use self::batches::*;
pub use self::books::*;
pub use self::events::*;
pub use self::freezes::*;
pub use self::guards::*;
pub use self::ids::*;
pub use self::limits::*;
pub use self::order_keys::*;
pub use self::orders::*;
pub use self::random_limits::*;
pub use self::reading::*;

/// Makes one test of each behaviour. The given async function makes an empty
/// wallet, and what has to live as long as it does.
#[macro_export]
macro_rules! wallet_behaviours {
    ($empty:path) => {
        $crate::wallet_behaviours! { $empty =>
            a_repeated_top_up_is_the_same_top_up
            a_repeat_may_come_at_another_time
            an_id_that_was_used_for_something_else_is_a_conflict
            another_users_top_up_under_an_id_leaves_the_first_as_it_is
            a_transfer_that_contradicts_its_id_is_a_conflict
            a_refused_payment_leaves_its_id_free
            a_cancel_after_the_payment_comes_too_late
            a_payment_after_the_cancel_is_refused
            a_cancel_moves_no_money
            a_balance_never_leaves_64_bits
            concurrent_repeats_of_one_id_execute_once
            the_order_inside_a_batch_matters
            a_refused_transfer_does_not_disturb_its_neighbours
            repeats_inside_a_batch_execute_once
            batches_of_every_size_are_written_in_order
            a_batch_that_is_too_large_is_refused_whole
            a_batch_whose_caller_went_away_happens_whole_or_not_at_all
            nothing_waits_when_nothing_is_asked
            all_accounts_add_up_to_zero_after_random_transfers
            sums_beyond_64_bits_are_told
            a_user_without_transfers_has_nothing
            history_is_paged_newest_first
            history_can_be_of_some_kinds
            history_shows_only_the_users_own
            the_transfers_of_envelopes_come_by_id_and_seq
            only_stored_transfers_are_found
            a_scan_gives_every_transfer_once_and_each_users_in_order
            accounts_are_paged_each_once
            a_scan_gives_the_balances_before_and_after_each_transfer
            a_key_stands_for_the_id_that_came_with_it_first
            a_key_with_another_body_is_a_conflict
            each_user_has_keys_of_its_own
            of_many_concurrent_requests_under_one_key_one_is_new
            keys_are_forgotten_when_they_are_old
            events_are_written_once_however_often_a_call_is_repeated
            an_event_that_rests_on_a_transfer_is_written_with_it_alone
            feeds_are_read_each_from_its_own_place
            a_journal_s_end_is_an_event_of_its_own
            a_frozen_user_pays_nothing_and_keeps_and_gets_money
            what_a_frozen_user_has_paid_stays_paid
            who_is_frozen_is_listed_with_the_reason_and_the_log_has_it_all
            a_freeze_that_changes_nothing_is_not_logged
            the_money_of_a_frozen_user_is_not_paid_out_and_a_charge_stays_in_the_balance
            a_freeze_stops_payments_that_are_under_way
            what_is_sent_on_a_day_is_limited
            a_repeated_payment_counts_once
            of_many_concurrent_payments_as_many_succeed_as_the_limit_allows
            a_charge_for_an_envelope_counts_as_sent_unless_it_fails
            an_envelope_with_a_charge_that_is_paid_out_of_the_balance_counts_once
            what_is_paid_out_on_a_day_is_limited
            envelopes_that_wait_for_payment_are_limited
            the_count_of_a_day_is_what_is_paid_and_what_its_charges_may_pay
            of_many_concurrent_creates_as_many_are_reserved_as_the_limit_allows
            an_idle_wallet_answers_and_tells_its_durability
            a_charge_that_succeeds_is_in_the_balance_once
            a_payout_is_taken_from_the_balance_first
            a_payout_that_fails_comes_back
            a_charge_of_another_amount_is_held
            a_charge_pays_for_its_envelope
            a_charge_that_failed_may_be_followed_by_another
            a_charge_for_a_cancelled_envelope_is_balance_or_goes_back
            due_orders_are_taken_up_once
            orders_are_listed_newest_first
            a_key_stands_for_the_order_that_came_with_it_first
            each_user_and_call_has_keys_for_orders_of_its_own
            a_refused_order_leaves_its_key_free
            of_many_concurrent_payouts_under_one_key_one_is_made
        }
    };
    ($empty:path => $($behaviour:ident)*) => {
        $(
            #[tokio::test]
            async fn $behaviour() {
                let (wallet, _guard) = $empty().await;
                $crate::wallet_suite::$behaviour(wallet).await;
            }
        )*
    };
}

/// When all of it happens.
pub const NOON: Timestamp = Timestamp::from_millis(1_771_257_600_000);

/// A user of this name.
pub fn user(name: &str) -> UserId {
    UserId::parse(name).unwrap()
}

fn fen(amount: i64) -> Fen {
    Fen::new(amount).unwrap()
}

/// The same number gives the same id, a higher one a later id.
fn envelope(number: u64) -> EnvelopeId {
    let mut random = [0; 10];
    random[..8].copy_from_slice(&stable_hash(&number.to_be_bytes()).to_be_bytes());
    EnvelopeId::mint(NOON.plus_millis(number as i64), random)
}

/// Money for a user from outside; the same number is the same top-up.
pub fn top_up(number: u64, name: &str, amount: i64) -> Transfer {
    Transfer::top_up(Uuid::from_u64_pair(7, number), user(name), fen(amount), NOON)
}

fn of_envelope(kind: TransferKind, number: u64, seq: u32, name: &str, amount: i64) -> Transfer {
    Transfer { id: TransferId::Envelope(envelope(number), seq), kind, user: user(name), amount: fen(amount), at: NOON }
}

/// A payment of the envelope of this number.
pub fn send(number: u64, name: &str, amount: i64) -> Transfer {
    of_envelope(TransferKind::Send, number, 0, name, amount)
}

/// Takes the id of that payment.
pub fn cancel(number: u64, name: &str) -> Transfer {
    of_envelope(TransferKind::Cancel, number, 0, name, 0)
}

/// A credit of an entry of the envelope.
pub fn open(number: u64, seq: u32, name: &str, amount: i64) -> Transfer {
    of_envelope(TransferKind::Open, number, seq, name, amount)
}

async fn one(wallet: &Arc<dyn Wallet>, transfer: Transfer) -> TransferOutcome {
    let outcomes = wallet.transfer(vec![transfer]).await.unwrap();
    assert_eq!(outcomes.len(), 1);
    outcomes[0]
}

async fn balance(wallet: &Arc<dyn Wallet>, name: &str) -> i64 {
    wallet.balance(&user(name)).await.unwrap().get()
}

/// All transfers, each user's in the order of writing. Between users of
/// different shards there is no order.
async fn all_posted(wallet: &Arc<dyn Wallet>) -> Vec<Transfer> {
    let posted = wallet.scan(0, u32::MAX).await.unwrap();
    by_user(posted.into_iter().map(|posted| posted.transfer).collect())
}

/// The same, whatever the order of the users was.
fn by_user(mut transfers: Vec<Transfer>) -> Vec<Transfer> {
    transfers.sort_by(|one, other| one.user.cmp(&other.user));
    transfers
}

/// The words of the failure that says that nothing was done.
pub fn unavailable<T>(result: Result<T, WalletError>) -> String {
    match result {
        Err(WalletError::Unavailable(reason)) => reason,
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("it should have failed"),
    }
}
