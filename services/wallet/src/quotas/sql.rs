//! What counts against limits as rows, in statements that every database here understands.

use std::collections::{BTreeMap, BTreeSet};

use hongbao_core::{Daily, DayCount, DayQuota, EnvelopeId, Fen, Timestamp, UserId};
use hongbao_database::row::StoredRow;

use super::{CountedOrder, QuotaPlan, UserDay};
use crate::row::hex;
use crate::{NewEnvelope, Reserved, UnpaidQuota, WalletError};

/// The first column of each row says what it is; other rows of a transaction have other numbers.
const DAY_ROW: i64 = 7;
const COUNTED_ROW: i64 = 8;
const WAITING_ROW: i64 = 9;

/// Conditions under which a statement writes: that nothing was written since it was read.
#[derive(Default)]
pub(crate) struct Guard {
    /// Behind a list of values that is selected: `FROM … WHERE …`, or nothing.
    pub from: String,
    /// Behind a condition: `AND …`, or nothing.
    pub and: String,
}

impl Guard {
    /// That the ledger of this database of MySQL is as it was read.
    pub fn of_ledger(db: &str, transactions: i64) -> Guard {
        Guard {
            from: format!(" FROM {db}.ledger WHERE one = 1 AND transactions = {transactions}"),
            and: format!(" AND (SELECT transactions FROM {db}.ledger WHERE one = 1) = {transactions}"),
        }
    }
}

/// Statements that read what these payments and orders touch, within a transaction that writes.
pub(crate) fn reads<'a>(
    table: impl Fn(&str) -> String,
    quotas: impl IntoIterator<Item = (&'a UserId, &'a DayQuota)>,
    subjects: &[[u8; 16]],
    envelopes: impl IntoIterator<Item = (&'a UserId, EnvelopeId)>,
) -> Vec<String> {
    let mut users: BTreeMap<i32, BTreeSet<&str>> = BTreeMap::new();
    for (user, quota) in quotas {
        users.entry(quota.date.number()).or_default().insert(user.as_str());
    }
    let day = |condition: String| {
        format!(
            "SELECT /* quotas */ {DAY_ROW}, user_id, day, sent_fen, sent_count, paid_out_fen, paid_out_count FROM {} \
             WHERE {condition}",
            table("user_day")
        )
    };
    let mut reads: Vec<String> = (users.into_iter())
        .map(|(date, users)| {
            let users: Vec<&str> = users.into_iter().collect();
            day(format!("user_id IN ('{}') AND day = {date}", users.join("','")))
        })
        .collect();
    reads.extend(read_waiting(&table, envelopes));
    if subjects.is_empty() {
        return reads;
    }
    let list = subjects.iter().map(|subject| format!("x'{}'", hex(subject))).collect::<Vec<_>>().join(",");
    let counted = table("counted_order");
    reads.push(format!(
        "SELECT /* quotas */ {COUNTED_ROW}, subject, user_id, daily, day, amount_fen FROM {counted} \
         WHERE subject IN ({list})"
    ));
    // The days that they are counted on.
    reads.push(day(format!("(user_id, day) IN (SELECT user_id, day FROM {counted} WHERE subject IN ({list}))")));
    reads
}

/// The statement that reads which of a user's envelopes wait for payment, of those named.
fn read_waiting<'a>(
    table: impl Fn(&str) -> String,
    envelopes: impl IntoIterator<Item = (&'a UserId, EnvelopeId)>,
) -> Option<String> {
    let (mut users, mut ids) = (BTreeSet::new(), BTreeSet::new());
    for (user, envelope) in envelopes {
        users.insert(user.as_str());
        ids.insert(format!("x'{}'", hex(envelope.as_bytes())));
    }
    (!ids.is_empty()).then(|| {
        format!(
            "SELECT /* quotas */ {WAITING_ROW}, user_id, envelope_id FROM {} WHERE user_id IN ('{}') \
             AND envelope_id IN ({})",
            table("reservation"),
            users.into_iter().collect::<Vec<_>>().join("','"),
            ids.iter().map(String::as_str).collect::<Vec<_>>().join(",")
        )
    })
}

/// The statement that reads how many envelopes of a user wait for payment, until when the first one does, and whether
/// the new one is counted already.
pub(crate) fn read_unpaid(table: &str, envelope: &NewEnvelope) -> String {
    let (user, id, now) = (&envelope.user, hex(envelope.id.as_bytes()), envelope.now.millis());
    format!(
        "SELECT /* quotas */ COUNT(*), MIN(until_ms), COALESCE(MAX(envelope_id = x'{id}'), 0) FROM {table} \
         WHERE user_id = '{user}' AND until_ms > {now}"
    )
}

/// What that row says without more ado: that there are too many, or that the new one is counted already.
pub(crate) fn known_unpaid(quota: &UnpaidQuota, row: &impl StoredRow) -> Result<Option<Reserved>, WalletError> {
    if row.int(2)? != 0 {
        return Ok(Some(Reserved::New));
    }
    let (count, first) = (row.int(0)?, row.int_or_null(1)?.map(Timestamp::from_millis));
    let is_too_many = quota.count_max.is_some_and(|most| count >= i64::from(most));
    Ok(is_too_many.then_some(Reserved::TooManyUnpaid(first)))
}

