//! The configuration: a TOML file, then the environment, then flags.
//!
//! An unknown key is refused by name, wherever it comes from: a setting that
//! is misspelt must not be silently without effect. Only what Kubernetes sets for
//! Services is passed over, and the log says so.

mod cache;
mod client_files;
mod cors;
mod database;
mod kubernetes;
mod provider;
mod secrets;
mod sections;

pub mod dev;
pub mod installation;
pub mod tls;
mod webhook;
mod wechat;

use std::ffi::OsString;
use std::fmt::Display;
use std::path::Path;

pub use cors::CorsSection;
pub use provider::{ProviderKind, ProviderSection};
pub use secrets::{Auth, NamedKey, Secret, Tickets};
pub use sections::{ArchiveSection, Http, Log, LogFormat, Otlp, Rehearsal, ZoneOffset, fold};
use serde::de::DeserializeOwned;
pub use webhook::WebhookSection;

/// Variables of the environment that are named like settings and are none: Kubernetes has set them for Services.
#[derive(Clone, Debug, Default)]
pub struct PassedOver(Vec<String>);

impl PassedOver {
    /// Logs their names, if there are any.
    pub fn log(&self) {
        if !self.0.is_empty() {
            tracing::info!(
                names = self.0.join(" "),
                "variables of the environment that Kubernetes sets for Services are no settings: passed over"
            );
        }
    }
}

/// Reads settings from a file, if there is one, and lays the environment over them;
/// also gives what of the environment is none of them.
fn read<C: DeserializeOwned>(
    file: Option<&Path>,
    environment: impl Iterator<Item = (OsString, OsString)>,
) -> Result<(C, PassedOver), String> {
    let mut settings = match file {
        Some(path) => {
            let named = |error: &dyn Display| format!("--config {}: {error}", path.display());
            let text = std::fs::read_to_string(path).map_err(|error| named(&error))?;
            text.parse::<toml::Table>().map_err(|error| named(&error))?
        }
        None => toml::Table::new(),
    };
    let mut passed_over = PassedOver::default();
    for (name, value) in environment {
        // What others have in the environment is of no concern, whatever bytes it is made of.
        let Some(key) = name.to_str().and_then(|name| name.strip_prefix("HONGBAO_")) else { continue };
        let value = value.to_str().ok_or("it is not UTF-8".to_owned());
        if value.as_ref().is_ok_and(|value| kubernetes::is_of_service(key, value)) {
            passed_over.0.push(format!("HONGBAO_{key}"));
            continue;
        }
        let put = value.and_then(|value| put(&mut settings, &key.to_lowercase(), value));
        put.map_err(|reason| format!("HONGBAO_{key}: {reason}"))?;
    }
    passed_over.0.sort_unstable();
    let settings = settings.try_into().map_err(|error| format!("configuration: {error}"))?;
    Ok((settings, passed_over))
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
    if last.ends_with("secret") || last.ends_with("password") {
        table.insert(last.to_owned(), toml::Value::String(value.to_owned()));
        return Ok(());
    }
    // A number or a truth value is one; everything else is text.
    let parsed = format!("value = {value}").parse::<toml::Table>().ok().and_then(|mut table| table.remove("value"));
    // Secrets stand in it: an error about its type would show them.
    let is_list = |value: &toml::Value| value.as_array().is_some_and(|all| all.iter().all(toml::Value::is_table));
    if last == "keys" && !parsed.as_ref().is_some_and(is_list) {
        return Err("it must be a list in TOML: [{ kid = \"…\", hs256_secret = \"…\" }]".to_owned());
    }
    table.insert(last.to_owned(), parsed.unwrap_or_else(|| toml::Value::String(value.to_owned())));
    Ok(())
}
