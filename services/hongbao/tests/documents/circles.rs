//! No files of a crate import each other in a loop.
//!
//! A file imports another one when a path in it, in a `use` or anywhere in its code, leads to what the other one
//! defines. To declare a module is no import. What a file hands on (`pub use`) is imported from the file that
//! defines it, and the file that hands it on imports it only if it uses it itself.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

use crate::text::{crates, files_under};

/// The path of a module, `["a", "b"]` of `a::b`; that of a crate's root is empty.
type Module = Vec<String>;

/// A path that stands in a file.
struct Mention {
    path: Vec<String>,
    /// What a `use` calls it.
    name: Option<String>,
    /// It is of a `pub use` whose name the file itself has no use for.
    is_handed_on: bool,
}

/// Names and signs, without comments and literals; `::` is one sign.
fn flatten(stream: TokenStream, tokens: &mut Vec<String>) {
    for tree in stream {
        match tree {
            TokenTree::Ident(name) => tokens.push(name.to_string()),
            TokenTree::Punct(sign) if sign.as_char() == ':' && tokens.last().is_some_and(|last| last == ":") => {
                tokens.pop();
                tokens.push("::".to_owned());
            }
            TokenTree::Punct(sign) => tokens.push(sign.to_string()),
            TokenTree::Group(group) => {
                let [open, close] = match group.delimiter() {
                    Delimiter::Brace => ["{", "}"],
                    Delimiter::Bracket => ["[", "]"],
                    Delimiter::Parenthesis | Delimiter::None => ["(", ")"],
                };
                tokens.push(open.to_owned());
                flatten(group.stream(), tokens);
                tokens.push(close.to_owned());
            }
            TokenTree::Literal(_) => {}
        }
    }
}

fn is_name(token: &str) -> bool {
    token.starts_with(|first: char| first.is_alphabetic() || first == '_')
}

/// The paths of a file; its module of tests is left out.
fn mentions(text: &str) -> Vec<Mention> {
    let is_tests = |line: &str| line.trim_start_matches("pub").trim_start().starts_with("mod tests {");
    let ends = text.match_indices("\n#[cfg(test)]\n").find(|(at, mark)| is_tests(&text[at + mark.len()..]));
    let code = ends.map_or(text, |(at, _)| &text[..at]);
    let mut tokens = Vec::new();
    flatten(code.parse().expect("it compiles"), &mut tokens);
    let mut found = Vec::new();
    let mut used_names = BTreeSet::new();
    let mut at = 0;
    while at < tokens.len() {
        let is_use = tokens[at] == "use";
        let is_handed_on = is_use && at > 0 && ["pub", ")"].contains(&tokens[at - 1].as_str());
        at += usize::from(is_use);
        if !is_name(&tokens[at]) || (at > 0 && [".", "mod"].contains(&tokens[at - 1].as_str())) {
            at += 1;
            continue;
        }
        let mut paths = Vec::new();
        at = read_paths(&tokens, at, &[], &mut paths);
        for (path, name) in paths {
            if !is_use {
                used_names.insert(path[0].clone());
            }
            found.push(Mention { path, name: is_use.then_some(name), is_handed_on });
        }
    }
    found.retain(|mention| mention.name.is_some() || mention.path.len() > 1);
    for mention in &mut found {
        mention.is_handed_on &= !mention.name.as_ref().is_some_and(|name| used_names.contains(name));
    }
    found
}

/// Reads the path that begins here, or all paths of a group, each with its name; gives where they end.
fn read_paths(tokens: &[String], mut at: usize, before: &[String], paths: &mut Vec<(Vec<String>, String)>) -> usize {
    let token = |at: usize| tokens.get(at).map_or("", String::as_str);
    let mut path = before.to_vec();
    loop {
        if token(at) == "{" {
            at += 1;
            while token(at) != "}" {
                at = if token(at) == "," { at + 1 } else { read_paths(tokens, at, &path, paths) };
            }
            return at + 1;
        }
        // `a::{self}` is `a`.
        if token(at) != "self" || path.is_empty() {
            path.push(token(at).to_owned());
        }
        let goes_on = token(at + 1) == "::" && (is_name(token(at + 2)) || ["{", "*"].contains(&token(at + 2)));
        at += if goes_on { 2 } else { 1 };
        if !goes_on {
            let is_renamed = token(at) == "as";
            let name = if is_renamed { token(at + 1) } else { path.last().map_or("", String::as_str) };
            paths.push((path.clone(), name.to_owned()));
            return if is_renamed { at + 2 } else { at };
        }
    }
}

/// The files of one crate.
struct Crate(BTreeMap<Module, Vec<Mention>>);

