//! The owner of an installation, who is sent events.

use std::path::Path;

use ::http::header::CONTENT_TYPE;
use ::http::{Request, Uri};
use hongbao_core::Timestamp;
use hongbao_core::event::EventView;
use hongbao_core::limits::{WEBHOOK_ANSWER_BYTES_MAX, WEBHOOK_ANSWER_WITHIN};
use http_body_util::Full;
use hyper::body::Bytes;
use serde::Serialize;

use crate::connect::{HttpClient, NoAnswer, Patience, base_of};
use crate::signature::{SIGNATURE, SigningKey};

/// Where events are sent. Cheap to clone.
#[derive(Clone)]
pub struct Endpoint {
    url: Uri,
    key: SigningKey,
    client: HttpClient,
}

#[derive(Serialize)]
struct Body<'a> {
    events: &'a [EventView],
}

impl Endpoint {
    /// Connects to nothing yet. `ca_file` names authorities instead of those of the system.
    ///
    /// # Errors
    /// What is wrong with the URL or the certificates.
    pub fn new(url: &str, secret: &[u8], ca_file: Option<&Path>) -> Result<Endpoint, String> {
        base_of(url).map_err(|reason| format!("url {reason}"))?;
        let url: Uri = url.parse().map_err(|error| format!("url: {error}"))?;
        Ok(Endpoint { url, key: SigningKey::new("webhook", secret), client: HttpClient::new(ca_file, 1)? })
    }

    /// Sends events, signed with the time; they are taken if it answers 2xx.
    ///
    /// # Errors
    /// Why they were not, or may not have been.
    pub async fn send(&self, events: &[EventView], at: Timestamp) -> Result<(), String> {
        let body = serde_json::to_vec(&Body { events }).expect("events are made of strings and numbers");
        let signature = self.key.sign_events(at, &body);
        let request = Request::post(self.url.clone())
            .header(SIGNATURE, signature)
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| error.to_string())?;
        let patience = Patience { within: WEBHOOK_ANSWER_WITHIN, bytes_max: WEBHOOK_ANSWER_BYTES_MAX };
        match self.client.exchange(request, patience).await {
            Ok(answer) if answer.status.is_success() => Ok(()),
            Ok(answer) => Err(format!("it answers {}", answer.status.as_u16())),
            Err(NoAnswer::NotSent(reason) | NoAnswer::Lost(reason)) => Err(reason),
        }
    }
}
