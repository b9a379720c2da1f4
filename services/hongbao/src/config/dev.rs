//! The settings of `hongbao dev`.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use hongbao_core::Limits;
use hongbao_core::id::Fold;
use hongbao_envelope::server::ServerOptions;
use hongbao_gateway::rate::RateLimits;
use hongbao_http::local::is_loopback;
use hongbao_workers::WorkerOptions;
use serde::{Deserialize, Serialize};

use super::{
    ArchiveSection, Auth, CorsSection, Http, Log, Otlp, PassedOver, Rehearsal, Tickets, WebhookSection, ZoneOffset,
    fold,
};

/// Every setting of `hongbao dev`, with what holds when nothing is said.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where to serve.
    pub listen: Listen,
    /// Where the SQLite files are.
    pub data: DataDir,
    /// The calls that make tokens and money out of nothing: on loopback alone, and
    /// there unless they are switched off. Once loaded it says what is in force.
    pub dev_calls: Option<bool>,
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
    /// Which web pages may call from a browser.
    pub cors: CorsSection,
    /// Connections and timeouts.
    pub http: Http,
    /// Requests per user; off unless it is configured.
    pub rate_limit: Option<RateLimits>,
    /// Requests that are marked as a rehearsal.
    pub rehearsal: Rehearsal,
    /// The background jobs.
    pub workers: WorkerOptions,
    /// Where events are sent.
    pub webhook: WebhookSection,
    /// Where sealed tables go.
    pub archive: ArchiveSection,
    /// What is logged.
    pub log: Log,
    /// Where spans are sent.
    pub otlp: Otlp,
    /// What of the environment is none of these.
    #[serde(skip)]
    pub passed_over: PassedOver,
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
        fold(self.databases, self.tables)
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
        environment: impl Iterator<Item = (OsString, OsString)>,
        flags: Flags,
    ) -> Result<Config, String> {
        let (mut config, passed_over): (Config, _) = super::read(file, environment)?;
        config.passed_over = passed_over;
        config.listen = flags.listen.map_or(config.listen, Listen);
        config.data = flags.data.map_or(config.data, DataDir);
        let is_local = is_loopback(config.listen.0.ip());
        if config.dev_calls == Some(true) && !is_local {
            let address = config.listen.0;
            return Err(format!("dev_calls make money out of nothing, and {address} can be reached from outside"));
        }
        config.dev_calls.get_or_insert(is_local);
        config.auth.complete();
        config.check()?;
        Ok(config)
    }

    /// Whether tokens and money are made out of nothing.
    pub fn offers_dev_calls(&self) -> bool {
        self.dev_calls == Some(true)
    }

    fn check(&self) -> Result<(), String> {
        self.limits.0.check()?;
        self.server.check()?;
        self.http.check()?;
        self.cors.check()?;
        self.otlp.check()?;
        self.workers.check()?;
        self.archive.check()?;
        self.webhook.check()?;
        self.storage.fold()?;
        if let Some(limits) = &self.rate_limit {
            limits.check()?;
        }
        if self.rehearsal.global_per_s.is_some() && self.rate_limit.is_none() {
            return Err("rehearsal: global_per_s has no effect without [rate_limit]".to_owned());
        }
        self.zone_offset_s.check()?;
        self.auth.check()?;
        self.tickets.check()?;
        let secrets_are_known = self.auth.known().is_some() || self.tickets.known().is_some();
        if secrets_are_known && !is_loopback(self.listen.0.ip()) {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn load(file: &str, environment: &[(&str, &str)]) -> Result<Config, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hongbao.toml");
        std::fs::write(&path, file).unwrap();
        let environment = environment.iter().map(|(name, value)| (name.into(), value.into()));
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
        let environment = [("HONGBAO_DATA".into(), "/somewhere".into())].into_iter();
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
        for (file, reason) in [
            ("[limits]\nexpires_in_s_min = 90000", "expires_in_s_min"),
            ("[storage]\ndatabases = 3", "databases"),
            ("[server]\nanswer_within_ms = 5", "answer_within_ms"),
            ("listen = '0.0.0.0:80'", "hs256_secret"),
            ("[auth]\nhs256_secret = 'short'", "32 bytes"),
            ("[tickets]\nsecret = ''", "tickets: secret must have at least 32 bytes"),
            ("[tickets]\nsecret = 'no longer than 31 bytes, so bad'", "tickets: secret"),
            ("listen = 'nowhere'", "listen"),
            ("[auth]\naudience = ''", "auth: audience must not be empty"),
            ("[auth]\nissuer = ''", "auth: issuer must not be empty"),
            ("[rehearsal]\nglobal_per_s = 5", "rate_limit"),
            ("[rehearsal]\nenable = true", "enable"),
            ("[limits]\nshares_max = 'many'", "shares_max"),
            ("[archive]\nafter_days = 60", "archive: after_days has no effect without url"),
            ("[archive]\nurl = '/srv'", "archive: url"),
            ("[archive]\nurl = 's3://a b'\nid = 'a'", "archive: url: \"s3://a b\" is not the URL of a bucket"),
            ("[archive]\nurl = 'file:///srv'", "archive: id"),
            ("[archive]\nurl = 'file:///srv'\nid = 'a b'", "archive: id"),
            ("[archive]\nurl = 'file:///srv'\nid = 'a'\nafter_days = 44", "after_days"),
        ] {
            let error = load(file, &[]).unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
    }

    #[test]
    fn money_out_of_nothing_is_made_on_loopback_alone() {
        let secrets = "[auth]\nhs256_secret = 'one that nobody but we can know, surely'\n\
                       [tickets]\nsecret = 'another that nobody but we can know'\n";
        for (address, is_local) in [
            ("127.0.0.1:1", true),
            ("127.7.7.7:1", true),
            ("[::1]:1", true),
            ("[::ffff:127.0.0.1]:1", true),
            ("0.0.0.0:1", false),
            ("[::]:1", false),
            ("[::ffff:0.0.0.0]:1", false),
            ("192.168.0.1:1", false),
        ] {
            let said = |dev_calls: &str| load(&format!("listen = '{address}'\n{dev_calls}\n{secrets}"), &[]);
            assert_eq!(said("").unwrap().offers_dev_calls(), is_local, "{address}");
            assert!(!said("dev_calls = false").unwrap().offers_dev_calls(), "{address}");
            match said("dev_calls = true") {
                Ok(config) => assert!(is_local && config.offers_dev_calls(), "{address}"),
                Err(reason) => assert!(!is_local && reason.contains(&format!("{address} can be reached")), "{reason}"),
            }
            let shown: toml::Table = said("").unwrap().shown().parse().unwrap();
            assert_eq!(shown["dev_calls"].as_bool(), Some(is_local), "what is in force is shown");
        }
    }

    #[test]
    fn keys_by_name_can_be_given_by_the_environment_and_an_error_repeats_none() {
        let secret = "one that only we can know, surely";
        let given = format!("[{{ kid = 'a', hs256_secret = '{secret}' }}]");
        let also = ("HONGBAO_TICKETS__ALSO_ACCEPTED_SECRET", "12345678901234567890123456789012");
        let config = load("", &[("HONGBAO_AUTH__KEYS", &given), also]).unwrap();
        assert_eq!((config.auth.keys[0].kid.as_str(), config.auth.keys.len()), ("a", 1));
        assert!(config.tickets.also_accepted_secret.is_some() && config.auth.hs256_secret.is_none());
        for bad in [secret, &given[1..], &format!("{{ kid = 'a', hs256_secret = '{secret}' }}")] {
            let error = load("", &[("HONGBAO_AUTH__KEYS", bad)]).unwrap_err();
            assert!(error.starts_with("HONGBAO_AUTH__KEYS: it must be a list") && !error.contains(secret), "{error}");
        }
    }

    #[test]
    fn what_others_have_in_the_environment_is_of_no_concern() {
        use std::os::unix::ffi::OsStringExt as _;
        let no_text = || OsString::from_vec(vec![0xff, 0xfe]);
        let load = |name: OsString| Config::load(None, [(name, no_text())].into_iter(), Flags::default());
        assert!(load(no_text()).is_ok() && load("OTHER".into()).is_ok());
        assert_eq!(load("HONGBAO_DATA".into()).unwrap_err(), "HONGBAO_DATA: it is not UTF-8");
    }

    #[test]
    fn secrets_are_never_shown() {
        let config = load("[auth]\nhs256_secret = 'tell-nobody-tell-nobody-tell-nobody'", &[]).unwrap();
        assert!(!config.shown().contains("tell-nobody"), "{}", config.shown());
        assert!(!format!("{config:?}").contains("tell-nobody"));
        assert!(config.shown().contains("shares_max = 500"), "{}", config.shown());
    }
}
