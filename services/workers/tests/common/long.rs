//! An envelope with more openings than a page of entries holds.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hongbao_core::audit::Breach;
use hongbao_core::envelope::OpenDecision;
use hongbao_core::limits::{JOURNAL_PAGE_MAX, OPEN_BATCH_SIZE_MAX};
use hongbao_core::{Entry, EnvelopeId, Journal};
use hongbao_store::Append;
use hongbao_workers::audit;
use hongbao_workers::credit::Credit;

use super::{World, ZONE_S, run_until_idle, user};

/// Three pages, the third not full.
const OPENINGS: u32 = 2 * JOURNAL_PAGE_MAX + 1_000;
/// An entry of the third page.
const SEQ: u32 = 2 * JOURNAL_PAGE_MAX + 500;

/// An envelope for many.
async fn long(world: &World, shares: u32) -> EnvelopeId {
    world.active(10 * i64::from(shares), shares).await
}

/// Opens as `{prefix}-{seq}`, in large batches.
async fn open_many(world: &World, id: EnvelopeId, prefix: &str, times: u32) {
    let (envelope, mut journal) = world.store.load(id).await.unwrap().unwrap();
    let mut entries: Vec<Entry> = Vec::new();
    for _ in 0..times {
        let user = user(&format!("{prefix}-{}", journal.last_seq + 1));
        let OpenDecision::Append(entry) = envelope.decide_open(&journal, None, &user, world.now()) else {
            panic!("there is money left");
        };
        journal = Journal::after(&entry);
        entries.push(entry);
    }
    for batch in entries.chunks(OPEN_BATCH_SIZE_MAX) {
        assert_eq!(world.store.append(batch).await.unwrap(), Append::Done);
    }
}

async fn credit_all(world: &World) {
    run_until_idle(&mut Credit::new(world.ports(), ZONE_S, &world.limits()), 2_000).await;
}

/// Short ones lie around it, and it is sound; what is damaged far behind in it, or beside it, is named.
pub async fn damage_on_the_third_page_is_named(world: &World, damage: impl AsyncFn(EnvelopeId, &str)) {
    let mut ids = Vec::new();
    for place in 0..5 {
        world.clock.advance_millis(1_000);
        let id = if place == 2 { long(world, OPENINGS).await } else { world.active(1_000, 10).await };
        open_many(world, id, "a", if place == 2 { OPENINGS } else { 3 }).await;
        ids.push(id);
    }
    credit_all(world).await;
    let found = async || {
        let mut found = Vec::new();
        let mut tell = |breach: &Breach| found.push((breach.code, breach.envelope_id, breach.detail.clone()));
        let report = audit(&world.sets(), &*world.wallet, &mut tell).await.unwrap();
        (report, found)
    };
    let (report, breaches) = found().await;
    assert_eq!(breaches, []);
    assert_eq!((report.envelopes, report.entries), (5, u64::from(OPENINGS) + 4 * 3));

    let long = ids[2];
    let at = format!("WHERE envelope_id = {{id}} AND seq = {SEQ}");
    damage(long, &format!("UPDATE {{j}} SET amount_fen = amount_fen + 1 {at}")).await;
    damage(ids[3], "UPDATE {j} SET amount_fen = amount_fen + 1 WHERE envelope_id = {id} AND seq = 2").await;
    let (_, breaches) = found().await;
    let codes: Vec<_> = breaches.iter().map(|(code, id, _)| (*code, *id)).collect();
    let of = |id| [("amount_wrong", Some(id)), ("remaining_wrong", Some(id)), ("credit_wrong", Some(id))];
    assert_eq!(codes, [of(long), of(ids[3])].concat());
    assert!(breaches[0].2.contains(&format!("entry {SEQ} has")), "{breaches:?}");

    damage(long, &format!("UPDATE {{j}} SET user_id = 'no such name!' {at}")).await;
    let (report, breaches) = found().await;
    assert_eq!((breaches[0].0, breaches[0].1), ("unreadable", Some(long)), "{breaches:?}");
    assert!(breaches[0].2.contains("no such name!"), "{breaches:?}");
    assert_eq!((report.envelopes, breaches.len()), (4, 1 + 3), "the others are checked: {breaches:?}");

    damage(long, &format!("DELETE FROM {{j}} {at}")).await;
    let (_, breaches) = found().await;
    let named = breaches.iter().any(|(code, id, _)| (*code, *id) == ("entry_missing", Some(long)));
    assert!(named, "{breaches:?}");

    // Entries without an envelope, more than a page of them, hide nothing that lies behind them.
    damage(long, "DELETE FROM {e} WHERE id = {id}").await;
    let (report, mut breaches) = found().await;
    breaches.retain(|(code, ..)| *code != "envelope_missing");
    let codes: Vec<_> = breaches.iter().map(|(code, id, _)| (*code, *id)).collect();
    let found = [&[("entry_without_envelope", Some(long))], &of(ids[3])[..]].concat();
    assert_eq!((report.envelopes, report.entries, codes), (4, 4 * 3, found));
}

/// It outgrows its first page, and is credited, while the audit looks.
pub async fn no_false_alarm_while_it_grows(world: Arc<World>) {
    let (id, short) = (long(&world, 8 * JOURNAL_PAGE_MAX).await, long(&world, JOURNAL_PAGE_MAX).await);
    open_many(&world, id, "a", JOURNAL_PAGE_MAX - 200).await;
    credit_all(&world).await;
    let stop = Arc::new(AtomicBool::new(false));
    let opener = tokio::spawn({
        let (world, stop) = (world.clone(), stop.clone());
        async move {
            for _ in 0..1_200 {
                open_many(&world, id, "a", 24).await;
                open_many(&world, short, "a", 3).await;
                tokio::time::sleep(Duration::from_millis(20)).await;
                if stop.load(Ordering::SeqCst) {
                    break;
                }
            }
        }
    });
    let worker = tokio::spawn({
        let (world, stop) = (world.clone(), stop.clone());
        async move {
            while !stop.load(Ordering::SeqCst) {
                credit_all(&world).await;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    });
    let mut seen = Vec::new();
    while seen.len() < 4 || seen.last().is_some_and(|entries| *entries < u64::from(JOURNAL_PAGE_MAX) + 200) {
        let (codes, report) = world.audit().await;
        assert_eq!(codes, [""; 0]);
        seen.push(report.entries);
    }
    stop.store(true, Ordering::SeqCst);
    opener.await.unwrap();
    worker.await.unwrap();
    seen.dedup();
    assert!(seen.is_sorted() && seen.len() > 1, "it did not grow: {seen:?}");
    world.assert_sound().await;
}
