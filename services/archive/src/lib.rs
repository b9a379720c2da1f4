//! Exported tables as Parquet files: one file for each table, one row for each envelope, with its journal as a list.
//!
//! A file consists of parts (Parquet's row groups) in the order of the ids, and a footer that says where each part
//! lies, between which ids, and its SHA-256. The SHA-256 of the footer stands in the database. So whatever is read
//! was compared with a hash first: the footer with that of the database, a part with that of the footer. A library
//! that reads columns never sees damaged bytes.
//!
//! A lookup reads the footer, which the store remembers, the ids of one part, and its rows if the id is among these.
//!
//! Reading order: `location`, `bucket`, `connect`, `folder`, `files`, `threads`, `objects`, `about`, `schema`, `writer`, `columns`, `reader`,
//! `copy`, `archive`.

mod about;
mod archive;
mod bucket;
mod columns;
mod connect;
mod copy;
mod files;
mod folder;
mod location;
mod objects;
mod reader;
mod schema;
mod threads;
mod writer;

pub use self::archive::FileArchive;
pub use self::bucket::Bucket;
pub use self::location::Location;
