//! Rows of a journal before its first entry. No database takes them while it checks what it is given.

use hongbao_core::EnvelopeId;
use hongbao_core::audit::Breach;
use hongbao_workers::audit;
use hongbao_workers::credit::Credit;

use super::{World, ZONE_S, run_until_idle};

/// What is found in the store, without what the wallet says of envelopes that are gone.
async fn found(world: &World) -> Vec<(&'static str, Option<EnvelopeId>, String)> {
    let mut found = Vec::new();
    let mut tell = |breach: &Breach| found.push((breach.code, breach.envelope_id, breach.detail.clone()));
    audit(&world.sets(), &*world.wallet, &mut tell).await.unwrap();
    found.retain(|(code, ..)| *code != "envelope_missing");
    found
}

/// They are named whether their envelope is the only one or one of many, has entries or none, or is gone.
pub async fn rows_before_the_first_entry_are_named(world: &World, damage: impl AsyncFn(EnvelopeId, &str)) {
    const COLUMNS: &str = "envelope_id, seq, user_id, amount_fen, remaining_fen, at_ms";
    let row = |seq: i32| format!("INSERT INTO {{j}} ({COLUMNS}) VALUES ({{id}}, {seq}, 'intruder', 1, 1, 0)");
    let mut ids = Vec::new();
    for openings in [3, 3, 0, 3] {
        let id = world.active(1_000, 10).await;
        world.open_many(id, "a", openings).await;
        ids.push(id);
        run_until_idle(&mut Credit::new(world.ports(), ZONE_S, &world.limits()), 100).await;
        if ids.len() == 2 {
            continue;
        }
        for (seq, code) in [(0, "entry_missing"), (-1, "unreadable")] {
            // A row that is alone and before 0 makes the envelope's own row unreadable.
            if (openings, seq) == (0, -1) {
                continue;
            }
            damage(id, &row(seq)).await;
            let breaches = found(world).await;
            assert_eq!(breaches.first().map(|(code, ..)| *code), Some(code), "{openings} openings");
            assert!(breaches.iter().all(|(_, named, _)| *named == Some(id)), "{breaches:?}");
            damage(id, "DELETE FROM {j} WHERE envelope_id = {id} AND seq < 1").await;
            assert_eq!(found(world).await, []);
        }
    }
    ids.sort();
    damage(ids[1], &row(-1)).await;
    damage(ids[1], "DELETE FROM {e} WHERE id = {id}").await;
    let breaches = found(world).await;
    assert_eq!((breaches[0].0, breaches[0].1, breaches.len()), ("unreadable", None, 1), "{breaches:?}");
    assert!(breaches[0].2.contains("an entry of no envelope"), "{breaches:?}");
}
