//! The documents name files, links and commands that exist.

use std::path::{Path, PathBuf};

const DOCUMENTS: [&str; 11] = [
    "README.md",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "docs/adding-a-call.md",
    "docs/adding-an-envelope-field.md",
    "docs/adding-a-job.md",
    "docs/adding-an-audit-check.md",
    "docs/benchmarks.md",
    "loadtest/README.md",
    "ops/README.md",
];
const ENDINGS: [&str; 7] = [".rs", ".sql", ".sh", ".toml", ".md", ".py", ".c"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn text_of(document: &str) -> String {
    std::fs::read_to_string(root().join(document)).unwrap_or_else(|error| panic!("{document}: {error}"))
}

/// `a/{b,c}.rs` is `a/b.rs` and `a/c.rs`.
fn expanded(path: &str) -> Vec<String> {
    let braces = path.split_once('{').and_then(|(start, rest)| Some((start, rest.split_once('}')?)));
    let Some((start, (choices, end))) = braces else { return vec![path.to_owned()] };
    choices.split(',').flat_map(|choice| expanded(&format!("{start}{choice}{end}"))).collect()
}

/// Documents name a file from the root, from its crate's folder, or by its crate and
/// the place in its sources: `core/limits.rs`.
fn exists(document: &str, path: &str) -> bool {
    let (first, rest) = path.split_once('/').unwrap_or((path, ""));
    let beside = Path::new(document).parent().unwrap_or(Path::new("")).join(path);
    [
        PathBuf::from(path),
        beside,
        Path::new("services").join(path),
        Path::new("services").join(first).join("src").join(rest),
        Path::new("loadtest/loadtest/src").join(path),
        Path::new("ops").join(path),
    ]
    .iter()
    .any(|place| root().join(place).exists())
}

/// The words between backticks, outside of blocks of code.
fn code_words(text: &str) -> impl Iterator<Item = &str> {
    let prose = text.split("```").step_by(2);
    prose.flat_map(|part| part.split('`').skip(1).step_by(2)).flat_map(str::split_whitespace)
}

fn is_file_of_ours(word: &str) -> bool {
    word.contains('/')
        && ENDINGS.iter().any(|ending| word.ends_with(ending))
        && !["/", "target/", "../shared/"].iter().any(|start| word.starts_with(start))
        && !word.contains(['*', ':', '$', '=', 'N'])
}

#[test]
fn every_file_that_a_document_names_exists() {
    let mut named = 0;
    for document in DOCUMENTS {
        let text = text_of(document);
        let files =
            code_words(&text).map(|word| word.trim_end_matches([',', ';'])).filter(|word| is_file_of_ours(word));
        for path in files.flat_map(expanded) {
            assert!(exists(document, &path), "{document} names {path}");
            named += 1;
        }
    }
    assert!(named > 100, "{named}");
}

#[test]
fn every_link_of_a_document_leads_somewhere() {
    let mut followed = 0;
    for document in DOCUMENTS {
        let text = text_of(document);
        let links = text.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0));
        for link in links.filter(|link| !link.contains("://")) {
            let (file, heading) = link.split_once('#').map_or((link, None), |(file, heading)| (file, Some(heading)));
            let target = if file.is_empty() { PathBuf::from(document) } else { beside(document, file) };
            let target = root().join(target);
            assert!(target.exists(), "{document} links to {link}");
            if let Some(heading) = heading {
                let there = std::fs::read_to_string(&target).unwrap();
                let anchors = there.lines().filter(|line| line.starts_with('#')).map(anchor);
                assert!(anchors.collect::<Vec<_>>().contains(&heading.to_owned()), "{document} links to {link}");
            }
            followed += 1;
        }
    }
    assert!(followed > 10, "{followed}");
}

fn beside(document: &str, file: &str) -> PathBuf {
    Path::new(document).parent().unwrap_or(Path::new("")).join(file)
}

/// What a heading is linked to by: `## Visible is not durable` is `visible-is-not-durable`.
fn anchor(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
    text.chars().filter(|letter| letter.is_alphanumeric() || *letter == '-' || *letter == '_').collect()
}

#[test]
fn every_command_of_make_that_a_document_names_exists() {
    let makefile = text_of("Makefile");
    for document in DOCUMENTS {
        let text = text_of(document);
        let commands = text.split("`make ").skip(1).filter_map(|rest| rest.split(['`', ' ', ')']).next());
        for command in commands {
            assert!(makefile.contains(&format!("\n{command}:")), "{document} names `make {command}`");
        }
    }
}
