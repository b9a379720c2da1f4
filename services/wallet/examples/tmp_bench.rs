use hongbao_core::time::Timestamp;
use hongbao_core::*;
use hongbao_store::sqlite::file::Mode;
use hongbao_wallet::{Wallet, sqlite::SqliteWallet};
use std::time::Instant;
#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let a: Vec<usize> = std::env::args().skip(1).map(|x| x.parse().unwrap()).collect();
    let (batch, users, total, callers) = (a[0], a[1], a[2], a[3]);
    let dir = std::path::PathBuf::from("/work/tmp_bench_wallet");
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).unwrap();
    if let Ok(n) = std::env::var("PAGE") {
        std::process::Command::new("sqlite3")
            .arg(dir.join("wallet_00.sqlite"))
            .arg(format!("PRAGMA page_size={n}; CREATE TABLE x(a); DROP TABLE x;"))
            .status()
            .unwrap();
    }
    let w = std::sync::Arc::new(
        SqliteWallet::open(&dir, if std::env::var("VOL").is_ok() { Mode::Volatile } else { Mode::Durable })
            .await
            .unwrap(),
    );
    println!("{}", w.durability());
    let mut tasks = vec![];
    let start = Instant::now();
    for c in 0..callers {
        let w = w.clone();
        tasks.push(tokio::spawn(async move {
            let mut n = 0usize;
            let mut worst = 0u128;
            let mut all = vec![];
            let mut mark = Instant::now();
            while n < total / callers {
                let transfers: Vec<_> = (0..batch)
                    .map(|i| {
                        let k = (n + i) as u64;
                        let mut r = [0u8; 10];
                        r[..8].copy_from_slice(
                            &(hongbao_core::id::stable_hash(
                                &[(k / 100).to_be_bytes(), (c as u64).to_be_bytes()].concat(),
                            ))
                            .to_be_bytes(),
                        );
                        let id = EnvelopeId::mint(Timestamp::from_millis(1_770_000_000_000 + (k / 100) as i64 / 10), r);
                        let u = if std::env::var("SEQ").is_ok() {
                            k * callers as u64 + c as u64
                        } else {
                            hongbao_core::id::stable_hash(&(k * callers as u64 + c as u64).to_be_bytes())
                        } % users as u64;
                        Transfer {
                            id: TransferId::Envelope(id, (k % 100) as u32 + 1),
                            kind: TransferKind::Open,
                            user: UserId::parse(&format!("user_{u:08}")).unwrap(),
                            amount: Fen::new(5).unwrap(),
                            at: Timestamp::from_millis(1_770_000_000_000),
                        }
                    })
                    .collect();
                let t = Instant::now();
                let out = w.transfer(transfers).await.unwrap();
                let e = t.elapsed().as_micros();
                worst = worst.max(e);
                all.push(e);
                assert!(out.iter().all(|o| *o == TransferOutcome::Done), "{:?}", out[0]);
                n += batch;
                if c == 0 && (n / batch) % (total / callers / batch / 8).max(1) == 0 {
                    println!("{n} at {:.0}/s", (total / callers / 8 * callers) as f64 / mark.elapsed().as_secs_f64());
                    mark = Instant::now();
                }
            }
            all.sort();
            println!("p50 {} us, p99 {} us, worst {worst}", all[all.len() / 2], all[all.len() * 99 / 100]);
        }));
    }
    for t in tasks {
        t.await.unwrap();
    }
    let s = start.elapsed().as_secs_f64();
    println!("batch {batch} users {users} callers {callers}: {:.0} transfers/s", total as f64 / s);
    println!(
        "{:?} {}",
        w.books().await.unwrap(),
        std::fs::metadata(dir.join("wallet_00.sqlite")).unwrap().len() / 1_000_000
    );
}
