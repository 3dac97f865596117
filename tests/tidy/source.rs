//! Source files, read: their text, their text without comments and strings, and who is whose module.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// One Rust file of this repository.
pub(crate) struct Source {
    /// From the root of the repository, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
    /// The text with comments, strings and characters blanked out; lines stay lines.
    pub(crate) code: String,
}

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .canonicalize()
        .expect("the tests stand in the repository")
}

/// All files below `folder` whose name ends in `.ext`, but for what builds and package managers put there.
pub(crate) fn files(folder: &str, ext: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        for path in entries.map(|entry| entry.expect("a readable folder").path()) {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() {
                // Cargo and others mark what they have built.
                let is_built = path.join("CACHEDIR.TAG").exists() || path.join("pyvenv.cfg").exists();
                let is_foreign = name.starts_with('.') || name == "node_modules" || is_built;
                if !is_foreign {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|found| found == ext) {
                let path = path.strip_prefix(root()).expect("below the root").to_string_lossy().into_owned();
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// All Rust files below these folders.
pub(crate) fn sources(folders: &[&str]) -> Vec<Source> {
    let paths = folders.iter().flat_map(|folder| files(folder, "rs"));
    let sources: Vec<Source> = paths
        .map(|path| {
            let text = fs::read_to_string(root().join(&path)).expect("a readable source");
            let code = code_of(&text);
            Source { path, text, code }
        })
        .collect();
    assert!(!sources.is_empty(), "no sources in {folders:?}");
    sources
}

impl Source {
    /// Without the tests at its foot.
    pub(crate) fn shipped(&self) -> Self {
        let code = ["#[cfg(test)]\nmod", "#[cfg(all(test,"]
            .iter()
            .fold(self.code.as_str(), |code, tests| code.split(tests).next().unwrap_or_default());
        Self { path: self.path.clone(), text: self.text.clone(), code: code.to_owned() }
    }
}

/// Blanks out comments, strings and characters.
fn code_of(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut code = String::with_capacity(text.len());
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        let is_word_before = at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_');
        let length = if rest.starts_with(b"//") {
            rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len())
        } else if rest.starts_with(b"/*") {
            find(rest, b"*/", 2)
        } else if rest[0] == b'"' {
            string_length(rest)
        } else if !is_word_before && let Some(length) = raw_string_length(rest) {
            length
        } else if let Some(length) = character_length(rest) {
            length
        } else {
            // Anything that is no comment and no literal stands as it is; other than ASCII does not occur there.
            code.push(if rest[0].is_ascii() { rest[0] as char } else { ' ' });
            at += 1;
            continue;
        };
        code.extend(rest[..length].iter().map(|byte| if *byte == b'\n' { '\n' } else { ' ' }));
        at += length;
    }
    code
}

fn find(rest: &[u8], end: &[u8], from: usize) -> usize {
    let found = rest[from..].windows(end.len()).position(|window| window == end);
    found.map_or(rest.len(), |at| from + at + end.len())
}

fn string_length(rest: &[u8]) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != b'"' {
        at += if rest[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(rest.len())
}

fn raw_string_length(rest: &[u8]) -> Option<usize> {
    let prefix = [&b"br"[..], b"r"].into_iter().find(|prefix| rest.starts_with(prefix))?.len();
    let hashes = rest[prefix..].iter().take_while(|byte| **byte == b'#').count();
    let start = prefix + hashes;
    (rest.get(start) == Some(&b'"')).then(|| {
        let end = [b"\"", "#".repeat(hashes).as_bytes()].concat();
        find(rest, &end, start + 1)
    })
}

fn character_length(rest: &[u8]) -> Option<usize> {
    if rest[0] != b'\'' {
        return None;
    }
    if rest.get(1) == Some(&b'\\') {
        return Some(find(rest, b"'", 3).min(rest.len()));
    }
    // A character, or a lifetime: the closing quote tells.
    let text = std::str::from_utf8(&rest[1..rest.len().min(6)])
        .or_else(|error| std::str::from_utf8(&rest[1..1 + error.valid_up_to()]));
    let width = text.ok()?.chars().next()?.len_utf8();
    (rest.get(1 + width) == Some(&b'\'')).then_some(width + 2)
}

/// The modules of one crate: path such as `proto::exchange` (empty for the root) to file.
pub(crate) struct Modules {
    pub(crate) files: BTreeMap<String, String>,
}

impl Modules {
    /// Follows the `mod` lines from `root_file` on.
    pub(crate) fn of(root_file: &str, sources: &[Source]) -> Self {
        let mut files = BTreeMap::new();
        let mut todo = vec![(String::new(), root_file.to_owned())];
        while let Some((module, file)) = todo.pop() {
            let source = sources.iter().find(|source| source.path == file);
            let source = source.unwrap_or_else(|| panic!("{file} is named by a mod line, and is not there"));
            let (folder, name) = file.rsplit_once('/').unwrap_or(("", &file));
            let owns_folder = ["mod.rs", "main.rs", "lib.rs"].contains(&name) || module.is_empty();
            let folder = if owns_folder {
                folder.to_owned()
            } else {
                format!("{folder}/{}", name.trim_end_matches(".rs"))
            };
            for (child, path) in module_lines(source) {
                let beside = file.rsplit_once('/').map_or("", |(folder, _)| folder);
                let candidates = match path {
                    Some(path) => vec![format!("{beside}/{path}")],
                    None => vec![format!("{folder}/{child}.rs"), format!("{folder}/{child}/mod.rs")],
                };
                let found = candidates.iter().find(|path| sources.iter().any(|source| source.path == **path));
                let found = found.unwrap_or_else(|| panic!("{file}: no file for `mod {child}`"));
                todo.push((join(&module, &child), found.clone()));
            }
            files.insert(module, file);
        }
        Self { files }
    }
}

/// `a::b` of `a` and `b`.
pub(crate) fn join(module: &str, child: &str) -> String {
    if module.is_empty() { child.to_owned() } else { format!("{module}::{child}") }
}

/// The names in lines such as `pub(crate) mod name;`, and the file that a `path` on the line before gives.
fn module_lines(source: &Source) -> Vec<(String, Option<String>)> {
    let mut before = "";
    let mut found = Vec::new();
    for (line, text) in source.code.lines().zip(source.text.lines()) {
        let module = line.trim().strip_suffix(';').and_then(|line| line.rsplit_once("mod "));
        if let Some((visibility, name)) = module
            && (visibility.is_empty() || visibility.ends_with(' ') && visibility.starts_with("pub"))
        {
            let path = before.trim().strip_prefix("#[path = \"").and_then(|path| path.strip_suffix("\"]"));
            found.push((name.trim().to_owned(), path.map(str::to_owned)));
        }
        before = text;
    }
    found
}
