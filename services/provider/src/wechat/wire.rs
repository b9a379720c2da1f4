//! The bodies of WeChat Pay API v3, as far as they are used here, and what they say of an order.
//!
//! After the public documents at pay.weixin.qq.com: native payment, domestic refunds, merchant transfers.

use hongbao_core::order::{Answer, Happened, Order, OrderId};
use hongbao_core::{Fen, Timestamp};
use serde::{Deserialize, Serialize};

use crate::wire::CURRENCY;

/// `POST` makes a charge.
pub const NATIVE: &str = "/v3/pay/transactions/native";
/// Followed by the number of a charge: `GET` asks for it, `/close` closes it.
pub const TRANSACTIONS: &str = "/v3/pay/transactions/out-trade-no";
/// `POST` makes a refund; followed by its number, `GET` asks for it.
pub const REFUNDS: &str = "/v3/refund/domestic/refunds";
/// `POST` makes a transfer.
pub const TRANSFERS: &str = "/v3/fund-app/mch-transfer/transfer-bills";
/// Followed by the number of a transfer: `GET` asks for it, `/cancel` cancels it.
pub const TRANSFERS_BY_NUMBER: &str = "/v3/fund-app/mch-transfer/transfer-bills/out-bill-no";

/// An amount with its currency.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Amount {
    /// Fen.
    pub total: i64,
    /// [`CURRENCY`].
    pub currency: String,
}

/// A charge.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NewTransaction {
    /// Of the app.
    pub appid: String,
    /// Of the merchant.
    pub mchid: String,
    /// What the payer reads.
    pub description: String,
    /// The number.
    pub out_trade_no: String,
    /// From then on it is not paid any more.
    pub time_expire: String,
    /// Where notifications go.
    pub notify_url: String,
    /// How much.
    pub amount: Amount,
}

/// The answer to a charge.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Prepaid {
    /// What the payer scans.
    pub code_url: String,
}

/// How a charge stands.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Transaction {
    /// The number.
    pub out_trade_no: String,
    /// How far it is.
    pub trade_state: String,
    /// What WeChat calls it, once it is paid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transaction_id: Option<String>,
    /// When it was paid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub success_time: Option<String>,
    /// How much.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amount: Option<Amount>,
}

/// The amounts of a refund.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RefundAmount {
    /// Fen that go back.
    pub refund: i64,
    /// Fen of the charge.
    pub total: i64,
    /// [`CURRENCY`].
    pub currency: String,
}

/// A refund.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NewRefund {
    /// The number of the charge.
    pub out_trade_no: String,
    /// The number.
    pub out_refund_no: String,
    /// Where notifications go.
    pub notify_url: String,
    /// How much.
    pub amount: RefundAmount,
}

/// How a refund stands.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Refund {
    /// The number.
    pub out_refund_no: String,
    /// How far it is.
    pub status: String,
    /// What WeChat calls it.
    pub refund_id: String,
    /// When it arrived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub success_time: Option<String>,
    /// How much.
    pub amount: RefundAmount,
}

/// What is reported of why a user is paid: which words, the scene of the transfer prescribes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SceneReport {
    /// What it says.
    pub info_type: String,
    /// What that is here.
    pub info_content: String,
}

/// A payout.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NewTransfer {
    /// Of the app.
    pub appid: String,
    /// The number.
    pub out_bill_no: String,
    /// Why users are paid, as it was agreed upon with WeChat.
    pub transfer_scene_id: String,
    /// Who is paid, under that app.
    pub openid: String,
    /// Fen.
    pub transfer_amount: i64,
    /// What the user reads.
    pub transfer_remark: String,
    /// Where notifications go.
    pub notify_url: String,
    /// See [`SceneReport`].
    pub transfer_scene_report_infos: Vec<SceneReport>,
}

/// How a payout stands.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Transfer {
    /// The number.
    pub out_bill_no: String,
    /// How far it is.
    pub state: String,
    /// What WeChat calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transfer_bill_no: Option<String>,
    /// Fen; not in the answer to the request for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transfer_amount: Option<i64>,
    /// When its state changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update_time: Option<String>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fail_reason: Option<String>,
    /// What the user's app needs to ask the user for the confirmation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub package_info: Option<String>,
}

/// What is wrong with a request.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Refusal {
    /// In a word.
    pub code: String,
    /// In words.
    pub message: String,
}

