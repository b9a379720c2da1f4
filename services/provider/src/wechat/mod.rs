//! WeChat Pay, API v3, as the public documents describe it: a provider behind the port.
//!
//! A charge is a native payment, whose `code_url` the payer scans; a payout is a merchant transfer to the user whose
//! id is the openid; a refund is one of the whole charge. Our number is theirs: 32 hexadecimal digits.
//!
//! A closed charge is one that a query says is closed: closing a number that WeChat has not received is answered like
//! closing one that it has, and prevents nothing. Reading order: [`keys`], [`wire`], `notification`.

pub mod keys;
pub mod wire;

mod notification;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ::http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, USER_AGENT};
use ::http::{HeaderMap, Method, Request, Uri};
use async_trait::async_trait;
use hongbao_core::date::Date;
use hongbao_core::limits::{
    ORDER_CLAIM_MS, PROVIDER_ANSWER_BYTES_MAX, PROVIDER_IN_FLIGHT_MAX, WECHAT_CODE_OVER_AFTER_MS,
    WECHAT_TRANSFER_KNOWN_MS, WECHAT_UNNAMED_FEN_MAX,
};
use hongbao_core::order::{Answer, Order, OrderKind, OrderState};
use hongbao_core::{Clock, Timestamp};
use http_body_util::Full;
use hyper::body::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use self::keys::{ContentKey, RsaSigner, RsaVerifier};
use self::wire::{
    Amount, NATIVE, NewRefund, NewTransaction, NewTransfer, Prepaid, REFUNDS, Refund, RefundAmount, Refusal,
    SceneReport, TRANSACTIONS, TRANSFERS, TRANSFERS_BY_NUMBER, Transaction, Transfer, time_of,
};
use crate::connect::{Exchange, HttpClient, Patience, base_of, shortened};
use crate::guarded::Guarded;
use crate::metrics::{ProviderMetrics, Verb};
use crate::port::{BadNotification, Notification, Provider, ProviderError};
use crate::wire::CURRENCY;

/// Who the merchant is, and what is shared with WeChat.
#[derive(Clone)]
pub struct WechatOptions {
    /// See [`base_of`].
    pub url: String,
    /// Of the merchant.
    pub mchid: String,
    /// Of the app under which users have their openids.
    pub appid: String,
    /// The serial number of the merchant's certificate.
    pub serial_no: String,
    /// Its private key, PEM.
    pub private_key: Vec<u8>,
    /// The id of WeChat's public key, or the serial number of its certificate.
    pub platform_key_id: String,
    /// WeChat's public key, PEM.
    pub platform_key: Vec<u8>,
    /// What the content of notifications is encrypted with: 32 bytes.
    pub api_v3_key: Vec<u8>,
    /// Where WeChat sends notifications.
    pub notify_url: String,
    /// What payers and those who are paid read.
    pub description: String,
    /// Why users are paid, as it was agreed upon with WeChat.
    pub transfer_scene_id: String,
    /// What is reported of it.
    pub transfer_scene_reports: Vec<SceneReport>,
    /// How long a request may take.
    pub timeout: Duration,
    /// Authorities instead of those of the system.
    pub ca_file: Option<PathBuf>,
}

/// WeChat Pay.
pub struct Wechat {
    base: Uri,
    options: WechatOptions,
    merchant: RsaSigner,
    platform: RsaVerifier,
    content: ContentKey,
    guarded: Guarded,
    clock: Arc<dyn Clock>,
}

/// What WeChat says, once it is known to be WeChat.
enum Said {
    Body(Bytes),
    Refused(u16, Refusal),
}

impl Wechat {
    /// Connects to nothing yet.
    ///
    /// # Errors
    /// What is wrong with the options.
    pub fn new(options: WechatOptions, clock: Arc<dyn Clock>, metrics: ProviderMetrics) -> Result<Wechat, String> {
        let base = base_of(&options.url).map_err(|reason| format!("url {reason}"))?;
        let named = |name: &'static str| move |reason: String| format!("{name}: {reason}");
        let merchant = RsaSigner::new(&options.serial_no, &options.private_key).map_err(named("private_key_file"))?;
        let platform = RsaVerifier::new(&options.platform_key_id, &options.platform_key);
        let platform = platform.map_err(named("platform_key_file"))?;
        let content = ContentKey::new(&options.api_v3_key).map_err(named("api_v3_key"))?;
        let client = HttpClient::new(options.ca_file.as_deref(), PROVIDER_IN_FLIGHT_MAX)?;
        Ok(Wechat { base, options, merchant, platform, content, guarded: Guarded::new(client, metrics), clock })
    }

    /// One request and its answer, with a part of the time that all of them may take.
    async fn call(
        &self,
        verb: Verb,
        (method, path, body): (Method, String, String),
        at: Timestamp,
        within: Duration,
    ) -> Result<Said, ProviderError> {
        let patience = Patience { within, bytes_max: PROVIDER_ANSWER_BYTES_MAX };
        let request = self.request(method, &path, body, at).map_err(ProviderError::NotSent)?;
        self.guarded.call(verb, patience, request, |exchange| self.genuine(exchange)).await
    }

