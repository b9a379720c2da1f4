//! The columns of a file, in their order.

use std::sync::Arc;

use parquet::basic::{Compression, Encoding};
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesPtr};
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::{ColumnPath, TypePtr};

/// Named as the columns of the database's tables. A journal is a list, as all readers of Parquet know it.
const SCHEMA: &str = "
message envelope {
  required fixed_len_byte_array(16) id (UUID);
  required binary sender (STRING);
  required binary kind (STRING);
  required int64 total_fen;
  required int64 shares;
  required int64 share_cap_fen;
  required binary greeting (STRING);
  required binary audience_type (STRING);
  optional binary audience_id (STRING);
  required fixed_len_byte_array(32) seed;
  required int64 created_at_ms;
  required int64 lifetime_ms;
  required int64 stage;
  optional int64 expires_at_ms;
  required int64 settled_seq;
  required group entries (LIST) {
    repeated group list {
      required group element {
        required int64 seq;
        required binary user_id (STRING);
        required int64 amount_fen;
        required int64 remaining_fen;
        required int64 at_ms;
      }
    }
  }
}";
/// Texts that come again and again.
const REPEATED: [&str; 5] = ["sender", "kind", "greeting", "audience_type", "audience_id"];
/// Numbers that are near to those before them.
const NUMBERS: [&str; 8] =
    ["total_fen", "shares", "share_cap_fen", "created_at_ms", "lifetime_ms", "stage", "expires_at_ms", "settled_seq"];
const NUMBERS_OF_ENTRIES: [&str; 4] = ["seq", "amount_fen", "remaining_fen", "at_ms"];

/// The schema of all files.
pub fn schema() -> TypePtr {
    Arc::new(parse_message_type(SCHEMA).expect("a test reads it"))
}

/// How files are written: the same rows give the same bytes.
pub fn properties() -> WriterPropertiesPtr {
    let mut properties = WriterProperties::builder()
        .set_created_by("hongbao".to_owned())
        .set_compression(Compression::SNAPPY)
        .set_dictionary_enabled(false)
        .set_statistics_enabled(EnabledStatistics::None)
        .set_column_statistics_enabled(ColumnPath::from("id"), EnabledStatistics::Chunk)
        .set_offset_index_disabled(true);
    for name in REPEATED {
        properties = properties.set_column_dictionary_enabled(ColumnPath::from(name), true);
    }
    let of_entry = |name: &str| ColumnPath::from(["entries", "list", "element", name].map(str::to_owned).to_vec());
    properties = properties.set_column_dictionary_enabled(of_entry("user_id"), true);
    let numbers = NUMBERS.into_iter().map(ColumnPath::from).chain(NUMBERS_OF_ENTRIES.into_iter().map(of_entry));
    for path in numbers {
        properties = properties.set_column_encoding(path, Encoding::DELTA_BINARY_PACKED);
    }
    Arc::new(properties.build())
}
