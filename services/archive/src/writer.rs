//! A file that is being made.

use async_trait::async_trait;
use hongbao_core::limits::{EXPORT_FILE_BYTES_MAX, EXPORT_PART_ROWS_MAX};
use hongbao_core::{Entry, Envelope, Timestamp};
use hongbao_store::rows::{audience_columns, entry_user, kind_name, stage_number};
use hongbao_store::{NewFile, Rows, StoreError};
use parquet::data_type::{ByteArray, ByteArrayType, DataType, FixedLenByteArray, FixedLenByteArrayType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use sha2::{Digest as _, Sha256};

use crate::about::{About, AboutPart, AboutTable, hex};
use crate::schema::{properties, schema};
use crate::threads::compute;

/// The levels of values of which each row has one.
const FLAT: (Option<&[i16]>, Option<&[i16]>) = (None, None);

/// See the module.
pub struct FileWriter {
    /// What has been made of it; gone while a thread goes on with it, for good if its end was not waited for.
    made: Option<Made>,
    /// Rows of the part that is not full yet.
    rows: Rows,
    /// How many they are, envelopes and entries.
    count: usize,
}

/// A file as far as it has been made.
struct Made {
    about: About,
    writer: SerializedFileWriter<Vec<u8>>,
}

impl FileWriter {
    /// An empty file for the rows of this table.
    pub fn new(table: AboutTable) -> Result<FileWriter, StoreError> {
        let writer = SerializedFileWriter::new(Vec::new(), schema(), properties()).map_err(failed)?;
        let made = Made { about: About { table, parts: Vec::new() }, writer };
        Ok(FileWriter { made: Some(made), rows: Vec::new(), count: 0 })
    }

    /// What there is, and the rows to go on with.
    fn take(&mut self) -> Result<(Made, Rows), StoreError> {
        let given_up = || StoreError::Unavailable("the file of an exported table was given up".to_owned());
        self.count = 0;
        Ok((self.made.take().ok_or_else(given_up)?, std::mem::take(&mut self.rows)))
    }
}

impl Made {
    fn end_part(&mut self, rows: &Rows) -> Result<(), StoreError> {
        let (Some((first, _)), Some((last, _))) = (rows.first(), rows.last()) else { return Ok(()) };
        let from = self.flushed()?;
        let mut group = self.writer.next_row_group().map_err(failed)?;
        write_columns(&mut group, rows).map_err(failed)?;
        let group = group.close().map_err(failed)?;
        // The column of the ids is the first one.
        let (ids_from, ids_bytes) = group.column(0).byte_range();
        let ids_until = (ids_from + ids_bytes) as usize;
        let until = self.flushed()?;
        if until > EXPORT_FILE_BYTES_MAX {
            let reason = format!("its file is larger than {EXPORT_FILE_BYTES_MAX} bytes, and it stays in the database");
            return Err(StoreError::Unsupported(reason));
        }
        let sha256 = |until: usize| hex(&Sha256::digest(&self.writer.inner()[from..until]).into());
        let (sha256, ids_sha256) = (sha256(until), sha256(ids_until));
        let entries = rows.iter().map(|(_, journal)| journal.len() as u64).sum();
        let (first, last, from, until, ids_until) = (first.id, last.id, from as u64, until as u64, ids_until as u64);
        self.about.parts.push(AboutPart { first, last, entries, from, until, sha256, ids_until, ids_sha256 });
        Ok(())
    }

    /// The bytes that there are so far.
    fn flushed(&mut self) -> Result<usize, StoreError> {
        self.writer.flush().map_err(|error| failed(error.into()))?;
        Ok(self.writer.inner().len())
    }
}

#[async_trait]
impl NewFile for FileWriter {
    async fn add(&mut self, envelope: Envelope, journal: Vec<Entry>) -> Result<(), StoreError> {
        let rows = 1 + journal.len();
        if self.count + rows > EXPORT_PART_ROWS_MAX {
            let (mut made, part) = self.take()?;
            self.made = Some(compute(move || made.end_part(&part).map(|()| made)).await?);
        }
        self.count += rows;
        self.rows.push((envelope, journal));
        Ok(())
    }

    async fn finish(mut self: Box<Self>) -> Result<Vec<u8>, StoreError> {
        let (mut made, part) = self.take()?;
        compute(move || {
            made.end_part(&part)?;
            for pair in made.about.metadata() {
                made.writer.append_key_value_metadata(pair);
            }
            made.writer.into_inner().map_err(failed)
        })
        .await
    }
}

/// Writes the columns of a part in the order of the schema.
fn write_columns(group: &mut SerializedRowGroupWriter<'_, Vec<u8>>, rows: &Rows) -> Result<(), ParquetError> {
    let mut columns = Columns(group);
    let numbers = |of: fn(&Envelope) -> i64| -> Vec<i64> { rows.iter().map(|(envelope, _)| of(envelope)).collect() };
    let texts = |of: fn(&Envelope) -> &str| -> Vec<ByteArray> {
        rows.iter().map(|(envelope, _)| ByteArray::from(of(envelope))).collect()
    };
    columns.fixed(rows.iter().map(|(envelope, _)| envelope.id.as_bytes().as_slice()))?;
    columns.put::<ByteArrayType>(&texts(|envelope| envelope.sender.as_str()), FLAT)?;
    columns.put::<ByteArrayType>(&texts(|envelope| kind_name(envelope.kind)), FLAT)?;
    columns.put::<Int64Type>(&numbers(|envelope| envelope.total.get()), FLAT)?;
    columns.put::<Int64Type>(&numbers(|envelope| envelope.shares.into()), FLAT)?;
    columns.put::<Int64Type>(&numbers(|envelope| envelope.share_cap.get()), FLAT)?;
    columns.put::<ByteArrayType>(&texts(|envelope| &envelope.greeting), FLAT)?;
    columns.put::<ByteArrayType>(&texts(|envelope| audience_columns(&envelope.audience).0), FLAT)?;
    let audience_ids = rows.iter().map(|(envelope, _)| audience_columns(&envelope.audience).1.map(ByteArray::from));
    columns.optional::<ByteArrayType>(audience_ids)?;
    columns.fixed(rows.iter().map(|(envelope, _)| envelope.seed.as_bytes().as_slice()))?;
    columns.put::<Int64Type>(&numbers(|envelope| envelope.created_at.millis()), FLAT)?;
    columns.put::<Int64Type>(&numbers(|envelope| envelope.lifetime_ms), FLAT)?;
    columns.put::<Int64Type>(&numbers(|envelope| stage_number(envelope.stage)), FLAT)?;
    columns.optional::<Int64Type>(rows.iter().map(|(envelope, _)| envelope.expires_at.map(Timestamp::millis)))?;
    columns.put::<Int64Type>(&numbers(|envelope| envelope.settled_seq.into()), FLAT)?;

    // An empty list has a level and no value; of each other list, all values but the first repeat.
    let (mut definition, mut repetition) = (Vec::new(), Vec::new());
    for (_, journal) in rows {
        definition.extend((0..journal.len().max(1)).map(|_| i16::from(!journal.is_empty())));
        repetition.extend((0..journal.len().max(1)).map(|place| i16::from(place > 0)));
    }
    let levels = (Some(&definition[..]), Some(&repetition[..]));
    let entries = || rows.iter().flat_map(|(_, journal)| journal);
    let numbers = |of: fn(&Entry) -> i64| -> Vec<i64> { entries().map(of).collect() };
    columns.put::<Int64Type>(&numbers(|entry| entry.seq.into()), levels)?;
    let users: Vec<ByteArray> = entries().map(|entry| ByteArray::from(entry_user(entry))).collect();
    columns.put::<ByteArrayType>(&users, levels)?;
    columns.put::<Int64Type>(&numbers(|entry| entry.amount.get()), levels)?;
    columns.put::<Int64Type>(&numbers(|entry| entry.remaining.get()), levels)?;
    columns.put::<Int64Type>(&numbers(|entry| entry.at.millis()), levels)
}

/// The columns of a part that are not written yet.
struct Columns<'a, 'b>(&'a mut SerializedRowGroupWriter<'b, Vec<u8>>);

impl Columns<'_, '_> {
    fn put<T: DataType>(
        &mut self,
        values: &[T::T],
        (definition, repetition): (Option<&[i16]>, Option<&[i16]>),
    ) -> Result<(), ParquetError> {
        let mut column = self.0.next_column()?.expect("there are as many as in the schema");
        column.typed::<T>().write_batch(values, definition, repetition)?;
        column.close()
    }

    fn fixed<'v>(&mut self, values: impl Iterator<Item = &'v [u8]>) -> Result<(), ParquetError> {
        let values: Vec<FixedLenByteArray> = values.map(|bytes| bytes.to_vec().into()).collect();
        self.put::<FixedLenByteArrayType>(&values, FLAT)
    }

    fn optional<T: DataType>(&mut self, values: impl Iterator<Item = Option<T::T>>) -> Result<(), ParquetError> {
        let all: Vec<Option<T::T>> = values.collect();
        let levels: Vec<i16> = all.iter().map(|value| i16::from(value.is_some())).collect();
        let values: Vec<T::T> = all.into_iter().flatten().collect();
        self.put::<T>(&values, (Some(&levels), None))
    }
}

fn failed(error: ParquetError) -> StoreError {
    StoreError::Unsupported(format!("the file of an exported table cannot be made: {error}"))
}
