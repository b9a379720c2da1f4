//! How many SETs a cluster can have.

use hongbao_testbed::FOLD;

/// Reads how many SETs a cluster is to have: each has as many databases as every other.
pub fn parse(text: &str) -> Result<u16, String> {
    let databases = u16::from(FOLD.databases());
    let count = text.parse().ok().filter(|count| (1..=databases).any(|sets| sets == *count && databases % sets == 0));
    count.ok_or_else(|| format!("it has {databases} databases, as many in each SET: 1, 2 or 4 SETs"))
}
