//! Each behaviour of a store, stated once, for every implementation.
//!
//! A behaviour is a function of a [`Fixture`]. An implementation says in its
//! tests how a fixture is made, and [`store_behaviours!`](crate::store_behaviours)
//! makes one test of each:
//!
//! ```text
//! async fn empty() -> Fixture { .. }
//! hongbao_testkit::store_behaviours!(empty);
//! ```

mod exporting;
mod journal;
mod life;
mod reading;
mod rotation;
mod sealing;
mod settling;

use std::any::Any;
use std::sync::Arc;

use hongbao_core::envelope::OpenDecision;
use hongbao_core::id::{TableRef, stable_hash};
use hongbao_core::limits::ROTATION_AHEAD_DAYS;
use hongbao_core::{Audience, Date, Entry, Envelope, EnvelopeId, Fen, Journal, Kind, Seed, Stage, Timestamp, UserId};
use hongbao_store::{Append, Store};

pub use self::exporting::*;
pub use self::journal::*;
pub use self::life::*;
pub use self::reading::*;
pub use self::rotation::*;
pub use self::sealing::*;
pub use self::settling::*;

/// Empty databases: at least two, with at least two tables a day.
pub struct Fixture {
    /// The store.
    pub store: Arc<dyn Store>,
    /// A second opening of the same databases, as another server has it.
    pub other: Arc<dyn Store>,
    /// What has to live as long as they do.
    pub guard: Box<dyn Any + Send>,
}

/// Makes one test of each behaviour, on the fixture that the given async function makes.
#[macro_export]
macro_rules! store_behaviours {
    ($empty:path) => {
        $crate::store_behaviours! { $empty =>
            every_field_of_an_envelope_comes_back
            what_does_not_exist_is_none
            an_id_that_exists_is_refused_with_its_whole_batch
            activating_again_answers_the_first_expiry
            a_cancelled_envelope_is_not_revived
            an_active_envelope_is_not_cancelled
            a_payment_and_a_cancel_that_race_have_one_winner
            the_journal_folds_to_what_is_left
            two_writers_of_one_seq_have_one_winner
            a_user_opens_an_envelope_once
            a_batch_over_several_tables_is_all_or_nothing
            a_batch_over_two_databases_is_written_where_one_writer_has_both
            batches_of_every_size_are_written_in_order
            a_refund_and_an_opening_that_race_have_one_winner
            an_envelope_is_refunded_once
            every_day_has_its_own_tables
            a_users_own_opening_is_found
            the_journal_is_read_in_pages
            many_envelopes_are_read_together_as_each_is_alone
            a_scan_gives_each_envelope_once_and_all_journals
            a_scan_and_a_load_see_one_moment
            what_is_not_settled_is_counted_page_by_page
            the_tail_gives_entries_in_the_order_of_writing
            many_tables_are_looked_at_together
            a_settlement_never_goes_backward
            the_furthest_of_several_settlements_counts
            what_the_tail_has_missed_is_found
            unpaid_envelopes_are_found_by_age
            cancelled_envelopes_are_found_by_age
            nothing_but_cancelled_envelopes_without_entries_is_removed
            expired_envelopes_with_money_are_found_oldest_first
            expiries_of_the_same_moment_are_paged_by_id
        }
    };
    ($empty:path => $($behaviour:ident)*) => {
        $(
            #[tokio::test]
            async fn $behaviour() {
                $crate::store_suite::$behaviour(&$empty().await).await;
            }
        )*
    };
}

/// The same for the behaviours of rotation, sealing and exporting, on a fixture that may have one table a day. Both of
/// its stores have [an archive](crate::store_suite::archive_in).
#[macro_export]
macro_rules! rotation_behaviours {
    ($empty:path) => {
        $crate::store_behaviours! { $empty =>
            what_a_renamed_table_held_is_found_by_every_process
            a_late_entry_is_fenced_and_then_written_into_the_dated_table
            an_envelope_in_a_dated_table_is_paid_cancelled_and_settled
            an_envelope_whose_day_table_has_gone_on_is_made_in_a_dated_table
            several_processes_rotate_at_the_same_time
            days_go_by_and_every_envelope_is_found
            a_table_is_quiet_once_nothing_in_it_waits
            a_closed_table_takes_no_rows_until_it_is_opened_again
            a_sealed_table_never_changes_and_none_of_its_date_is_made
            of_two_manifests_for_one_place_in_the_chain_one_is_written
            a_closing_that_was_taken_back_seals_nothing
            manifests_are_read_as_they_were_written
            an_exported_table_is_read_as_before_and_takes_no_rows
            only_what_is_noted_for_its_manifest_is_dropped
            a_file_that_is_not_what_was_exported_is_refused
        }
    };
}

