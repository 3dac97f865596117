//! The house rules, read from the code: who may import whom, what may be named where, and how a file has to look.
//!
//! Every rule lists all that breaks it, each with its place, so that one run is enough.

mod imports;
mod source;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use source::{Modules, Source, files, root, sources};

/// The rooms of the engine from the bottom to the top, and from which rooms each may import. The order and the list are
/// both meant: nothing may import upward, and an arrow that is no longer used has to go.
const FLOORS: &[(&str, &[&str])] = &[
    ("base", &[]),
    ("slab", &["base"]),
    ("queue", &["base"]),
    ("policy", &["base"]),
    ("telemetry", &[]),
    ("proto", &["base", "slab", "policy", "telemetry"]),
    ("error", &["proto"]),
    ("model", &["base", "error", "proto"]),
    ("config", &["base", "error", "model", "proto"]),
    ("oauth", &["base", "config"]),
    ("decode", &["base", "error", "model", "proto"]),
    ("transport", &["base", "config"]),
    (
        "shard",
        &[
            "base",
            "slab",
            "queue",
            "policy",
            "telemetry",
            "proto",
            "error",
            "model",
            "config",
            "decode",
            "transport",
        ],
    ),
    (
        "engine",
        &["base", "slab", "queue", "telemetry", "proto", "error", "config", "decode", "transport", "shard"],
    ),
    (
        "api",
        &[
            "base",
            "slab",
            "queue",
            "policy",
            "telemetry",
            "proto",
            "error",
            "model",
            "config",
            "decode",
            "transport",
            "shard",
            "engine",
        ],
    ),
];

/// Above the house: they show it, and may look into every room.
const ABOVE: [&str; 4] = ["fuzz_bodies", "internals", "lib", "models"];

/// The rooms of the protocol, which know no machine.
const PURE: [&str; 4] = ["base", "slab", "proto", "policy"];

/// What a pure room must not name.
const MACHINE: [&str; 7] =
    ["std::net", "std::io", "std::thread", "std::time::Instant", "std::time::SystemTime", "mio", "rustix"];

/// Where `unsafe` may stand. `docs/unsafe.md` accounts for every single one.
const UNSAFE: [&str; 5] = [
    "proto/message/encode.rs",
    "queue/completion.rs",
    "shard/inbox.rs",
    "slab/growing.rs",
    "transport/keeper.rs",
];

/// A file beyond this is split; at 500 one looks for a second noun.
const LINES_MAX: usize = 800;

fn engine() -> Vec<Source> {
    sources(&["engine/src"])
}

fn everything() -> Vec<Source> {
    sources(&["engine", "loadgen", "bench", "tests"])
}

/// `proto` of `engine/src/proto/window.rs`, `error` of `engine/src/error.rs`.
fn room(path: &str) -> &str {
    let path = path.trim_start_matches("engine/src/");
    path.split(['/', '.']).next().unwrap_or_default()
}

fn agree(broken: Vec<String>) {
    assert!(broken.is_empty(), "\n{}\n", broken.join("\n"));
}

#[test]
fn the_floor_table_itself_points_down() {
    for (n, (room, below)) in FLOORS.iter().enumerate() {
        for other in *below {
            assert!(FLOORS[..n].iter().any(|(lower, _)| lower == other), "{other} is not below {room}");
        }
    }
}

#[test]
fn nobody_imports_upward() {
    let sources = engine();
    let graph = imports::graph(&Modules::of("engine/src/lib.rs", &sources), &sources);
    let mut broken = Vec::new();
    let mut unused: BTreeSet<(&str, &str)> =
        FLOORS.iter().flat_map(|(room, below)| below.iter().map(move |other| (*room, *other))).collect();
    for (file, targets) in &graph {
        for target in targets {
            let (from, to) = (room(file), room(target));
            unused.remove(&(from, to));
            if from == to || ABOVE.contains(&from) {
                continue;
            }
            match FLOORS.iter().find(|(room, _)| *room == from) {
                None => broken.push(format!("{file}: the room {from} is not in the floor table")),
                Some((_, below)) if !below.contains(&to) => broken.push(format!("{file} imports {target}")),
                Some(_) => {}
            }
        }
    }
    broken.extend(
        unused.iter().map(|(from, to)| format!("{from} no longer imports {to}: the floor table is stale")),
    );
    agree(broken);
}

#[test]
fn no_two_files_import_each_other() {
    // A test may borrow from another's tests; that is no part of the house.
    let all: Vec<Source> = everything().iter().map(Source::shipped).collect();
    for root_file in ["engine/src/lib.rs", "loadgen/src/main.rs", "bench/src/lib.rs", "tests/src/lib.rs"] {
        let graph = imports::graph(&Modules::of(root_file, &all), &all);
        agree(rings(&graph));
    }
}

/// The files that can be reached from themselves, each with one way round.
fn rings(graph: &BTreeMap<String, BTreeSet<String>>) -> Vec<String> {
    let mut rings = Vec::new();
    for start in graph.keys() {
        let mut ways: Vec<Vec<&String>> = vec![vec![start]];
        let mut seen = BTreeSet::new();
        while let Some(way) = ways.pop() {
            for next in way.last().and_then(|last| graph.get(*last)).into_iter().flatten() {
                if next == start {
                    let way: Vec<&str> = way.iter().map(|file| file.as_str()).collect();
                    rings.push(format!("{} -> {start}", way.join(" -> ")));
                } else if seen.insert(next) {
                    ways.push(way.iter().copied().chain([next]).collect());
                }
            }
        }
    }
    rings
}

