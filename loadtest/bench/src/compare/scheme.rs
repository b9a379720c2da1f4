//! The schemes that are compared, by name.

use clap::ValueEnum;
use serde::Serialize;

/// A way to open envelopes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scheme {
    /// No scheme: the same HTTP and the same checks, a count in memory, and nothing kept
    Bare,
    /// SELECT ... FOR UPDATE, insert, update, commit
    RowLock,
    /// The same with NOWAIT: who meets a lock is answered `busy`
    NoWait,
    /// UPDATE ... WHERE version = ?, tried a few times
    Optimistic,
    /// Shares split ahead, a row each: SELECT ... FOR UPDATE SKIP LOCKED LIMIT 1, update, commit
    Presplit,
    /// A share is taken in Redis and answered; MariaDB is written later
    MemoryFirst,
    /// Redis is the record: a script takes a share, answered after the flush of `appendfsync always`
    RedisAlways,
    /// A queue for each envelope, one transaction an opening
    Serial,
    /// A server of a SET of this service
    Hongbao,
}

impl Scheme {
    /// All of them, in the order of the table.
    pub fn all() -> &'static [Scheme] {
        Scheme::value_variants()
    }

    /// The name as it is typed and printed.
    pub fn text(self) -> &'static str {
        match self {
            Scheme::Bare => "bare",
            Scheme::RowLock => "row-lock",
            Scheme::NoWait => "no-wait",
            Scheme::Optimistic => "optimistic",
            Scheme::Presplit => "presplit",
            Scheme::MemoryFirst => "memory-first",
            Scheme::RedisAlways => "redis-always",
            Scheme::Serial => "serial",
            Scheme::Hongbao => "hongbao",
        }
    }

    /// An alternative's database: each has its own, on the same server.
    pub fn database(self) -> String {
        format!("db_alternative_{}", self.text().replace('-', "_"))
    }

    /// Whether anything outlives the process.
    pub fn keeps_openings(self) -> bool {
        self != Scheme::Bare
    }

    /// Whether the journal says what remains after each opening.
    pub fn journals_the_rest(self) -> bool {
        !matches!(self, Scheme::Presplit | Scheme::MemoryFirst | Scheme::RedisAlways)
    }

    /// More requests a second than two cores answer, so that prepared ones last.
    pub fn requests_per_s_max(self) -> u32 {
        match self {
            Scheme::Hongbao | Scheme::Bare => 120_000,
            Scheme::MemoryFirst | Scheme::RedisAlways => 90_000,
            Scheme::RowLock | Scheme::NoWait | Scheme::Optimistic | Scheme::Presplit | Scheme::Serial => 40_000,
        }
    }

    /// The schemes that were asked for; `all` is all of them.
    ///
    /// # Errors
    /// Names what is no scheme.
    pub fn parse_list(text: &str) -> Result<Vec<Scheme>, String> {
        if text == "all" {
            return Ok(Scheme::all().to_vec());
        }
        let mut schemes = text.split(',').map(|name| Scheme::from_str(name, false)).collect::<Result<Vec<_>, _>>()?;
        schemes.sort();
        schemes.dedup();
        Ok(schemes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemes_are_named_on_the_command_line_as_they_are_printed() {
        for &scheme in Scheme::all() {
            assert_eq!(Scheme::parse_list(scheme.text()), Ok(vec![scheme]));
        }
        assert_eq!(Scheme::parse_list("all"), Ok(Scheme::all().to_vec()));
        assert_eq!(Scheme::parse_list("serial,row-lock,serial"), Ok(vec![Scheme::RowLock, Scheme::Serial]));
        assert!(Scheme::parse_list("row-lock,magic").is_err());
    }
}
