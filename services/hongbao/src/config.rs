//! The configuration: a TOML file, then the environment, then flags.
//!
//! An unknown key is refused by name, wherever it comes from: a setting that
//! is misspelt must not be silently without effect.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hongbao_core::id::Fold;
use hongbao_core::{Limits, limits};
use hongbao_envelope::server::ServerOptions;
use hongbao_gateway::rate::RateLimits;
use hongbao_http::{HttpMetrics, ServeOptions};
use hongbao_workers::WorkerOptions;
use serde::{Deserialize, Serialize, Serializer};

/// Every setting of `hongbao dev`, with what holds when nothing is said.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where to serve.
    pub listen: Listen,
    /// Where the SQLite files are.
    pub data: DataDir,
    /// Offset from UTC, in seconds, of the zone whose days name the tables.
    pub zone_offset_s: ZoneOffset,
    /// How tokens are checked.
    pub auth: Auth,
    /// How tickets are made.
    pub tickets: Tickets,
    /// How many databases and tables exist.
    pub storage: Storage,
    /// What a request may ask for.
    pub limits: DevLimits,
    /// The envelope server.
    pub server: ServerOptions,
    /// Connections and timeouts.
    pub http: Http,
    /// Requests per user; off unless it is configured.
    pub rate_limit: Option<RateLimits>,
    /// The background jobs.
    pub workers: WorkerOptions,
    /// What is logged.
    pub log: Log,
}

/// `listen`.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Listen(pub SocketAddr);

impl Default for Listen {
    fn default() -> Listen {
        Listen(SocketAddr::from(([127, 0, 0, 1], 8080)))
    }
}

/// `data`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DataDir(pub PathBuf);

impl Default for DataDir {
    fn default() -> DataDir {
        DataDir(PathBuf::from("./data"))
    }
}

/// `zone_offset_s`: UTC+8 unless it is configured.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ZoneOffset(pub i32);

impl Default for ZoneOffset {
    fn default() -> ZoneOffset {
        ZoneOffset(8 * 3_600)
    }
}

/// Known to everybody who can read this: good for a service on loopback only.
const DEV_SECRET: &str = "hongbao-dev-secret-known-to-everybody";

/// A secret: never shown.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(pub String);

impl Default for Secret {
    fn default() -> Secret {
        Secret(DEV_SECRET.to_owned())
    }
}

impl Secret {
    /// Whether it was left at what everybody knows.
    pub fn is_default(&self) -> bool {
        self.0 == DEV_SECRET
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

/// `[auth]`: HS256 with a secret, or EdDSA with a public key.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Auth {
    /// Shared with who issues tokens.
    pub hs256_secret: Secret,
    /// A PEM file with an Ed25519 public key; when given, only EdDSA is accepted.
    pub eddsa_public_key_file: Option<PathBuf>,
}

/// `[tickets]`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tickets {
    /// Shared by the servers of a SET.
    pub secret: Secret,
}

/// `[storage]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Storage {
    /// Databases that exist; divides 100. Fixed once a data folder is made.
    pub databases: u8,
    /// Tables that exist per database and day; divides 10. Fixed likewise.
    pub tables: u8,
}

impl Default for Storage {
    fn default() -> Storage {
        Storage { databases: 2, tables: 1 }
    }
}

impl Storage {
    /// The fold that these numbers make.
    pub fn fold(&self) -> Result<Fold, String> {
        Fold::new(self.databases, self.tables)
            .ok_or_else(|| "storage: databases must divide 100 and tables must divide 10".to_owned())
    }
}

/// `[limits]`; in dev an envelope may expire after a second.
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
pub struct DevLimits(pub Limits);

impl Default for DevLimits {
    fn default() -> DevLimits {
        DevLimits(Limits { expires_in_s_min: 1, ..Limits::default() })
    }
}

impl<'de> Deserialize<'de> for DevLimits {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<DevLimits, D::Error> {
        // What the file leaves out keeps the dev default, not the contract's.
        let mut settings = toml::Table::deserialize(deserializer)?;
        settings.entry("expires_in_s_min").or_insert(toml::Value::Integer(1));
        settings.try_into().map(DevLimits).map_err(serde::de::Error::custom)
    }
}