/// The statement that counts an envelope until it is paid.
pub(crate) fn reserve(table: &str, envelope: &NewEnvelope, quota: &UnpaidQuota, guard: &Guard) -> String {
    let (user, id, until) = (&envelope.user, hex(envelope.id.as_bytes()), quota.until.millis());
    let from = &guard.from;
    format!("INSERT /* quotas */ INTO {table} (user_id, envelope_id, until_ms) SELECT '{user}', x'{id}', {until}{from}")
}

/// The tables of it, each with the column by which its rows grow old, and whether that is a day.
pub(crate) const PURGED: [(&str, &str, bool); 3] =
    [("user_day", "day", true), ("counted_order", "day", true), ("reservation", "until_ms", false)];

/// Whether a row that begins with this number is one of these.
pub(crate) fn is_quota_row(number: i64) -> bool {
    matches!(number, DAY_ROW | COUNTED_ROW | WAITING_ROW)
}

/// Takes in a row that was read.
pub(crate) fn take_in(plan: &mut QuotaPlan, row: &impl StoredRow) -> Result<(), WalletError> {
    let damaged = |what: &str| WalletError::Damaged(format!("a row of what users have sent and got: {what}"));
    let user = |column| UserId::parse(row.text(column)?).ok_or_else(|| damaged("its user means nothing"));
    let fen = |column| Fen::new(row.int(column)?).ok_or_else(|| damaged("an amount is below zero"));
    match row.int(0)? {
        DAY_ROW => {
            let count = |column: usize| -> Result<DayCount, WalletError> {
                let count = u32::try_from(row.int(column + 1)?).map_err(|_| damaged("a number is none"))?;
                Ok(DayCount { fen: fen(column)?, count })
            };
            let (sent, paid_out) = (count(3)?, count(5)?);
            let of_day = UserDay { sent, paid_out, is_stored: true, is_changed: false };
            plan.days.insert((user(1)?, row.int(2)?), of_day);
        }
        COUNTED_ROW => {
            let subject = row.bytes(1)?.try_into().map_err(|_| damaged("its subject is no id"))?;
            let daily = daily_of(row.int(3)?).ok_or_else(|| damaged("what is counted means nothing"))?;
            let order = CountedOrder { user: user(2)?, daily, day: row.int(4)?, amount: fen(5)? };
            plan.counted.insert(subject, order);
        }
        _ => {
            let envelope = EnvelopeId::from_bytes(row.bytes(2)?).ok_or_else(|| damaged("its envelope is none"))?;
            plan.waiting.insert(envelope, user(1)?);
        }
    }
    Ok(())
}

/// Statements that write what the plan says, of which each changes one row.
pub(crate) fn statements(plan: &QuotaPlan, table: impl Fn(&str) -> String, guard: &Guard) -> Vec<String> {
    let Guard { from, and } = guard;
    let mut statements = Vec::new();
    for ((user, day), of_day) in plan.days.iter().filter(|(_, of_day)| of_day.is_changed) {
        let UserDay { sent, paid_out, is_stored, .. } = of_day;
        let table = table("user_day");
        let values = [sent.fen.get(), sent.count.into(), paid_out.fen.get(), paid_out.count.into()];
        let [sent_fen, sent_count, paid_out_fen, paid_out_count] = values;
        statements.push(match is_stored {
            true => format!(
                "UPDATE /* quotas */ {table} SET sent_fen = {sent_fen}, sent_count = {sent_count}, \
                 paid_out_fen = {paid_out_fen}, paid_out_count = {paid_out_count} \
                 WHERE user_id = '{user}' AND day = {day}{and}"
            ),
            false => format!(
                "INSERT /* quotas */ INTO {table} \
                 (user_id, day, sent_fen, sent_count, paid_out_fen, paid_out_count) \
                 SELECT '{user}', {day}, {sent_fen}, {sent_count}, {paid_out_fen}, {paid_out_count}{from}"
            ),
        });
    }
    for subject in &plan.newly_counted {
        let Some(CountedOrder { user, daily, day, amount }) = plan.counted.get(subject) else { continue };
        let (table, subject, daily) = (table("counted_order"), hex(subject), code_of(*daily));
        statements.push(format!(
            "INSERT /* quotas */ INTO {table} (subject, user_id, daily, day, amount_fen) \
             SELECT x'{subject}', '{user}', {daily}, {day}, {}{from}",
            amount.get()
        ));
    }
    for subject in &plan.over {
        let (table, subject) = (table("counted_order"), hex(subject));
        statements.push(format!("DELETE /* quotas */ FROM {table} WHERE subject = x'{subject}'{and}"));
    }
    for (user, envelope) in &plan.paid {
        let (table, envelope) = (table("reservation"), hex(envelope.as_bytes()));
        statements.push(format!(
            "DELETE /* quotas */ FROM {table} WHERE user_id = '{user}' AND envelope_id = x'{envelope}'{and}"
        ));
    }
    statements
}

/// The numbers must never change.
const fn code_of(daily: Daily) -> i64 {
    match daily {
        Daily::Sent => 1,
        Daily::PaidOut => 2,
    }
}

fn daily_of(code: i64) -> Option<Daily> {
    [Daily::Sent, Daily::PaidOut].into_iter().find(|daily| code_of(*daily) == code)
}
