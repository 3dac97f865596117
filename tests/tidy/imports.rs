//! Who imports whom: the paths in a file, and the files in which these paths end.

use std::collections::{BTreeMap, BTreeSet};

use crate::source::{Modules, Source, join};

/// One path as it is written, and the module (inline ones included) in which it stands.
struct Written {
    module: String,
    path: String,
    in_use: bool,
}

/// For each file of a crate the files it imports from; itself and the `mod` lines left out.
pub(crate) fn graph(modules: &Modules, sources: &[Source]) -> BTreeMap<String, BTreeSet<String>> {
    let mut graph = BTreeMap::new();
    for (module, file) in &modules.files {
        let source = sources.iter().find(|source| source.path == *file).expect("modules are sources");
        let targets =
            written(module, &source.code).into_iter().filter_map(|written| resolve(&written, modules));
        let targets: BTreeSet<String> = targets.filter(|target| target != file).collect();
        graph.insert(file.clone(), targets);
    }
    graph
}

/// All paths that `use` lines name, in full, such as `std::io::Read`.
pub(crate) fn used(source: &Source) -> Vec<String> {
    written("", &source.code)
        .into_iter()
        .filter(|written| written.in_use)
        .map(|written| written.path)
        .collect()
}

/// The file in which a path ends, if it is one of this crate.
fn resolve(written: &Written, modules: &Modules) -> Option<String> {
    let mut parts = written.path.split("::");
    let mut module: Vec<&str> = written.module.split("::").filter(|part| !part.is_empty()).collect();
    let first = parts.next()?;
    match first {
        "crate" => module.clear(),
        "self" => {}
        "super" => drop(module.pop()),
        _ => {
            // A path from here: a module of this file's own, or another crate.
            let here = join(&file_module(&written.module, modules), first);
            if !modules.files.contains_key(&here) {
                return None;
            }
            module.push(first);
        }
    }
    let mut rest = parts.peekable();
    while rest.next_if_eq(&"super").is_some() {
        module.pop();
    }
    for part in rest {
        module.push(part);
    }
    // The longest prefix that is a file's module; what follows is a name in it.
    (0..=module.len())
        .rev()
        .map(|length| module[..length].join("::"))
        .find_map(|path| modules.files.get(&path).cloned())
}

fn file_module(module: &str, modules: &Modules) -> String {
    let parts: Vec<&str> = module.split("::").collect();
    let prefixes = (0..=parts.len()).rev().map(|length| parts[..length].join("::"));
    prefixes.into_iter().find(|path| modules.files.contains_key(path)).unwrap_or_default()
}

/// The paths in `code`: those of `use` lines, and those that stand elsewhere.
fn written(module: &str, code: &str) -> Vec<Written> {
    let words = words(code);
    let mut found = Vec::new();
    let mut inline: Vec<(String, usize)> = Vec::new();
    let mut depth = 0;
    let mut at = 0;
    while at < words.len() {
        let here = inline.iter().fold(module.to_owned(), |module, (name, _)| join(&module, name));
        match words[at] {
            "{" => depth += 1,
            "}" => {
                depth -= 1;
                if inline.last().is_some_and(|(_, opened)| *opened == depth) {
                    inline.pop();
                }
            }
            "mod" if words.get(at + 2) == Some(&"{") => {
                inline.push((words[at + 1].to_owned(), depth));
                depth += 1;
                at += 2;
            }
            "use" => {
                let end = words[at..]
                    .iter()
                    .position(|word| *word == ";")
                    .map_or(words.len(), |length| at + length);
                let mut paths = Vec::new();
                tree(&words[at + 1..end], "", &mut paths);
                found.extend(paths.into_iter().map(|path| Written {
                    module: here.clone(),
                    path,
                    in_use: true,
                }));
                at = end;
            }
            word if is_name(word)
                && words.get(at + 1) == Some(&"::")
                && (at == 0 || words[at - 1] != "::") =>
            {
                let mut path = word.to_owned();
                while words.get(at + 1) == Some(&"::") && words.get(at + 2).is_some_and(|word| is_name(word))
                {
                    path = format!("{path}::{}", words[at + 2]);
                    at += 2;
                }
                found.push(Written { module: here, path, in_use: false });
            }
            _ => {}
        }
        at += 1;
    }
    found
}

/// The paths of a use tree such as `a::{b, c::{self, D as E}}`.
fn tree(words: &[&str], prefix: &str, paths: &mut Vec<String>) {
    let mut depth = 0;
    let mut start = 0;
    for (at, word) in words.iter().enumerate() {
        match *word {
            "{" => depth += 1,
            "}" => depth -= 1,
            "," if depth == 0 => {
                branch(&words[start..at], prefix, paths);
                start = at + 1;
            }
            _ => {}
        }
    }
    branch(&words[start..], prefix, paths);
}

fn branch(words: &[&str], prefix: &str, paths: &mut Vec<String>) {
    if words.is_empty() {
        return;
    }
    match words.iter().position(|word| *word == "{") {
        Some(open) => {
            let prefix = words[..open]
                .iter()
                .filter(|word| is_name(word))
                .fold(prefix.to_owned(), |path, word| join(&path, word));
            tree(&words[open + 1..words.len() - 1], &prefix, paths);
        }
        None => {
            let names = words
                .iter()
                .take_while(|word| **word != "as")
                .filter(|word| is_name(word) && **word != "self" || prefix.is_empty() && **word == "self");
            paths.push(names.fold(prefix.to_owned(), |path, word| join(&path, word)));
        }
    }
}

fn is_name(word: &str) -> bool {
    word.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
}

/// Names, `::`, and single marks.
fn words(code: &str) -> Vec<&str> {
    let bytes = code.as_bytes();
    let mut words = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let length = match bytes[at] {
            byte if byte.is_ascii_alphanumeric() || byte == b'_' => {
                bytes[at..].iter().take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_').count()
            }
            b':' if bytes.get(at + 1) == Some(&b':') => 2,
            _ => 1,
        };
        if !bytes[at].is_ascii_whitespace() {
            words.push(&code[at..at + length]);
        }
        at += length;
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trees_and_bare_paths_are_found() {
        let code = "use a::{b, c::{self, D as E}, F}; use super::x; mod t { use super::*; fn f() { crate::g::h() } }";
        let found: Vec<(String, String)> =
            written("m", code).into_iter().map(|written| (written.module, written.path)).collect();
        let found: Vec<String> =
            found.into_iter().map(|(module, path)| format!("{module}: {path}")).collect();
        assert_eq!(
            found,
            [
                "m: a::b",
                "m: a::c",
                "m: a::c::D",
                "m: a::F",
                "m: super::x",
                "m::t: super",
                "m::t: crate::g::h"
            ]
        );
    }
}
