//! The table of points in `docs/protocol.md` says which tests show which point; here it is held to its word.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// How many points the checklist has.
const POINTS: usize = 71;

/// The files below `tests/conformance` that have tests of a point, by the point; names as in `http/legacy.rs`.
fn tests() -> BTreeMap<usize, BTreeSet<String>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance");
    let (mut folders, mut found) = (vec![root.clone()], BTreeMap::<usize, BTreeSet<String>>::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a readable folder") {
            let path: PathBuf = entry.expect("a readable folder").path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = fs::read_to_string(&path).expect("a readable source");
            let name = path.strip_prefix(&root).expect("below it").to_string_lossy().into_owned();
            for line in text.lines().filter_map(|line| line.strip_prefix("fn must_")) {
                let point =
                    line.split('_').next().expect("a first word").parse().expect("a number of two digits");
                found.entry(point).or_default().insert(name.clone());
            }
        }
    }
    found
}

/// The rows of the table: number, what is asked, where it is shown, on which ways.
fn rows() -> Vec<Vec<String>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/protocol.md");
    let text = fs::read_to_string(path).expect("the document is there");
    let table = text.split("## Point by point").nth(1).expect("the chapter is there");
    let table = table.split("\n## ").next().expect("a first part");
    let is_row =
        |line: &&str| line.starts_with("| ") && line[2..].starts_with(|first: char| first.is_ascii_digit());
    let cells = |line: &str| line.trim_matches('|').split(" | ").map(|cell| cell.trim().to_owned()).collect();
    table.lines().filter(is_row).map(cells).collect()
}

#[test]
fn every_point_has_a_row_and_every_row_its_tests() {
    let (tests, rows) = (tests(), rows());
    let numbers: Vec<usize> = rows.iter().map(|row| row[0].parse().expect("a number")).collect();
    assert_eq!(numbers, (1..=POINTS).collect::<Vec<_>>(), "each point once, in order");
    let mut wrong = Vec::new();
    for (point, row) in (1..).zip(&rows) {
        let [_, _, files, ways] = row.as_slice() else { panic!("four cells: {row:?}") };
        let told: BTreeSet<String> =
            files.split('`').filter(|word| word.ends_with(".rs")).map(str::to_owned).collect();
        let is_there = tests.get(&point).cloned().unwrap_or_default();
        if told != is_there || ways.is_empty() || told.is_empty() {
            wrong.push(format!("{point}: the table says {told:?}, there is {is_there:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(tests.keys().all(|point| (1..=POINTS).contains(point)), "{:?}", tests.keys());
}
