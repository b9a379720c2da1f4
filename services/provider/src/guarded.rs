//! Requests to the provider: a bounded number at a time, behind the circuit breaker, counted.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ::http::Request;
use ::http::header::RETRY_AFTER;
use hongbao_core::limits::{PROVIDER_IN_FLIGHT_MAX, PROVIDER_RETRY_AFTER_S_MAX};
use http_body_util::Full;
use hyper::body::Bytes;
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use crate::circuit::{Circuit, Closed};
use crate::connect::{Exchange, HttpClient, NoAnswer, Patience};
use crate::metrics::{ProviderMetrics, Verb};
use crate::port::ProviderError;

/// What stands between the verbs of a provider and the network.
pub struct Guarded {
    client: HttpClient,
    places: Semaphore,
    circuit: Arc<Mutex<Circuit>>,
    metrics: ProviderMetrics,
}

impl Guarded {
    /// Over this client.
    pub fn new(client: HttpClient, metrics: ProviderMetrics) -> Guarded {
        let places = Semaphore::new(PROVIDER_IN_FLIGHT_MAX);
        Guarded { client, places, circuit: Arc::default(), metrics }
    }

    /// Sends a request, and reads the answer by `read` unless its status says that there is none.
    ///
    /// # Errors
    /// See [`ProviderError`].
    pub async fn call<T>(
        &self,
        verb: Verb,
        patience: Patience,
        request: Request<Full<Bytes>>,
        read: impl FnOnce(Exchange) -> Result<T, ProviderError>,
    ) -> Result<T, ProviderError> {
        let result = self.attempt(verb, patience, request, read).await;
        self.metrics.ended(verb, &result);
        result
    }

    async fn attempt<T>(
        &self,
        verb: Verb,
        patience: Patience,
        request: Request<Full<Bytes>>,
        read: impl FnOnce(Exchange) -> Result<T, ProviderError>,
    ) -> Result<T, ProviderError> {
        let full = |_| ProviderError::NotSent("too many requests are under way".to_owned());
        let _place = self.places.try_acquire().map_err(full)?;
        self.circuit.lock().admit(Instant::now()).map_err(|closed| match closed {
            Closed::NoAnswers => ProviderError::NotSent("the provider has not answered lately".to_owned()),
            Closed::Later(time) => ProviderError::RateLimited { retry_after_s: seconds_of(time) },
        })?;
        let mut under_way = UnderWay { guarded: self, ends: None };
        self.metrics.in_flight().inc();
        let started = Instant::now();
        let exchange = self.client.exchange(request, patience).await;
        self.metrics.took(verb, started.elapsed());
        let result = match exchange {
            Ok(exchange) => usable(exchange).and_then(read),
            Err(NoAnswer::NotSent(reason)) => Err(ProviderError::NotSent(reason)),
            Err(NoAnswer::Lost(reason)) => Err(ProviderError::Unknown(reason)),
        };
        under_way.ends = Some(match &result {
            Ok(_) | Err(ProviderError::Rejected(_)) => End::Answered,
            Err(ProviderError::RateLimited { retry_after_s }) => End::Later(*retry_after_s),
            Err(ProviderError::Unknown(_) | ProviderError::NotSent(_)) => End::Failed,
        });
        result
    }
}

/// What the status alone says.
fn usable(exchange: Exchange) -> Result<Exchange, ProviderError> {
    if exchange.status.as_u16() == 429 {
        let asked = exchange.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let retry_after_s = asked.unwrap_or(1_u32).clamp(1, PROVIDER_RETRY_AFTER_S_MAX);
        return Err(ProviderError::RateLimited { retry_after_s });
    }
    if exchange.status.is_server_error() {
        return Err(ProviderError::Unknown(format!("it answers {}", exchange.status.as_u16())));
    }
    Ok(exchange)
}

fn seconds_of(time: Duration) -> u32 {
    u32::try_from(time.as_millis().div_ceil(1_000)).unwrap_or(PROVIDER_RETRY_AFTER_S_MAX).max(1)
}

enum End {
    Answered,
    Failed,
    Later(u32),
}

/// Tells the circuit how a request ended; one that is abandoned, because who asked is gone, has failed.
struct UnderWay<'a> {
    guarded: &'a Guarded,
    ends: Option<End>,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        let now = Instant::now();
        let mut circuit = self.guarded.circuit.lock();
        match self.ends {
            Some(End::Answered) => circuit.answered(),
            Some(End::Later(seconds)) => circuit.asked_to_wait(now, Duration::from_secs(seconds.into())),
            Some(End::Failed) | None => circuit.failed(now),
        }
        self.guarded.metrics.circuit_is_open(circuit.is_open());
        self.guarded.metrics.in_flight().dec();
    }
}
