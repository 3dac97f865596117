//! The official conformance suite: every scored scenario of both requirement sets, for our client and for our target server, one
//! by one, with its checks counted. A scenario that checked nothing has shown nothing and counts as failed.
//!
//! It needs what `tests/official-suite/install` installs, so it runs only when asked for: `just official`.

#![forbid(unsafe_code)]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;
use volley_tests::target::Target;

/// Scenarios after which the suite allows the client to have failed.
const MAY_FAIL: [&str; 1] = ["http-invalid-tool-headers"];

/// What the suite said of one scenario.
struct Verdict {
    scenario: String,
    successes: usize,
    complaints: Vec<String>,
}

/// The suite where it was installed, and a folder for what it writes.
struct Suite {
    node: PathBuf,
    program: PathBuf,
    results: PathBuf,
}

impl Suite {
    fn open(name: &str) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("official-suite/.env/node_modules");
        assert!(folder.exists(), "the suite is not installed: run tests/official-suite/install");
        let results = Path::new(env!("CARGO_TARGET_TMPDIR")).join("official").join(name);
        // Results of an earlier run would be counted again.
        let _ = fs::remove_dir_all(&results);
        fs::create_dir_all(&results).expect("a folder for the results");
        Self {
            node: folder.join(".bin/node"),
            program: folder.join("@modelcontextprotocol/conformance/dist/index.js"),
            results,
        }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.node);
        command.arg(&self.program);
        command
    }

    /// The scored scenarios of a set: those of the section, up to the next one.
    fn scored(&self, requirements: &str, section: &str) -> Vec<String> {
        let listed = self.command().args(["list", "--requirements", requirements]).output().expect("a list");
        let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
        let after = listed.split(section).nth(1).unwrap_or_else(|| panic!("no {section:?} in {listed}"));
        let lines = after.lines().skip(1).take_while(|line| !line.trim().is_empty());
        lines.filter_map(|line| line.trim().strip_prefix("- ")).map(str::to_owned).collect()
    }

    /// Plays one scenario.
    fn play(&self, scenario: &str, revision: &str, role: &[&str]) -> Verdict {
        let folder = self.results.join(scenario.replace('/', "-"));
        let output = self
            .command()
            .args(role)
            .args(["--scenario", scenario, "--spec-version", revision, "-o"])
            .arg(&folder)
            .output()
            .expect("the suite can be started");
        let mut complaints = Vec::new();
        if !output.status.success() && !MAY_FAIL.contains(&scenario) {
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            let end: Vec<&str> = said.lines().rev().take(12).collect();
            complaints.push(format!("exit {:?}: {}", output.status.code(), end.join(" / ")));
        }
        let mut successes = 0;
        for check in checks(&folder) {
            match check["status"].as_str() {
                Some("SUCCESS") => successes += 1,
                Some("FAILURE" | "WARNING") => {
                    complaints.push(format!("{}: {}", check["id"], check["errorMessage"]));
                }
                _ => {}
            }
        }
        if successes == 0 {
            complaints.push("it checked nothing".to_owned());
        }
        Verdict { scenario: scenario.to_owned(), successes, complaints }
    }
}

/// All checks below a folder.
fn checks(folder: &Path) -> Vec<Value> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.append(&mut checks(&path));
        } else if path.ends_with("checks.json") {
            let text = fs::read_to_string(&path).expect("the checks");
            let list: Vec<Value> = serde_json::from_str(&text).expect("a list of checks");
            found.extend(list);
        }
    }
    found
}

/// Prints all verdicts and fails if any scenario did.
fn judge(what: &str, verdicts: &[Verdict], scenarios_min: usize, successes_min: usize) {
    let mut bad = Vec::new();
    for verdict in verdicts {
        println!("{what} {}: {} checks", verdict.scenario, verdict.successes);
        bad.extend(verdict.complaints.iter().map(|complaint| format!("{}: {complaint}", verdict.scenario)));
    }
    let successes: usize = verdicts.iter().map(|verdict| verdict.successes).sum();
    println!("{what}: {} scenarios, {successes} checks passed, {} complaints", verdicts.len(), bad.len());
    assert!(bad.is_empty(), "{what}:\n{}", bad.join("\n"));
    // The pinned version has so many; fewer mean that some were not played.
    assert!(verdicts.len() >= scenarios_min, "{what}: only {} scenarios", verdicts.len());
    assert!(successes >= successes_min, "{what}: only {successes} checks");
}

fn client(revision: &str, pick: impl Fn(&str) -> bool, scenarios_min: usize, successes_min: usize) {
    let what = format!("client {revision}");
    let suite = Suite::open(&format!("{what} {scenarios_min}").replace(' ', "-"));
    let program = env!("CARGO_BIN_EXE_conformance-client");
    let scenarios = suite.scored(revision, "Client scenarios");
    let verdicts: Vec<Verdict> = scenarios
        .iter()
        .filter(|scenario| pick(scenario))
        .map(|scenario| suite.play(scenario, revision, &["client", "--command", program]))
        .collect();
    judge(&what, &verdicts, scenarios_min, successes_min);
}

fn server(revision: &str, scenarios_min: usize, successes_min: usize) {
    let what = format!("server {revision}");
    let suite = Suite::open(&what.replace(' ', "-"));
    let target = Target::http(&["--fixtures"]);
    let url = target.address().replace("127.0.0.1", "localhost");
    let verdicts: Vec<Verdict> = suite
        .scored(revision, "Server scenarios")
        .iter()
        .map(|scenario| suite.play(scenario, revision, &["server", "--url", &url]))
        .collect();
    judge(&what, &verdicts, scenarios_min, successes_min);
}

fn is_auth(scenario: &str) -> bool {
    scenario.starts_with("auth/")
}

#[test]
#[ignore = "needs the official suite: just official"]
fn the_client_passes_all_that_is_scored_of_2025_11_25() {
    client("2025-11-25", |scenario| !is_auth(scenario), 4, 10);
}

#[test]
#[ignore = "needs the official suite: just official"]
fn the_client_passes_all_that_is_scored_of_2026_07_28() {
    client("2026-07-28", |scenario| !is_auth(scenario), 7, 50);
}

#[test]
#[ignore = "needs the official suite: just official"]
fn the_client_is_authorized_as_2025_11_25_has_it() {
    client("2025-11-25", is_auth, 14, 14);
}

#[test]
#[ignore = "needs the official suite: just official"]
fn the_client_is_authorized_as_2026_07_28_has_it() {
    client("2026-07-28", is_auth, 25, 25);
}

#[test]
#[ignore = "needs the official suite: just official"]
fn the_target_passes_all_that_is_scored_of_2025_11_25() {
    server("2025-11-25", 30, 60);
}

#[test]
#[ignore = "needs the official suite: just official"]
fn the_target_passes_all_that_is_scored_of_2026_07_28() {
    server("2026-07-28", 37, 120);
}