#[test]
fn the_protocol_knows_no_machine() {
    let mut broken = Vec::new();
    for source in engine().iter().map(Source::shipped).filter(|source| PURE.contains(&room(&source.path))) {
        let used = imports::used(&source);
        for machine in MACHINE {
            let below = format!("{machine}::");
            let is_used = used.iter().any(|path| path == machine || path.starts_with(&below));
            if is_used || source.code.contains(&below) {
                broken.push(format!("{} names {machine}", source.path));
            }
        }
        for call in ["Instant::now", "SystemTime::now"] {
            if source.code.contains(call) {
                broken.push(format!("{} asks a clock: {call}", source.path));
            }
        }
    }
    agree(broken);
}

#[test]
fn one_file_names_simd_json() {
    let named =
        engine().into_iter().filter(|source| source.code.contains("simd_json")).map(|source| source.path);
    assert_eq!(named.collect::<Vec<_>>(), ["engine/src/decode/simd.rs"]);
}

#[test]
fn unsafe_stands_where_the_ledger_says() {
    let ledger = fs::read_to_string(root().join("docs/unsafe.md")).expect("docs/unsafe.md");
    let mut broken = Vec::new();
    for source in everything() {
        let name = source.path.trim_start_matches("engine/src/");
        // What the tests of a file do is no danger to anybody; the ledger is about what is shipped.
        let shipped = source.shipped();
        let found: usize =
            ["unsafe {", "unsafe impl"].iter().map(|form| shipped.code.matches(form).count()).sum();
        let rows = ledger.lines().filter(|line| line.starts_with(&format!("| `{name}` |"))).count();
        if found > 0 && !UNSAFE.contains(&name) {
            broken.push(format!("{} has `unsafe` and may not", source.path));
        } else if found != rows {
            broken.push(format!("{}: {found} uses of `unsafe`, {rows} rows in docs/unsafe.md", source.path));
        }
    }
    agree(broken);
}

#[test]
fn every_file_begins_with_what_it_is() {
    let files = everything().into_iter().filter(|source| !source.text.starts_with("//! "));
    agree(files.map(|source| format!("{} begins without a module doc", source.path)).collect());
}

#[test]
fn no_file_is_too_long() {
    let long = everything().into_iter().filter(|source| source.text.lines().count() > LINES_MAX);
    agree(long.map(|source| format!("{} is longer than {LINES_MAX} lines", source.path)).collect());
}

#[test]
fn nothing_is_left_undone() {
    let mut broken = Vec::new();
    // Taken apart here, or this file would break its own rule.
    let left = [["TO", "DO"], ["FIX", "ME"], ["db", "g!("], ["to", "do!("], ["unimple", "mented!("]]
        .map(|word| word.concat());
    for source in everything() {
        for (n, line) in source.text.lines().enumerate() {
            let at = format!("{}:{}", source.path, n + 1);
            broken
                .extend(left.iter().filter(|word| line.contains(*word)).map(|word| format!("{at}: {word}")));
            if line.trim() == ["#[ign", "ore]"].concat() {
                broken.push(format!("{at}: ignored without a reason"));
            }
        }
    }
    agree(broken);
}

#[test]
fn every_file_is_somebodys_module() {
    let all = everything();
    let is_root = |path: &str| {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        ["src/lib.rs", "src/main.rs"].iter().any(|root| path.ends_with(root))
            || folder.ends_with("/bin")
            || ["/examples", "/benches", "/fuzz_targets", "bench/tests"]
                .iter()
                .any(|kind| folder.ends_with(kind))
            || name == "main.rs" && folder.starts_with("tests/")
    };
    let mut reached = BTreeSet::new();
    for source in all.iter().filter(|source| is_root(&source.path)) {
        reached.extend(Modules::of(&source.path, &all).files.into_values());
    }
    let mut broken: Vec<String> = all
        .iter()
        .filter(|source| !reached.contains(&source.path))
        .map(|source| format!("{}: no mod line names it", source.path))
        .collect();
    let manifest = fs::read_to_string(root().join("tests/Cargo.toml")).expect("tests/Cargo.toml");
    let mains =
        all.iter().filter(|source| source.path.starts_with("tests/") && source.path.ends_with("/main.rs"));
    for main in mains {
        let path = main.path.trim_start_matches("tests/");
        if !manifest.contains(&format!("path = \"{path}\"")) {
            broken.push(format!("{}: no target of tests/Cargo.toml", main.path));
        }
    }
    agree(broken);
}

#[test]
fn every_link_leads_somewhere() {
    let mut documents = files("docs", "md");
    documents.extend(files("results", "md"));
    let outside =
        ["README.md", "CHANGELOG.md", "engine/CHANGELOG.md", "loadgen/README.md", "bench/README.md"];
    documents.extend(outside.iter().filter(|path| root().join(path).exists()).map(|path| (*path).to_owned()));
    let mut broken = Vec::new();
    for document in documents {
        let text = fs::read_to_string(root().join(&document)).expect("a readable document");
        let folder = root().join(&document).parent().expect("a file is in a folder").to_owned();
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let path = target.split('#').next().unwrap_or_default();
            let is_elsewhere =
                path.is_empty() || path.contains("://") || path.starts_with("mailto:") || path.contains(' ');
            if !is_elsewhere && !folder.join(path).exists() {
                broken.push(format!("{document}: {target} leads nowhere"));
            }
        }
    }
    agree(broken);
}
