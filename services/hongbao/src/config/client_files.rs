//! Files with certificates and keys, of connections that this process makes.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// The files of one section: PEM all of them, and read anew for each connection.
pub struct TlsFiles<'a> {
    /// What the section is called in the settings.
    pub section: &'static str,
    /// Authorities that are trusted.
    pub ca_file: Option<&'a Path>,
    /// Our certificate, with what leads to its authority.
    pub certificate_file: Option<&'a Path>,
    /// Its private key.
    pub key_file: Option<&'a Path>,
}

impl TlsFiles<'_> {
    /// What is wrong with what the settings say alone, for the operator.
    pub fn check_settings(&self) -> Result<(), String> {
        match self.certificate_file.is_some() == self.key_file.is_some() {
            true => Ok(()),
            false => Err(format!("{}: certificate_file and key_file are given together, or not at all", self.section)),
        }
    }

    /// What is wrong with the files, for the operator: what would keep a connection from being made later on.
    pub fn check_files(&self) -> Result<(), String> {
        let mut trusted = RootCertStore::empty();
        if let Some(file) = self.ca_file {
            for certificate in certificates(file).map_err(|reason| self.named("ca_file", file, &reason))? {
                trusted.add(certificate).map_err(|reason| self.named("ca_file", file, &reason))?;
            }
        }
        let (Some(certificate_file), Some(key_file)) = (self.certificate_file, self.key_file) else { return Ok(()) };
        let chain = certificates(certificate_file);
        let chain = chain.map_err(|reason| self.named("certificate_file", certificate_file, &reason))?;
        let key = PrivateKeyDer::from_pem_file(key_file).map_err(|reason| self.named("key_file", key_file, &reason))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let client = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|client| client.with_root_certificates(trusted).with_client_auth_cert(chain, key));
        client.map(drop).map_err(|reason| self.named("key_file", key_file, &reason))
    }

    fn named(&self, name: &str, file: &Path, reason: &dyn Display) -> String {
        format!("{}: {name} {}: {reason}", self.section, file.display())
    }
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match read {
        Ok(certificates) if certificates.is_empty() => Err("there is no certificate in it".to_owned()),
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(error.to_string()),
    }
}

/// A relative path starts at the folder of the settings file.
pub fn begin_at<const N: usize>(folder: &Path, files: [&mut Option<PathBuf>; N]) {
    for file in files.into_iter().flatten() {
        *file = folder.join(&*file);
    }
}

#[cfg(test)]
mod tests {
    use hongbao_testbed::CertificateAuthority;

    use super::*;

    #[test]
    fn files_that_no_connection_could_use_are_named() {
        let authority = CertificateAuthority::new();
        let (ours, other) = (authority.client("ours"), authority.client("other"));
        let dir = tempfile::tempdir().unwrap();
        let [missing, empty, damaged] = ["missing", "empty", "damaged"].map(|name| dir.path().join(name));
        std::fs::write(&empty, "").unwrap();
        std::fs::write(&damaged, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
        let check = |ca: Option<&Path>, certificate: &Path, key: &Path| {
            let (certificate_file, key_file) = (Some(certificate), Some(key));
            TlsFiles { section: "cache", ca_file: ca, certificate_file, key_file }.check_files()
        };
        check(Some(authority.file()), &ours.certificate, &ours.key).unwrap();
        check(None, &ours.certificate, &ours.key).unwrap();
        for (ca, certificate, key, reason) in [
            (Some(&*missing), &*ours.certificate, &*ours.key, "cache: ca_file"),
            (Some(&*empty), &ours.certificate, &ours.key, "there is no certificate in it"),
            (Some(&*damaged), &ours.certificate, &ours.key, "cache: ca_file"),
            (None, &*missing, &ours.key, "cache: certificate_file"),
            (None, &ours.certificate, &*empty, "cache: key_file"),
            (None, &ours.certificate, &other.key, "cache: key_file"),
        ] {
            let error = check(ca, certificate, key).unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
    }
}
