//! Settings that every role has.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use hongbao_archive::{FileArchive, Location};
use hongbao_core::id::{Fold, SLOTS, TABLES};
use hongbao_core::settings::{self, at_least, setting};
use hongbao_core::{Traffic, limits};
use hongbao_gateway::edge::RehearsalEdge;
use hongbao_gateway::rate::{RateLimits, UserRates};
use hongbao_http::{HttpMetrics, ServeOptions};
use serde::{Deserialize, Serialize};

/// `zone_offset_s`: UTC+8 unless it is configured.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ZoneOffset(pub i32);

impl Default for ZoneOffset {
    fn default() -> ZoneOffset {
        ZoneOffset(8 * 3_600)
    }
}

impl ZoneOffset {
    /// What is wrong with it, for the operator.
    pub fn check(self) -> Result<(), String> {
        if !(-14 * 3_600..=14 * 3_600).contains(&self.0) {
            return Err("zone_offset_s must lie within 14 hours".to_owned());
        }
        Ok(())
    }
}

/// `[archive]`: where sealed tables go, and are read from then on.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ArchiveSection {
    /// A folder that is there, `file:///srv/hongbao`, or a bucket, `s3://bucket/prefix`; the same for all processes.
    pub url: Option<String>,
    /// What the file `hongbao-archive` in it says, by which it is known from a folder or bucket of that name elsewhere.
    pub id: Option<String>,
    /// Days after which a sealed table is exported and dropped, counted from its date; never unless it is given.
    pub after_days: Option<u32>,
}

impl ArchiveSection {
    /// What is wrong with it, for the operator.
    pub fn check(&self) -> Result<(), String> {
        if self.location()?.is_some() {
            let is_id = |id: &String| {
                (1..=limits::ARCHIVE_ID_CHARS_MAX).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic())
            };
            if !self.id.as_ref().is_some_and(is_id) {
                return Err(format!(
                    "archive: id is what the file hongbao-archive in the archive says, 1 to {} ASCII characters without \
                     spaces; put one there that no other archive has",
                    limits::ARCHIVE_ID_CHARS_MAX
                ));
            }
        }
        let Some(after_days) = self.after_days else { return Ok(()) };
        if self.url.is_none() {
            return Err("archive: after_days has no effect without url".to_owned());
        }
        settings::check("archive", &[setting("after_days", after_days, limits::EXPORT_AFTER_DAYS)])
    }

    /// The archive of a SET, if there is one, for one kind of traffic.
    pub fn of(&self, set: &str, traffic: Traffic) -> Result<Option<FileArchive>, String> {
        let archive = |location| FileArchive::new(location, self.id.as_deref(), set, traffic.database_suffix());
        Ok(self.location()?.map(archive))
    }

    fn location(&self) -> Result<Option<Location>, String> {
        let parse = |url: &String| url.parse::<Location>().map_err(|reason| format!("archive: url: {reason}"));
        self.url.as_ref().map(parse).transpose()
    }
}

/// `[rehearsal]`: whether operators may rehearse while we serve.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rehearsal {
    /// Takes requests that are marked as a rehearsal, over databases of their own.
    /// Where it is off they are refused.
    pub enabled: bool,
    /// Requests of a rehearsal a second, through one gateway; as many may come at
    /// once. Not limited unless it is given.
    pub global_per_s: Option<NonZeroU32>,
}

impl Rehearsal {
    /// The kinds of traffic that there are.
    pub fn traffics(&self) -> &'static [Traffic] {
        if self.enabled { &[Traffic::Live, Traffic::Shadow] } else { &[Traffic::Live] }
    }

    /// How the edge treats marked requests, where the users of live traffic have
    /// these limits.
    pub fn edge(&self, limits: Option<&RateLimits>) -> Option<RehearsalEdge> {
        let limits = limits.map(|limits| RateLimits { global_per_s: self.global_per_s, ..limits.clone() });
        self.enabled.then(|| RehearsalEdge { rates: limits.map(|limits| Arc::new(UserRates::new(&limits))) })
    }
}

