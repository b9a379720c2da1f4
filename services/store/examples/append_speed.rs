use hongbao_core::id::Fold;
use hongbao_core::*;
use hongbao_store::sqlite::{SqliteStore, file::Mode};
use hongbao_store::{Append, Store};
use std::time::{Duration, Instant};

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let args: Vec<String> = std::env::args().collect();
    let envelopes: usize = args[1].parse().unwrap();
    let batch: usize = args[2].parse().unwrap();
    let secs: u64 = args[3].parse().unwrap();
    let tables: u8 = args.get(4).map_or(1, |s| s.parse().unwrap());
    let dir = std::path::PathBuf::from("/work/tmp-bench/store");
    let _ = std::fs::remove_dir_all(&dir);
    let t = Instant::now();
    let store = SqliteStore::open(&dir, Fold::new(1, tables).unwrap(), 28_800, Mode::Durable).await.unwrap();
    let opened = t.elapsed();
    let now = Timestamp::from_millis(1_771_257_600_000);
    let mut ids = vec![];
    let mut x: u64 = 88172645463325252;
    for i in 0..envelopes {
        let mut r = [0u8; 10];
        for b in r.iter_mut() {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            *b = x as u8;
        }
        ids.push(EnvelopeId::mint(now.plus_millis((i / 100) as i64), r));
    }
    // lanes write one table a batch
    ids.sort_by_key(|id| store.table_of(*id));
    let list: Vec<Envelope> = ids
        .iter()
        .map(|id| Envelope {
            id: *id,
            sender: UserId::parse("sender").unwrap(),
            kind: Kind::Lucky,
            total: Fen::new(1_000_000_000_000).unwrap(),
            shares: 10_000_000,
            share_cap: Fen::new(20_000).unwrap(),
            greeting: "恭喜发财，大吉大利".into(),
            audience: Audience::Link,
            seed: Seed::new([7; 32]),
            created_at: now,
            lifetime_ms: 86_400_000,
            stage: Stage::Created,
            expires_at: None,
            settled_seq: 0,
        })
        .collect();
    let t = Instant::now();
    for c in list.chunks(1000) {
        store.create(c).await.unwrap();
    }
    let created = t.elapsed();
    let mut seqs = vec![0u32; envelopes];
    let groups: Vec<Vec<usize>> = {
        let mut g: std::collections::BTreeMap<_, Vec<usize>> = Default::default();
        for (i, id) in ids.iter().enumerate() {
            g.entry(store.table_of(*id)).or_default().push(i)
        }
        g.into_values().collect()
    };
    let mut user = 0u64;
    let mut rows = 0u64;
    let mut build = Duration::ZERO;
    let mut lat = vec![];
    let start = Instant::now();
    let mut turn = 0;
    while start.elapsed() < Duration::from_secs(secs) {
        let b0 = Instant::now();
        let g = &groups[turn % groups.len()];
        turn += 1;
        let entries: Vec<Entry> = (0..batch)
            .map(|_| {
                x ^= x << 13;
                x ^= x >> 7;
                x ^= x << 17;
                let e = g[(x % g.len() as u64) as usize];
                seqs[e] += 1;
                user += 1;
                Entry {
                    envelope_id: ids[e],
                    seq: seqs[e],
                    kind: EntryKind::Open(UserId::parse(&format!("user_{:08}", user)).unwrap()),
                    amount: Fen::new(100).unwrap(),
                    remaining: Fen::new(1_000_000).unwrap(),
                    at: now,
                }
            })
            .collect();
        build += b0.elapsed();
        let t = Instant::now();
        assert_eq!(store.append(&entries).await.unwrap(), Append::Done);
        lat.push(t.elapsed());
        rows += batch as u64;
    }
    let spent = start.elapsed() - build;
    lat.sort();
    println!(
        "envelopes {envelopes} batch {batch} tables {tables}: {:.0} rows/s ({rows} rows), open {opened:?} create {created:?}, p50 {:?} p99 {:?} max {:?}, {}",
        rows as f64 / spent.as_secs_f64(),
        lat[lat.len() / 2],
        lat[lat.len() * 99 / 100],
        lat[lat.len() - 1],
        store.durability()
    );
}
