//! Secrets, and the settings that have them: how tokens are checked, and how tickets are made.

use std::path::{Path, PathBuf};

use hongbao_core::ticket::TicketKey;
use hongbao_core::{Traffic, limits};
use hongbao_envelope::shared::snapshot::SnapshotKey;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::client_files::begin_at;

/// Known to everybody who can read this: good for a service on loopback only.
const DEV_SECRET: &str = "hongbao-dev-secret-known-to-everybody";

/// How the secrets in the sample configuration begin.
const SAMPLE_SECRET: &str = "replace-me";

/// A secret: never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl Default for Secret {
    fn default() -> Secret {
        Secret(DEV_SECRET.to_owned())
    }
}

impl Secret {
    /// Whether it was left at what everybody knows: the dev default, or the words
    /// of the sample in `ops/config`.
    pub fn is_default(&self) -> bool {
        self.0 == DEV_SECRET || self.0.starts_with(SAMPLE_SECRET)
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("********")
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(if self.is_default() { "(the dev default)" } else { "********" })
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Secret, D::Error> {
        // An error of serde about its type would show it.
        match toml::Value::deserialize(deserializer)? {
            toml::Value::String(text) => Ok(Secret(text)),
            _ => Err(D::Error::custom("a secret is text, in quotes")),
        }
    }
}

/// `[auth]`: what tokens are checked with, and between whom they must be.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Auth {
    /// For tokens that name no key (`kid`): shared with who issues them. The dev default where no key is given at all.
    pub hs256_secret: Option<Secret>,
    /// A PEM file with an Ed25519 public key for tokens that name no key; when given, of these only EdDSA is accepted.
    pub eddsa_public_key_file: Option<PathBuf>,
    /// A JWK Set (RFC 7517), read again whenever it changes.
    pub jwks_file: Option<PathBuf>,
    /// Our name in `aud`: only tokens for it are good. Not given, only tokens without `aud` are.
    pub audience: Option<String>,
    /// Only tokens whose `iss` is this are good; not given, any or none is.
    pub issuer: Option<String>,
    /// For tokens that name one of these.
    pub keys: Vec<NamedKey>,
}

/// `[[auth.keys]]`: a key for the tokens that name it; either a secret or a file.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NamedKey {
    /// The `kid` of these tokens.
    pub kid: String,
    /// Shared with who issues them.
    pub hs256_secret: Option<Secret>,
    /// A PEM file with an Ed25519 public key.
    pub eddsa_public_key_file: Option<PathBuf>,
}

impl Auth {
    /// Makes relative paths start in this folder.
    pub fn begin_at(&mut self, folder: &Path) {
        begin_at(folder, [&mut self.eddsa_public_key_file, &mut self.jwks_file]);
        for key in &mut self.keys {
            begin_at(folder, [&mut key.eddsa_public_key_file]);
        }
    }

    /// Puts the dev default where no key is given.
    pub fn complete(&mut self) {
        let is_given = self.eddsa_public_key_file.is_some() || self.jwks_file.is_some() || !self.keys.is_empty();
        if !is_given {
            self.hs256_secret.get_or_insert_default();
        }
    }

    /// The secret for tokens that name no key, where it is in force.
    pub fn secret(&self) -> Option<&Secret> {
        self.hs256_secret.as_ref().filter(|_| self.eddsa_public_key_file.is_none())
    }

    /// What is wrong with it, for the operator.
    pub fn check(&self) -> Result<(), String> {
        if self.secret().is_some_and(|secret| secret.0.len() < limits::TOKEN_SECRET_BYTES_MIN) {
            return Err(format!("auth: hs256_secret must have at least {} bytes", limits::TOKEN_SECRET_BYTES_MIN));
        }
        for NamedKey { kid, hs256_secret, eddsa_public_key_file } in &self.keys {
            if hs256_secret.is_some() == eddsa_public_key_file.is_some() {
                return Err(format!("auth: key {kid:?} must have either hs256_secret or eddsa_public_key_file"));
            }
        }
        for (name, party) in [("audience", &self.audience), ("issuer", &self.issuer)] {
            if party.as_ref().is_some_and(String::is_empty) {
                return Err(format!("auth: {name} must not be empty: leave it out to demand none"));
            }
        }
        Ok(())
    }

    /// The name of a secret by which anyone could make tokens.
    pub fn known(&self) -> Option<String> {
        if self.secret().is_some_and(Secret::is_default) {
            return Some("auth.hs256_secret".to_owned());
        }
        let is_known = |key: &&NamedKey| key.hs256_secret.as_ref().is_some_and(Secret::is_default);
        self.keys.iter().find(is_known).map(|key| format!("auth.keys: hs256_secret of {:?}", key.kid))
    }
}

/// `[tickets]`: the same for all servers of a SET.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tickets {
    /// Signs tickets, and snapshots in Redis.
    pub secret: Secret,
    /// What other servers sign with while the secret is changed: accepted, and never signed with.
    pub also_accepted_secret: Option<Secret>,
}

