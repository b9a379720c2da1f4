//! Where events are sent.

use std::path::{Path, PathBuf};

use hongbao_core::limits::WEBHOOK_SECRET_BYTES_MIN;
use hongbao_provider::Endpoint;
use serde::{Deserialize, Serialize};

use super::client_files::begin_at;
use super::secrets::Secret;

/// `[webhook]`: who is sent the events of all users, as they happen.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WebhookSection {
    /// `https://example.com/hongbao`, or `http://` on the loopback address; nothing is sent unless it is given.
    pub url: Option<String>,
    /// What requests are signed with, which the other side has too.
    pub secret: Option<Secret>,
    /// A PEM file with authorities, instead of those of the system.
    pub ca_file: Option<PathBuf>,
}

impl WebhookSection {
    /// Makes a relative path start in this folder.
    pub fn begin_at(&mut self, folder: &Path) {
        begin_at(folder, [&mut self.ca_file]);
    }

    /// What is wrong with it, for the operator.
    pub fn check(&self) -> Result<(), String> {
        match (&self.url, &self.secret) {
            (None, None) => Ok(()),
            (None, Some(_)) => Err("webhook: secret has no effect without url".to_owned()),
            (Some(_), Some(secret)) if secret.0.len() >= WEBHOOK_SECRET_BYTES_MIN && !secret.is_default() => {
                self.endpoint().map(drop)
            }
            (Some(_), _) => Err(format!("webhook: secret must have at least {WEBHOOK_SECRET_BYTES_MIN} bytes")),
        }
    }

    /// The endpoint, where there is one.
    pub fn endpoint(&self) -> Result<Option<Endpoint>, String> {
        let Some((url, secret)) = self.url.as_ref().zip(self.secret.as_ref()) else { return Ok(None) };
        let endpoint = Endpoint::new(url, secret.0.as_bytes(), self.ca_file.as_deref());
        endpoint.map(Some).map_err(|reason| format!("webhook: {reason}"))
    }
}
