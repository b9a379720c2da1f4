//! A node on which nothing is committed for a moment.

use sqlx::Executor as _;

use super::connection::{Connections, Lease, MysqlOptions, Node, within};
use super::failure::reading;
use crate::DatabaseError;

/// A node that was reached and goes on committing.
pub struct Reached {
    node: Node,
    lease: Lease,
}

impl Reached {
    /// The first node that can be reached.
    ///
    /// # Errors
    /// [`DatabaseError::Unavailable`]: none was.
    pub async fn open(options: &MysqlOptions) -> Result<Reached, DatabaseError> {
        let mut failure = DatabaseError::Unavailable("no node is named".to_owned());
        for node in &options.nodes {
            match Reached::at(MysqlOptions { nodes: vec![node.clone()], ..options.clone() }).await {
                Ok(lease) => return Ok(Reached { node: node.clone(), lease }),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    async fn at(options: MysqlOptions) -> Result<Lease, DatabaseError> {
        Connections::open(options).await?.lease().await
    }

    /// Freezes it. No other node in its place: on Galera that would not stop what
    /// clients commit on this one.
    ///
    /// # Errors
    /// [`DatabaseError::Unavailable`]: the user may not do it (`RELOAD`), or a long
    /// statement was in the way.
    pub async fn freeze(mut self) -> Result<Frozen, DatabaseError> {
        let lock = "FLUSH TABLES WITH READ LOCK /* backup */";
        within(self.lease.limit(), self.lease.connection().execute(sqlx::raw_sql(lock))).await.map_err(reading)?;
        Ok(Frozen { node: self.node, lease: self.lease })
    }
}

/// Holds the global read lock of one node: what runs there waits with its
/// commit. Given back by [`Frozen::thaw`], or with its connection.
pub struct Frozen {
    node: Node,
    lease: Lease,
}

impl Frozen {
    /// Which node it is.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// Lets it go on.
    pub async fn thaw(mut self) -> Result<(), DatabaseError> {
        let limit = self.lease.limit();
        let done = within(limit, self.lease.connection().execute(sqlx::raw_sql("UNLOCK TABLES"))).await;
        done.map_err(reading).map(|_| ())
    }
}
