//! Copies of manifests as JSON, one beside the file of each table: what the database says of both, for a reader
//! without it. Hashes and ids are hexadecimal digits.

use hongbao_core::manifest::{Content, Manifest, Tie};
use hongbao_core::{Date, EnvelopeId};
use hongbao_store::{Archived, ArchivedFile, StoreError, StoredManifest};
use serde::{Deserialize, Serialize};

use crate::about::{AboutTable, FORMAT, damaged, hash_of, hex};

#[derive(Serialize, Deserialize)]
struct Copy {
    format: u32,
    table: AboutTable,
    manifest: ManifestCopy,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<FileCopy>,
}

#[derive(Serialize, Deserialize)]
struct ManifestCopy {
    number: u64,
    envelopes: u64,
    entries: u64,
    paid_fen: i64,
    opened_fen: i64,
    refunded_fen: i64,
    ends: Option<(EnvelopeId, EnvelopeId)>,
    rows_hash: String,
    transfers: u64,
    transfers_fen: i64,
    transfers_hash: String,
    previous_hash: String,
    hash: String,
}

#[derive(Serialize, Deserialize)]
struct FileCopy {
    path: String,
    bytes: u64,
    sha256: String,
    footer_bytes: u64,
    footer_sha256: String,
}

/// The copy of one manifest.
pub fn copy(table: AboutTable, stored: &StoredManifest, file: Option<&ArchivedFile>) -> Vec<u8> {
    to_json(&Copy::of(table, stored, file))
}

/// Copies of all manifests of a database, in the order of their chain.
pub fn copies(chain: &[(AboutTable, Archived)]) -> Vec<u8> {
    let copy =
        |(table, archived): &(AboutTable, Archived)| Copy::of(table.clone(), &archived.stored, archived.file.as_ref());
    let copies: Vec<Copy> = chain.iter().map(copy).collect();
    to_json(&copies)
}

/// Reads copies of the manifests of a database.
pub fn read_copies(path: &str, json: &[u8], (database, name): (u8, &str)) -> Result<Vec<Archived>, StoreError> {
    let copies: Vec<Copy> = serde_json::from_slice(json).map_err(|error| damaged(path, error))?;
    let read = |copy: Copy| {
        if copy.format > FORMAT {
            let reason = format!("{path} is of format {}, and this program reads {FORMAT}: upgrade it", copy.format);
            return Err(StoreError::Unavailable(reason));
        }
        if copy.table.database != name {
            return Err(damaged(path, "it has a manifest of another database"));
        }
        copy.read(database).ok_or_else(|| damaged(path, "a copy of a manifest cannot be read"))
    };
    copies.into_iter().map(read).collect()
}

fn to_json(copy: &impl Serialize) -> Vec<u8> {
    let mut json = serde_json::to_vec_pretty(copy).expect("plain values can be written as JSON");
    json.push(b'\n');
    json
}

impl Copy {
    fn of(table: AboutTable, stored: &StoredManifest, file: Option<&ArchivedFile>) -> Copy {
        let StoredManifest { manifest, hash } = stored;
        let Content { envelopes, entries, paid_fen, opened_fen, refunded_fen, ends, rows_hash, tie } =
            &manifest.content;
        let manifest = ManifestCopy {
            number: manifest.number,
            envelopes: *envelopes,
            entries: *entries,
            paid_fen: *paid_fen,
            opened_fen: *opened_fen,
            refunded_fen: *refunded_fen,
            ends: *ends,
            rows_hash: hex(rows_hash),
            transfers: tie.transfers,
            transfers_fen: tie.amount_fen,
            transfers_hash: hex(&tie.hash),
            previous_hash: hex(&manifest.previous),
            hash: hex(hash),
        };
        let file = file.map(|file| FileCopy {
            path: file.path.clone(),
            bytes: file.bytes,
            sha256: hex(&file.sha256),
            footer_bytes: file.footer_bytes,
            footer_sha256: hex(&file.footer_sha256),
        });
        Copy { format: FORMAT, table, manifest, file }
    }

    fn read(self, database: u8) -> Option<Archived> {
        let Copy { table, manifest: copy, file, .. } = self;
        let tie =
            Tie { transfers: copy.transfers, amount_fen: copy.transfers_fen, hash: hash_of(&copy.transfers_hash)? };
        let content = Content {
            envelopes: copy.envelopes,
            entries: copy.entries,
            paid_fen: copy.paid_fen,
            opened_fen: copy.opened_fen,
            refunded_fen: copy.refunded_fen,
            ends: copy.ends,
            rows_hash: hash_of(&copy.rows_hash)?,
            tie,
        };
        let (number, date, previous) = (copy.number, Date::parse(&table.date)?, hash_of(&copy.previous_hash)?);
        let manifest = Manifest { number, database, table: table.table, date, content, previous };
        let file = match file {
            None => None,
            Some(file) => Some(ArchivedFile {
                path: file.path,
                bytes: file.bytes,
                sha256: hash_of(&file.sha256)?,
                footer_bytes: file.footer_bytes,
                footer_sha256: hash_of(&file.footer_sha256)?,
            }),
        };
        Some(Archived { stored: StoredManifest { manifest, hash: hash_of(&copy.hash)? }, file })
    }
}