/// `[http]`: connections and how long they may take, in milliseconds.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Http {
    /// Connections at the same time; more get `busy`.
    pub connections_max: usize,
    /// For the head of a request to arrive.
    pub head_timeout_ms: u64,
    /// For the body of a request to arrive.
    pub body_timeout_ms: u64,
    /// For the next request on an open connection.
    pub idle_timeout_ms: u64,
    /// For requests to finish once the service stops.
    pub drain_timeout_ms: u64,
    /// Threads of a process; 0: one for each processor.
    pub threads: usize,
    /// Whether grabs, openings and looks that are written as usual are answered past hyper and the router.
    pub fast_path: bool,
}

impl Default for Http {
    fn default() -> Http {
        Http {
            connections_max: limits::CONNECTIONS_MAX,
            head_timeout_ms: limits::HEAD_READ_MS_MAX,
            body_timeout_ms: limits::BODY_READ_MS_MAX,
            idle_timeout_ms: limits::IDLE_MS_MAX,
            drain_timeout_ms: limits::DRAIN_MS_MAX,
            threads: 0,
            fast_path: true,
        }
    }
}

/// The fold into so many databases, and tables a day, of each.
///
/// # Errors
/// What they must divide.
pub fn fold(databases: u8, tables: u8) -> Result<Fold, String> {
    Fold::new(databases, tables)
        .ok_or_else(|| format!("storage: databases must divide {SLOTS} and tables must divide {TABLES}"))
}

impl Http {
    /// What is wrong with it, for the operator.
    pub fn check(&self) -> Result<(), String> {
        let hour = 1..=3_600_000;
        settings::check(
            "http",
            &[
                at_least("connections_max", self.connections_max, 1),
                setting("head_timeout_ms", self.head_timeout_ms, hour.clone()),
                setting("body_timeout_ms", self.body_timeout_ms, hour.clone()),
                setting("idle_timeout_ms", self.idle_timeout_ms, hour.clone()),
                setting("drain_timeout_ms", self.drain_timeout_ms, hour),
                setting("threads", self.threads, 0..=limits::THREADS_MAX),
            ],
        )
    }

    /// For the server; requests are counted by `metrics`.
    pub fn options(&self, metrics: HttpMetrics) -> ServeOptions {
        ServeOptions {
            connections_max: self.connections_max,
            head_timeout: Duration::from_millis(self.head_timeout_ms),
            body_timeout: Duration::from_millis(self.body_timeout_ms),
            idle_timeout: Duration::from_millis(self.idle_timeout_ms),
            drain_timeout: Duration::from_millis(self.drain_timeout_ms),
            fast_path: self.fast_path,
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
    /// Whether a line is written of each request that was answered, at `info`.
    pub requests: bool,
}

impl Default for Log {
    fn default() -> Log {
        Log { level: "info,sqlx=warn".to_owned(), format: LogFormat::Text, requests: false }
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

/// `[otlp]`: where spans are sent, by OTLP over HTTP.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Otlp {
    /// The collector's URL for traces, such as `http://127.0.0.1:4318/v1/traces`. Nothing is
    /// sent unless it is given.
    pub endpoint: Option<String>,
    /// Of the requests that come without a `traceparent`, and of runs, the part that is
    /// recorded, 0 to 1. Those that come with one say so themselves, and a batch is
    /// recorded if one of its requests is.
    pub sampled: f64,
}

impl Default for Otlp {
    fn default() -> Otlp {
        Otlp { endpoint: None, sampled: 0.01 }
    }
}

impl Otlp {
    /// Says what is wrong with it, in words for an operator.
    pub fn check(&self) -> Result<(), String> {
        if !(0.0..=1.0).contains(&self.sampled) {
            return Err("otlp: sampled must be 0 to 1".to_owned());
        }
        let Some(endpoint) = &self.endpoint else { return Ok(()) };
        match endpoint.parse::<http::Uri>() {
            Ok(uri) if is_collector(&uri) => Ok(()),
            // Not repeated: it may hold a password.
            _ => Err("otlp: endpoint must be like http://127.0.0.1:4318/v1/traces, without user, password and query"
                .to_owned()),
        }
    }
}

fn is_collector(uri: &http::Uri) -> bool {
    let has_user = uri.authority().is_none_or(|authority| authority.as_str().contains('@'));
    uri.scheme_str() == Some("http") && !has_user && uri.path().len() > 1 && uri.query().is_none()
}