/// When everything here happens: the start of 17 February 2026 in China.
pub const NOW: Timestamp = Timestamp::from_millis(1_771_257_600_000);
/// Dates up to this one have their day tables.
pub fn through() -> Date {
    Date::of(NOW, 28_800).plus_days(ROTATION_AHEAD_DAYS)
}

/// A day.
pub const DAY_MS: i64 = 86_400_000;

/// Ids of `NOW`, all different, that lie in tables which `keep` likes.
pub fn ids(store: &Arc<dyn Store>, keep: impl Fn(TableRef) -> bool) -> impl Iterator<Item = EnvelopeId> {
    (0..100_000).map(|number| id_at(NOW, number)).filter(move |id| keep(store.table_of(*id)))
}

/// Ids of one table.
pub fn ids_of_one_table(store: &Arc<dyn Store>, count: usize) -> Vec<EnvelopeId> {
    let home = store.table_of(id_at(NOW, 0));
    ids(store, |table| table == home).take(count).collect()
}

/// Two ids of one database, in different tables.
fn ids_of_two_tables(store: &Arc<dyn Store>) -> [EnvelopeId; 2] {
    let first = id_at(NOW, 0);
    let home = store.table_of(first);
    let second = ids(store, |table| table.database == home.database && table != home).next();
    [first, second.expect("there are two tables a day")]
}

/// The id of an envelope that was made then; another number, another id.
pub fn id_at(at: Timestamp, number: u64) -> EnvelopeId {
    let mut random = [0; 10];
    random[..8].copy_from_slice(&stable_hash(&number.to_be_bytes()).to_be_bytes());
    EnvelopeId::mint(at, random)
}

/// A user of this name.
pub fn user(name: impl ToString) -> UserId {
    UserId::parse(&name.to_string()).expect("the names here are plain")
}

/// An envelope of 10.00 yuan in 10 shares that waits for its payment.
pub fn created(id: EnvelopeId) -> Envelope {
    Envelope {
        id,
        sender: user("sender"),
        kind: Kind::Lucky,
        total: Fen::new(1_000).expect("positive"),
        shares: 10,
        share_cap: Fen::new(20_000).expect("positive"),
        greeting: "恭喜发财，大吉大利".to_owned(),
        audience: Audience::Link,
        seed: Seed::new([7; 32]),
        created_at: NOW,
        lifetime_ms: DAY_MS,
        stage: Stage::Created,
        expires_at: None,
        settled_seq: 0,
    }
}

/// Stores an envelope that was paid.
pub async fn make_active(store: &Arc<dyn Store>, id: EnvelopeId) -> Envelope {
    let envelope = created(id);
    store.create(std::slice::from_ref(&envelope)).await.unwrap();
    let expires_at = NOW.plus_millis(DAY_MS);
    store.activate(id, expires_at).await.unwrap();
    Envelope { stage: Stage::Active, expires_at: Some(expires_at), ..envelope }
}

/// The entries with which `users` open the envelope one after the other.
pub fn openings(envelope: &Envelope, from: Journal, users: impl IntoIterator<Item = impl ToString>) -> Vec<Entry> {
    let mut journal = from;
    let mut entries = Vec::new();
    for name in users {
        let OpenDecision::Append(entry) = envelope.decide_open(&journal, None, &user(name), NOW) else {
            panic!("the envelope can be opened");
        };
        journal = Journal::after(&entry);
        entries.push(entry);
    }
    entries
}

/// The entry that gives the rest back.
fn refund(envelope: &Envelope, journal: Journal) -> Entry {
    envelope.decide_refund(&journal, NOW.plus_millis(2 * DAY_MS)).expect("money is left and the time has come")
}

/// Appends, and expects it to be done.
pub async fn write(store: &Arc<dyn Store>, entries: &[Entry]) {
    assert_eq!(store.append(entries).await.unwrap(), Append::Done);
}

/// The whole journal as stored.
pub async fn journal_of(store: &Arc<dyn Store>, id: EnvelopeId) -> Vec<Entry> {
    store.entries(id, 0, u32::MAX).await.unwrap()
}
