//! The copy of a manifest beside the file of its table: what the database says of both, for a reader without it.

use hongbao_core::manifest::Manifest;
use hongbao_store::ArchivedFile;
use serde_json::{Value, json};

use crate::about::{AboutTable, FORMAT, hex};

/// The copy, as JSON. Hashes and ids are hexadecimal digits.
pub fn copy(table: &AboutTable, manifest: &Manifest, file: &ArchivedFile) -> Vec<u8> {
    let content = &manifest.content;
    let ends = content.ends.map_or(Value::Null, |(first, last)| json!([first, last]));
    let copy = json!({
        "format": FORMAT,
        "table": table,
        "manifest": {
            "number": manifest.number,
            "envelopes": content.envelopes,
            "entries": content.entries,
            "paid_fen": content.paid_fen,
            "opened_fen": content.opened_fen,
            "refunded_fen": content.refunded_fen,
            "ends": ends,
            "rows_hash": hex(&content.rows_hash),
            "transfers": content.tie.transfers,
            "transfers_fen": content.tie.amount_fen,
            "transfers_hash": hex(&content.tie.hash),
            "previous_hash": hex(&manifest.previous),
            "hash": hex(&manifest.hash()),
        },
        "file": {
            "path": file.path,
            "bytes": file.bytes,
            "sha256": hex(&file.sha256),
            "footer_bytes": file.footer_bytes,
            "footer_sha256": hex(&file.footer_sha256),
        },
    });
    format!("{copy:#}\n").into_bytes()
}
