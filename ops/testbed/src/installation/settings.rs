//! The settings of an installation's processes.

use std::io::Read as _;

use hongbao_core::id::Fold;
use toml::{Table, Value};

use crate::install::Fallible;

/// Calls of development make tokens and money out of nothing: for trying things out.
const SETTINGS: &str = r#"
topology = "topology.toml"
dev_calls = true
[storage]
wallet_databases = 2
[database]
user = "hongbao"
password = "hongbao"
[limits]
expires_in_s_min = 1
[rate_limit]
user_per_s = 10000
user_burst = 10000
"#;

/// The databases of all SETs together, and the tables a day in each, unless settings say otherwise.
pub const FOLD: Fold = Fold::new(4, 1).expect("4 divides 100, 1 divides 10");

/// The settings of all processes, with `own` TOML before them: section by section, key by
/// key. Secrets that it does not have are made.
pub(crate) fn settings(own: &str) -> Fallible<String> {
    let mut all: Table = own.parse()?;
    let secret = |name: &str| Ok::<_, std::io::Error>(Table::from_iter([(name.to_owned(), random_secret()?.into())]));
    add(&mut all, SETTINGS.parse()?);
    let (databases, tables) = (FOLD.databases(), FOLD.tables());
    add(&mut all, format!("storage = {{ databases = {databases}, tables = {tables} }}").parse()?);
    add(&mut all, Table::from_iter([("auth".to_owned(), secret("hs256_secret")?.into())]));
    add(&mut all, Table::from_iter([("tickets".to_owned(), secret("secret")?.into())]));
    Ok(all.to_string())
}

/// Adds what is not there.
fn add(to: &mut Table, from: Table) {
    for (key, value) in from {
        match (to.get_mut(&key), value) {
            (Some(Value::Table(to)), Value::Table(from)) => add(to, from),
            (Some(_), _) => (),
            (None, value) => {
                to.insert(key, value);
            }
        }
    }
}

fn random_secret() -> std::io::Result<String> {
    let mut bytes = [0; 32];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_settings_come_first_and_secrets_are_made_where_there_are_none() {
        let own = "zone_offset_s = 0\n[auth]\nhs256_secret = 'mine'\n[limits]\nshares_max = 7\n[storage]\ntables = 2\n";
        let [first, second] = [own, own].map(|own| settings(own).unwrap().parse::<Table>().unwrap());
        assert_eq!(first["auth"]["hs256_secret"].as_str(), Some("mine"));
        let number = |section: &str, key: &str| first[section][key].as_integer();
        assert_eq!((number("limits", "shares_max"), number("limits", "expires_in_s_min")), (Some(7), Some(1)));
        assert_eq!((number("storage", "tables"), number("storage", "databases")), (Some(2), Some(4)));
        assert_ne!(first["tickets"]["secret"], second["tickets"]["secret"]);
        assert_eq!(first["tickets"]["secret"].as_str().unwrap().len(), 64);
    }
}
