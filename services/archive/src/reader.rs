//! A file that is read part by part.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use hongbao_core::EnvelopeId;
use hongbao_core::limits::EXPORT_FILE_BYTES_MAX;
use hongbao_core::manifest::Hash;
use hongbao_store::rows::{self, ENTRY_WIDTH, ENVELOPE_WIDTH};
use hongbao_store::{ArchivedFile, Rows, StoreError, TableFile};
use parquet::errors::ParquetError;
use parquet::file::metadata::page_index::RowGroupPageIndex;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader, RowGroupMetaData};
use parquet::file::properties::ReaderProperties;
use parquet::file::reader::RowGroupReader as _;
use parquet::file::serialized_reader::SerializedRowGroupReader;
use sha2::{Digest as _, Sha256};

use crate::about::{About, AboutPart, damaged, hex};
use crate::columns::{Column, Ends, Row, Window};
use crate::objects::Objects;
use crate::schema::schema;
use crate::threads::compute;

/// The end of a file: the length of the footer's metadata, and a mark.
const TAIL_BYTES: u64 = 8;

/// See the module.
pub struct FileReader {
    objects: Arc<Objects>,
    file: ArchivedFile,
    footer: Arc<ParquetMetaData>,
    about: About,
    ends: Vec<(EnvelopeId, EnvelopeId)>,
}

impl FileReader {
    /// Reads the footer.
    pub async fn open(objects: Arc<Objects>, file: &ArchivedFile) -> Result<FileReader, StoreError> {
        let ArchivedFile { path, bytes, footer_bytes, footer_sha256, .. } = file;
        let from = bytes.checked_sub(*footer_bytes).filter(|_| *footer_bytes <= EXPORT_FILE_BYTES_MAX as u64);
        let from = from.ok_or_else(|| damaged(path, "its footer is longer than it, or than any"))?;
        let read = objects.read(path, from..*bytes).await?;
        let (path, expected) = (path.clone(), *footer_sha256);
        let (footer, about) = compute(move || {
            check(&path, &Sha256::digest(&read).into(), &expected, "its footer")?;
            read_footer(&path, &read)
        })
        .await?;
        let ends = about.parts.iter().map(|part| (part.first, part.last)).collect();
        Ok(FileReader { objects, file: file.clone(), footer: Arc::new(footer), about, ends })
    }

    /// Refuses the file of another table.
    pub fn check_manifest(&self, manifest_hash: Hash) -> Result<(), StoreError> {
        let table = &self.about.table;
        match table.manifest_hash == hex(&manifest_hash) {
            true => Ok(()),
            false => {
                let (set, database, y, date) = (&table.set, &table.database, table.table, &table.date);
                let found = format!("it is that of manifest {} of {set} {database}", table.manifest);
                Err(damaged(&self.file.path, format!("{found}, table {y} of {date}, or of another history of it")))
            }
        }
    }
}

#[async_trait]
impl TableFile for FileReader {
    fn parts(&self) -> &[(EnvelopeId, EnvelopeId)] {
        &self.ends
    }

    fn entries(&self) -> u64 {
        self.about.parts.iter().map(|part| part.entries).sum()
    }

    async fn ids(&self, number: usize) -> Result<Vec<EnvelopeId>, StoreError> {
        let AboutPart { from, ids_until, ids_sha256, .. } = &self.about.parts[number];
        self.decode(number, *from..*ids_until, ids_sha256, read_ids).await
    }

    async fn part(&self, number: usize) -> Result<Rows, StoreError> {
        let AboutPart { from, until, sha256, .. } = &self.about.parts[number];
        self.decode(number, *from..*until, sha256, read_rows).await
    }
}

impl FileReader {
    /// What `read` makes of bytes of a part that have this hash.
    async fn decode<T: Send + 'static>(
        &self,
        number: usize,
        range: Range<u64>,
        sha256: &str,
        read: fn(Window, &RowGroupMetaData) -> Result<T, Unreadable>,
    ) -> Result<T, StoreError> {
        let (path, from, expected) = (self.file.path.clone(), range.start, sha256.to_owned());
        if range.start > range.end || range.end - range.start > EXPORT_FILE_BYTES_MAX as u64 {
            return Err(damaged(&path, "a part of it lies nowhere"));
        }
        let bytes = self.objects.read(&path, range).await?;
        let window = Window { from, bytes, file_bytes: self.file.bytes };
        let footer = self.footer.clone();
        compute(move || {
            if hex(&Sha256::digest(&window.bytes).into()) != expected {
                return Err(damaged(&path, format!("part {number} was changed: its hash is another one")));
            }
            read(window, footer.row_group(number)).map_err(|error| damaged(&path, error))
        })
        .await
    }
}

