//! The configuration: a TOML file, then the environment, then flags.
//!
//! An unknown key is refused by name, wherever it comes from: a setting that
//! is misspelt must not be silently without effect.

mod sections;

pub mod dev;
pub mod installation;

use std::ffi::OsString;
use std::fmt::Display;
use std::path::Path;

pub use sections::{ArchiveSection, Auth, Http, Log, LogFormat, Otlp, Rehearsal, Secret, Tickets, ZoneOffset, fold};
use serde::de::DeserializeOwned;

/// Reads settings from a file, if there is one, and lays the environment over them.
fn read<C: DeserializeOwned>(
    file: Option<&Path>,
    environment: impl Iterator<Item = (OsString, OsString)>,
) -> Result<C, String> {
    let mut settings = match file {
        Some(path) => {
            let named = |error: &dyn Display| format!("--config {}: {error}", path.display());
            let text = std::fs::read_to_string(path).map_err(|error| named(&error))?;
            text.parse::<toml::Table>().map_err(|error| named(&error))?
        }
        None => toml::Table::new(),
    };
    for (name, value) in environment {
        // What others have in the environment is of no concern, whatever bytes it is made of.
        let Some(key) = name.to_str().and_then(|name| name.strip_prefix("HONGBAO_")) else { continue };
        let value = value.to_str().ok_or("it is not UTF-8".to_owned());
        let put = value.and_then(|value| put(&mut settings, &key.to_lowercase(), value));
        put.map_err(|reason| format!("HONGBAO_{key}: {reason}"))?;
    }
    settings.try_into().map_err(|error| format!("configuration: {error}"))
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
    table.insert(last.to_owned(), parsed.unwrap_or_else(|| toml::Value::String(value.to_owned())));
    Ok(())
}
