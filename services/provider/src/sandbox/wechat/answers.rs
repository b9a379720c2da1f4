//! What WeChat Pay says of an order.

use hongbao_core::order::OrderKind;
use serde_json::Value;

use crate::wechat::wire::{Amount, Prepaid, Refund, RefundAmount, Transaction, Transfer, time_of};
use crate::wire::{CURRENCY, Standing, State as Stands};

/// What an answer is about: each call says the same in its own words.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// A new order.
    New,
    /// How it stands.
    Query,
    /// To close it.
    Close,
}

/// How an order stands, in the words of its call.
pub fn body_of(kind: OrderKind, call: Call, standing: &Standing) -> Value {
    let number = standing.number.clone();
    let (reference, time) = (standing.reference.clone(), standing.at.map(time_of));
    let (fen, currency) = (standing.amount_fen, CURRENCY.to_owned());
    let is_closed = standing.reason.as_deref() == Some("closed");
    let said = match (kind, call) {
        (OrderKind::Charge, Call::New) => {
            serde_json::to_value(Prepaid { code_url: standing.action_url.clone().unwrap_or_default() })
        }
        (OrderKind::Charge, _) => serde_json::to_value(Transaction {
            out_trade_no: number,
            trade_state: match standing.state {
                Stands::Pending => "NOTPAY",
                Stands::Succeeded | Stands::Returned => "SUCCESS",
                Stands::Failed => "CLOSED",
            }
            .to_owned(),
            transaction_id: reference,
            success_time: time,
            amount: Some(Amount { total: fen, currency }),
        }),
        (OrderKind::Refund, _) => serde_json::to_value(Refund {
            out_refund_no: number.clone(),
            status: match standing.state {
                Stands::Pending => "PROCESSING",
                Stands::Succeeded | Stands::Returned => "SUCCESS",
                Stands::Failed => "CLOSED",
            }
            .to_owned(),
            refund_id: reference.unwrap_or_else(|| format!("sandbox-{number}")),
            success_time: time,
            amount: RefundAmount { refund: fen, total: fen, currency },
        }),
        (OrderKind::Payout, call) => serde_json::to_value(Transfer {
            out_bill_no: number.clone(),
            state: match standing.state {
                Stands::Pending => "WAIT_USER_CONFIRM",
                Stands::Succeeded | Stands::Returned => "SUCCESS",
                // That it will be cancelled is all that the call says; a query says that it is.
                Stands::Failed if is_closed && call == Call::Close => "CANCELING",
                Stands::Failed if is_closed => "CANCELLED",
                Stands::Failed => "FAIL",
            }
            .to_owned(),
            transfer_bill_no: Some(format!("sandbox-{number}")),
            transfer_amount: (call == Call::Query).then_some(fen),
            update_time: time,
            fail_reason: standing.reason.clone().filter(|_| !is_closed),
            package_info: (call == Call::New && standing.state == Stands::Pending).then(|| format!("package-{number}")),
        }),
    };
    said.expect("an answer is made of strings and numbers")
}