/// Compares the hash of what was found in a file with that of what was exported.
pub fn check(path: &str, found: &Hash, expected: &Hash, what: &str) -> Result<(), StoreError> {
    match found == expected {
        true => Ok(()),
        false => Err(damaged(path, format!("{what} has the SHA-256 {}, exported was {}", hex(found), hex(expected)))),
    }
}

/// The size and the hash of the footer of a file that was just made.
pub fn footer_of(file: &[u8]) -> Result<(u64, Hash), StoreError> {
    let length = file.last_chunk::<{ TAIL_BYTES as usize }>().and_then(|tail| tail.first_chunk::<4>());
    let bytes = length.map(|length| u64::from(u32::from_le_bytes(*length)) + TAIL_BYTES);
    let footer = bytes.and_then(|bytes| file.len().checked_sub(usize::try_from(bytes).ok()?));
    let from =
        footer.ok_or_else(|| StoreError::Unavailable("what was made is no file of an exported table".to_owned()))?;
    let footer = &file[from..];
    Ok((footer.len() as u64, Sha256::digest(footer).into()))
}

fn read_footer(path: &str, read: &Bytes) -> Result<(ParquetMetaData, About), StoreError> {
    let metadata = read.get(..read.len().saturating_sub(TAIL_BYTES as usize)).unwrap_or_default();
    let footer = ParquetMetaDataReader::decode_metadata(metadata).map_err(|error| damaged(path, error))?;
    let about = About::read(path, &footer)?;
    match footer.file_metadata().schema() == &*schema() {
        true => Ok((footer, about)),
        false => Err(damaged(path, "its columns are others than those of an exported table")),
    }
}

type GroupReader<'a> = SerializedRowGroupReader<'a, Window>;

/// Why rows cannot be read out of a part.
#[derive(Debug, thiserror::Error)]
enum Unreadable {
    #[error(transparent)]
    Columns(#[from] ParquetError),
    #[error(transparent)]
    Row(#[from] StoreError),
}

fn read_ids(window: Window, group: &RowGroupMetaData) -> Result<Vec<EnvelopeId>, Unreadable> {
    let (reader, count) = reader_of(window, group)?;
    let id = Column::read(reader.get_column_reader(0)?, count)?.0;
    (0..count).map(|place| Ok(rows::envelope_id(&Row { cells: vec![(&id, place)] }, 0)?)).collect()
}

fn reader_of(window: Window, group: &RowGroupMetaData) -> Result<(GroupReader<'_>, usize), Unreadable> {
    let count = usize::try_from(group.num_rows()).unwrap_or(0);
    let properties = Arc::new(ReaderProperties::builder().build());
    let page_index = RowGroupPageIndex::new(0, None);
    Ok((SerializedRowGroupReader::new(Arc::new(window), group, page_index, properties)?, count))
}

fn read_rows(window: Window, group: &RowGroupMetaData) -> Result<Rows, Unreadable> {
    let (reader, count) = reader_of(window, group)?;
    let mut columns: Vec<(Column, Ends)> = Vec::with_capacity(reader.num_columns());
    for number in 0..reader.num_columns() {
        columns.push(Column::read(reader.get_column_reader(number)?, count)?);
    }
    let (of_envelopes, of_entries) = columns.split_at(ENVELOPE_WIDTH);
    let [id, ..] = of_envelopes else { return Ok(Rows::new()) };
    let mut all = Rows::with_capacity(count);
    let mut from = 0;
    for place in 0..count {
        let cells = of_envelopes.iter().map(|(column, _)| (column, place)).collect();
        let envelope = rows::envelope(&Row { cells }, 0)?;
        let until = of_entries.first().and_then(|(_, ends)| ends.get(place)).copied().unwrap_or(from);
        let mut journal = Vec::with_capacity(until - from);
        for entry in from..until {
            // The columns of a list begin behind the id, which all entries of an envelope have in common.
            let mut cells = Vec::with_capacity(ENTRY_WIDTH);
            cells.push((&id.0, place));
            cells.extend(of_entries.iter().map(|(column, _)| (column, entry)));
            journal.push(rows::entry(&Row { cells }, 0)?);
        }
        all.push((envelope, journal));
        from = until;
    }
    Ok(all)
}
