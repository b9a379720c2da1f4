//! Types, functions, settings, metrics, options and tests that documents mention
//! between backticks occur in the sources.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::text::{commands, documents, files_under, root, text_of, words_of_code};

/// Where the sources are. These tests are left out: they would find what they look for in themselves.
const SOURCES: [&str; 6] = ["services", "loadtest", "ops", "sql", "examples", ".ci"];
const ENDINGS: [&str; 9] = ["rs", "sql", "sh", "toml", "py", "c", "service", "txt", "yml"];
/// Settings of other programs that nothing here sets.
const FOREIGN: [&str; 5] = [
    "O_DIRECT",
    "innodb_autoinc_lock_mode",
    "large_client_header_buffers",
    "tcp_keepalive_time",
    "tidb_idle_transaction_timeout",
];
/// Databases by their number, which a document leaves open.
const PLACEHOLDERS: [&str; 3] = ["db_xx", "wallet_xx", "wallet_NN"];

/// The text of all sources, and every identifier in it.
struct Sources {
    text: String,
    names: HashSet<String>,
}

fn sources() -> &'static Sources {
    static SEEN: OnceLock<Sources> = OnceLock::new();
    SEEN.get_or_init(|| {
        let is_source = |path: &Path| {
            let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
            let is_itself = path.to_string_lossy().contains("tests/documents");
            !is_itself && (ENDINGS.contains(&ending) || path.ends_with(".ci/run"))
        };
        let mut texts = ["Makefile", "Cargo.toml", "clippy.toml"].map(text_of).to_vec();
        for path in SOURCES.iter().flat_map(|folder| files_under(&root().join(folder), true)) {
            if is_source(&path) {
                texts
                    .push(std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())));
            }
        }
        let text = texts.join("\n");
        let names = text.split(|letter| !is_of_a_name(letter)).map(str::to_owned).collect();
        Sources { text, names }
    })
}

fn is_of_a_name(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || letter == '_'
}

fn is_known(name: &str) -> bool {
    let is_known = |name: &str| sources().names.contains(name);
    // A counter is shown with an ending, the metrics of links begin with who has them, and a setting is given by
    // the environment with its section.
    let of_links = ["hongbao_gateway_", "hongbao_http_"].iter().find_map(|start| name.strip_prefix(start));
    is_known(name)
        || of_links.is_some_and(|rest| is_known(rest.trim_end_matches("_total")))
        || FOREIGN.contains(&name)
        || PLACEHOLDERS.contains(&name.trim_end_matches("_shadow"))
        || name.strip_suffix("_total").is_some_and(is_known)
        || name.strip_prefix("HONGBAO_").is_some_and(|setting| setting.to_lowercase().split("__").all(is_known))
}

/// An option is written with its dashes, or is a field of a command of ours.
fn is_option(option: &str) -> bool {
    let Sources { text, names } = sources();
    let stands_there = |(at, found): (usize, &str)| {
        let next = text[at + found.len()..].chars().next();
        !next.is_some_and(|next| is_of_a_name(next) || next == '-')
    };
    names.contains(&option.replace('-', "_")) || text.match_indices(&format!("--{option}")).any(stands_there)
}

/// `CamelCase`, `snake_case` and `CAPITALS_WITH_DASHES`: what can hardly be a word of English.
fn is_name(word: &str) -> bool {
    let begins = word.chars().next().is_some_and(|letter| letter.is_ascii_alphabetic());
    let is_snake = word.contains('_') && !word.ends_with('_');
    let is_camel = word.chars().next().is_some_and(char::is_uppercase)
        && word.chars().any(char::is_lowercase)
        && word.chars().skip(1).any(char::is_uppercase);
    begins && (is_snake || is_camel)
}

/// The names in a word of code: `Reading::end_proven` has two.
fn names_in(word: &str) -> impl Iterator<Item = &str> {
    word.split(|letter| !is_of_a_name(letter)).filter(|part| is_name(part))
}

#[test]
fn every_name_that_a_document_mentions_occurs_in_the_sources() {
    let (mut mentioned, mut unknown) = (0, Vec::new());
    for document in documents() {
        let text = text_of(&document);
        for name in words_of_code(&text).filter(|word| !word.contains('/')).flat_map(names_in) {
            mentioned += 1;
            if !is_known(name) {
                unknown.push(format!("{document} mentions {name}"));
            }
        }
    }
    assert!(unknown.is_empty(), "{unknown:#?}");
    assert!(mentioned > 150, "{mentioned}");
}

