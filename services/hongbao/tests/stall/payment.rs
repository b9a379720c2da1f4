//! Money from nothing, step by step: a payment waits for the wallet's log, and
//! others read its debit.
//!
//! Without the barrier it is the job that activates: it finds the debit by a
//! read. A repeated payment meets it in a transaction that changes the ledger's
//! row, and so waits for the same log.

use std::sync::Arc;
use std::time::Duration;

use hongbao_core::{Clock as _, Envelope, EnvelopeId, SystemClock, UserId};
use hongbao_envelope::refusal::Refusal;
use hongbao_envelope::server::{Caller, Server};
use hongbao_store::Creation as _;
use hongbao_testkit::store_suite::created;

use crate::check;
use crate::installation::{DATABASES, Installation, SETS, set_of};
use crate::round::Cast;
use crate::traffic::{Client, Traffic};

/// Less than the stall lasts: whoever waits for the log is told that nobody knows.
const PATIENCE: Duration = Duration::from_millis(800);
/// In this time the job looks at the envelope a dozen times.
const JOB_LOOKS_FOR: Duration = Duration::from_millis(1_500);

async fn pay(installation: &Installation, id: EnvelopeId, sender: &UserId, server: usize) -> Option<Refusal> {
    let (process, caller) = (installation.sets[0].server(server).expect("it runs"), sender.clone());
    let pay =
        async move |server: Arc<Server>| server.pay(id, &Caller { user: &caller, groups: &[], class: None }).await;
    process.ask(pay).await.expect("it lives").err()
}

#[test]
fn i1_a_debit_that_a_crash_takes_back_has_activated_nothing() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let installation = Arc::new(Installation::start(PATIENCE).await);
        let sender = UserId::parse("sender").expect("it is a name");
        // Old enough for the job to look after it.
        let at = SystemClock.now().plus_millis(-3_000);
        let ids = (0..=u8::MAX).map(|number| EnvelopeId::mint(at, [number; 10]));
        let id = ids.into_iter().find(|id| set_of(id.slot()) == 0).expect("half of all ids are of this SET");
        let envelope = Envelope { sender: sender.clone(), created_at: at, ..created(id) };
        let total_fen = envelope.total.get();
        installation.sets[0].store.create(&[envelope]).await.expect("the database is well");
        Client::new(&Traffic::new(installation.clone()), 1).begin_with(id, sender.clone(), total_fen).await;
        let cast = Cast { envelopes: vec![id], users: vec![sender.clone()], ..Cast::default() };

        let stalls: Vec<_> = (SETS..DATABASES).map(|home| (home, installation.stall_log(home))).collect();
        let first = pay(&installation, id, &sender, 0).await;
        assert!(matches!(first, Some(Refusal::Unknown(_))), "{first:?}");
        let again = pay(&installation, id, &sender, 1).await;
        let seen = check::read(&installation, &cast).await;
        assert!(seen.is_debited(id), "everybody can read the debit");
        assert!(!seen.is_active(id), "a repeated payment has activated it");
        assert!(again.is_some(), "it was told to be paid for");

        installation.start_workers().await;
        tokio::time::sleep(JOB_LOOKS_FOR).await;
        let was_active = check::read(&installation, &cast).await.is_active(id);
        for (home, stall) in stalls {
            installation.kill_and_restart(home, stall);
        }
        let seen = check::read(&installation, &cast).await;
        assert!(!seen.is_debited(id), "the debit was durable: nothing was stalled");
        assert!(!was_active, "the job has activated it, and the sender still has its money");
    });
}