    fn request(&self, method: Method, path: &str, body: String, at: Timestamp) -> Result<Request<Full<Bytes>>, String> {
        let path = format!("{}{path}", self.base.path().trim_end_matches('/'));
        let signed = self.merchant.authorize(&self.options.mchid, (method.as_str(), &path), at, body.as_bytes())?;
        let (scheme, authority) = (self.base.scheme_str().unwrap_or_default(), self.base.authority());
        let authority = authority.map_or("", |authority| authority.as_str());
        let request = Request::builder()
            .method(method)
            .uri(format!("{scheme}://{authority}{path}"))
            .header(AUTHORIZATION, signed)
            .header(ACCEPT, "application/json")
            .header(CONTENT_TYPE, "application/json")
            // By this it chooses the key that it signs its answer with.
            .header("wechatpay-serial", &self.options.platform_key_id)
            .header(USER_AGENT, "hongbao");
        request.body(Full::new(Bytes::from(body))).map_err(|error| error.to_string())
    }

    /// An answer of WeChat, and of no one in between. Its signature does not name the request: that it is the answer to
    /// this one is for TLS to ensure, and for the number in the body.
    fn genuine(&self, exchange: Exchange) -> Result<Said, ProviderError> {
        let Exchange { status, headers, body } = exchange;
        let checked = self.platform.check_headers(&headers, &body, self.clock.now());
        let refusal = || serde_json::from_slice::<Refusal>(&body).unwrap_or_default();
        match (checked, status.as_u16()) {
            (Ok(()), 200 | 204) => Ok(Said::Body(body)),
            (Ok(()), status @ 400..500) => Ok(Said::Refused(status, refusal())),
            // WeChat does not sign for a merchant whose signature it does not know.
            (Err(_), 401) => Err(rejected(401, &refusal())),
            (Ok(()), other) => Err(ProviderError::Unknown(format!("it answers {other}"))),
            (Err(reason), other) => Err(ProviderError::Unknown(format!("it answers {other}, and {reason}"))),
        }
    }

    /// What has become of an order, by its number.
    async fn look(&self, order: &Order, within: Duration) -> Result<Answer, ProviderError> {
        let number = order.id.number();
        let path = match order.kind {
            OrderKind::Charge => format!("{TRANSACTIONS}/{number}?mchid={}", self.options.mchid),
            OrderKind::Refund => format!("{REFUNDS}/{number}"),
            OrderKind::Payout => format!("{TRANSFERS_BY_NUMBER}/{number}"),
        };
        let said = self.call(Verb::query, (Method::GET, path, String::new()), self.clock.now(), within).await?;
        let body = match said {
            Said::Body(body) => body,
            Said::Refused(404, refusal) if is_not_found(&refusal) => {
                return match self.means_not_found(order) {
                    true => Ok(Answer::NotFound),
                    false => Err(unclear("it does not know this order, which says nothing of it".to_owned())),
                };
            }
            Said::Refused(status, refusal) => return Err(rejected(status, &refusal)),
        };
        let answer = match order.kind {
            OrderKind::Charge => read::<Transaction>(&body)?.answer(order),
            OrderKind::Refund => read::<Refund>(&body)?.answer(order),
            OrderKind::Payout => read::<Transfer>(&body)?.answer(order),
        };
        match answer.map_err(unclear)? {
            // The address where the user goes on is in the answer to a request alone: the same one is sent again, under
            // its number, and gives it once more.
            Answer::Pending { action_url: None }
                if order.state == OrderState::Created && order.kind != OrderKind::Refund =>
            {
                Ok(Answer::NotFound)
            }
            answer => Ok(answer),
        }
    }

    /// Whether a "not found" says that there is no such order.
    fn means_not_found(&self, order: &Order) -> bool {
        let now = self.clock.now();
        match order.kind {
            // No document says that a code that was not scanned yet is an order already; it can be paid until it expires
            // by WeChat's clock.
            OrderKind::Charge if order.state == OrderState::Pending => false,
            OrderKind::Charge if order.state == OrderState::Closing => {
                now.millis_since(order.close_at) > WECHAT_CODE_OVER_AFTER_MS
            }
            // A transfer can be asked for during 30 days alone.
            OrderKind::Payout => {
                !order.state.is_final() && now.millis_since(order.created_at) < WECHAT_TRANSFER_KNOWN_MS
            }
            OrderKind::Charge | OrderKind::Refund => true,
        }
    }

    fn charge(&self, order: &Order) -> NewTransaction {
        let options = &self.options;
        NewTransaction {
            appid: options.appid.clone(),
            mchid: options.mchid.clone(),
            description: options.description.clone(),
            out_trade_no: order.id.number(),
            time_expire: time_of(order.close_at),
            notify_url: options.notify_url.clone(),
            amount: Amount { total: order.amount.get(), currency: CURRENCY.to_owned() },
        }
    }

