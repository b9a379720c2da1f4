//! The servers of others that Hongbao stands on, and how each is started.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::install::Fallible;
use crate::ports::is_open;
use crate::{galera, mariadb};

/// Which server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Backend {
    /// A MariaDB by itself.
    MariaDb,
    /// A node of a Galera cluster with nodes on these ports.
    GaleraNode(Vec<u16>),
    /// A memcached.
    Memcached,
    /// A Redis that is a cache: nothing of it is worth a disk.
    Redis,
}

/// One server: what it is, where its data lie, where it listens.
#[derive(Clone, Debug)]
pub(crate) struct BackendServer {
    pub backend: Backend,
    pub dir: PathBuf,
    pub port: u16,
    /// Further options of its program; of two that say different things the later one holds.
    pub options: Vec<String>,
}

impl BackendServer {
    /// Makes its folder, and the command that becomes the server; the process that was
    /// started is the server then. `begins` makes the cluster of a Galera node.
    pub(crate) fn command(&self, begins: bool) -> Fallible<Command> {
        let mut command = match &self.backend {
            Backend::MariaDb => mariadb::alone(&self.dir, self.port)?,
            Backend::GaleraNode(ports) => galera::node(&self.dir, self.port, ports, begins)?,
            Backend::Memcached => {
                let mut memcached = Command::new("memcached");
                memcached.args(["-l", "127.0.0.1", "-U", "0", "-m", "64", "-c", "1024", "-p"]);
                memcached.arg(self.port.to_string());
                // It refuses to run as root unless it is asked to.
                memcached.args(rustix::process::getuid().is_root().then_some(["-u", "root"]).into_iter().flatten());
                memcached
            }
            Backend::Redis => {
                fs::create_dir_all(&self.dir)?;
                let mut redis = Command::new("redis-server");
                redis.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
                redis.args(["--maxmemory", "128mb", "--maxmemory-policy", "allkeys-lru"]);
                redis.arg("--dir").arg(&self.dir).arg("--port").arg(self.port.to_string());
                redis
            }
        };
        command.args(&self.options);
        Ok(command)
    }

    /// Whether it answers; a Galera node, whether it has caught up with its cluster.
    pub(crate) fn is_ready(&self) -> bool {
        match self.backend {
            Backend::GaleraNode(_) => galera::is_synced(&self.dir),
            _ => is_open(self.port),
        }
    }
}