impl Crate {
    /// Of files by their paths below `src`, with their texts.
    fn new<'a>(files: impl IntoIterator<Item = (&'a str, &'a str)>) -> Crate {
        let module = |path: &str| -> Module {
            let path = path.trim_end_matches(".rs");
            let path = path.strip_suffix("/mod").unwrap_or(path);
            path.split('/').filter(|part| !["lib", "main"].contains(part)).map(str::to_owned).collect()
        };
        Crate(files.into_iter().map(|(path, text)| (module(path), mentions(text))).collect())
    }

    /// The file that defines what a path in `module` leads to; `None` where that is another crate's.
    fn defines(&self, module: &Module, path: &[String], steps_left: u32) -> Option<Module> {
        let mut place = match path.first()?.as_str() {
            "crate" => Module::new(),
            "self" | "super" => module.clone(),
            name if self.0.contains_key(&below(module, name)) => module.clone(),
            name => return self.imported(module, name, &path[1..], steps_left),
        };
        let mut rest = path.strip_prefix(&["crate".to_owned()]).unwrap_or(path);
        while let Some((next, behind)) = rest.split_first() {
            match next.as_str() {
                "self" => {}
                "super" => drop(place.pop()?),
                name if self.0.contains_key(&below(&place, name)) => place.push(name.to_owned()),
                name => return Some(self.imported(&place, name, behind, steps_left).unwrap_or(place)),
            }
            rest = behind;
        }
        Some(place)
    }

    /// Where a name leads that a module has imported.
    fn imported(&self, module: &Module, name: &str, rest: &[String], steps_left: u32) -> Option<Module> {
        let mut named = self.0.get(module)?.iter().filter(|mention| mention.name.as_deref() == Some(name));
        let path = [&named.next()?.path, rest].concat();
        self.defines(module, &path, steps_left.checked_sub(1)?)
    }

    /// The other files that a file imports.
    fn imports(&self, module: &Module) -> BTreeSet<Module> {
        let own = self.0[module].iter().filter(|mention| !mention.is_handed_on);
        own.filter_map(|mention| self.defines(module, &mention.path, 9)).filter(|other| other != module).collect()
    }

    /// The files of each circle.
    fn circles(&self) -> BTreeSet<Vec<String>> {
        let imports: BTreeMap<&Module, BTreeSet<Module>> =
            self.0.keys().map(|file| (file, self.imports(file))).collect();
        let reached = |from: &Module| {
            let mut reached: BTreeSet<&Module> = BTreeSet::new();
            let mut open: Vec<&Module> = imports[from].iter().collect();
            while let Some(file) = open.pop() {
                if reached.insert(file) {
                    open.extend(&imports[file]);
                }
            }
            reached
        };
        let reached: BTreeMap<&Module, BTreeSet<&Module>> = self.0.keys().map(|file| (file, reached(file))).collect();
        let circle_of = |file: &Module| -> Vec<String> {
            let circle = reached[file].iter().filter(|other| reached[**other].contains(file));
            circle.map(|file| format!("crate::{}", file.join("::"))).collect()
        };
        self.0.keys().map(circle_of).filter(|circle| !circle.is_empty()).collect()
    }
}

fn below(module: &Module, name: &str) -> Module {
    module.iter().cloned().chain([name.to_owned()]).collect()
}

fn read(src: &Path) -> Crate {
    let files = files_under(src, true).into_iter().filter(|file| file.extension().is_some_and(|ending| ending == "rs"));
    let texts: Vec<(String, String)> = files
        .map(|file| {
            let text = std::fs::read_to_string(&file).expect("it was found there");
            (file.strip_prefix(src).expect("it lies below").display().to_string(), text)
        })
        .collect();
    Crate::new(texts.iter().map(|(path, text)| (path.as_str(), text.as_str())))
}

#[test]
fn no_files_of_a_crate_import_each_other_in_a_loop() {
    assert!(crates().len() >= 15, "{:?}", crates());
    let circles = crates().iter().flat_map(|src| read(src).circles().into_iter().map(move |circle| (src, circle)));
    let circles: Vec<(&PathBuf, Vec<String>)> = circles.collect();
    assert!(circles.is_empty(), "{circles:#?}");
}

fn circles(files: &[(&str, &str)]) -> Vec<Vec<String>> {
    Crate::new(files.iter().copied()).circles().into_iter().collect()
}

const FACE: (&str, &str) = ("lib.rs", "mod plan;\nmod write;\nmod read;\npub use self::plan::Plan;");

#[test]
fn a_loop_over_three_files_is_named() {
    let write = ("write.rs", "use std::fmt;\nuse crate::{Plan, read::{self, Row}};\npub struct Writer(Plan, Row);");
    let read = ("read/mod.rs", "pub struct Row;\nfn row() { let _ = super::write::open(\"\"); }");
    let plan = ("plan.rs", "pub struct Plan;");
    assert_eq!(circles(&[FACE, plan, write, read]), [["crate::read", "crate::write"]]);
    let plan = ("plan.rs", "pub struct Plan(read::Row);\nuse super::read;");
    assert_eq!(circles(&[FACE, plan, write, read]), [["crate::plan", "crate::read", "crate::write"]]);
}

#[test]
fn a_child_and_a_parent_that_import_each_other_are_named() {
    let parent = ("read/mod.rs", "mod row;\npub use self::row::Row;\npub struct Reader(Vec<Row>);");
    let child = ("read/row.rs", "pub struct Row;\nimpl super::Reader {}");
    assert_eq!(circles(&[parent, child]), [["crate::read", "crate::read::row"]]);
}

#[test]
fn what_is_no_import_makes_no_loop() {
    let read = ("read/mod.rs", "/// See [`super::write`].\nmod row;\npub use self::row::Row;\npub struct Reader;");
    let row =
        ("read/row.rs", "pub struct Row;\nimpl super::Reader {}\n#[cfg(test)]\nmod tests {\nuse crate::write;\n}");
    let write = ("write.rs", "use crate::read::Row;\nfn f() { g(\"crate::write::x\") } // crate::read::row");
    assert_eq!(circles(&[FACE, ("plan.rs", ""), read, row, write]), [[""; 0]; 0]);
}
