//! Orders as rows, and as literals that every database here understands.

use hongbao_core::order::Attention;
use hongbao_core::{EnvelopeId, Fen, Order, OrderId, OrderKind, OrderState, Timestamp, UserId};
use hongbao_database::row::{self as column, StoredRow};

use crate::WalletError;
use crate::row::hex;

/// The columns of an order, in the order in which they are read and written.
pub const ORDER_COLUMNS: &str = "id, user_id, kind, state, amount_fen, envelope_id, of_id, created_ms, close_ms, \
     sent_ms, due_ms, attempts, reference, action_url, failure, happened_ms, attention, version";

/// How many those are.
pub const ORDER_COLUMNS_COUNT: usize = 18;

const KINDS: [(OrderKind, i64); 3] = [(OrderKind::Charge, 1), (OrderKind::Payout, 2), (OrderKind::Refund, 3)];
const STATES: [(OrderState, i64); 7] = [
    (OrderState::Created, 1),
    (OrderState::Pending, 2),
    (OrderState::Closing, 3),
    (OrderState::Succeeded, 4),
    (OrderState::Failed, 5),
    (OrderState::Held, 6),
    (OrderState::Returned, 7),
];
const ATTENTIONS: [(Attention, i64); 3] =
    [(Attention::WrongAmount, 1), (Attention::Contradicted, 2), (Attention::Overdue, 3)];

/// The greatest state that is not final, as stored.
pub const LAST_UNFINISHED: i64 = 3;

fn code<T: PartialEq + Copy>(table: &[(T, i64)], value: T) -> i64 {
    table.iter().find(|(known, _)| *known == value).expect("the table lists all of them").1
}

fn value<T: Copy>(table: &[(T, i64)], code: i64) -> Option<T> {
    table.iter().find(|(_, known)| *known == code).map(|(value, _)| *value)
}

/// The number that a kind is stored as.
pub fn kind_code(kind: OrderKind) -> i64 {
    code(&KINDS, kind)
}

/// Reads [`ORDER_COLUMNS`], which begin at `start`.
pub fn order(row: &impl StoredRow, start: usize) -> Result<Order, WalletError> {
    let key = row.bytes(start)?;
    // The id is shown as it is stored.
    let damaged = |what: &str| WalletError::Damaged(format!("order x'{}': its {what} means nothing", hex(key)));
    let at = |place: usize| -> Result<Option<Timestamp>, WalletError> {
        Ok(row.int_or_null(start + place)?.map(Timestamp::from_millis))
    };
    let text = |place: usize| -> Result<Option<String>, WalletError> {
        Ok(row.text_or_null(start + place)?.map(str::to_owned))
    };
    let attention = match row.int_or_null(start + 16)? {
        None => None,
        Some(code) => Some(value(&ATTENTIONS, code).ok_or_else(|| damaged("attention"))?),
    };
    Ok(Order {
        id: OrderId::from_bytes(key).ok_or_else(|| damaged("id"))?,
        user: UserId::parse(row.text(start + 1)?).ok_or_else(|| damaged("user"))?,
        kind: value(&KINDS, row.int(start + 2)?).ok_or_else(|| damaged("kind"))?,
        state: value(&STATES, row.int(start + 3)?).ok_or_else(|| damaged("state"))?,
        amount: Fen::new(row.int(start + 4)?).ok_or_else(|| damaged("amount"))?,
        envelope: match row.bytes_or_null(start + 5)? {
            None => None,
            Some(bytes) => Some(EnvelopeId::from_bytes(bytes).ok_or_else(|| damaged("envelope"))?),
        },
        of: match row.bytes_or_null(start + 6)? {
            None => None,
            Some(bytes) => Some(OrderId::from_bytes(bytes).ok_or_else(|| damaged("charge"))?),
        },
        created_at: Timestamp::from_millis(row.int(start + 7)?),
        close_at: Timestamp::from_millis(row.int(start + 8)?),
        sent_at: at(9)?,
        due_at: at(10)?,
        attempts: u32::try_from(row.int(start + 11)?).map_err(|_| column::damaged("attempts", row.int(start + 11)))?,
        reference: text(12)?,
        action_url: text(13)?,
        failure: text(14)?,
        happened_at: at(15)?,
        attention,
        version: row.int(start + 17)?,
    })
}

/// The values of [`ORDER_COLUMNS`].
pub fn order_values(order: &Order) -> Result<String, WalletError> {
    let bytes = |bytes: Option<&[u8; 16]>| bytes.map_or("NULL".to_owned(), |bytes| format!("x'{}'", hex(bytes)));
    Ok(format!(
        "x'{}', '{}', {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}",
        hex(order.id.as_bytes()),
        order.user,
        kind_code(order.kind),
        code(&STATES, order.state),
        order.amount.get(),
        bytes(order.envelope.as_ref().map(EnvelopeId::as_bytes)),
        bytes(order.of.as_ref().map(OrderId::as_bytes)),
        order.created_at.millis(),
        order.close_at.millis(),
        millis(order.sent_at),
        millis(order.due_at),
        order.attempts,
        literal(order.reference.as_deref())?,
        literal(order.action_url.as_deref())?,
        literal(order.failure.as_deref())?,
        millis(order.happened_at),
        order.attention.map_or("NULL".to_owned(), |attention| code(&ATTENTIONS, attention).to_string()),
        order.version,
    ))
}

/// What a change of an order sets, its version included. The rest of a row never changes.
pub fn order_assignments(order: &Order) -> Result<String, WalletError> {
    Ok(format!(
        "state = {}, sent_ms = {}, due_ms = {}, attempts = {}, reference = {}, action_url = {}, failure = {}, \
         happened_ms = {}, attention = {}, version = {}",
        code(&STATES, order.state),
        millis(order.sent_at),
        millis(order.due_at),
        order.attempts,
        literal(order.reference.as_deref())?,
        literal(order.action_url.as_deref())?,
        literal(order.failure.as_deref())?,
        millis(order.happened_at),
        order.attention.map_or("NULL".to_owned(), |attention| code(&ATTENTIONS, attention).to_string()),
        order.version,
    ))
}

fn millis(at: Option<Timestamp>) -> String {
    at.map_or("NULL".to_owned(), |at| at.millis().to_string())
}

/// A text as a literal. What the provider writes was cut to characters that end no literal; what was not is refused.
fn literal(text: Option<&str>) -> Result<String, WalletError> {
    let Some(text) = text else { return Ok("NULL".to_owned()) };
    match text.bytes().all(|byte| (byte.is_ascii_graphic() || byte == b' ') && !b"'\\\"".contains(&byte)) {
        true => Ok(format!("'{text}'")),
        false => Err(WalletError::Unavailable("an order has a text that cannot be stored".to_owned())),
    }
}
