//! The columns of a part, as they are read.

use std::io::{self, Read as _};

use bytes::{Buf as _, Bytes};
use hongbao_database::{DatabaseError, StoredRow, row};
use parquet::column::reader::{ColumnReader, get_typed_column_reader};
use parquet::data_type::{ByteArray, ByteArrayType, DataType, FixedLenByteArrayType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, Length};

/// Bytes out of the middle of a file.
pub struct Window {
    /// Where they begin.
    pub from: u64,
    pub bytes: Bytes,
    pub file_bytes: u64,
}

impl Length for Window {
    fn len(&self) -> u64 {
        self.file_bytes
    }
}

impl ChunkReader for Window {
    type T = bytes::buf::Reader<Bytes>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        let from = start.checked_sub(self.from).filter(|from| *from <= self.bytes.len() as u64);
        from.map(|from| self.bytes.slice(from as usize..).reader()).ok_or_else(outside)
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        let mut read = self.get_read(start)?;
        if read.get_ref().remaining() < length {
            return Err(outside());
        }
        let mut bytes = vec![0; length];
        read.read_exact(&mut bytes).map_err(|error: io::Error| ParquetError::External(error.into()))?;
        Ok(bytes.into())
    }
}

fn outside() -> ParquetError {
    ParquetError::General("a column lies outside of its part".to_owned())
}

/// The values of one column, one for each row or, in a list, for each of its elements.
pub enum Column {
    Ints(Vec<Option<i64>>),
    Bytes(Vec<Option<ByteArray>>),
}

/// Where the elements of each row's list end in the columns of the list.
pub type Ends = Vec<usize>;

impl Column {
    /// Reads a column of so many rows. `ends` are those of its lists; empty where it is not of a list.
    pub fn read(reader: ColumnReader, rows: usize) -> Result<(Column, Ends), ParquetError> {
        match &reader {
            ColumnReader::Int64ColumnReader(_) => {
                let (values, ends) = values::<Int64Type>(reader, rows)?;
                Ok((Column::Ints(values), ends))
            }
            ColumnReader::ByteArrayColumnReader(_) => {
                let (values, ends) = values::<ByteArrayType>(reader, rows)?;
                Ok((Column::Bytes(values), ends))
            }
            ColumnReader::FixedLenByteArrayColumnReader(_) => {
                let (values, ends) = values::<FixedLenByteArrayType>(reader, rows)?;
                Ok((Column::Bytes(values.into_iter().map(|value| value.map(ByteArray::from)).collect()), ends))
            }
            _ => Err(ParquetError::General("a column is of a type that is not used here".to_owned())),
        }
    }
}

/// Values that may be null, and where the lists end that they are in.
type Read<T> = (Vec<Option<T>>, Ends);

fn values<T: DataType>(reader: ColumnReader, rows: usize) -> Result<Read<T::T>, ParquetError> {
    let mut reader = get_typed_column_reader::<T>(reader);
    let (mut values, mut definition, mut repetition) = (Vec::new(), Vec::new(), Vec::new());
    let mut read = 0;
    while read < rows {
        let records = reader.read_records(rows - read, Some(&mut definition), Some(&mut repetition), &mut values)?.0;
        if records == 0 {
            return Err(ParquetError::General(format!("a column has {read} rows instead of {rows}")));
        }
        read += records;
    }
    // A column without levels is of values that are always there.
    if definition.is_empty() {
        return Ok((values.into_iter().map(Some).collect(), Ends::new()));
    }
    let mut values = values.into_iter();
    if repetition.is_empty() {
        let all = definition.iter().map(|level| if *level > 0 { values.next() } else { None });
        return Ok((all.collect(), Ends::new()));
    }
    let mut ends = Ends::new();
    let mut elements = Vec::new();
    for (level, repeats) in definition.iter().zip(&repetition) {
        if *repeats == 0 {
            ends.push(elements.len());
        }
        if *level > 0 {
            elements.push(values.next());
            if let Some(end) = ends.last_mut() {
                *end = elements.len();
            }
        }
    }
    Ok((elements, ends))
}

/// A row of some columns, in the order in which the store reads them.
pub struct Row<'a> {
    /// Each column, and the place in it.
    pub cells: Vec<(&'a Column, usize)>,
}

impl Row<'_> {
    fn cell(&self, column: usize) -> Result<(&Column, usize), DatabaseError> {
        self.cells.get(column).copied().ok_or_else(|| row::damaged("column", column))
    }
}

impl StoredRow for Row<'_> {
    fn int_or_null(&self, column: usize) -> Result<Option<i64>, DatabaseError> {
        match self.cell(column)? {
            (Column::Ints(values), place) => {
                values.get(place).copied().ok_or_else(|| row::damaged("number", "nothing"))
            }
            (Column::Bytes(_), _) => Err(row::damaged("number", "bytes")),
        }
    }

    fn text_or_null(&self, column: usize) -> Result<Option<&str>, DatabaseError> {
        let bytes = self.bytes_or_null(column)?;
        bytes.map(|bytes| std::str::from_utf8(bytes).map_err(|_| row::damaged("text", bytes))).transpose()
    }

    fn bytes_or_null(&self, column: usize) -> Result<Option<&[u8]>, DatabaseError> {
        match self.cell(column)? {
            (Column::Bytes(values), place) => {
                let value = values.get(place).ok_or_else(|| row::damaged("bytes", "nothing"))?;
                Ok(value.as_ref().map(ByteArray::data))
            }
            (Column::Ints(_), _) => Err(row::damaged("bytes", "a number")),
        }
    }
}
