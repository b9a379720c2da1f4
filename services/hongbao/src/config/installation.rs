//! The settings of an installation: what all of its processes share. Who there
//! is and where, says the topology file; here stand the secrets and the bounds.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use hongbao_core::Limits;
use hongbao_core::id::{Fold, SLOTS};
use hongbao_core::topology::TopologyFile;
use hongbao_envelope::server::ServerOptions;
use hongbao_envelope::shared::redis;
use hongbao_gateway::GatewayOptions;
use hongbao_gateway::rate::RateLimits;
use hongbao_workers::WorkerOptions;
use serde::{Deserialize, Serialize};

use super::cache::CacheSection;
use super::database::Database;
use super::tls::Tls;
use super::{
    ArchiveSection, Auth, CorsSection, Http, Log, Otlp, PassedOver, ProviderSection, Rehearsal, Tickets,
    WebhookSection, ZoneOffset, fold,
};

/// Every setting of the roles, with what holds when nothing is said.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Installation {
    /// The topology file; a relative path starts at the folder of this file.
    pub topology: PathBuf,
    /// Adds the calls that make tokens and money out of nothing, on loopback only.
    #[serde(default)]
    pub dev_calls: bool,
    /// Offset from UTC, in seconds, of the zone whose days name the tables.
    #[serde(default)]
    pub zone_offset_s: ZoneOffset,
    /// How tokens are checked.
    #[serde(default)]
    pub auth: Auth,
    /// How tickets are made.
    #[serde(default)]
    pub tickets: Tickets,
    /// How many databases and tables exist.
    #[serde(default)]
    pub storage: Storage,
    /// How databases are talked to.
    pub database: Database,
    /// How the caches of the SETs are reached.
    #[serde(default)]
    pub cache: CacheSection,
    /// What a request may ask for.
    #[serde(default)]
    pub limits: Limits,
    /// The envelope servers.
    #[serde(default)]
    pub server: ServerOptions,
    /// The gateways.
    #[serde(default)]
    pub gateway: GatewayOptions,
    /// Which web pages may call from a browser.
    #[serde(default)]
    pub cors: CorsSection,
    /// Connections and timeouts.
    #[serde(default)]
    pub http: Http,
    /// Requests per user, and in all.
    #[serde(default)]
    pub rate_limit: RateLimits,
    /// Requests that are marked as a rehearsal.
    #[serde(default)]
    pub rehearsal: Rehearsal,
    /// Where TLS is spoken.
    #[serde(default)]
    pub tls: Tls,
    /// The background jobs.
    #[serde(default)]
    pub workers: WorkerOptions,
    /// Where events are sent.
    #[serde(default)]
    pub webhook: WebhookSection,
    /// Where sealed tables go.
    #[serde(default)]
    pub archive: ArchiveSection,
    /// Where money enters and leaves.
    #[serde(default)]
    pub provider: ProviderSection,
    /// What is logged.
    #[serde(default)]
    pub log: Log,
    /// Where spans are sent.
    #[serde(default)]
    pub otlp: Otlp,
    /// What of the environment is none of these.
    #[serde(skip)]
    pub passed_over: PassedOver,
}

/// `[storage]`: fixed once the databases are made, but for what slot maps say of the databases of a SET.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Storage {
    /// Databases of envelopes over all SETs; divides 100.
    pub databases: u8,
    /// Tables per database and day; divides 10.
    pub tables: u8,
    /// Databases of the wallet; divides 100.
    pub wallet_databases: u8,
}

impl Default for Storage {
    fn default() -> Storage {
        Storage { databases: 100, tables: 10, wallet_databases: 10 }
    }
}

impl Storage {
    /// How envelopes are folded into databases and tables.
    pub fn fold(&self) -> Result<Fold, String> {
        fold(self.databases, self.tables)
    }
}

impl Installation {
    /// Reads the file, then the environment; checks the whole. The topology's
    /// path is made to start where the file lies.
    pub fn load(file: &Path, environment: impl Iterator<Item = (OsString, OsString)>) -> Result<Installation, String> {
        let (mut installation, passed_over): (Installation, _) = super::read(Some(file), environment)?;
        installation.passed_over = passed_over;
        if let Some(folder) = file.parent() {
            installation.topology = folder.join(&installation.topology);
            installation.tls.start_in(folder);
            installation.auth.begin_at(folder);
            installation.webhook.begin_at(folder);
            installation.database.begin_at(folder);
            installation.cache.begin_at(folder);
            installation.provider.begin_at(folder);
        }
        installation.auth.complete();
        installation.check()?;
        Ok(installation)
    }

