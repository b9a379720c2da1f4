//! `[cache]`: how the caches of the SETs are reached.

use std::path::{Path, PathBuf};

use hongbao_envelope::shared::redis::{RedisOptions, RedisTls};
use serde::{Deserialize, Serialize};

use super::client_files::{TlsFiles, begin_at};

/// `[cache]`: TLS to each Redis whose URL in the topology begins with `rediss://`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CacheSection {
    /// Who may have signed their certificates, PEM; not given, the authorities that this host trusts. Relative paths
    /// start at the folder of this file, here and in the next two.
    pub ca_file: Option<PathBuf>,
    /// Our certificate, PEM, where they demand one.
    pub certificate_file: Option<PathBuf>,
    /// Its key, PEM.
    pub key_file: Option<PathBuf>,
}

impl CacheSection {
    /// What is wrong with it, for the operator.
    pub fn check(&self) -> Result<(), String> {
        self.files().check_settings()
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
            section: "cache",
            ca_file: self.ca_file.as_deref(),
            certificate_file: self.certificate_file.as_deref(),
            key_file: self.key_file.as_deref(),
        }
    }

    /// How the Redis at this URL is reached.
    pub fn options(&self, url: &str) -> RedisOptions {
        let client = self.certificate_file.clone().zip(self.key_file.clone());
        RedisOptions { tls: RedisTls { ca_file: self.ca_file.clone(), client }, ..RedisOptions::new(url) }
    }
}
