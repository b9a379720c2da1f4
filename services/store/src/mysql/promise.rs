//! What each database of a SET has to keep while it is in use.

use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use hongbao_database::mysql::promise::{Promise, Unkept};
use sqlx::mysql::MySqlConnection;

use super::layout::Layout;
use super::migrate::check_database;
use super::writer::{Writer, Writers};

/// A database is there, complete, of its layout and this version, and every
/// table of it can be written in transactions.
pub struct Complete {
    layout: Layout,
    number: u8,
    name: String,
    writer: Weak<Writer>,
}

impl Complete {
    /// Those of all databases of a SET.
    pub fn all(layout: &Layout, writers: &Writers) -> Vec<Arc<dyn Promise>> {
        let of = |(number, name)| {
            let writer = writers.kept_with(number).map(Arc::downgrade).unwrap_or_default();
            Arc::new(Complete { layout: layout.clone(), number, name, writer }) as Arc<dyn Promise>
        };
        layout.databases().into_iter().map(of).collect()
    }
}

#[async_trait]
impl Promise for Complete {
    fn database(&self) -> &str {
        &self.name
    }

    async fn look(&self, connection: &mut MySqlConnection, limit: Duration) -> Result<(), Unkept> {
        if let Some(writer) = self.writer.upgrade() {
            writer.keep().await;
        }
        check_database(connection, limit, &self.layout, self.number, &self.name).await
    }
}