    fn check(&self) -> Result<(), String> {
        self.limits.check()?;
        self.server.check()?;
        self.gateway.check()?;
        self.http.check()?;
        self.cors.check()?;
        self.otlp.check()?;
        self.tls.check()?;
        self.workers.check()?;
        self.archive.check()?;
        self.provider.check()?;
        self.webhook.check()?;
        self.rate_limit.check()?;
        self.zone_offset_s.check()?;
        self.auth.check()?;
        self.tickets.check()?;
        self.database.check()?;
        self.cache.check()?;
        let (cap, connections) = (self.server.permit_cap, self.database.connections_max);
        if cap as usize >= connections {
            return Err(format!(
                "server: permit_cap ({cap}) must be less than database.connections_max ({connections}): \
                 without lanes a single envelope would otherwise take all connections"
            ));
        }
        self.storage.fold()?;
        if Fold::new(self.storage.wallet_databases, 1).is_none() {
            return Err(format!("storage: wallet_databases must divide {SLOTS}"));
        }
        let known = self.auth.known().or_else(|| self.tickets.known().map(str::to_owned));
        let of_database = || self.database.password.is_default().then(|| "database.password".to_owned());
        if let Some(name) = known.or_else(of_database) {
            return Err(format!("{name} must be set: everybody knows the default"));
        }
        Ok(())
    }

    /// Checks what the two files say together, and what a start would find wrong in
    /// the topology later on.
    pub fn check_with(&self, topology: &TopologyFile) -> Result<(), String> {
        for set in &topology.sets {
            self.database.options(&set.database).map_err(|reason| format!("SET {:?}: {reason}", set.name))?;
            if let Some(url) = &set.cache {
                redis::check_url(url).map_err(|reason| format!("SET {:?}: cache: {reason}", set.name))?;
            }
        }
        for wallet in &topology.wallets {
            self.database.options(&wallet.database).map_err(|reason| format!("wallet {:?}: {reason}", wallet.name))?;
        }
        let gateways = topology.gateways.iter().flat_map(|gateway| [gateway.address.clone(), gateway.listens_at()]);
        let servers = topology.sets.iter().flat_map(|set| &set.servers);
        let servers = servers.flat_map(|server| [server.address.clone(), server.listens_at()]);
        let outside = gateways.chain(servers).find(|address| !address.is_loopback());
        match outside {
            Some(address) if self.dev_calls => {
                Err(format!("dev_calls make money out of nothing, and {address} can be reached from outside"))
            }
            _ => Ok(()),
        }
    }

    /// Warns once of what goes over a network without TLS.
    pub fn warn_of_exposed(&self, topology: &TopologyFile) {
        let databases = topology.sets.iter().map(|set| &set.database);
        let mut databases = databases.chain(topology.wallets.iter().map(|wallet| &wallet.database));
        if databases.any(|nodes| self.database.is_exposed(nodes)) {
            tracing::warn!("connections to databases on other hosts are not encrypted: see database.tls");
        }
    }

    /// The settings in force as TOML, secrets masked.
    pub fn shown(&self) -> String {
        toml::to_string(self).expect("every setting can be written as TOML")
    }
}

#[cfg(test)]
mod tests {
    use hongbao_core::limits::WRITERS_OF_A_SET_MAX;

    use super::*;

    fn sample(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../ops/config").join(name)
    }

    fn secrets() -> Vec<(&'static str, &'static str)> {
        [
            ("HONGBAO_AUTH__HS256_SECRET", "0123456789012345678901234567890123456789"),
            ("HONGBAO_TICKETS__SECRET", "something that nobody but we can know"),
            ("HONGBAO_DATABASE__PASSWORD", "1234"),
        ]
        .to_vec()
    }

    fn environment<'a>(
        variables: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> impl Iterator<Item = (OsString, OsString)> {
        variables.into_iter().map(|(name, value)| (name.into(), value.into()))
    }

