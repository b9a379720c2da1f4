//! The keys of tokens: from the settings, and from a file that is read again whenever it changes.

use std::fmt::Display;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hongbao_core::Clock;
use hongbao_core::limits::TOKEN_KEY_FILE_EVERY_MS;
use hongbao_http::token::{KeyError, figures};
use hongbao_http::{Issuer, KeyFile, Parties, TokenKey, TokenKeys, Verifier};
use prometheus_client::registry::Registry;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use crate::config::{Auth, NamedKey};

/// What checks tokens, and what makes them where the secret for it is at hand.
#[derive(Clone)]
pub struct Tokens {
    /// Checks them.
    pub verifier: Verifier,
    /// Makes those that name no key; absent where no secret checks such tokens.
    pub issuer: Option<Issuer>,
    file: Option<Arc<KeyFile>>,
}

impl Tokens {
    /// Takes the secrets and reads the files of the keys.
    ///
    /// # Errors
    /// What is wrong with them, for the operator.
    pub fn load(auth: &Auth, clock: &Arc<dyn Clock>) -> Result<Tokens, String> {
        let parties = Parties { audience: auth.audience.clone(), issuer: auth.issuer.clone() };
        let (mut keys, mut issuer) = (Vec::new(), None);
        if let Some(path) = &auth.eddsa_public_key_file {
            keys.push(key_in(path, None).map_err(|reason| format!("auth: {reason}"))?);
        }
        if let Some(secret) = auth.secret() {
            let (secret, named) = (secret.0.as_bytes(), |error: KeyError| format!("auth: hs256_secret: {error}"));
            keys.push(TokenKey::hs256(None, secret).map_err(named)?);
            issuer = Some(Issuer::hs256(secret, clock.clone()).map_err(named)?.between(parties.clone()));
        }
        for NamedKey { kid, hs256_secret, eddsa_public_key_file } in &auth.keys {
            let named = |error: &dyn Display| format!("auth: keys: {error}");
            if let Some(secret) = hs256_secret {
                keys.push(TokenKey::hs256(Some(kid), secret.0.as_bytes()).map_err(|error| named(&error))?);
            }
            if let Some(path) = eddsa_public_key_file {
                keys.push(key_in(path, Some(kid)).map_err(|error| named(&error))?);
            }
        }
        let Some(path) = &auth.jwks_file else {
            let keys = TokenKeys::new(keys).map_err(|error| format!("auth: {error}"))?;
            return Ok(Tokens { verifier: Verifier::new(keys, parties, clock.clone()), issuer, file: None });
        };
        let file = KeyFile::open(path, keys, parties, clock.clone());
        let file = file.map_err(|reason| format!("auth: jwks_file {reason}"))?;
        Ok(Tokens { verifier: file.verifier().clone(), issuer, file: Some(file) })
    }

    /// Shows the keys among the measures, and from now on reads the file, if there is one, whenever it changes and
    /// when SIGHUP asks for it.
    pub fn watch(&self, registry: &mut Registry) -> Result<Watching, String> {
        figures::register(&self.verifier, self.file.as_ref(), registry);
        let file = self.file.clone();
        let mut hangup = signal(SignalKind::hangup()).map_err(|error| error.to_string())?;
        let mut tick = tokio::time::interval(Duration::from_millis(TOKEN_KEY_FILE_EVERY_MS));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(Watching(tokio::spawn(async move {
            loop {
                let is_asked = tokio::select! {
                    _ = tick.tick() => false,
                    _ = hangup.recv() => true,
                };
                // Without a file the signal asks for nothing; but it ends no process either.
                let Some(file) = file.clone() else { continue };
                let look = move || if is_asked { file.reread() } else { file.look() };
                // Reading does not panic; without it the last good keys stay.
                let _ = tokio::task::spawn_blocking(look).await;
            }
        })))
    }
}

/// Ends the looking when it is dropped.
pub struct Watching(JoinHandle<()>);

impl Drop for Watching {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The public key in a file.
fn key_in(path: &Path, kid: Option<&str>) -> Result<TokenKey, String> {
    let named = |error: &dyn Display| format!("eddsa_public_key_file {}: {error}", path.display());
    let pem = std::fs::read(path).map_err(|error| named(&error))?;
    TokenKey::eddsa_pem(kid, &pem).map_err(|error| named(&error))
}
