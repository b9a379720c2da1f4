//! A node on which nothing is committed for a moment.

use sqlx::Executor as _;

use super::connection::{Connections, Lease, MysqlOptions, Node, within};
use super::failure::reading;
use crate::StoreError;

/// Holds the global read lock of one node: what runs there waits with its
/// commit. Given back by [`Frozen::thaw`], or with its connection.
pub struct Frozen {
    node: Node,
    lease: Lease,
}

impl Frozen {
    /// Freezes the first node that can be reached.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]: none was reached, the user may not do it
    /// (`RELOAD`), or a long statement was in the way.
    pub async fn begin(options: &MysqlOptions) -> Result<Frozen, StoreError> {
        let mut failure = StoreError::Unavailable("no node is named".to_owned());
        for node in &options.nodes {
            match Frozen::at(MysqlOptions { nodes: vec![node.clone()], ..options.clone() }, node).await {
                Ok(frozen) => return Ok(frozen),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    async fn at(options: MysqlOptions, node: &Node) -> Result<Frozen, StoreError> {
        let mut lease = Connections::open(options).await?.lease().await?;
        let lock = "FLUSH TABLES WITH READ LOCK /* backup */";
        within(lease.limit(), lease.connection().execute(sqlx::raw_sql(lock))).await.map_err(reading)?;
        Ok(Frozen { node: node.clone(), lease })
    }

    /// Which node it is.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// Lets it go on.
    pub async fn thaw(mut self) -> Result<(), StoreError> {
        let limit = self.lease.limit();
        let done = within(limit, self.lease.connection().execute(sqlx::raw_sql("UNLOCK TABLES"))).await;
        done.map_err(reading).map(|_| ())
    }
}
