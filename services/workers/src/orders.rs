//! Orders: asks the provider for every order whose outcome is not known, until it is.
//!
//! An order that is due is taken up first, which is stored: it is left to this worker for a while, and if that one
//! dies, to the next. What is asked, and what an answer makes of it, stands in [`hongbao_core::order`]; here it is
//! asked and stored, together with what it moves. Two workers that ask for one order at the same time do no harm: its
//! number is the same, and of two changes the second finds that the order is another one.
//!
//! The intervals grow up to an hour and do not end; after some days the order needs a person to look at it, and is
//! asked for all the same.
//!
//! Round trips of a run: one reading in each part of the wallet; where something is due one transaction there, one or
//! two requests for each order, and one transaction in each part for the answers that came together.

use async_trait::async_trait;
use futures_util::StreamExt as _;
use futures_util::stream;
use hongbao_core::limits::{ORDERS_ASKED_MAX, ORDERS_CLAIMED_MAX};
use hongbao_provider::{Payments, ask};
use hongbao_wallet::{Changed, OrderChange, TakenUp, WalletError};

use crate::job::{Job, JobError, Ports, RunReport};
use crate::metrics::WorkerMetrics;

/// The job.
pub struct Orders {
    ports: Ports,
    payments: Payments,
    metrics: WorkerMetrics,
}

impl Orders {
    /// The job for these ports and this provider.
    pub fn new(ports: Ports, payments: Payments) -> Orders {
        Orders { ports, payments, metrics: WorkerMetrics::default() }
    }

    /// The same, telling these metrics what is not over.
    pub fn measured_by(self, metrics: WorkerMetrics) -> Orders {
        Orders { metrics, ..self }
    }

    async fn ask(&self, TakenUp { order, request }: TakenUp) -> Result<OrderChange, JobError> {
        let clock = &*self.ports.clock;
        let after = ask(&*self.payments.provider, &order, request, clock).await;
        let mut random = [0; 10];
        getrandom::fill(&mut random).map_err(|error| WalletError::Unavailable(format!("no randomness: {error}")))?;
        Ok(OrderChange::of(&order, after, self.payments.late_charges, clock.now(), random))
    }
}

#[async_trait]
impl Job for Orders {
    fn name(&self) -> &'static str {
        "orders"
    }

    fn hand_over(&mut self) {
        self.metrics.orders(0, 0, 0);
    }

    async fn run_once(&mut self, limit: u32) -> Result<RunReport, JobError> {
        let wallet = &self.ports.wallet;
        let limit = limit.clamp(1, ORDERS_CLAIMED_MAX);
        let taken = wallet.take_up_orders(self.ports.clock.now(), limit).await?;
        let more = taken.len() as u32 >= limit;
        let mut report = RunReport { more, arrived: Some(0), ..RunReport::default() };
        let this = &*self;
        let asked = stream::iter(taken).map(|taken| this.ask(taken)).buffer_unordered(ORDERS_ASKED_MAX);
        let mut together = asked.ready_chunks(ORDERS_ASKED_MAX);
        while let Some(changes) = together.next().await {
            let changes = changes.into_iter().collect::<Result<Vec<_>, _>>()?;
            // What is not stored now is asked for again when its claim is over.
            for changed in wallet.change_orders(changes).await? {
                report.rows += u32::from(matches!(changed, Changed::Done { .. }));
            }
        }
        let unfinished = wallet.unfinished_orders().await?;
        let oldest_ms = unfinished.oldest.map_or(0, |oldest| self.ports.clock.now().millis_since(oldest));
        self.metrics.orders(unfinished.orders, oldest_ms, unfinished.need_attention);
        Ok(report)
    }
}