/// `[http]`: connections and how long they may take, in milliseconds.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Http {
    /// Connections at the same time; more are told `busy`.
    pub connections_max: usize,
    /// For the head of a request to arrive.
    pub head_timeout_ms: u64,
    /// For the body of a request to arrive.
    pub body_timeout_ms: u64,
    /// For the next request on an open connection.
    pub idle_timeout_ms: u64,
    /// For requests to finish once the service stops.
    pub drain_timeout_ms: u64,
}

impl Default for Http {
    fn default() -> Http {
        Http {
            connections_max: limits::CONNECTIONS_MAX,
            head_timeout_ms: limits::HEAD_READ_MS_MAX,
            body_timeout_ms: limits::BODY_READ_MS_MAX,
            idle_timeout_ms: limits::IDLE_MS_MAX,
            drain_timeout_ms: limits::DRAIN_MS_MAX,
        }
    }
}

impl Http {
    fn check(&self) -> Result<(), String> {
        let times = [self.head_timeout_ms, self.body_timeout_ms, self.idle_timeout_ms, self.drain_timeout_ms];
        if self.connections_max == 0 {
            return Err("http: connections_max must be at least 1".to_owned());
        }
        if times.iter().any(|millis| !(1..=3_600_000).contains(millis)) {
            return Err("http: every timeout must be 1 to 3600000 ms".to_owned());
        }
        Ok(())
    }

    /// For the server; requests are counted by `metrics`.
    pub fn options(&self, metrics: HttpMetrics) -> ServeOptions {
        ServeOptions {
            connections_max: self.connections_max,
            head_timeout: Duration::from_millis(self.head_timeout_ms),
            body_timeout: Duration::from_millis(self.body_timeout_ms),
            idle_timeout: Duration::from_millis(self.idle_timeout_ms),
            drain_timeout: Duration::from_millis(self.drain_timeout_ms),
            metrics,
            ..ServeOptions::default()
        }
    }
}

/// `[log]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// `error`, `warn`, `info`, `debug`, or directives such as `hongbao_workers=debug`.
    pub level: String,
    /// Lines for people or for machines.
    pub format: LogFormat,
}

impl Default for Log {
    fn default() -> Log {
        Log { level: "info,sqlx=warn".to_owned(), format: LogFormat::Text }
    }
}

/// See [`Log::format`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// What the command line says about settings.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// `--listen`.
    pub listen: Option<SocketAddr>,
    /// `--data`.
    pub data: Option<PathBuf>,
}

impl Config {
    /// Reads the file, then the environment, then the flags; checks the whole.
    pub fn load(
        file: Option<&Path>,
        environment: impl Iterator<Item = (String, String)>,
        flags: Flags,
    ) -> Result<Config, String> {
        let mut settings = match file {
            Some(path) => {
                let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
                text.parse::<toml::Table>().map_err(|error| format!("{}: {error}", path.display()))?
            }
            None => toml::Table::new(),
        };
        for (name, value) in environment {
            if let Some(key) = name.strip_prefix("HONGBAO_") {
                put(&mut settings, &key.to_lowercase(), &value).map_err(|words| format!("{name}: {words}"))?;
            }
        }
        let mut config: Config = settings.try_into().map_err(|error| format!("configuration: {error}"))?;
        config.listen = flags.listen.map_or(config.listen, Listen);
        config.data = flags.data.map_or(config.data, DataDir);
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), String> {
        self.limits.0.check()?;
        self.server.check()?;
        self.http.check()?;
        self.workers.check()?;
        self.storage.fold()?;
        if let Some(limits) = &self.rate_limit {
            limits.check()?;
        }
        if !(-14 * 3_600..=14 * 3_600).contains(&self.zone_offset_s.0) {
            return Err("zone_offset_s must lie within 14 hours".to_owned());
        }
        if self.auth.eddsa_public_key_file.is_none() && self.auth.hs256_secret.0.len() < limits::TOKEN_SECRET_BYTES_MIN
        {
            return Err(format!("auth: hs256_secret must have at least {} bytes", limits::TOKEN_SECRET_BYTES_MIN));
        }
        let secrets_are_known = self.auth.hs256_secret.is_default() || self.tickets.secret.is_default();
        if secrets_are_known && !self.listen.0.ip().is_loopback() {
            return Err(format!(
                "listen: {} can be reached from outside, so auth.hs256_secret and tickets.secret must be set",
                self.listen.0
            ));
        }
        Ok(())
    }