    fn load(file: &str) -> Result<Installation, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hongbao.toml");
        std::fs::write(&path, file).unwrap();
        Installation::load(&path, environment(secrets()))
    }

    fn sample_topology() -> TopologyFile {
        toml::from_str(&std::fs::read_to_string(sample("topology.toml")).unwrap()).unwrap()
    }

    #[test]
    fn the_sample_configuration_is_whole_once_its_secrets_are_set() {
        let installation = Installation::load(&sample("hongbao.toml"), environment(secrets())).unwrap();
        let topology = sample_topology();
        topology.check(hongbao_core::Timestamp::from_millis(0)).unwrap();
        installation.check_with(&topology).unwrap();
        assert_eq!(installation.topology, sample("topology.toml"));
        assert!(installation.database.options(&topology.sets[0].database).unwrap().nodes.len() == 3);
        for secret in secrets() {
            assert!(!installation.shown().contains(secret.1), "{}", installation.shown());
        }
    }

    #[test]
    fn the_readme_says_how_many_connections_the_sample_needs() {
        let installation = Installation::load(&sample("hongbao.toml"), environment(secrets())).unwrap();
        let topology = sample_topology();
        let readme = std::fs::read_to_string(sample("../README.md")).unwrap();
        let (most, of_own) = (installation.database.connections_max, WRITERS_OF_A_SET_MAX + 2);
        let processes = topology.sets.iter().map(|set| set.servers.len() + set.workers.len());
        let (of_set, of_all) = (1 + processes.clone().max().unwrap(), 1 + processes.sum::<usize>());
        for reason in [
            format!("({most} + {of_own}) × {of_set} = {}", (most + of_own) * of_set),
            format!("({most} + 2) × {of_all} = {}", (most + 2) * of_all),
            format!("(`database.connections_max` + {of_own}) ×"),
            "(`database.connections_max` + 2) ×".to_owned(),
        ] {
            assert!(readme.contains(&reason), "{reason}");
        }
    }

    #[test]
    fn secrets_that_everybody_knows_are_refused_by_name() {
        for (left_out, named) in secrets().iter().zip(["auth.hs256_secret", "tickets.secret", "database.password"]) {
            let given = secrets().into_iter().filter(|secret| secret.0 != left_out.0);
            let error = Installation::load(&sample("hongbao.toml"), environment(given)).unwrap_err();
            assert!(error.contains(named), "{error}");
        }
    }

    #[test]
    fn a_named_key_that_everybody_knows_is_refused_by_name() {
        let key = ("HONGBAO_AUTH__KEYS", "[{ kid = 'a', hs256_secret = 'replace-me-by-32-random-bytes-or-more' }]");
        let also = ("HONGBAO_TICKETS__ALSO_ACCEPTED_SECRET", "replace-me-by-other-random-bytes");
        for (given, named) in [(key, "auth.keys: hs256_secret of \"a\""), (also, "tickets.also_accepted_secret")] {
            let given = secrets().into_iter().chain([given]);
            let error = Installation::load(&sample("hongbao.toml"), environment(given)).unwrap_err();
            assert_eq!(error, format!("{named} must be set: everybody knows the default"));
        }
    }

    #[test]
    fn a_secret_that_can_be_guessed_is_refused_by_name() {
        for (name, reason) in [
            ("HONGBAO_AUTH__HS256_SECRET", "auth: hs256_secret must have at least 32 bytes"),
            ("HONGBAO_TICKETS__SECRET", "tickets: secret must have at least 32 bytes"),
            ("HONGBAO_TICKETS__ALSO_ACCEPTED_SECRET", "tickets: also_accepted_secret must have at least 32 bytes"),
        ] {
            for short in ["", "1", "no longer than 31 bytes, so bad"] {
                let given = secrets().into_iter().chain([(name, short)]);
                let error = Installation::load(&sample("hongbao.toml"), environment(given)).unwrap_err();
                assert_eq!(error, reason, "{short:?}");
            }
        }
    }

    #[test]
    fn what_is_missing_unknown_or_does_not_fit_is_named() {
        let whole = "topology = 't.toml'\n[database]\nuser = 'u'\n";
        load(whole).unwrap();
        for (file, reason) in [
            ("topology = 't.toml'", "user"),
            (&format!("colour = 1\n{whole}"), "colour"),
            (&format!("{whole}pool = 7"), "pool"),
            (&format!("{whole}connections_max = 0"), "connections_max"),
            (
                &format!("{whole}connections_max = 16"),
                "permit_cap (16) must be less than database.connections_max (16)",
            ),
            (&format!("{whole}[server]\npermit_cap = 32"), "permit_cap (32) must be less"),
            (&format!("{whole}[storage]\nwallet_databases = 3"), "wallet_databases"),
            (&format!("{whole}[storage]\ndatabases = 3"), "databases"),
            (&format!("{whole}[server]\npermit_cap = 0"), "permit_cap"),
            (&format!("{whole}[gateway]\nprobe_every_ms = 0"), "probe_every_ms"),
            (&format!("{whole}[limits.users]\nsent_a_day = 1"), "sent_a_day"),
            (&format!("{whole}[limits.classes.merchant]\nenvelope_fen = -1"), "negative"),
            (&format!("{whole}[limits.classes.merchant]\nunpaid_envelopes = 1000001"), "limits.classes.merchant"),
        ] {
            let error = load(file).unwrap_err();
            assert!(error.contains(reason), "{file:?} gave {error:?}");
        }
    }

    #[test]
    fn the_limits_of_users_and_of_classes_are_shown() {
        let limits = "[limits.users]\nsent_fen_a_day = 100\n\n[limits.classes.merchant]\nsent_fen_a_day = 900\n";
        let shown = load(&format!("topology = 't.toml'\n[database]\nuser = 'u'\n{limits}")).unwrap().shown();
        assert!(shown.contains(limits), "{shown}");
    }

    #[test]
    fn money_out_of_nothing_is_refused_where_others_can_reach_it() {
        let mut installation = load("topology = 't.toml'\n[database]\nuser = 'u'\n").unwrap();
        installation.dev_calls = true;
        assert!(installation.check_with(&sample_topology()).unwrap_err().contains("dev_calls"));
    }
}
