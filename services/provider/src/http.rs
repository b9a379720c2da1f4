//! The client of Hongbao's provider protocol.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ::http::header::CONTENT_TYPE;
use ::http::{HeaderMap, Method, Request, Uri};
use async_trait::async_trait;
use hongbao_core::date::Date;
use hongbao_core::limits::{
    ORDER_CLAIM_MS, PROVIDER_ANSWER_BYTES_MAX, PROVIDER_BILL_BYTES_MAX, PROVIDER_BILL_WITHIN, PROVIDER_IN_FLIGHT_MAX,
};
use hongbao_core::order::{Answer, Order};
use hongbao_core::{Clock, Timestamp};
use http_body_util::Full;
use hyper::body::Bytes;

use crate::connect::{Exchange, HttpClient, Patience, base_of, shortened};
use crate::guarded::Guarded;
use crate::metrics::{ProviderMetrics, Verb};
use crate::port::{BadNotification, Notification, Provider, ProviderError};
use crate::signature::{BadSignature, SIGNATURE, Signed, SigningKey};
use crate::wire::{NewOrder, NotificationBody, Refusal, Standing, path_of};

/// Where the provider is, and what is shared with it.
#[derive(Clone)]
pub struct HttpOptions {
    /// See [`base_of`].
    pub url: String,
    /// The id of the secret.
    pub key_id: String,
    /// The secret.
    pub secret: Vec<u8>,
    /// How long a request may take.
    pub timeout: Duration,
    /// Authorities instead of those of the system.
    pub ca_file: Option<PathBuf>,
}

/// A provider that speaks the protocol.
pub struct HttpProvider {
    base: Uri,
    key: SigningKey,
    guarded: Guarded,
    clock: Arc<dyn Clock>,
    timeout: Duration,
}

impl HttpProvider {
    /// Connects to nothing yet.
    ///
    /// # Errors
    /// What is wrong with the options.
    pub fn new(options: &HttpOptions, clock: Arc<dyn Clock>, metrics: ProviderMetrics) -> Result<HttpProvider, String> {
        let base = base_of(&options.url).map_err(|reason| format!("url {reason}"))?;
        let client = HttpClient::new(options.ca_file.as_deref(), PROVIDER_IN_FLIGHT_MAX)?;
        let key = SigningKey::new(&options.key_id, &options.secret);
        Ok(HttpProvider { base, key, guarded: Guarded::new(client, metrics), clock, timeout: options.timeout })
    }

    async fn ask(
        &self,
        verb: Verb,
        order: &Order,
        (method, path, body): (Method, String, String),
        at: Timestamp,
    ) -> Result<Answer, ProviderError> {
        let patience = Patience { within: self.timeout, bytes_max: PROVIDER_ANSWER_BYTES_MAX };
        let (request, signature) = self.request(method, &path, body, at)?;
        self.guarded
            .call(verb, patience, request, |exchange| match self.genuine(&signature, &exchange)? {
                Body::NotFound => Ok(Answer::NotFound),
                Body::Told(body) => {
                    let standing = serde_json::from_slice::<Standing>(&body).map_err(|error| error.to_string());
                    let answer = standing.and_then(|standing| standing.answer(order));
                    answer.map_err(|reason| ProviderError::Unknown(shortened(&format!("its answer: {reason}"))))
                }
            })
            .await
    }

