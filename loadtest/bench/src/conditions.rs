//! Under which conditions figures were measured: they stand above every table.

use std::fmt;
use std::path::Path;

use hongbao_load::{Client, Fallible, machine, metrics};
use serde::Serialize;

/// The machine, and what the service promises.
#[derive(Clone, Debug, Serialize)]
pub struct Conditions {
    pub processors: String,
    /// The type of the file system under the service's data.
    pub file_system: String,
    /// What the service says of its durability.
    pub durability: String,
}

impl Conditions {
    /// Of a service whose data is in `dir`.
    pub fn read(dir: &Path, client: &Client) -> Fallible<Conditions> {
        Ok(Conditions {
            processors: machine::processors(),
            file_system: machine::file_system(dir),
            durability: metrics::durability(&client.metrics()?).unwrap_or("not stated").to_owned(),
        })
    }
}

impl fmt::Display for Conditions {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Conditions { processors, file_system, durability } = self;
        write!(out, "machine     {processors}, {file_system} disk\ndurability  {durability}")
    }
}
