//! `[database]`: how databases are talked to.

use std::path::{Path, PathBuf};
use std::time::Duration;

use hongbao_core::settings::{self, setting};
use hongbao_database::mysql::connection::{MysqlOptions, Node, TlsLevel, TlsOptions};
use hongbao_http::local::is_loopback;
use serde::{Deserialize, Serialize};

use super::Secret;
use super::client_files::{TlsFiles, begin_at};

/// `[database]`: the same for all SETs and the wallet.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Database {
    /// Who we are to the database.
    pub user: String,
    /// With this password.
    pub password: Secret,
    /// Accepts a database that may lose commits when the power goes. `/readyz`
    /// and the metric `hongbao_durability_full` then say so.
    #[serde(default)]
    pub allow_weak_durability: bool,
    /// Connections of one process to one database server that are lent at the same time; a few more are held for good.
    #[serde(default = "connections_max")]
    pub connections_max: usize,
    /// For a connection to be made, in milliseconds.
    #[serde(default = "connect_timeout_ms")]
    pub connect_timeout_ms: u64,
    /// For a statement to be answered, in milliseconds; a connection that takes longer is given up.
    #[serde(default = "statement_timeout_ms")]
    pub statement_timeout_ms: u64,
    /// How connections over TCP are protected. Those over a unix socket never are.
    #[serde(default)]
    pub tls: DatabaseTls,
    /// Who may have signed the servers' certificates, PEM, beside the authorities that this host trusts; with
    /// `tls = "verified"`. Relative paths start at the folder of this file, here and in the next two.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// Our certificate, PEM, where the servers demand one.
    #[serde(default)]
    pub certificate_file: Option<PathBuf>,
    /// Its key, PEM.
    #[serde(default)]
    pub key_file: Option<PathBuf>,
}

/// `database.tls`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DatabaseTls {
    /// Nothing is encrypted.
    #[default]
    Off,
    /// All is encrypted; whether it is the right server that answers is not checked.
    Required,
    /// The server's certificate must be for its name or address in the topology, and signed by an authority that is
    /// trusted.
    Verified,
}

fn connections_max() -> usize {
    MysqlOptions::default().connections_max
}

fn connect_timeout_ms() -> u64 {
    MysqlOptions::default().connect_timeout.as_millis() as u64
}

fn statement_timeout_ms() -> u64 {
    MysqlOptions::default().statement_timeout.as_millis() as u64
}

impl Database {
    /// What is wrong with it, for the operator.
    pub fn check(&self) -> Result<(), String> {
        settings::check(
            "database",
            &[
                setting("connections_max", self.connections_max, 1..=10_000),
                setting("connect_timeout_ms", self.connect_timeout_ms, 1..=600_000),
                setting("statement_timeout_ms", self.statement_timeout_ms, 1..=600_000),
            ],
        )?;
        self.files().check_settings()?;
        let (ca, client) = (self.ca_file.is_some(), self.certificate_file.is_some());
        match self.tls {
            DatabaseTls::Off if ca || client => Err("database: its files have no effect without tls".to_owned()),
            DatabaseTls::Required if ca => Err("database: ca_file has no effect without tls = \"verified\"".to_owned()),
            _ => Ok(()),
        }
    }

    /// Relative paths start at this folder.
    pub fn begin_at(&mut self, folder: &Path) {
        begin_at(folder, [&mut self.ca_file, &mut self.certificate_file, &mut self.key_file]);
    }

    /// Reads the files that connections go by, if there are any; what is wrong with them, for the operator.
    pub fn check_files(&self) -> Result<(), String> {
        self.files().check_files()
    }

    fn files(&self) -> TlsFiles<'_> {
        TlsFiles {
            section: "database",
            ca_file: self.ca_file.as_deref(),
            certificate_file: self.certificate_file.as_deref(),
            key_file: self.key_file.as_deref(),
        }
    }

    /// Whether connections to one of these nodes can be read on their way.
    pub fn is_exposed(&self, nodes: &[String]) -> bool {
        let leaves_the_host = |node: &String| match node.parse() {
            Ok(Node::Tcp { host, .. }) => host != "localhost" && !host.parse().is_ok_and(is_loopback),
            _ => false,
        };
        self.tls == DatabaseTls::Off && nodes.iter().any(leaves_the_host)
    }

    /// How to connect to one of the nodes that the topology names.
    pub fn options(&self, nodes: &[String]) -> Result<MysqlOptions, String> {
        let nodes: Result<Vec<Node>, String> = nodes.iter().map(|node| node.parse()).collect();
        Ok(MysqlOptions {
            nodes: nodes?,
            user: self.user.clone(),
            password: self.password.0.clone(),
            allow_weak_durability: self.allow_weak_durability,
            connections_max: self.connections_max,
            connect_timeout: Duration::from_millis(self.connect_timeout_ms),
            statement_timeout: Duration::from_millis(self.statement_timeout_ms),
            tls: TlsOptions {
                level: match self.tls {
                    DatabaseTls::Off => TlsLevel::Off,
                    DatabaseTls::Required => TlsLevel::Required,
                    DatabaseTls::Verified => TlsLevel::Verified,
                },
                ca_file: self.ca_file.clone(),
                client: self.certificate_file.clone().zip(self.key_file.clone()),
            },
            ..MysqlOptions::default()
        })
    }
}
