//! Every bound stands in `limits.rs` or a part of it.

use std::fs;
use std::path::Path;

/// How the name of a bound ends.
const ENDINGS: [&str; 6] = ["_MAX", "_MIN", "_CEILING", "_WITHIN", "_TIMEOUT", "_TRIES"];

/// The bounds that a file declares by a number.
fn declared(source: &str) -> Vec<&str> {
    let constants = source.lines().filter_map(|line| line.split_once("const ")).filter_map(|(_, rest)| {
        let (name, value) = rest.split_once(": ")?;
        let (kind, value) = value.split_once(" = ")?;
        (!kind.starts_with('&') && kind != "f64").then_some((name, value))
    });
    constants
        .filter(|(name, _)| ENDINGS.iter().any(|ending| name.ends_with(ending)))
        .filter(|(_, value)| {
            value.split(|char: char| !char.is_alphanumeric()).any(|word| word.starts_with(char::is_numeric))
        })
        .map(|(name, _)| name)
        .collect()
}

/// Names the bounds that are declared in the sources under a folder, apart from `limits.rs`, its parts and unit tests.
fn outside_of_limits(folder: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            if !path.ends_with("core/src/limits") {
                outside_of_limits(&path, found);
            }
            continue;
        }
        let name = path.file_name().unwrap().to_string_lossy();
        if name.ends_with(".rs") && name != "limits.rs" && name != "tests.rs" {
            let source = fs::read_to_string(&path).unwrap();
            let source = source.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
            found.extend(declared(source).iter().map(|bound| format!("{}: {bound}", path.display())));
        }
    }
}

#[test]
fn every_bound_stands_in_limits() {
    let services = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut found = Vec::new();
    for part in fs::read_dir(services).unwrap() {
        let part = part.unwrap().path();
        if !part.ends_with("testkit") && part.join("src").is_dir() {
            outside_of_limits(&part.join("src"), &mut found);
        }
    }
    assert!(found.is_empty(), "these belong into core/src/limits.rs: {found:#?}");
}

#[test]
fn a_bound_elsewhere_is_named() {
    let source = "const TRIES_MAX: u32 = 5;\n    pub const ANSWER_WITHIN: Duration = Duration::from_secs(3);\n\
                  const LONGEST: u32 = limits::TRIES_MAX;\nconst VERSION: u8 = 2;\nconst FLOAT_MAX: f64 = 1.0;\n";
    assert_eq!(declared(source), ["TRIES_MAX", "ANSWER_WITHIN"]);
}