    /// A request with its signature, which the answer must name.
    fn request(
        &self,
        method: Method,
        path: &str,
        body: String,
        at: Timestamp,
    ) -> Result<(Request<Full<Bytes>>, String), ProviderError> {
        let path = format!("{}{path}", self.base.path().trim_end_matches('/'));
        let what = Signed::Request { method: method.as_str(), path: &path };
        let (value, signature) = self.key.sign(what, at, body.as_bytes());
        let (scheme, authority) = (self.base.scheme_str().unwrap_or_default(), self.base.authority());
        let authority = authority.map_or("", |authority| authority.as_str());
        let request = Request::builder()
            .method(method)
            .uri(format!("{scheme}://{authority}{path}"))
            .header(SIGNATURE, value)
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)));
        let request = request.map_err(|error| ProviderError::NotSent(error.to_string()))?;
        Ok((request, signature))
    }

    /// An answer of the provider to this request, and of no one in between.
    fn genuine(&self, signature: &str, exchange: &Exchange) -> Result<Body, ProviderError> {
        let Exchange { status, headers, body } = exchange;
        let what = Signed::Answer { of: signature, status: status.as_u16() };
        let checked = self.key.check(headers, what, body, self.clock.now());
        let said = || serde_json::from_slice::<Refusal>(body).ok();
        match (checked, status.as_u16()) {
            (Ok(_), 200) => Ok(Body::Told(body.clone())),
            (Ok(_), 404) if said().is_some_and(|refusal| refusal.code == "not_found") => Ok(Body::NotFound),
            // It cannot sign for a key that it does not know.
            (_, 400 | 401 | 403 | 409 | 413 | 422) => {
                let why = said().map_or(String::new(), |Refusal { code, detail }| format!(": {code}: {detail}"));
                Err(ProviderError::Rejected(shortened(&format!("{}{why}", status.as_u16()))))
            }
            (Ok(_), other) => Err(ProviderError::Unknown(format!("it answers {other}"))),
            (Err(reason), other) => Err(ProviderError::Unknown(format!("it answers {other}, and {reason}"))),
        }
    }
}

enum Body {
    NotFound,
    Told(Bytes),
}

#[async_trait]
impl Provider for HttpProvider {
    /// The request is dated by when its order was stored as sent: a process that stood still in between cannot send
    /// it later than all that reckon with it.
    async fn send(&self, order: &Order) -> Result<Answer, ProviderError> {
        let at = order.sent_at.filter(|at| self.clock.now().millis_since(*at) < ORDER_CLAIM_MS);
        let at = at.ok_or_else(|| ProviderError::NotSent("it was taken up too long ago".to_owned()))?;
        let body = serde_json::to_string(&NewOrder::of(order)).expect("an order can be written as JSON");
        self.ask(Verb::send, order, (Method::POST, path_of(order.kind).to_owned(), body), at).await
    }

    async fn close(&self, order: &Order) -> Result<Answer, ProviderError> {
        let path = format!("{}/{}/close", path_of(order.kind), order.id.number());
        self.ask(Verb::close, order, (Method::POST, path, String::new()), self.clock.now()).await
    }

    async fn query(&self, order: &Order) -> Result<Answer, ProviderError> {
        let path = format!("{}/{}", path_of(order.kind), order.id.number());
        self.ask(Verb::query, order, (Method::GET, path, String::new()), self.clock.now()).await
    }

    async fn bill(&self, date: Date) -> Result<String, ProviderError> {
        let patience = Patience { within: PROVIDER_BILL_WITHIN, bytes_max: PROVIDER_BILL_BYTES_MAX };
        let path = format!("/v1/bills/{date}");
        let (request, signature) = self.request(Method::GET, &path, String::new(), self.clock.now())?;
        self.guarded
            .call(Verb::bill, patience, request, |exchange| match self.genuine(&signature, &exchange)? {
                Body::NotFound => Err(ProviderError::Rejected(format!("there is no bill of {date}"))),
                Body::Told(body) => String::from_utf8(body.into())
                    .map_err(|_| ProviderError::Unknown("its bill is not UTF-8".to_owned())),
            })
            .await
    }

    fn notification(&self, headers: &HeaderMap, body: &[u8], now: Timestamp) -> Result<Notification, BadNotification> {
        read_notification(&self.key, headers, body, now)
    }
}

/// Checks and reads a notification of the protocol.
///
/// # Errors
/// Why it is not taken.
pub(crate) fn read_notification(
    key: &SigningKey,
    headers: &HeaderMap,
    body: &[u8],
    now: Timestamp,
) -> Result<Notification, BadNotification> {
    key.check(headers, Signed::Notification, body, now).map_err(|bad| match bad {
        BadSignature::Missing | BadSignature::Unreadable => BadNotification::NotSigned,
        BadSignature::OtherKey | BadSignature::Wrong => BadNotification::WrongSignature,
        BadSignature::NotNow => BadNotification::NotNow,
    })?;
    let read: NotificationBody = serde_json::from_slice(body).map_err(|_| BadNotification::Unreadable)?;
    let order = read.order().ok_or(BadNotification::Unreadable)?;
    Ok(Notification { id: read.id, order })
}
