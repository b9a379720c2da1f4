//! What a crash of the database takes back: no audit speaks of it, and nothing is purged on account of it.

use std::pin::Pin;

use hongbao_core::audit::Breach;
use hongbao_core::{Transfer, TransferId, TransferOutcome};
use hongbao_store::{Journals as _, StoreError};
use hongbao_testbed::{LogStall, Part};
use hongbao_wallet::Wallet as _;
use hongbao_workers::purge::Purge;
use hongbao_workers::{AuditError, AuditReport, Job as _, SetStore, audit};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::databases::{pause, set_on, wallet_on, world};
use crate::common::{DAY_MS, World, ZONE_S, open_store, run_until_idle};

/// The verdict of an audit, and what it has named as broken before.
type Audited = (Result<AuditReport, AuditError>, Vec<String>);

/// An audit that has read an opening which waits for the log of its database, and
/// was stopped there.
struct Unfinished {
    part: Part,
    stall: LogStall,
    world: World,
    audit: JoinHandle<Audited>,
    go_on: oneshot::Sender<()>,
}

impl Unfinished {
    async fn new() -> Unfinished {
        let part = Part::mariadb_with_a_log_that_stalls("ib_logfile0", &[]);
        let store = set_on(&part, 9).await;
        let world = world(9, store.clone()).await;
        world.active(1_000, 10).await;
        let second_day = world.now().plus_millis(DAY_MS);
        let opened = world.active_at(second_day, 1_000, 10).await;
        let entry = world.next_entry(opened, "opener", second_day).await.unwrap();
        let writer = set_on(&part, 9).await;

        let (reads, started) = oneshot::channel();
        let (stalls, stalled) = oneshot::channel();
        let (has_read, read) = oneshot::channel();
        let (go_on, goes_on) = oneshot::channel();
        let after_reads: [Pin<Box<dyn Future<Output = ()> + Send>>; 4] = [
            // The envelopes of the first day.
            Box::pin(async move {
                reads.send(()).unwrap();
                stalled.await.unwrap();
            }),
            // Their transfers; the envelopes of the second day.
            Box::pin(async {}),
            Box::pin(async {}),
            // The entries of the second day.
            Box::pin(async move {
                has_read.send(()).unwrap();
                goes_on.await.unwrap();
            }),
        ];
        world.faults.meanwhile.lock().unwrap().extend(after_reads);
        let ports = world.ports();
        let audit = tokio::spawn(async move {
            let mut named = Vec::new();
            let mut tell = |breach: &Breach| named.push(breach.to_string());
            let verdict = audit(&[SetStore::whole(ports.store)], &*ports.wallet, &mut tell).await;
            (verdict, named)
        });
        started.await.unwrap();
        let stall = part.stall_log();
        // Its answer is not waited for.
        tokio::spawn(async move { writer.append(&[entry]).await });
        while store.entries(opened, 0, 1).await.unwrap().is_empty() {}
        stalls.send(()).unwrap();
        read.await.unwrap();
        Unfinished { part, stall, world, audit, go_on }
    }
}

#[tokio::test]
async fn an_audit_ends_when_all_that_it_has_read_is_durable() {
    let Unfinished { part: _part, stall, world: _world, audit, go_on } = Unfinished::new().await;
    go_on.send(()).unwrap();
    // Long beyond the time that the rest of the audit takes.
    pause(1_000).await;
    assert!(!audit.is_finished(), "it speaks of an opening which a crash takes back");
    drop(stall);
    let (verdict, named) = audit.await.unwrap();
    assert!(named.is_empty(), "{named:#?}");
    assert_eq!(verdict.unwrap().entries, 1);
}

/// Which of the two it is depends on whether it reads more over a connection that is gone.
fn must_be_run_again(verdict: &Result<AuditReport, AuditError>) -> bool {
    match verdict {
        Err(AuditError::Restarted(which)) => which.contains("SET whole"),
        Err(AuditError::Store(set, StoreError::Unavailable(_))) => set == "whole",
        _ => false,
    }
}

#[tokio::test]
async fn an_audit_whose_database_is_killed_and_started_anew_names_nothing_and_must_be_run_again() {
    let Unfinished { mut part, stall, world, audit: unfinished, go_on } = Unfinished::new().await;
    part.kill();
    drop(stall);
    part.restart();
    go_on.send(()).unwrap();
    let (verdict, named) = unfinished.await.unwrap();
    assert!(named.is_empty(), "{named:#?}");
    assert!(must_be_run_again(&verdict), "{verdict:?}");
    let ports = world.ports();
    let mut name = |breach: &Breach| panic!("{breach}");
    let report = loop {
        // Each connection finds out for itself that its server is another one.
        let verdict = audit(&[SetStore::whole(ports.store.clone())], &*ports.wallet, &mut name).await;
        if !must_be_run_again(&verdict) {
            break verdict.unwrap();
        }
    };
    assert_eq!(report.entries, 0, "run again, it tells what is there");
}

/// Without its cancel it can be paid again, and then it has to be there.
#[tokio::test]
async fn an_envelope_is_purged_only_when_its_cancel_is_durable_in_the_wallet() {
    let mut part = Part::mariadb_with_a_log_that_stalls("ib_logfile0", &[]);
    let (wallet, writer) = (wallet_on(&part).await, wallet_on(&part).await);
    let dir = tempfile::tempdir().unwrap();
    let world = World::with(open_store(dir.path(), 1).await, wallet, dir).await;
    let envelope = world.created_at(world.now(), 1_000, 10).await;
    world.store.cancel(envelope.id).await.unwrap();
    let (cancel, send) = (Transfer::cancel(&envelope, world.now()), Transfer::send(&envelope, world.now()));
    world.clock.advance_millis(1_001);
    let mut purge = Purge::new(world.ports(), ZONE_S, &world.limits(), 1);

    let stall = part.stall_log();
    let commit = tokio::spawn(async move { writer.transfer(vec![cancel]).await });
    while world.wallet.find(&[TransferId::Envelope(envelope.id, 0)]).await.unwrap().is_empty() {}
    let run = tokio::spawn(async move {
        // It is over, or has failed: either way the envelope is what counts.
        let _ = purge.run_once(100).await;
        purge
    });
    // Long beyond the time that a run takes.
    pause(1_000).await;
    let there = async || world.store.load(envelope.id).await.unwrap().is_some();
    assert!(there().await && !run.is_finished(), "the cancel could be read, and a crash would have taken it back");
    part.kill();
    drop(stall);
    part.restart();
    assert!(commit.await.unwrap().is_err(), "no caller got the answer that it is durable");
    let mut purge = run.await.unwrap();
    let paid = loop {
        // Each connection finds out for itself that its server is another one.
        if let Ok(outcomes) = world.wallet.transfer(vec![send.clone()]).await {
            break outcomes[0];
        }
    };
    assert!(matches!(paid, TransferOutcome::Done | TransferOutcome::AlreadyDone), "{paid:?}");
    run_until_idle(&mut purge, 100).await;
    assert!(there().await, "it was paid");
}
