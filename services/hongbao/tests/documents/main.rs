//! The documents name files, links, commands and names that exist, and the files of a crate
//! do not import each other in a loop.

mod circles;
mod logs;
mod names;
mod text;

use std::path::{Path, PathBuf};

use std::os::unix::fs::PermissionsExt as _;

use crate::text::{crates, documents, expanded, root, text_of, words_of_code};

/// Documents name a file from the root, from their own folder, from the sources of a crate
/// (`run/plan.rs`), or by a crate and the place in its sources: `core/limits.rs`, `workers/credit`.
fn exists(document: &str, path: &str) -> bool {
    let (first, rest) = path.split_once('/').unwrap_or((path, ""));
    let of_crate = |sources: &PathBuf| sources.parent().is_some_and(|of| of.ends_with(first));
    is_there(&root().join(beside(document, path)))
        || ["", "services", "ops"].iter().any(|folder| is_there(&root().join(folder).join(path)))
        || crates().iter().any(|sources| is_there(&sources.join(path)))
        || crates().iter().filter(|sources| of_crate(sources)).any(|sources| is_there(&sources.join(rest)))
}

/// A file, a folder, a module without its ending, or with `*` anything that fits.
fn is_there(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let Some((start, end)) = name.split_once('*') else { return path.exists() || path.with_extension("rs").exists() };
    let entries = path.parent().and_then(|folder| folder.read_dir().ok());
    entries.into_iter().flatten().flatten().any(|entry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        name.starts_with(start) && name.ends_with(end)
    })
}

fn beside(document: &str, file: &str) -> PathBuf {
    Path::new(document).parent().unwrap_or(Path::new("")).join(file)
}

/// Whether a word between backticks names a file or a folder of this repository.
fn is_path_of_ours(word: &str) -> bool {
    let first = word.split('/').next().unwrap_or_default();
    let is_inside = |folder: &Path| !first.is_empty() && folder.join(first).is_dir();
    let folders = ["", "services", "ops"].map(|folder| root().join(folder));
    word.contains('/')
        && (first.starts_with('{') || folders.iter().chain(crates()).any(|folder| is_inside(folder)))
        && !["./", "target/"].iter().any(|start| word.starts_with(start))
        && !word.contains([':', '$', '=', '…', 'N', '<'])
}

#[test]
fn every_file_that_a_document_names_exists() {
    let mut named = 0;
    for document in documents() {
        let text = text_of(&document);
        for path in words_of_code(&text).filter(|word| is_path_of_ours(word)).flat_map(expanded) {
            assert!(exists(&document, &path), "{document} names {path}");
            named += 1;
        }
    }
    assert!(named > 150, "{named}");
}

#[test]
fn every_link_of_a_document_leads_somewhere() {
    let mut followed = 0;
    for document in documents() {
        let text = text_of(&document);
        let links = text.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0));
        for link in links.filter(|link| !link.contains("://")) {
            let (file, heading) = link.split_once('#').map_or((link, None), |(file, heading)| (file, Some(heading)));
            let target = if file.is_empty() { PathBuf::from(&document) } else { beside(&document, file) };
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
    assert!(followed > 40, "{followed}");
}

/// What a heading is linked to by: `## Visible is not durable` is `visible-is-not-durable`.
fn anchor(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
    text.chars().filter(|letter| letter.is_alphanumeric() || *letter == '-' || *letter == '_').collect()
}

#[test]
fn every_decision_stands_in_their_list() {
    let list = text_of("docs/decisions/README.md");
    for document in documents() {
        let Some(name) = document.strip_prefix("docs/decisions/").filter(|name| *name != "README.md") else { continue };
        assert!(list.contains(&format!("]({name})")), "{document} is missing in docs/decisions/README.md");
    }
}

#[test]
fn every_command_of_make_that_a_document_names_exists() {
    let makefile = text_of("Makefile");
    for document in documents() {
        let text = text_of(&document);
        let commands = text.split("`make ").skip(1).filter_map(|rest| rest.split(['`', ' ', ')']).next());
        for command in commands {
            assert!(makefile.contains(&format!("\n{command}:")), "{document} names `make {command}`");
        }
    }
}

#[test]
fn every_script_that_make_runs_is_executable() {
    let makefile = text_of("Makefile");
    let commands = makefile.lines().filter_map(|line| line.strip_prefix("\tops/")).map(|rest| format!("ops/{rest}"));
    let scripts: Vec<String> = commands.filter_map(|line| line.split(' ').next().map(str::to_owned)).collect();
    assert!(scripts.len() > 5, "{scripts:?}");
    for script in scripts {
        let mode = std::fs::metadata(root().join(&script)).unwrap().permissions().mode();
        assert_eq!(mode & 0o111, 0o111, "{script}");
    }
}
