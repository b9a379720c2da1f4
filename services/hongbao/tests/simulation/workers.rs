//! The workers of a SET, stepped by hand.

use hongbao_core::Limits;
use hongbao_provider::Payments;
use hongbao_workers::activate::Activate;
use hongbao_workers::credit::Credit;
use hongbao_workers::job::{Job, Ports};
use hongbao_workers::orders::Orders;
use hongbao_workers::purge::Purge;
use hongbao_workers::refund::Refund;

use crate::world::ZONE_S;

/// Envelopes that were cancelled go after so long.
const PURGE_AFTER_S: u32 = 60;

pub struct Workers {
    pub activate: Activate,
    pub credit: Credit,
    pub refund: Refund,
    pub purge: Purge,
    /// Where there is a provider.
    pub orders: Option<Orders>,
}

impl Workers {
    pub fn start(ports: Ports, payments: Option<Payments>) -> Workers {
        Workers {
            activate: Activate::new(ports.clone(), ZONE_S, &limits()),
            credit: Credit::new(ports.clone(), ZONE_S, &limits()),
            refund: Refund::new(ports.clone(), ZONE_S, &limits()),
            orders: payments.map(|payments| Orders::new(ports.clone(), payments)),
            purge: Purge::new(ports, ZONE_S, &limits(), PURGE_AFTER_S),
        }
    }
}

/// Without faults a job never fails, and comes to an end.
pub async fn until_quiet(job: &mut dyn Job) {
    for _ in 0..100 {
        if job.run_once(100).await.unwrap().rows == 0 {
            return;
        }
    }
    panic!("{} never comes to rest", job.name());
}

pub fn limits() -> Limits {
    Limits { expires_in_s_min: 1, ..Limits::default() }
}