#[test]
fn every_option_that_a_document_mentions_occurs_in_the_sources() {
    let (mut mentioned, mut unknown) = (0, Vec::new());
    for document in documents() {
        let text = text_of(&document);
        for word in commands(&text).flat_map(str::split_whitespace) {
            let Some(option) = word.trim_matches(['[', ']', '`', ',']).strip_prefix("--") else { continue };
            let option = option.split(['=', '|', ']']).next().unwrap_or_default();
            mentioned += 1;
            if !option.is_empty() && !is_option(option) {
                unknown.push(format!("{document} mentions --{option}"));
            }
        }
    }
    assert!(unknown.is_empty(), "{unknown:#?}");
    assert!(mentioned > 50, "{mentioned}");
}

/// Our programs, and where their commands are listed.
const PROGRAMS: [(&str, &str); 4] = [
    ("hongbao", "services/hongbao/src/main.rs"),
    ("hongbao-loadtest", "loadtest/loadtest/src/main.rs"),
    ("hongbao-bench", "loadtest/bench/src/main.rs"),
    ("hongbao-testbed", "ops/testbed/src/main.rs"),
];

#[test]
fn every_command_of_our_programs_that_a_document_mentions_exists() {
    let lists = PROGRAMS.map(|(program, list)| (program, text_of(list)));
    let mut mentioned = 0;
    for document in documents() {
        let text = text_of(&document);
        for command in commands(&text) {
            let words: Vec<&str> = command.split_whitespace().collect();
            for pair in words.windows(2) {
                let program = pair[0].rsplit('/').next().unwrap_or_default();
                let Some((_, list)) = lists.iter().find(|(name, _)| *name == program) else { continue };
                // `gateway\|server\|worker` are three.
                for name in pair[1].split("\\|").filter(|name| is_command(name)) {
                    mentioned += 1;
                    assert!(has_command(list, name), "{document} mentions {program} {name}");
                }
            }
        }
    }
    assert!(mentioned > 50, "{mentioned}");
}

fn is_command(word: &str) -> bool {
    word.starts_with(|letter: char| letter.is_ascii_lowercase())
        && word.chars().all(|letter| letter.is_ascii_lowercase() || letter == '-')
}

/// `verify-draw` is `VerifyDraw` there, a variant with or without fields.
fn has_command(list: &str, name: &str) -> bool {
    let variant: String = name.split('-').map(|part| part[..1].to_uppercase() + &part[1..]).collect();
    let follows =
        |line: &str| line.trim_start().strip_prefix(&variant).is_some_and(|rest| rest.starts_with(['(', ',', ' ']));
    list.lines().any(follows)
}

/// `cargo test -p CRATE --test SUITE FILTER`: the suite is a file or a folder of a crate, and the
/// filter a part of a name in it.
#[test]
fn every_test_that_a_document_runs_exists() {
    let mut mentioned = 0;
    for document in documents() {
        let text = text_of(&document);
        for command in commands(&text).filter(|command| command.contains("cargo test")) {
            let mut words = command.split_whitespace().skip_while(|word| *word != "--test").skip(1);
            let Some(suite) = words.next().filter(|suite| *suite != "NAME") else { continue };
            mentioned += 1;
            let found = sources_of_suite(suite);
            assert!(!found.is_empty(), "{document} runs --test {suite}");
            let filter = words.next().filter(|word| !word.starts_with('-'));
            let fits = |path: &PathBuf| {
                let text = std::fs::read_to_string(path).expect("it was listed");
                filter.is_none_or(|filter| text.contains(filter) || path.to_string_lossy().contains(filter))
            };
            assert!(found.iter().any(fits), "{document} runs {filter:?} of --test {suite}");
        }
    }
    assert!(mentioned > 10, "{mentioned}");
}

/// The files of a suite, of whichever crate.
fn sources_of_suite(suite: &str) -> Vec<PathBuf> {
    let is_of_suite = |path: &PathBuf| {
        let parts: Vec<_> = path.iter().map(|part| part.to_string_lossy()).collect();
        parts.windows(2).any(|pair| pair[0] == "tests" && (pair[1] == suite || pair[1] == format!("{suite}.rs")))
    };
    let all = SOURCES.iter().flat_map(|folder| files_under(&root().join(folder), true));
    all.filter(is_of_suite).filter(|path| path.extension().is_some_and(|ending| ending == "rs")).collect()
}
