//! Notifications in WeChat's shape.

use ::http::Request;
use ::http::header::CONTENT_TYPE;
use hongbao_core::Timestamp;
use hongbao_core::order::OrderKind;
use http_body_util::Full;
use hyper::body::Bytes;
use serde_json::json;

use super::Emulation;
use crate::wechat::keys::{ALGORITHM, SIGNED_HEADERS};
use crate::wechat::wire::time_of;
use crate::wire::{NotificationBody, State};

impl Emulation {
    /// The request with a notification; `None` of what WeChat says nothing about: a charge that is not paid, an order
    /// that has no outcome. One that is forged has a signature over something else.
    pub fn notification(
        &self,
        url: &str,
        body: &NotificationBody,
        is_forged: bool,
        now: Timestamp,
    ) -> Option<Request<Full<Bytes>>> {
        let (event, original, field, state) = match (body.kind, body.state) {
            (OrderKind::Charge, State::Succeeded) => ("TRANSACTION.SUCCESS", "transaction", "out_trade_no", "SUCCESS"),
            (OrderKind::Refund, State::Succeeded) => ("REFUND.SUCCESS", "refund", "out_refund_no", "SUCCESS"),
            (OrderKind::Refund, State::Failed) => ("REFUND.CLOSED", "refund", "out_refund_no", "CLOSED"),
            (OrderKind::Payout, State::Succeeded) => {
                ("MCHTRANSFER.BILL.FINISHED", "mch_payment", "out_bill_no", "SUCCESS")
            }
            (OrderKind::Payout, State::Failed) => ("MCHTRANSFER.BILL.FINISHED", "mch_payment", "out_bill_no", "FAIL"),
            _ => return None,
        };
        let content = json!({field: body.number, "state": state}).to_string();
        let (nonce, ciphertext) = self.0.content.seal(original, content.as_bytes()).ok()?;
        let text = json!({
            "id": body.id,
            "create_time": time_of(now),
            "resource_type": "encrypt-resource",
            "event_type": event,
            "summary": event,
            "resource": {
                "original_type": original,
                "algorithm": ALGORITHM,
                "ciphertext": ciphertext,
                "associated_data": original,
                "nonce": nonce,
            },
        });
        let text = text.to_string();
        let signed = if is_forged { b"another message".as_slice() } else { text.as_bytes() };
        let values = self.0.platform.sign_headers(now, signed).ok()?;
        let mut request = Request::post(url).header(CONTENT_TYPE, "application/json");
        for (name, value) in SIGNED_HEADERS.into_iter().zip(values) {
            request = request.header(name, value);
        }
        request.body(Full::new(Bytes::from(text))).ok()
    }
}
