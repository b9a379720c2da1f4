//! The documents of this repository, and what stands between backticks in them.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Where documents are, besides the root.
const FOLDERS: [&str; 4] = ["docs", "examples", "loadtest", "ops"];

pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

pub fn text_of(document: &str) -> String {
    std::fs::read_to_string(root().join(document)).unwrap_or_else(|error| panic!("{document}: {error}"))
}

/// Every document, by its path from the root.
pub fn documents() -> Vec<String> {
    let below = FOLDERS.iter().flat_map(|folder| files_under(&root().join(folder), true));
    let mut documents: Vec<String> = files_under(&root(), false)
        .into_iter()
        .chain(below)
        .filter(|path| path.extension().is_some_and(|ending| ending == "md"))
        .map(|path| path.strip_prefix(root()).expect("it is below the root").to_string_lossy().into_owned())
        .collect();
    documents.sort();
    assert!(documents.len() > 20, "{documents:?}");
    documents
}

/// The files of a folder, and of those inside it if it is `deep`; those that are built are left out.
pub fn files_under(folder: &Path, deep: bool) -> Vec<PathBuf> {
    let entries = folder.read_dir().unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    entries
        .map(|entry| entry.expect("a folder can be listed").path())
        .flat_map(|path| match path.is_dir() {
            true if deep && !path.ends_with("target") => files_under(&path, true),
            true => Vec::new(),
            false => vec![path],
        })
        .collect()
}

/// The folders of the sources of all crates.
pub fn crates() -> &'static [PathBuf] {
    static CRATES: OnceLock<Vec<PathBuf>> = OnceLock::new();
    CRATES.get_or_init(|| {
        let folders = ["services", "loadtest", "ops"].map(|folder| root().join(folder));
        let files = folders.iter().flat_map(|folder| files_under(folder, true));
        let manifests = files.filter(|path| path.file_name().is_some_and(|name| name == "Cargo.toml"));
        manifests.map(|manifest| manifest.with_file_name("src")).collect()
    })
}

/// `a/{b,c}.rs` is `a/b.rs` and `a/c.rs`.
pub fn expanded(path: &str) -> Vec<String> {
    let braces = path.split_once('{').and_then(|(start, rest)| Some((start, rest.split_once('}')?)));
    let Some((start, (choices, end))) = braces else { return vec![path.to_owned()] };
    choices.split(',').flat_map(|choice| expanded(&format!("{start}{choice}{end}"))).collect()
}

/// What stands between backticks, outside of blocks of code.
pub fn spans(text: &str) -> impl Iterator<Item = &str> {
    let prose = text.split("```").step_by(2);
    prose.flat_map(|part| part.split('`').skip(1).step_by(2))
}

/// Its words.
pub fn words_of_code(text: &str) -> impl Iterator<Item = &str> {
    spans(text).flat_map(str::split_whitespace).map(|word| word.trim_matches([',', ';', '"', '\'']))
}

/// The commands of a document: what stands between backticks, and each line of a block of code.
pub fn commands(text: &str) -> impl Iterator<Item = &str> {
    let blocks = text.split("```").skip(1).step_by(2).flat_map(str::lines);
    spans(text).chain(blocks).map(|command| command.split(" #").next().unwrap_or_default())
}
