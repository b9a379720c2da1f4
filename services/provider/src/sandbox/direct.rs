//! The sandbox within a process, as a provider: without a network, and with all that goes wrong on one.

use std::time::Duration;

use ::http::HeaderMap;
use async_trait::async_trait;
use hongbao_core::Timestamp;
use hongbao_core::date::Date;
use hongbao_core::limits::{ORDER_CLAIM_MS, PROVIDER_REQUEST_AGE_MS_MAX};
use hongbao_core::order::{Answer, Order};

use super::asked::Sandbox;
use super::verbs::{Ask, Reply};
use crate::http::read_notification;
use crate::port::{BadNotification, Notification, Provider, ProviderError};
use crate::wire::NewOrder;

impl Sandbox {
    async fn answer(&self, ask: Ask, order: &Order, at: Timestamp) -> Result<Answer, ProviderError> {
        let reply = self.ask(ask, None, at.plus_millis(PROVIDER_REQUEST_AGE_MS_MAX)).await;
        let unknown = |reason: &str| Err(ProviderError::Unknown(reason.to_owned()));
        match reply {
            Reply::Standing(standing) => standing.answer(order).map_err(ProviderError::Unknown),
            Reply::NotFound => Ok(Answer::NotFound),
            Reply::Cut(_) => unknown("its answer was cut off"),
            Reply::Refused(_, refusal) => Err(ProviderError::Rejected(format!("{}: {}", refusal.code, refusal.detail))),
            Reply::Silent => {
                // As long as a client over HTTP waits, or shorter where an hour is.
                let millis = self.verbs().options.pace.silent_ms().min(ORDER_CLAIM_MS / 6);
                tokio::time::sleep(Duration::from_millis(millis.unsigned_abs())).await;
                unknown("no answer in time")
            }
            Reply::Error500 => unknown("it answers 500"),
            Reply::RateLimited(retry_after_s) => Err(ProviderError::RateLimited { retry_after_s }),
            Reply::Down => unknown("it answers 503"),
        }
    }
}

#[async_trait]
impl Provider for Sandbox {
    async fn send(&self, order: &Order) -> Result<Answer, ProviderError> {
        let now = self.verbs().clock.now();
        let at = order.sent_at.filter(|at| now.millis_since(*at) < ORDER_CLAIM_MS);
        let at = at.ok_or_else(|| ProviderError::NotSent("it was taken up too long ago".to_owned()))?;
        self.answer(Ask::Send(order.kind, NewOrder::of(order)), order, at).await
    }

    async fn close(&self, order: &Order) -> Result<Answer, ProviderError> {
        self.answer(Ask::Close(order.kind, order.id.number()), order, self.verbs().clock.now()).await
    }

    async fn query(&self, order: &Order) -> Result<Answer, ProviderError> {
        self.answer(Ask::Query(order.kind, order.id.number()), order, self.verbs().clock.now()).await
    }

    async fn bill(&self, date: Date) -> Result<String, ProviderError> {
        Ok(self.print_bill(date).await)
    }

    fn notification(&self, headers: &HeaderMap, body: &[u8], now: Timestamp) -> Result<Notification, BadNotification> {
        read_notification(&self.verbs().key, headers, body, now)
    }
}
