//! Whether the tables, keys and triggers of a database are still those that it was opened with.

use std::collections::BTreeSet;

use sqlx::{Row as _, SqliteConnection};

/// The statements that made them. SQLite's own tables, such as those of `ANALYZE`, are left out.
const STATEMENTS: &str =
    "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'";

/// What was there when it was opened.
pub struct Tables {
    /// SQLite counts each change.
    version: i64,
    statements: BTreeSet<String>,
}

impl Tables {
    /// What is there now.
    pub async fn read(connection: &mut SqliteConnection) -> Result<Tables, sqlx::Error> {
        let version = version(connection).await?;
        let rows = sqlx::query(STATEMENTS).fetch_all(connection).await?;
        let statements = rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
        Ok(Tables { version, statements })
    }

    /// What was there and is not any more. What was added is no trouble.
    pub async fn missing(&mut self, connection: &mut SqliteConnection) -> Result<Option<String>, sqlx::Error> {
        if version(connection).await? == self.version {
            return Ok(None);
        }
        let now = Tables::read(connection).await?;
        let missing = self.statements.difference(&now.statements).next();
        let Some(missing) = missing else {
            self.version = now.version;
            return Ok(None);
        };
        let first_line = missing.lines().next().unwrap_or_default().trim_end_matches('(').trim_end();
        Ok(Some(format!("`{first_line}` is not there any more")))
    }
}

async fn version(connection: &mut SqliteConnection) -> Result<i64, sqlx::Error> {
    sqlx::query("PRAGMA schema_version").fetch_one(connection).await?.try_get(0)
}
