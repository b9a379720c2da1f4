//! Somebody else's transaction holds a row of one envelope, in a real database:
//! the others of the same batch are opened in time.

mod common;

use std::sync::Arc;

use hongbao_core::{Clock as _, EnvelopeId, SystemClock, UserId};
use hongbao_database::mysql::connection::{Connections, MysqlOptions};
use hongbao_envelope::answer::OpenAnswer;
use hongbao_envelope::context::OpeningContext;
use hongbao_envelope::lane::{Lane, OpenJob};
use hongbao_envelope::live::LiveEnvelopes;
use hongbao_envelope::metrics::ServerMetrics;
use hongbao_envelope::permits::LocalPermits;
use hongbao_envelope::server::ServerOptions;
use hongbao_store::{DatabaseClock, Store};
use hongbao_testbed::Part;
use prometheus_client::registry::Registry;
use sqlx::Executor as _;

use common::make_active;

fn options(mariadb: &Part, user: &str, password: &str) -> MysqlOptions {
    // The holder's transaction may stand still for ten seconds.
    let row_lock_wait_s = if user == "root" { 11 } else { MysqlOptions::default().row_lock_wait_s };
    common::options(mariadb, user, password, MysqlOptions { row_lock_wait_s, ..MysqlOptions::default() })
}

/// A lane on a database.
struct Bench {
    store: Arc<dyn Store>,
    context: Arc<OpeningContext>,
}

impl Bench {
    async fn new(mariadb: &Part) -> Bench {
        let store = common::open(options(mariadb, "hongbao", "hongbao"), SystemClock.now()).await;
        let context = Arc::new(OpeningContext {
            store: store.clone(),
            live: Arc::new(LiveEnvelopes::new(1_000, 16)),
            permits: Arc::new(LocalPermits::new(4)),
            clock: Arc::new(SystemClock),
            database_clock: Arc::new(DatabaseClock::new(store.clone(), Arc::new(SystemClock))),
            metrics: ServerMetrics::register(&mut Registry::default(), "").lane(0),
        });
        Bench { store, context }
    }

    /// One batch, with the time that a server gives an opening.
    async fn batch(&self, openings: &[(EnvelopeId, &str)]) -> Vec<OpenAnswer> {
        let now = SystemClock.now();
        let deadline = now.plus_millis(ServerOptions::default().open_deadline_ms);
        let (mut jobs, mut answers) = (Vec::new(), Vec::new());
        for (id, name) in openings {
            let live = self.context.live.get_or_load(*id, &self.store, now).await.unwrap();
            let (job, answered) = OpenJob::new(live, UserId::parse(name).unwrap(), true, deadline);
            jobs.push(job);
            answers.push(answered);
        }
        Lane::new(self.context.clone()).process(&mut jobs).await;
        answers.iter_mut().map(|answer| answer.try_recv().expect("every opening is answered")).collect()
    }
}

fn seq_of(answer: &OpenAnswer) -> Option<u32> {
    match answer {
        OpenAnswer::Opened { opened, .. } => Some(opened.seq),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_envelope_that_somebody_holds_is_refused_and_its_neighbours_are_opened() {
    let mariadb = Part::mariadb(&[]);
    let bench = Bench::new(&mariadb).await;
    let root = Connections::open(options(&mariadb, "root", "")).await.unwrap();
    for round in 0..5 {
        let now = SystemClock.now();
        let held = make_active(&bench.store, now, round * 2, 10).await;
        let near = make_active(&bench.store, now, round * 2 + 1, 10).await;
        let hex: String = held.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        let day = bench.store.table_of(held).span;
        let hold = format!(
            "START TRANSACTION; INSERT INTO db_00.entry_0_{day} \
             (envelope_id, seq, user_id, amount_fen, remaining_fen, at_ms) VALUES (0x{hex}, 1, 'holder', 1, 9, 0)"
        );
        let mut holder = root.lease().await.unwrap();
        holder.connection().execute(sqlx::raw_sql(&hold)).await.unwrap();

        let answers = bench.batch(&[(held, "a"), (near, "a"), (held, "b"), (near, "b")]).await;
        assert_eq!((&answers[0], &answers[2]), (&OpenAnswer::Busy, &OpenAnswer::Busy), "nothing happened");
        holder.connection().execute("ROLLBACK").await.unwrap();
        let later = bench.batch(&[(held, "b"), (held, "a")]).await;
        assert_eq!((seq_of(&later[0]), seq_of(&later[1])), (Some(1), Some(2)), "later it works: {later:?}");
        match (seq_of(&answers[1]), seq_of(&answers[3])) {
            (Some(1), Some(2)) => return,
            // The machine may be so busy that they were late.
            _ => assert_eq!((&answers[1], &answers[3]), (&OpenAnswer::Busy, &OpenAnswer::Busy)),
        }
    }
    panic!("the neighbours are never opened in time");
}