    /// The settings in force as TOML, secrets masked.
    pub fn shown(&self) -> String {
        toml::to_string(self).expect("every setting can be written as TOML")
    }
}

/// Puts `limits__shares_max` = `100` where `[limits] shares_max = 100` would be.
fn put(settings: &mut toml::Table, key: &str, value: &str) -> Result<(), String> {
    let mut path: Vec<&str> = key.split("__").collect();
    let last = path.pop().unwrap_or_default();
    let mut table = settings;
    for section in path {
        let inner = table.entry(section).or_insert_with(|| toml::Value::Table(toml::Table::new()));
        table = inner.as_table_mut().ok_or_else(|| format!("{section} is not a section"))?;
    }
    // A secret is text, also one of digits alone: an error about its type would show it.
    if last.ends_with("secret") {
        table.insert(last.to_owned(), toml::Value::String(value.to_owned()));
        return Ok(());
    }
    // A number or a truth value is one; everything else is text.
    let parsed = format!("value = {value}").parse::<toml::Table>().ok().and_then(|mut table| table.remove("value"));
    table.insert(last.to_owned(), parsed.unwrap_or_else(|| toml::Value::String(value.to_owned())));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(file: &str, environment: &[(&str, &str)]) -> Result<Config, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hongbao.toml");
        std::fs::write(&path, file).unwrap();
        let environment = environment.iter().map(|(name, value)| (name.to_string(), value.to_string()));
        Config::load(Some(&path), environment, Flags::default())
    }

    #[test]
    fn the_environment_overrides_the_file_and_flags_override_both() {
        let file = "listen = '127.0.0.1:1'\n[limits]\nshares_max = 7";
        let config = load(file, &[("HONGBAO_LIMITS__SHARES_MAX", "9"), ("HONGBAO_DATA", "/somewhere")]).unwrap();
        assert_eq!(config.limits.0.shares_max, 9);
        assert_eq!(config.limits.0.expires_in_s_min, 1, "dev keeps its own default");
        assert_eq!(config.data.0, PathBuf::from("/somewhere"));
        assert_eq!(config.listen.0.port(), 1);

        let flags = Flags { data: Some("/elsewhere".into()), ..Flags::default() };
        let environment = [("HONGBAO_DATA".to_owned(), "/somewhere".to_owned())].into_iter();
        assert_eq!(Config::load(None, environment, flags).unwrap().data.0, PathBuf::from("/elsewhere"));
    }

    #[test]
    fn an_unknown_key_is_refused_by_name() {
        for (file, environment, name) in [
            ("share_max = 1", &[][..], "share_max"),
            ("[limits]\nshare_max = 1", &[], "share_max"),
            ("[limitz]\nshares_max = 1", &[], "limitz"),
            ("", &[("HONGBAO_LIMITS__SHARES", "1")], "shares"),
        ] {
            let error = load(file, environment).unwrap_err();
            assert!(error.contains(name), "{error}");
        }
    }

    #[test]
    fn what_does_not_fit_together_is_refused_in_words() {
        for (file, words) in [
            ("[limits]\nexpires_in_s_min = 90000", "expires_in_s_min"),
            ("[storage]\ndatabases = 3", "databases"),
            ("[server]\nanswer_within_ms = 5", "answer_within_ms"),
            ("listen = '0.0.0.0:80'", "hs256_secret"),
            ("[auth]\nhs256_secret = 'short'", "32 bytes"),
            ("listen = 'nowhere'", "listen"),
            ("[limits]\nshares_max = 'many'", "shares_max"),
        ] {
            let error = load(file, &[]).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn secrets_are_never_shown() {
        let config = load("[auth]\nhs256_secret = 'tell-nobody-tell-nobody-tell-nobody'", &[]).unwrap();
        assert!(!config.shown().contains("tell-nobody"), "{}", config.shown());
        assert!(!format!("{config:?}").contains("tell-nobody"));
        assert!(config.shown().contains("shares_max = 500"), "{}", config.shown());
    }
}
