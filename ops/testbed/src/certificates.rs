//! Certificates for tests: an authority of our own, and what it signs, as PEM files.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};
use tempfile::TempDir;

/// A certification authority with a folder for what it signs; the folder is removed when this is dropped.
///
/// Its certificates are good until the year 4096, but for those that have expired.
pub struct CertificateAuthority {
    dir: TempDir,
    issuer: Issuer<'static, KeyPair>,
    file: PathBuf,
}

/// A certificate and its private key, PEM files both.
#[derive(Clone, Debug)]
pub struct CertificateFiles {
    /// The certificate. Only its authority has signed it, so it is the whole chain.
    pub certificate: PathBuf,
    /// The key, PKCS #8.
    pub key: PathBuf,
}

impl CertificateFiles {
    /// Puts another certificate and its key in the place of these files, as one who renews a certificate does.
    pub fn replace_by(&self, other: &CertificateFiles) {
        for (from, to) in [(&other.certificate, &self.certificate), (&other.key, &self.key)] {
            // Renamed, so that no reader finds half of a file.
            let new = to.with_extension("new");
            fs::copy(from, &new).expect("the folder of an authority can be written to");
            fs::rename(new, to).expect("the folder of an authority can be written to");
        }
    }
}

impl Default for CertificateAuthority {
    fn default() -> CertificateAuthority {
        CertificateAuthority::new()
    }
}

impl CertificateAuthority {
    /// One that no other knows.
    pub fn new() -> CertificateAuthority {
        // As in life, no two have the same name.
        static MADE: AtomicU32 = AtomicU32::new(1);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let mut params = named(&format!("authority {number} of process {}", std::process::id()));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("the operating system has randomness");
        let certificate = params.self_signed(&key).expect("what it says of itself can be signed");
        let dir = tempfile::tempdir().expect("temporary folders can be made");
        let file = dir.path().join("authority.pem");
        fs::write(&file, certificate.pem()).expect("the folder is new");
        CertificateAuthority { dir, issuer: Issuer::new(params, key), file }
    }

    /// Its own certificate: what one who trusts it is given.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// A server's certificate for these names and IP addresses; `file` is what its files are called.
    pub fn server(&self, file: &str, names: &[&str]) -> CertificateFiles {
        self.sign(file, for_server(names))
    }

    /// The same, which has expired in the year 2021.
    pub fn expired_server(&self, file: &str, names: &[&str]) -> CertificateFiles {
        let mut params = for_server(names);
        (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1));
        self.sign(file, params)
    }

    /// A client's certificate; its common name is that of its files.
    pub fn client(&self, file: &str) -> CertificateFiles {
        self.sign(file, for_client(file))
    }

    /// The same, which has expired in the year 2021.
    pub fn expired_client(&self, file: &str) -> CertificateFiles {
        let mut params = for_client(file);
        (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1));
        self.sign(file, params)
    }

    fn sign(&self, file: &str, params: CertificateParams) -> CertificateFiles {
        let key = KeyPair::generate().expect("the operating system has randomness");
        let certificate = params.signed_by(&key, &self.issuer).expect("what it says of itself can be signed");
        let path = |ending: &str| self.dir.path().join(format!("{file}.{ending}"));
        let files = CertificateFiles { certificate: path("pem"), key: path("key") };
        fs::write(&files.certificate, certificate.pem()).expect("the folder is there");
        fs::write(&files.key, key.serialize_pem()).expect("the folder is there");
        files
    }
}

fn for_server(names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| name.to_string()).collect();
    let mut params = CertificateParams::new(names).expect("names are of ASCII");
    params.distinguished_name.push(DnType::CommonName, "a server for tests");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params
}

fn for_client(name: &str) -> CertificateParams {
    let mut params = named(name);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}