impl Transaction {
    /// What it says about the charge that was asked for. A charge that was refunded was paid first: the refund is an
    /// order of its own.
    ///
    /// # Errors
    /// What about it cannot be an answer about this order.
    pub fn answer(self, order: &Order) -> Result<Answer, String> {
        is_number(&self.out_trade_no, order.id)?;
        match self.trade_state.as_str() {
            // A payer whose payment failed may pay again, until the charge is closed.
            "NOTPAY" | "USERPAYING" | "ACCEPT" | "PAYERROR" => Ok(Answer::Pending { action_url: None }),
            "CLOSED" => Ok(Answer::Failed { reason: "closed".to_owned() }),
            "REVOKED" => Ok(Answer::Failed { reason: "revoked".to_owned() }),
            "SUCCESS" | "REFUND" => {
                let amount = self.amount.ok_or("it has no amount")?;
                is_currency(&amount.currency)?;
                Ok(Answer::Succeeded(happened(amount.total, self.success_time, self.transaction_id)?))
            }
            other => Err(format!("its state is not known: {other}")),
        }
    }
}

impl Refund {
    /// What it says about the refund that was asked for.
    ///
    /// # Errors
    /// What about it cannot be an answer about this order.
    pub fn answer(self, order: &Order) -> Result<Answer, String> {
        is_number(&self.out_refund_no, order.id)?;
        match self.status.as_str() {
            // The payer's bank does not take it: a person sends it elsewhere, at WeChat.
            "PROCESSING" | "ABNORMAL" => Ok(Answer::Pending { action_url: None }),
            "CLOSED" => Ok(Answer::Failed { reason: "closed".to_owned() }),
            "SUCCESS" => {
                is_currency(&self.amount.currency)?;
                Ok(Answer::Succeeded(happened(self.amount.refund, self.success_time, Some(self.refund_id))?))
            }
            other => Err(format!("its state is not known: {other}")),
        }
    }
}

impl Transfer {
    /// What it says about the payout that was asked for.
    ///
    /// # Errors
    /// What about it cannot be an answer about this order.
    pub fn answer(self, order: &Order) -> Result<Answer, String> {
        is_number(&self.out_bill_no, order.id)?;
        match self.state.as_str() {
            "ACCEPTED" | "PROCESSING" | "WAIT_USER_CONFIRM" | "TRANSFERING" | "CANCELING" => {
                Ok(Answer::Pending { action_url: self.package_info })
            }
            "FAIL" => Ok(Answer::Failed { reason: self.fail_reason.unwrap_or_else(|| "failed".to_owned()) }),
            "CANCELLED" => Ok(Answer::Failed { reason: "closed".to_owned() }),
            "SUCCESS" => {
                let amount = self.transfer_amount.ok_or("it has no amount")?;
                Ok(Answer::Succeeded(happened(amount, self.update_time, self.transfer_bill_no)?))
            }
            other => Err(format!("its state is not known: {other}")),
        }
    }
}

fn is_number(number: &str, order: OrderId) -> Result<(), String> {
    if number == order.number() { Ok(()) } else { Err("it is about another order".to_owned()) }
}

fn is_currency(currency: &str) -> Result<(), String> {
    if currency == CURRENCY { Ok(()) } else { Err(format!("its currency is not {CURRENCY}")) }
}

fn happened(fen: i64, time: Option<String>, reference: Option<String>) -> Result<Happened, String> {
    let amount = Fen::new(fen).ok_or("its amount is negative")?;
    let at = time.as_deref().and_then(Timestamp::parse_rfc3339).ok_or("it does not say when it happened")?;
    let reference = reference.filter(|reference| !reference.is_empty()).ok_or("it has no number of WeChat's")?;
    Ok(Happened { amount, at, reference })
}

