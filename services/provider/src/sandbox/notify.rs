//! Notifications of the sandbox: signed, sent again when they are not taken, and wrong on demand.
//!
//! They are not in its books: those that wait when it is killed are lost, as with any provider now and then.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ::http::Request;
use ::http::header::CONTENT_TYPE;
use hongbao_core::limits::{
    PROVIDER_ANSWER_BYTES_MAX, SANDBOX_NOTIFICATIONS_MAX, SANDBOX_NOTIFY_AGAIN_S, SANDBOX_NOTIFY_WITHIN,
    SANDBOX_NOTIFYING_MAX,
};
use hongbao_core::order::OrderKind;
use hongbao_core::{Clock, Timestamp};
use http_body_util::Full;
use hyper::body::Bytes;
use parking_lot::Mutex;

use super::faults::Fault;
use super::options::SandboxOptions;
use super::plan::Pace;
use super::wechat::Emulation;

use crate::connect::{HttpClient, Patience, base_of};
use crate::signature::{SIGNATURE, Signed, SigningKey};
use crate::wire::{NotificationBody, Standing, State};

/// How often it is looked whether one is due.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// One that waits.
#[derive(Clone, Debug)]
struct Waiting {
    body: NotificationBody,
    is_forged: bool,
    attempts: usize,
}

/// What waits, by when it is due and a number that tells those of one moment apart.
#[derive(Default)]
struct Queue {
    by_time: BTreeMap<(Timestamp, u64), Waiting>,
    last: u64,
}

/// Sends notifications.
pub struct Notifier {
    url: Option<String>,
    client: HttpClient,
    key: SigningKey,
    others_key: SigningKey,
    clock: Arc<dyn Clock>,
    pace: Pace,
    wechat: Option<Emulation>,
    waiting: Mutex<Queue>,
}

impl Notifier {
    /// To where the options say.
    ///
    /// # Errors
    /// What is wrong with the address.
    pub fn new(options: &SandboxOptions, key: SigningKey, clock: Arc<dyn Clock>) -> Result<Notifier, String> {
        if let Some(url) = &options.notify_url {
            base_of(url).map_err(|reason| format!("notify-url {reason}"))?;
        }
        let others: Vec<u8> = options.secret.iter().map(|byte| !byte).collect();
        Ok(Notifier {
            url: options.notify_url.clone(),
            client: HttpClient::new(None, SANDBOX_NOTIFYING_MAX)?,
            key,
            others_key: SigningKey::new(&options.key_id, &others),
            clock,
            pace: options.pace,
            wechat: options.wechat.clone(),
            waiting: Mutex::default(),
        })
    }

    /// An order has changed.
    pub fn changed(&self, standing: &Standing, fault: Option<Fault>) {
        let now = self.clock.now();
        let body = body_of(standing.kind, &standing.number, standing.state);
        let honest = |body| Waiting { body, is_forged: false, attempts: 0 };
        self.put(now, honest(body.clone()));
        match fault {
            Some(Fault::Duplicate) => self.put(now, honest(body)),
            Some(Fault::OutOfOrder) => {
                let before = body_of(standing.kind, &standing.number, State::Pending);
                self.put(now.plus_millis(self.pace.confirm_ms), honest(before));
            }
            _ => {}
        }
    }

    /// Says under another secret that an order has happened.
    pub fn forge(&self, kind: OrderKind, number: &str) {
        let body = body_of(kind, number, State::Succeeded);
        self.put(self.clock.now(), Waiting { body, is_forged: true, attempts: SANDBOX_NOTIFY_AGAIN_S.len() });
    }

    /// Sends one before anything else goes on.
    pub async fn send_now(&self, standing: &Standing) {
        self.send(&body_of(standing.kind, &standing.number, standing.state), false).await;
    }

    fn put(&self, at: Timestamp, waiting: Waiting) {
        let mut queue = self.waiting.lock();
        if self.url.is_some() && queue.by_time.len() < SANDBOX_NOTIFICATIONS_MAX {
            queue.last += 1;
            let number = queue.last;
            queue.by_time.insert((at, number), waiting);
        }
    }

    fn next(&self) -> Option<Waiting> {
        let mut queue = self.waiting.lock();
        let first = queue.by_time.first_entry()?;
        (first.key().0 <= self.clock.now()).then(|| first.remove())
    }

    /// Sends what is due, for ever.
    pub async fn run(&self) {
        let mut sending = futures_util::stream::FuturesUnordered::new();
        loop {
            while sending.len() < SANDBOX_NOTIFYING_MAX
                && let Some(waiting) = self.next()
            {
                sending.push(self.attempt(waiting));
            }
            let looked = tokio::time::sleep(LOOK_EVERY);
            tokio::select! {
                Some(()) = futures_util::StreamExt::next(&mut sending) => {}
                () = looked => {}
            }
        }
    }

    async fn attempt(&self, waiting: Waiting) {
        if self.send(&waiting.body, waiting.is_forged).await {
            return;
        }
        let Some(seconds) = SANDBOX_NOTIFY_AGAIN_S.get(waiting.attempts) else { return };
        let at = self.clock.now().plus_millis(seconds * self.pace.hour_ms / 3_600);
        self.put(at, Waiting { attempts: waiting.attempts + 1, ..waiting });
    }

    /// Whether it was taken.
    async fn send(&self, body: &NotificationBody, is_forged: bool) -> bool {
        let Some(url) = &self.url else { return true };
        let now = self.clock.now();
        let request = match &self.wechat {
            Some(wechat) => wechat.notification(url, body, is_forged, now),
            None => self.request(url, body, is_forged, now),
        };
        // What cannot be sent is not sent again.
        let Some(request) = request else { return true };
        let patience = Patience { within: SANDBOX_NOTIFY_WITHIN, bytes_max: PROVIDER_ANSWER_BYTES_MAX };
        self.client.exchange(request, patience).await.is_ok_and(|answer| answer.status.is_success())
    }

    /// In the shape of Hongbao's protocol.
    fn request(
        &self,
        url: &str,
        body: &NotificationBody,
        is_forged: bool,
        now: Timestamp,
    ) -> Option<Request<Full<Bytes>>> {
        let text = serde_json::to_vec(body).expect("a notification can be written as JSON");
        let key = if is_forged { &self.others_key } else { &self.key };
        let (signature, _) = key.sign(Signed::Notification, now, &text);
        let request = Request::post(url).header(SIGNATURE, signature).header(CONTENT_TYPE, "application/json");
        request.body(Full::new(text.into())).ok()
    }
}

fn body_of(kind: OrderKind, number: &str, state: State) -> NotificationBody {
    let said = match state {
        State::Pending => "pending",
        State::Succeeded => "succeeded",
        State::Failed => "failed",
        State::Returned => "returned",
    };
    NotificationBody { id: format!("{number}-{said}"), number: number.to_owned(), kind, state }
}
