//! What a live envelope costs. A test binary of its own, since it looks at the
//! memory of the whole process.

use std::path::Path;
use std::sync::Arc;

use hongbao_core::id::Fold;
use hongbao_core::{Audience, Envelope, EnvelopeId, Fen, GroupId, Timestamp, UserId};
use hongbao_database::sqlite::file::Mode;
use hongbao_envelope::live::LiveEnvelopes;
use hongbao_store::Store;
use hongbao_store::sqlite::SqliteStore;
use hongbao_testkit::store_suite::created;

/// Few, so that the test is quick; `HONGBAO_LIVE_ENVELOPES=1000000` fills a whole server.
const ENVELOPES: u32 = 8_000;
/// From here on one pass is exact enough, and several would take several servers' memory.
const MANY: u32 = 100_000;
const BYTES_MAX: usize = 1_024;
/// For each envelope of a full server, all that the process holds: a million within 1.5 GiB.
const PROCESS_BYTES_MAX: usize = (3 << 29) / 1_000_000;
const START: Timestamp = Timestamp::from_millis(1_771_254_000_000);

/// With the longest greeting in the widest characters, and long names.
fn envelope(number: u32) -> Envelope {
    let mut random = [0; 10];
    random[6..].copy_from_slice(&number.to_be_bytes());
    Envelope {
        sender: UserId::parse(&format!("{number:0>40}")).unwrap(),
        total: Fen::new(8_888).unwrap(),
        shares: 500,
        greeting: "福".repeat(64),
        audience: Audience::Group(GroupId::parse(&format!("{number:0>40}")).unwrap()),
        created_at: START,
        lifetime_ms: 1_000,
        ..created(EnvelopeId::mint(START, random))
    }
}

async fn open(dir: &Path) -> Arc<dyn Store> {
    Arc::new(SqliteStore::open(dir, Fold::new(1, 1).unwrap(), 0, Mode::Volatile).await.unwrap())
}

/// The memory of the process is measured, so nobody else may use any meanwhile.
static ONE_AT_A_TIME: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4_096
}

fn envelopes_wanted() -> u32 {
    match std::env::var("HONGBAO_LIVE_ENVELOPES") {
        Ok(count) => count.parse().expect("HONGBAO_LIVE_ENVELOPES is a number of envelopes"),
        Err(_) => ENVELOPES,
    }
}

#[tokio::test]
async fn an_idle_live_envelope_costs_at_most_1_kib() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let wanted = envelopes_wanted();
    let ids: Vec<EnvelopeId> = (0..wanted).map(|number| envelope(number).id).collect();
    for first in (0..wanted).step_by(1_000) {
        let page: Vec<Envelope> = (first..wanted.min(first + 1_000)).map(envelope).collect();
        store.create(&page).await.unwrap();
    }
    for id in &ids {
        store.activate(*id, START.plus_millis(1_000)).await.unwrap();
    }

    // The store remembers something too, now and then: a page, one more reader. That is
    // never less than nothing, so the least of several passes is what envelopes take.
    let passes: Vec<LiveEnvelopes> =
        (0..if wanted < MANY { 4 } else { 1 }).map(|_| LiveEnvelopes::new(2 * ids.len(), 1)).collect();
    let mut each = usize::MAX;
    for pass in &passes {
        let before = resident_bytes();
        for id in &ids {
            pass.get_or_load(*id, &store, START).await.unwrap();
        }
        each = each.min((resident_bytes() - before) / ids.len());
    }
    let live = &passes[0];
    println!("an idle live envelope takes {each} bytes; the process {} MiB with {wanted}", resident_bytes() >> 20);
    assert_eq!(live.len(), ids.len());
    if wanted < MANY {
        assert!(each <= BYTES_MAX, "{each} bytes");
    } else {
        // A single pass counts what the store's own memory grows by, too: the process as a whole is bounded.
        assert!(resident_bytes() <= ids.len() * PROCESS_BYTES_MAX, "{} bytes", resident_bytes());
    }

    live.forget_idle(START.plus_millis(60_001), 60_000);
    assert!(live.is_empty(), "what is idle leaves memory");
}

/// I8.
#[tokio::test]
async fn there_is_a_bound_and_the_least_used_go_first() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let envelopes: Vec<Envelope> = (ENVELOPES..ENVELOPES + 500).map(envelope).collect();
    store.create(&envelopes).await.unwrap();
    let live = LiveEnvelopes::new(100, 1);
    for envelope in &envelopes {
        store.activate(envelope.id, START.plus_millis(1_000)).await.unwrap();
        live.get_or_load(envelope.id, &store, START).await.unwrap();
        assert!(live.len() <= 100, "{}", live.len());
    }
}
