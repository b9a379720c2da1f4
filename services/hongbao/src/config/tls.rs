//! `[tls]`: where TLS is spoken, and with which files.

use std::path::{Path, PathBuf};

use hongbao_http::tls::{CertificateFiles, ClientTls, ListenerTls, ServerTls, TlsTowardsServers};
use serde::{Deserialize, Serialize};

/// `[tls]`. Without a section no TLS is spoken there. All hosts have the same settings; a process reads those files
/// that its role needs.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// Between clients and gateways: what gateways show.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateways: Option<CertificateFiles>,
    /// Between gateways and servers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub servers: Option<TlsOfServers>,
}

/// `[tls.servers]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsOfServers {
    /// What servers show, with the certificates that lead to a CA. It has to be of the name or the IP address that the
    /// topology has for the server.
    pub certificate_file: PathBuf,
    /// Its private key.
    pub key_file: PathBuf,
    /// The CAs by which gateways judge it.
    pub ca_file: PathBuf,
    /// The CAs by which servers judge the certificates of gateways; without them servers ask for none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_ca_file: Option<PathBuf>,
    /// What gateways show.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_certificate_file: Option<PathBuf>,
    /// Its private key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_key_file: Option<PathBuf>,
}

impl Tls {
    /// Makes relative paths start in this folder.
    pub fn start_in(&mut self, folder: &Path) {
        let gateways = self.gateways.iter_mut().flat_map(|own| [&mut own.certificate_file, &mut own.key_file]);
        let servers = self.servers.iter_mut().flat_map(|servers| {
            let own = [&mut servers.certificate_file, &mut servers.key_file, &mut servers.ca_file];
            let client =
                [&mut servers.client_ca_file, &mut servers.client_certificate_file, &mut servers.client_key_file];
            own.into_iter().chain(client.into_iter().flatten())
        });
        for path in gateways.chain(servers) {
            *path = folder.join(&*path);
        }
    }

    /// What is wrong with it, for the operator.
    pub fn check(&self) -> Result<(), String> {
        let Some(servers) = &self.servers else { return Ok(()) };
        match (&servers.client_ca_file, &servers.client_certificate_file, &servers.client_key_file) {
            (None, None, None) | (_, Some(_), Some(_)) => Ok(()),
            (Some(_), None, None) => Err("tls.servers: with client_ca_file gateways need client_certificate_file and \
                                          client_key_file"
                .to_owned()),
            _ => Err("tls.servers: client_certificate_file and client_key_file go together".to_owned()),
        }
    }

    /// The TLS of the listener of a gateway.
    ///
    /// # Errors
    /// What is wrong with its files, for the operator; so for the others.
    pub fn of_gateway(&self) -> Result<Option<ServerTls>, String> {
        let Some(own) = &self.gateways else { return Ok(None) };
        let files = ListenerTls { own: own.clone(), client_ca_file: None, http2: true };
        ServerTls::load(files).map(Some).map_err(|reason| format!("tls.gateways: {reason}"))
    }

    /// The TLS of the listener of a server.
    pub fn of_server(&self) -> Result<Option<ServerTls>, String> {
        let Some(servers) = &self.servers else { return Ok(None) };
        let (certificate_file, key_file) = (servers.certificate_file.clone(), servers.key_file.clone());
        let own = CertificateFiles { certificate_file, key_file };
        let files = ListenerTls { own, client_ca_file: servers.client_ca_file.clone(), http2: false };
        ServerTls::load(files).map(Some).map_err(|reason| format!("tls.servers: {reason}"))
    }

    /// The TLS of a gateway towards servers.
    pub fn towards_servers(&self) -> Result<Option<TlsTowardsServers>, String> {
        let Some(servers) = &self.servers else { return Ok(None) };
        let own = (servers.client_certificate_file.clone()).zip(servers.client_key_file.clone());
        let own = own.map(|(certificate_file, key_file)| CertificateFiles { certificate_file, key_file });
        let files = ClientTls { ca_file: servers.ca_file.clone(), own };
        TlsTowardsServers::load(files).map(Some).map_err(|reason| format!("tls.servers: {reason}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_go_together_is_refused_by_name() {
        let servers = "certificate_file = 'c'\nkey_file = 'k'\nca_file = 'ca'\n";
        let check = |more: &str| toml::from_str::<Tls>(&format!("[servers]\n{servers}{more}")).unwrap().check();
        let shown = "client_certificate_file = 'c'\nclient_key_file = 'k'\n";
        assert_eq!(check(""), Ok(()));
        assert_eq!(check(shown), Ok(()), "a server that asks for none gets none");
        assert_eq!(check(&format!("client_ca_file = 'ca'\n{shown}")), Ok(()));
        assert!(check("client_ca_file = 'ca'").unwrap_err().contains("gateways need client_certificate_file"));
        assert!(check("client_key_file = 'k'").unwrap_err().contains("go together"));
    }
}
