//! Rows as literals of SQL: see [`hongbao_database::mysql::row`].

use hongbao_core::{Entry, Envelope, Timestamp};
use hongbao_database::mysql::row::{put, put_bytes};

use super::layout::Layout;
use crate::rows::{audience_columns, entry_user, kind_name, stage_number};

/// Writes an envelope as `(…)`. Where the fence does not accept its id, its last column is NULL, which the
/// database refuses.
pub fn put_envelope(sql: &mut String, envelope: &Envelope, layout: &Layout) {
    let (audience_type, audience_id) = audience_columns(&envelope.audience);
    sql.push('(');
    put_bytes(sql, envelope.id.as_bytes());
    put(sql, format_args!(",'{}','{}'", envelope.sender, kind_name(envelope.kind)));
    put(sql, format_args!(",{},{},{},", envelope.total.get(), envelope.shares, envelope.share_cap.get()));
    put_text(sql, &envelope.greeting);
    match audience_id {
        Some(id) => put(sql, format_args!(",'{audience_type}','{id}',")),
        None => put(sql, format_args!(",'{audience_type}',NULL,")),
    }
    put_bytes(sql, envelope.seed.as_bytes());
    put(sql, format_args!(",{},{}", envelope.created_at.millis(), envelope.lifetime_ms));
    put(sql, format_args!(",{}", stage_number(envelope.stage)));
    match envelope.expires_at.map(Timestamp::millis) {
        Some(millis) => put(sql, format_args!(",{millis}")),
        None => sql.push_str(",NULL"),
    }
    let (id, minted_at) = (envelope.id, envelope.id.minted_at());
    let (fold, settled_seq) = (layout.held.at(minted_at).fold, envelope.settled_seq);
    let (slot, at_ms) = (id.slot(), minted_at.millis());
    put(
        sql,
        format_args!(
            ",(SELECT {settled_seq} FROM {} WHERE slot = {} AND from_ms <= {at_ms} AND until_ms > {at_ms} \
             AND db_count = {}))",
            layout.fence(fold.database_of(slot)),
            slot.number(),
            fold.databases()
        ),
    );
}

/// Writes an entry as `(…)`.
pub fn put_entry(sql: &mut String, entry: &Entry) {
    sql.push('(');
    put_bytes(sql, entry.envelope_id.as_bytes());
    let (amount, remaining) = (entry.amount.get(), entry.remaining.get());
    put(sql, format_args!(",{},'{}',{amount},{remaining},{})", entry.seq, entry_user(entry), entry.at.millis()));
}

fn put_text(sql: &mut String, text: &str) {
    if text.is_empty() {
        sql.push_str("''");
        return;
    }
    sql.push_str("_utf8mb4 ");
    put_bytes(sql, text.as_bytes());
}
