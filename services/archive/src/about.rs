//! What a file says of itself, in the metadata of its footer.

use hongbao_core::EnvelopeId;
use hongbao_core::manifest::{Hash, Manifest};
use hongbao_store::StoreError;
use parquet::file::metadata::{KeyValue, ParquetMetaData};
use serde::{Deserialize, Serialize};

/// The format that is written, and the latest that is read.
pub const FORMAT: u32 = 1;
const FORMAT_KEY: &str = "hongbao.format";
const TABLE_KEY: &str = "hongbao.table";
const PARTS_KEY: &str = "hongbao.parts";

/// Which table a file has the rows of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AboutTable {
    /// The SET, as the topology names it.
    pub set: String,
    /// `db_07`.
    pub database: String,
    /// `y`.
    pub table: u8,
    /// `20261126`.
    pub date: String,
    /// The place of its manifest.
    pub manifest: u64,
    /// The hash of its manifest.
    pub manifest_hash: String,
}

impl AboutTable {
    /// The table of this manifest, in these databases of a SET.
    pub fn new(set: &str, database: String, manifest: &Manifest) -> AboutTable {
        AboutTable {
            set: set.to_owned(),
            database,
            table: manifest.table,
            date: manifest.date.to_string(),
            manifest: manifest.number,
            manifest_hash: hex(&manifest.hash()),
        }
    }
}

/// A part of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AboutPart {
    /// Its first id.
    pub first: EnvelopeId,
    /// Its last id.
    pub last: EnvelopeId,
    /// Entries of its journals.
    pub entries: u64,
    /// Where its bytes begin in the file.
    pub from: u64,
    /// Where they end.
    pub until: u64,
    /// The hash of these.
    pub sha256: String,
    /// Where the bytes of its ids end, which come first.
    pub ids_until: u64,
    /// The hash of the bytes of its ids.
    pub ids_sha256: String,
}

/// Everything that a file says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// Of which table it is.
    pub table: AboutTable,
    /// What is in it.
    pub parts: Vec<AboutPart>,
}

impl About {
    /// As metadata of a footer.
    pub fn metadata(&self) -> Vec<KeyValue> {
        let json = |value: serde_json::Result<String>| value.expect("plain values can be written as JSON");
        let pair = |key: &str, value: String| KeyValue::new(key.to_owned(), value);
        vec![
            pair(FORMAT_KEY, FORMAT.to_string()),
            pair(TABLE_KEY, json(serde_json::to_string(&self.table))),
            pair(PARTS_KEY, json(serde_json::to_string(&self.parts))),
        ]
    }

    /// As a footer says; refuses one of a format that is not known here.
    pub fn read(path: &str, footer: &ParquetMetaData) -> Result<About, StoreError> {
        let pairs = footer.file_metadata().key_value_metadata();
        let value = |key: &str| {
            let found = pairs.into_iter().flatten().find(|pair| pair.key == key).and_then(|pair| pair.value.as_deref());
            found.ok_or_else(|| damaged(path, format!("its footer has no {key}: it is no file of an exported table")))
        };
        match value(FORMAT_KEY)?.parse::<u32>() {
            Ok(FORMAT) => {}
            Ok(newer) if newer > FORMAT => {
                let reason = format!("{path} is of format {newer}, and this program reads {FORMAT}: upgrade it");
                return Err(StoreError::Unsupported(reason));
            }
            _ => return Err(damaged(path, "its format is not known")),
        }
        let table = serde_json::from_str(value(TABLE_KEY)?).map_err(|error| damaged(path, error))?;
        let parts: Vec<AboutPart> = serde_json::from_str(value(PARTS_KEY)?).map_err(|error| damaged(path, error))?;
        let of_groups = footer.row_groups().len();
        if of_groups != parts.len() {
            return Err(damaged(path, format!("it has {of_groups} parts, and says that they are {}", parts.len())));
        }
        Ok(About { table, parts })
    }
}

/// A hash in hexadecimal digits.
pub fn hex(hash: &Hash) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The hash of these digits.
pub fn hash_of(digits: &str) -> Option<Hash> {
    let mut hash = Hash::default();
    let is_whole = digits.is_ascii() && digits.len() == 2 * hash.len();
    for (place, byte) in hash.iter_mut().enumerate().filter(|_| is_whole) {
        *byte = u8::from_str_radix(&digits[2 * place..][..2], 16).ok()?;
    }
    is_whole.then_some(hash)
}

/// The error of a file that is not what it should be.
pub fn damaged(path: &str, reason: impl std::fmt::Display) -> StoreError {
    StoreError::Damaged(format!("the exported table {path}: {reason}"))
}
