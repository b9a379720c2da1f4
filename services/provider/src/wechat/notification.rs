//! Notifications of WeChat Pay: signed by WeChat, their content encrypted with the API v3 key.

use ::http::HeaderMap;
use hongbao_core::Timestamp;
use hongbao_core::order::OrderId;
use serde::Deserialize;

use super::keys::{ALGORITHM, ContentKey, RsaVerifier};
use crate::port::{BadNotification, Notification};
use crate::signature::BadSignature;

#[derive(Deserialize)]
struct Envelope {
    id: String,
    event_type: String,
    resource: Resource,
}

#[derive(Deserialize)]
struct Resource {
    algorithm: String,
    ciphertext: String,
    nonce: String,
    #[serde(default)]
    associated_data: String,
}

/// The number of the order, which the event says the name of: a refund also has the number of its charge.
#[derive(Deserialize)]
struct Content {
    out_trade_no: Option<String>,
    out_refund_no: Option<String>,
    out_bill_no: Option<String>,
}

/// Checks and reads a notification.
pub(super) fn read(
    platform: &RsaVerifier,
    key: &ContentKey,
    headers: &HeaderMap,
    body: &[u8],
    now: Timestamp,
) -> Result<Notification, BadNotification> {
    platform.check_headers(headers, body, now).map_err(|bad| match bad {
        BadSignature::Missing | BadSignature::Unreadable => BadNotification::NotSigned,
        BadSignature::OtherKey | BadSignature::Wrong => BadNotification::WrongSignature,
        BadSignature::NotNow => BadNotification::NotNow,
    })?;
    read_content(key, body).ok_or(BadNotification::Unreadable)
}

fn read_content(key: &ContentKey, body: &[u8]) -> Option<Notification> {
    let Envelope { id, event_type, resource } = serde_json::from_slice(body).ok()?;
    if resource.algorithm != ALGORITHM {
        return None;
    }
    let content = key.open(&resource.nonce, &resource.associated_data, &resource.ciphertext)?;
    let content: Content = serde_json::from_slice(&content).ok()?;
    let number = match event_type.split('.').next()? {
        "TRANSACTION" => content.out_trade_no,
        "REFUND" => content.out_refund_no,
        "MCHTRANSFER" => content.out_bill_no,
        _ => None,
    };
    Some(Notification { id, order: OrderId::parse_number(&number?)? })
}
