//! `perf` from end to end, as small as it can be: real processes, real sockets, a report that is there afterwards.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A folder that is gone when the test is.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("volley-perf-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a folder for the report");
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Nothing depends on it.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// One round of a twentieth of a second, one window, unpinned.
fn perf(stem: &Path, words: &[&str]) -> Output {
    // The target and the program that counts stand beside it, since all programs of a package are built for its tests.
    let mut command = Command::new(env!("CARGO_BIN_EXE_perf"));
    command
        .args(["--rounds", "1", "--seconds", "0.05", "--in-flight", "8", "--cores", "free", "--out"])
        .arg(stem);
    command.args(words).output().expect("perf starts")
}

fn said(output: &Output) -> String {
    let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    format!("{}\n{out}\n{error}", output.status)
}

#[test]
fn a_row_of_each_transport_becomes_a_report() {
    let folder = Folder::new("matrix");
    let stem = folder.0.join("report");
    let words = ["--sections", "matrix", "--only", "floor coalesced,floor epoll,volley inline"];
    let output = perf(&stem, &words);
    assert!(output.status.success(), "{}", said(&output));
    let json = std::fs::read_to_string(folder.0.join("report.json")).expect("the runs");
    let report: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    let rows = report["rows"].as_array().expect("rows");
    assert_eq!(rows.len(), 4, "{}", said(&output));
    for row in rows {
        let entries = row["entries"].as_array().expect("entries");
        assert!(entries.len() >= 3, "{row}");
        assert!(entries.iter().all(|entry| entry["runs"][0]["calls"].as_u64() > Some(0)), "{row}");
    }
    let page = std::fs::read_to_string(folder.0.join("report.md")).expect("the report");
    for transport in ["stdio", "unix", "tcp", "http"] {
        assert!(page.contains(&format!("### {transport}, unpinned")), "{page}");
    }

    // A row that is there is not measured again, and what is not there is.
    let resumed = perf(
        &stem,
        &["--sections", "matrix", "--resume", "--only", "floor coalesced,floor epoll,volley inline"],
    );
    assert!(resumed.status.success(), "{}", said(&resumed));
    assert_eq!(said(&resumed).matches("is there").count(), 4, "{}", said(&resumed));
    let changed = perf(&stem, &["--render"]);
    assert!(changed.status.success() && said(&changed).contains("verdict:"), "{}", said(&changed));
}

#[test]
fn a_call_inline_takes_nothing_from_the_allocator() {
    let folder = Folder::new("counts");
    let stem = folder.0.join("report");
    let words = ["--sections", "counts", "--transports", "unix", "--only", "volley inline"];
    let output = perf(&stem, &words);
    assert!(output.status.success(), "{}", said(&output));
    let json = std::fs::read_to_string(folder.0.join("report.json")).expect("the runs");
    let report: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    let counts = &report["rows"][0]["entries"][0]["counts"];
    // An unoptimised run of a twentieth of a second has few calls beside the reading of its clocks.
    assert!(counts["allocations"].as_f64().expect("a count") < 0.1, "{counts}");
}

#[test]
fn who_cannot_run_is_named_and_fails_the_whole() {
    let folder = Folder::new("failure");
    // Two levels down: it looks in the folder above its own as well, and that may be anybody's.
    let alone = folder.0.join("alone");
    std::fs::create_dir(&alone).expect("a folder");
    let lonely = alone.join("perf");
    // Without a target beside it nobody can run.
    std::fs::copy(env!("CARGO_BIN_EXE_perf"), &lonely).expect("a copy");
    let output = Command::new(&lonely)
        .args(["--table", "--sections", "matrix", "--transports", "unix", "--cores", "free", "--rounds", "1"])
        .args(["--in-flight", "8", "--only", "floor coalesced"])
        .output()
        .expect("perf starts");
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("failed: floor coalesced"), "{}", said(&output));
    assert!(said(&output).contains("no fast-target"), "{}", said(&output));
}