/// A time as WeChat writes it: in China's zone, to the second.
pub fn time_of(at: Timestamp) -> String {
    let local = at.plus_millis(8 * 3_600_000).to_string();
    format!("{}+08:00", local.get(..19).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use hongbao_core::{OrderKind, UserId};
    use serde_json::{Value, json};

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_795_831_200_000);

    fn order(kind: OrderKind) -> Order {
        let id = OrderId::mint(NOW, [1; 10]);
        Order::new(id, kind, UserId::parse("ann").unwrap(), Fen::new(500).unwrap(), NOW)
    }

    /// What a body says, with the members that stand for more than one state.
    fn said(kind: OrderKind, state: &str, more: Value) -> Result<Answer, String> {
        let order = order(kind);
        let amount = json!({"total": 500, "refund": 500, "currency": "CNY"});
        let mut body = json!({
            "out_trade_no": order.id.number(), "out_refund_no": order.id.number(), "out_bill_no": order.id.number(),
            "trade_state": state, "status": state, "state": state, "transfer_amount": 500, "amount": amount,
            "transaction_id": "42", "refund_id": "42", "transfer_bill_no": "42",
            "success_time": "2026-11-28T10:00:00+08:00", "update_time": "2026-11-28T10:00:00+08:00",
        });
        for (name, value) in more.as_object().unwrap() {
            body[name] = value.clone();
        }
        match kind {
            OrderKind::Charge => serde_json::from_value::<Transaction>(body).unwrap().answer(&order),
            OrderKind::Refund => serde_json::from_value::<Refund>(body).unwrap().answer(&order),
            OrderKind::Payout => serde_json::from_value::<Transfer>(body).unwrap().answer(&order),
        }
    }

    #[test]
    fn each_state_of_the_documents_means_what_they_say() {
        use OrderKind::{Charge, Payout, Refund};
        let pending = || Answer::Pending { action_url: None };
        let failed = |reason: &str| Answer::Failed { reason: reason.to_owned() };
        let amount = Fen::new(500).unwrap();
        let succeeded = || Answer::Succeeded(Happened { amount, at: NOW, reference: "42".to_owned() });
        for (kind, state, answer) in [
            (Charge, "NOTPAY", pending()),
            (Charge, "USERPAYING", pending()),
            (Charge, "ACCEPT", pending()),
            (Charge, "PAYERROR", pending()),
            (Charge, "CLOSED", failed("closed")),
            (Charge, "REVOKED", failed("revoked")),
            (Charge, "SUCCESS", succeeded()),
            (Charge, "REFUND", succeeded()),
            (Refund, "PROCESSING", pending()),
            (Refund, "ABNORMAL", pending()),
            (Refund, "CLOSED", failed("closed")),
            (Refund, "SUCCESS", succeeded()),
            (Payout, "ACCEPTED", pending()),
            (Payout, "PROCESSING", pending()),
            (Payout, "WAIT_USER_CONFIRM", pending()),
            (Payout, "TRANSFERING", pending()),
            (Payout, "CANCELING", pending()),
            (Payout, "CANCELLED", failed("closed")),
            (Payout, "FAIL", failed("failed")),
            (Payout, "SUCCESS", succeeded()),
        ] {
            assert_eq!(said(kind, state, json!({})), Ok(answer), "{kind:?} {state}");
        }
        let closed = said(Payout, "FAIL", json!({"fail_reason": "ACCOUNT_FROZEN"}));
        assert_eq!(closed, Ok(failed("ACCOUNT_FROZEN")));
        let package = said(Payout, "WAIT_USER_CONFIRM", json!({"package_info": "abc"}));
        assert_eq!(package, Ok(Answer::Pending { action_url: Some("abc".to_owned()) }));
    }

    #[test]
    fn what_is_no_answer_about_the_order_says_nothing_of_it() {
        use OrderKind::{Charge, Payout, Refund};
        for (kind, state, more, reason) in [
            (Charge, "SUCCESS", json!({"out_trade_no": "another"}), "another order"),
            (Refund, "SUCCESS", json!({"out_refund_no": "another"}), "another order"),
            (Payout, "SUCCESS", json!({"out_bill_no": "another"}), "another order"),
            (Charge, "PAID", json!({}), "not known: PAID"),
            (Refund, "success", json!({}), "not known"),
            (Payout, "", json!({}), "not known"),
            (Charge, "SUCCESS", json!({"amount": {"total": 500, "currency": "USD"}}), "currency"),
            (Charge, "SUCCESS", json!({"amount": null}), "no amount"),
            (Charge, "SUCCESS", json!({"amount": {"total": -1, "currency": "CNY"}}), "negative"),
            (Charge, "SUCCESS", json!({"success_time": "yesterday"}), "when it happened"),
            (Charge, "SUCCESS", json!({"transaction_id": ""}), "no number"),
            (Payout, "SUCCESS", json!({"transfer_amount": null}), "no amount"),
        ] {
            let error = said(kind, state, more).unwrap_err();
            assert!(error.contains(reason), "{kind:?} {state}: {error}");
        }
    }

    #[test]
    fn a_time_is_written_in_chinas_zone() {
        assert_eq!(time_of(NOW), "2026-11-28T10:00:00+08:00");
    }
}