    /// A refund is of its whole charge.
    fn refund(&self, order: &Order) -> NewRefund {
        let fen = order.amount.get();
        NewRefund {
            out_trade_no: order.of.map(|of| of.number()).unwrap_or_default(),
            out_refund_no: order.id.number(),
            notify_url: self.options.notify_url.clone(),
            amount: RefundAmount { refund: fen, total: fen, currency: CURRENCY.to_owned() },
        }
    }

    fn transfer(&self, order: &Order) -> NewTransfer {
        let options = &self.options;
        NewTransfer {
            appid: options.appid.clone(),
            out_bill_no: order.id.number(),
            transfer_scene_id: options.transfer_scene_id.clone(),
            openid: order.user.to_string(),
            transfer_amount: order.amount.get(),
            transfer_remark: options.description.clone(),
            notify_url: options.notify_url.clone(),
            transfer_scene_report_infos: options.transfer_scene_reports.clone(),
        }
    }
}

#[async_trait]
impl Provider for Wechat {
    /// The request is dated by when its order was stored as sent, as over Hongbao's protocol.
    async fn send(&self, order: &Order) -> Result<Answer, ProviderError> {
        let at = order.sent_at.filter(|at| self.clock.now().millis_since(*at) < ORDER_CLAIM_MS);
        let at = at.ok_or_else(|| ProviderError::NotSent("it was taken up too long ago".to_owned()))?;
        let (path, body) = match order.kind {
            OrderKind::Charge => (NATIVE, json(&self.charge(order))),
            OrderKind::Refund => (REFUNDS, json(&self.refund(order))),
            // None of them was ever sent, so that none will be paid.
            OrderKind::Payout if order.amount.get() > WECHAT_UNNAMED_FEN_MAX => {
                return Ok(Answer::Failed { reason: "more_than_without_a_name".to_owned() });
            }
            OrderKind::Payout => (TRANSFERS, json(&self.transfer(order))),
        };
        let request = (Method::POST, path.to_owned(), body);
        let body = match self.call(Verb::send, request, at, self.options.timeout).await? {
            Said::Body(body) => body,
            Said::Refused(status, refusal) => return Err(rejected(status, &refusal)),
        };
        match order.kind {
            OrderKind::Charge => Ok(Answer::Pending { action_url: Some(read::<Prepaid>(&body)?.code_url) }),
            OrderKind::Refund => read::<Refund>(&body)?.answer(order).map_err(unclear),
            OrderKind::Payout => {
                let transfer: Transfer = read(&body)?;
                // The answer to the request has no amount: a query says that, and how it ended.
                let state = if transfer.state == "SUCCESS" { "PROCESSING".to_owned() } else { transfer.state };
                Transfer { state, ..transfer }.answer(order).map_err(unclear)
            }
        }
    }

    /// Two requests, in the time of one: to close it, and how it then stands. WeChat cannot close a refund.
    async fn close(&self, order: &Order) -> Result<Answer, ProviderError> {
        let number = order.id.number();
        let request = match order.kind {
            OrderKind::Charge => {
                let body = serde_json::json!({"mchid": self.options.mchid}).to_string();
                (Method::POST, format!("{TRANSACTIONS}/{number}/close"), body)
            }
            OrderKind::Payout => (Method::POST, format!("{TRANSFERS_BY_NUMBER}/{number}/cancel"), String::new()),
            OrderKind::Refund => return self.look(order, self.options.timeout).await,
        };
        let within = self.options.timeout / 2;
        // One that cannot be closed any more is refused here, and its query says why.
        self.call(Verb::close, request, self.clock.now(), within).await?;
        self.look(order, within).await
    }

    async fn query(&self, order: &Order) -> Result<Answer, ProviderError> {
        self.look(order, self.options.timeout).await
    }

    /// There is none: payouts stand on no bill of WeChat's under our numbers.
    async fn bill(&self, date: Date) -> Result<String, ProviderError> {
        Err(ProviderError::Rejected(format!("WeChat Pay has no bill of {date} with all orders under our numbers")))
    }

    fn notification(&self, headers: &HeaderMap, body: &[u8], now: Timestamp) -> Result<Notification, BadNotification> {
        notification::read(&self.platform, &self.content, headers, body, now)
    }
}

fn json(body: &impl Serialize) -> String {
    serde_json::to_string(body).expect("a request is made of strings and numbers")
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, ProviderError> {
    serde_json::from_slice(body).map_err(|error| unclear(error.to_string()))
}

fn unclear(reason: String) -> ProviderError {
    ProviderError::Unknown(shortened(&format!("its answer: {reason}")))
}

fn rejected(status: u16, refusal: &Refusal) -> ProviderError {
    let Refusal { code, message } = refusal;
    if code.starts_with("FREQUENCY") || code.starts_with("RATELIMIT") {
        return ProviderError::RateLimited { retry_after_s: 1 };
    }
    ProviderError::Rejected(shortened(&format!("{status}: {code}: {message}")))
}

/// The words of charges, in older documents too, of transfers and of refunds.
fn is_not_found(refusal: &Refusal) -> bool {
    ["ORDER_NOT_EXIST", "ORDERNOTEXIST", "NOT_FOUND", "RESOURCE_NOT_EXISTS"].contains(&refusal.code.as_str())
}