impl Tickets {
    /// What is wrong with it, for the operator.
    pub fn check(&self) -> Result<(), String> {
        let also = self.also_accepted_secret.as_ref();
        for (name, secret) in [("secret", Some(&self.secret)), ("also_accepted_secret", also)] {
            if secret.is_some_and(|secret| secret.0.len() < limits::TICKET_SECRET_BYTES_MIN) {
                return Err(format!("tickets: {name} must have at least {} bytes", limits::TICKET_SECRET_BYTES_MIN));
            }
        }
        if also == Some(&self.secret) {
            return Err(
                "tickets: also_accepted_secret is the same as secret: leave it out, or give the other one".to_owned()
            );
        }
        Ok(())
    }

    /// The name of a secret by which anyone could make tickets.
    pub fn known(&self) -> Option<&'static str> {
        if self.secret.is_default() {
            return Some("tickets.secret");
        }
        self.also_accepted_secret.as_ref().filter(|secret| secret.is_default()).map(|_| "tickets.also_accepted_secret")
    }

    /// What makes and checks the tickets of a kind of traffic.
    pub fn ticket_key(&self, traffic: Traffic) -> TicketKey {
        let key = TicketKey::new(&traffic.secret(self.secret.0.as_bytes()));
        match &self.also_accepted_secret {
            Some(secret) => key.also_accepting(&traffic.secret(secret.0.as_bytes())),
            None => key,
        }
    }

    /// What signs and checks the snapshots of a kind of traffic.
    pub fn snapshot_key(&self, traffic: Traffic) -> SnapshotKey {
        let key = SnapshotKey::derive(&traffic.secret(self.secret.0.as_bytes()));
        match &self.also_accepted_secret {
            Some(secret) => key.also_accepting(&traffic.secret(secret.0.as_bytes())),
            None => key,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "one that only we can know, surely";
    const OTHER: &str = "another one that only we can know";

    fn auth(text: &str) -> Result<Auth, String> {
        let mut auth: Auth = toml::from_str(text).map_err(|error| error.to_string())?;
        auth.complete();
        auth.check().map(|()| auth)
    }

    #[test]
    fn the_dev_default_is_in_force_only_where_no_key_is_given() {
        assert!(auth("").unwrap().secret().unwrap().is_default());
        assert_eq!(auth("").unwrap().known().unwrap(), "auth.hs256_secret");
        let named = format!("[[keys]]\nkid = 'a'\nhs256_secret = '{SECRET}'");
        for text in ["jwks_file = '/x'", "eddsa_public_key_file = '/x'", &named] {
            let auth = auth(text).unwrap();
            assert!(auth.secret().is_none() && auth.known().is_none(), "{text}");
        }
        let both = auth(&format!("hs256_secret = '{SECRET}'\n{named}")).unwrap();
        assert_eq!(both.secret().unwrap().0, SECRET);
    }

    #[test]
    fn secrets_that_are_known_are_named() {
        for secret in [DEV_SECRET, "replace-me-by-32-random-bytes-or-more"] {
            let named = format!("[[keys]]\nkid = 'a'\nhs256_secret = '{secret}'");
            assert_eq!(auth(&named).unwrap().known().unwrap(), "auth.keys: hs256_secret of \"a\"");
            let text = format!("secret = '{SECRET}'\nalso_accepted_secret = '{secret}'");
            let tickets: Tickets = toml::from_str(&text).unwrap();
            assert_eq!(tickets.known(), Some("tickets.also_accepted_secret"));
        }
    }

    #[test]
    fn a_named_key_is_a_secret_or_a_file() {
        let neither_or_both = "auth: key \"a\" must have either";
        let both = format!("[[keys]]\nkid = 'a'\nhs256_secret = '{SECRET}'\neddsa_public_key_file = '/x'");
        for (text, reason) in [
            ("[[keys]]\nkid = 'a'", neither_or_both),
            (&both, neither_or_both),
            ("[[keys]]\nhs256_secret = 'x'", "missing field `kid`"),
            ("[[keys]]\nkid = 'a'\nsecret = 'x'", "unknown field"),
        ] {
            let error = auth(text).unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
    }

    #[test]
    fn no_secret_is_shown_nor_repeated_by_an_error() {
        let text = format!("hs256_secret = '{SECRET}'\n[[keys]]\nkid = 'a'\nhs256_secret = '{OTHER}'");
        let auth = auth(&text).unwrap();
        let tickets = Tickets { secret: Secret(SECRET.into()), also_accepted_secret: Some(Secret(OTHER.into())) };
        tickets.check().unwrap();
        let written = [toml::to_string(&auth).unwrap(), toml::to_string(&tickets).unwrap()];
        for shown in written.iter().chain([&format!("{auth:?} {tickets:?}")]) {
            assert!(!shown.contains(SECRET) && !shown.contains(OTHER), "{shown}");
            assert!(shown.matches("********").count() >= 2, "{shown}");
        }
        let number: toml::Table = "secret = 1234567890".parse().unwrap();
        let error = number.try_into::<Tickets>().unwrap_err().to_string();
        assert!(error.contains("a secret is text, in quotes") && !error.contains("1234567890"), "{error}");
    }

    #[test]
    fn the_other_secret_of_tickets_is_another_one_and_no_shorter() {
        let tickets =
            |also: &str| Tickets { secret: Secret(SECRET.into()), also_accepted_secret: Some(Secret(also.into())) };
        assert!(tickets(OTHER).check().is_ok());
        assert!(tickets(SECRET).check().unwrap_err().contains("also_accepted_secret is the same as secret"));
        assert!(tickets("short").check().unwrap_err().contains("also_accepted_secret must have at least 32 bytes"));
    }
}
