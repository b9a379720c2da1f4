//! The fields of the log are those that the handbook lists: one name for one thing in all crates, and numbers
//! whose names say their unit.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};

use crate::text::{files_under, root, text_of};

/// Macros that write a line.
const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];
/// The heading of the handbook that lists the fields, and the next one.
const HEADING: &str = "### Fields of the log\n";

/// The fields that a file of sources gives to lines and spans, with what was written.
fn fields_of(stream: TokenStream, found: &mut BTreeSet<String>) {
    let trees: Vec<TokenTree> = stream.into_iter().collect();
    for (place, tree) in trees.iter().enumerate() {
        let TokenTree::Group(group) = tree else { continue };
        let before = |back: usize| place.checked_sub(back).map(|at| trees[at].to_string()).unwrap_or_default();
        let is_test = group.delimiter() == Delimiter::Brace && before(2) == "mod" && before(1) == "tests";
        if is_test {
            continue;
        }
        if before(1) == "!" && LEVELS.contains(&before(2).as_str()) {
            found.extend(fields_of_line(group));
        // `span.record("status", …)`, or `field("request_id", …)` where a span shows its fields.
        } else if before(1) == "record" || (before(1) == "field" && before(2) != ".") {
            let first = group.stream().into_iter().next().map(|first| first.to_string()).unwrap_or_default();
            found.extend(first.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).map(str::to_owned));
        }
        fields_of(group.stream(), found);
    }
}

/// `name`, `name = value`, `%name` and `?name`; what stands behind the message are its arguments.
fn fields_of_line(group: &Group) -> Vec<String> {
    let mut fields = Vec::new();
    let mut part = Vec::new();
    let end = TokenTree::Punct(proc_macro2::Punct::new(',', proc_macro2::Spacing::Alone));
    for tree in group.stream().into_iter().chain([end]) {
        match &tree {
            TokenTree::Punct(sign) if sign.as_char() == ',' => {
                let name: String = std::mem::take(&mut part).concat();
                if name.starts_with('"') {
                    break;
                }
                let name = name.split('=').next().unwrap_or_default().trim_start_matches(['%', '?']).to_owned();
                if !name.is_empty() && !name.starts_with("target:") {
                    fields.push(name);
                }
            }
            _ => part.push(tree.to_string()),
        }
    }
    fields
}

/// Every field of every line and span of the service, with a file that has it.
fn written() -> BTreeMap<String, String> {
    let mut written = BTreeMap::new();
    for path in files_under(&root().join("services"), true) {
        let is_source = path.extension().is_some_and(|ending| ending == "rs");
        let is_test = path.components().any(|part| part.as_os_str() == "tests") || path.ends_with("tests.rs");
        let is_testkit = path.components().any(|part| part.as_os_str() == "testkit");
        if !is_source || is_test || is_testkit {
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("it was listed");
        let mut found = BTreeSet::new();
        fields_of(text.parse().expect("it compiles"), &mut found);
        let name = path.strip_prefix(root()).unwrap_or(Path::new("")).display().to_string();
        written.extend(found.into_iter().map(|field| (field, name.clone())));
    }
    written
}

/// The table of the handbook: of each field whether it is a number.
fn listed() -> BTreeMap<String, bool> {
    let handbook = text_of("ops/README.md");
    let section = handbook.split(HEADING).nth(1).expect("the handbook has it").split("\n#").next().unwrap_or_default();
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    let mut listed = BTreeMap::new();
    for row in rows {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        for field in cells[1].split(", ") {
            let field = field.trim_matches('`').to_owned();
            assert!(listed.insert(field.clone(), cells[2] == "number").is_none(), "{field} stands there twice");
        }
    }
    listed
}

#[test]
fn every_field_of_the_log_stands_in_the_handbook_and_no_other_does() {
    let (written, listed) = (written(), listed());
    let unlisted: Vec<_> = written.iter().filter(|(field, _)| !listed.contains_key(*field)).collect();
    assert!(unlisted.is_empty(), "not in the handbook: {unlisted:#?}");
    let unwritten: Vec<_> = listed.keys().filter(|field| !written.contains_key(*field)).collect();
    assert!(unwritten.is_empty(), "nothing logs {unwritten:?}");
    assert!(written.len() > 40, "{}", written.len());
}

#[test]
fn lengths_of_time_are_numbers_of_milliseconds() {
    for (field, is_number) in listed() {
        let has_unit = field.ends_with("_ms");
        assert!(!has_unit || is_number, "{field}");
        for other in ["_s", "_us", "_ns", "_secs", "_seconds", "took", "duration", "latency"] {
            assert!(!field.ends_with(other), "{field} is no name for a length of time");
        }
    }
}

#[test]
fn what_a_line_is_made_of_is_understood() {
    let of = |source: &str| {
        let mut found = BTreeSet::new();
        fields_of(source.parse().expect("it is Rust"), &mut found);
        found.into_iter().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(
        of(r#"tracing::warn!(%error, id = %self.id, ?was, count, "a {} b", not_a_field)"#),
        "count error id was"
    );
    assert_eq!(of(r#"tracing::info!(target: "x", a.b = f(c, d), "m")"#), "a.b");
    assert_eq!(of(r#"fn f() { if x { tracing::info!("m") } else { span.record("status", 1) } }"#), "status");
    assert_eq!(of(r#"mod tests { fn f() { tracing::info!(number, "m") } }"#), "");
}
