//! Everything that was measured, as it is kept: the JSON beside the report.
//!
//! It is written after each row, so that a run which is cut short loses one row, and `--resume` goes on where it stopped.
//! Ratios are never kept, only runs: whoever reads it makes them anew.

use std::io::{self, Error};
use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::{big_reply, burst, decode, profile, soak};
use crate::contestant::{Cores, Course};
use crate::link::Transport;
use crate::report::{Entry, Row};

/// Part of the report, each measured by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Section {
    /// Everyone over every transport, a few windows, unpinned and on one core
    Matrix,
    /// Allocations and system calls of a call, counted in runs of their own
    Counts,
    /// Memory of a connection, idle and busy
    Memory,
    /// Rates against calls in flight, 1 to 16,384
    InFlight,
    /// Rates against connections, 1 to 10,000
    Connections,
    /// Ten thousand connections, one call in flight on each, and what a call takes
    Many,
    /// Ten thousand callers that share fifty connections over HTTP
    Callers,
    /// Coalesced writes against one for each call, and bursts against one call at a time
    Coalescing,
    /// JSON-RPC arrays of a hundred against calls by themselves
    Arrays,
    /// One shard against two, on two connections; needs six cores
    Shards,
    /// Small calls with a long reply among them
    BigReply,
    /// Answers of several kinds and sizes read into their type
    Decode,
    /// Full speed for minutes
    Soak,
    /// Where the time goes in what missed its bar
    Profile,
}

/// All of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Raised when a field changes its meaning.
    pub schema: u32,
    /// When it was begun: YYYY-MM-DD.
    pub date: String,
    /// Where.
    pub machine: Machine,
    /// Each call of the program that added to it.
    pub invocations: Vec<Invocation>,
    /// Rows of courses, in the order in which they ran.
    pub rows: Vec<Placed>,
    /// Bursts of calls.
    pub bursts: Vec<burst::Outcome>,
    /// Long replies.
    pub big_replies: Vec<big_reply::Outcome>,
    /// Answers read.
    #[serde(default)]
    pub decodes: Vec<decode::Outcome>,
    /// Minutes at full speed.
    pub soaks: Vec<soak::Outcome>,
    /// Runs that were looked into.
    #[serde(default)]
    pub profiles: Vec<profile::Outcome>,
    /// What failed beside the contestants of rows, which say so themselves.
    pub failures: Vec<String>,
}

/// A row and where it belongs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Placed {
    /// The part of the report.
    pub section: Section,
    /// The row.
    #[serde(flatten)]
    pub row: Row,
}

/// What a number depends on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// As it calls itself.
    pub cpu: String,
    /// How many this process may use.
    pub cores: usize,
    /// The kernel's release.
    pub kernel: String,
}

/// One call of the program.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Invocation {
    /// What it was told.
    pub arguments: Vec<String>,
    /// Seconds since 1970.
    pub begun_unix_s: u64,
    /// The commit that was measured, if git knows it, and whether the tree had changes.
    pub revision: Option<String>,
    /// The machine's load over the minute before; what exceeds 0 was somebody else's.
    pub load_before: f64,
    /// How long it took, when it had ended.
    pub seconds: Option<f64>,
}

impl Report {
    /// An empty one of today.
    pub fn new() -> Self {
        Self {
            schema: 2,
            date: date(unix_s()),
            machine: Machine::here(),
            invocations: Vec::new(),
            rows: Vec::new(),
            bursts: Vec::new(),
            big_replies: Vec::new(),
            decodes: Vec::new(),
            soaks: Vec::new(),
            profiles: Vec::new(),
            failures: Vec::new(),
        }
    }

    /// One that was kept.
    ///
    /// # Errors
    ///
    /// When it cannot be read, or is of another schema.
    pub fn load(path: &Path) -> io::Result<Self> {
        let text = std::fs::read_to_string(path)?;
        let report: Self = serde_json::from_str(&text)?;
        match report.schema {
            2 => Ok(report),
            other => Err(Error::other(format!("{}: schema {other}, 2 is what can be read", path.display()))),
        }
    }

    /// Keeps it; what was there before is replaced whole or not at all.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn save(&self, path: &Path) -> io::Result<()> {
        let draft = path.with_extension("json.part");
        std::fs::write(&draft, serde_json::to_string_pretty(self)? + "\n")?;
        std::fs::rename(draft, path)
    }

    /// Notes that measuring begins.
    pub fn begin(&mut self, arguments: Vec<String>) {
        let load_before = load().unwrap_or(f64::NAN);
        let (begun_unix_s, revision) = (unix_s(), revision());
        self.invocations.push(Invocation { arguments, begun_unix_s, revision, load_before, seconds: None });
    }

    /// Takes a row in, in the place of one of the same course.
    pub fn put(&mut self, section: Section, row: Row) {
        let same =
            |placed: &&mut Placed| placed.section == section && placed.row.course.is_row_of(&row.course);
        match self.rows.iter_mut().find(same) {
            Some(placed) => placed.row = row,
            None => self.rows.push(Placed { section, row }),
        }
    }

    /// The rows of one part.
    pub fn section(&self, section: Section) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(move |placed| placed.section == section).map(|placed| &placed.row)
    }

    /// A row of the matrix: so many calls in flight, over HTTP each on a connection.
    pub fn matrix(&self, transport: Transport, cores: Cores, calls: usize) -> Option<&Row> {
        self.section(Section::Matrix).find(|row| {
            let course = &row.course;
            course.transport == transport && course.cores == cores && course.calls_in_flight() == calls
        })
    }

    /// Whether a row of this course is there, run for as long, with all of these contestants, each of whom ran so often.
    pub fn has(&self, section: Section, course: &Course, names: &[String], rounds: u32) -> bool {
        let is_well = |entry: &Entry| {
            entry.failed.is_none() && (entry.counts.is_some() || entry.runs.len() >= rounds as usize)
        };
        self.section(section).filter(|row| row.course == *course).any(|row| {
            names.iter().all(|name| row.entries.iter().any(|entry| entry.name == *name && is_well(entry)))
        })
    }

    /// How often whoever ran least often in the matrix had a turn; `None` without a matrix.
    pub fn rounds(&self) -> Option<usize> {
        let entries = self.section(Section::Matrix).flat_map(|row| &row.entries);
        entries.filter(|entry| entry.failed.is_none()).map(|entry| entry.runs.len()).min()
    }

    /// Everything that failed, with its place.
    pub fn failed(&self) -> Vec<String> {
        let mut failed = self.failures.clone();
        for Placed { row, .. } in &self.rows {
            for entry in &row.entries {
                if let Some(why) = &entry.failed {
                    failed.push(format!("{} ({}): {why}", entry.name, row.course));
                }
            }
        }
        failed
    }
}

impl Default for Report {
    fn default() -> Self {
        Self::new()
    }
}

impl Machine {
    fn here() -> Self {
        let of_file = |path| std::fs::read_to_string(path).unwrap_or_default();
        let cpuinfo = of_file("/proc/cpuinfo");
        let cpu = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
        Self {
            cpu: cpu.map_or("unknown", |(_, name)| name.trim()).to_owned(),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            kernel: of_file("/proc/sys/kernel/osrelease").trim().to_owned(),
        }
    }
}

/// `None` outside a checkout.
fn revision() -> Option<String> {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let head = git(&["rev-parse", "--short=12", "HEAD"])?;
    let changed = git(&["status", "--porcelain", "--untracked-files=no"]).is_none_or(|text| !text.is_empty());
    Some(if changed { head + " with changes" } else { head })
}

/// The machine's load over the last minute.
///
/// # Errors
///
/// When the system does not say.
pub fn load() -> io::Result<f64> {
    let loads = std::fs::read_to_string("/proc/loadavg")?;
    let minute = loads.split_ascii_whitespace().next().and_then(|load| load.parse().ok());
    minute.ok_or_else(|| Error::other("/proc/loadavg holds no load"))
}

fn unix_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// The day of a time, in UTC: the civil calendar counted in eras of 400 years from a first of March.
fn date(unix_s: u64) -> String {
    let days = unix_s / 86_400 + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march + 2) / 5 + 1;
    let month = if march < 10 { march + 3 } else { march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::contestant::Kind;
    use crate::report::tests::{course, entry};

    #[test]
    fn days_have_their_dates() {
        let day = 86_400;
        let seen = [0, 59 * day, 11_016 * day, 11_017 * day, 20_785 * day + 5, 47_540 * day].map(date);
        assert_eq!(
            seen,
            ["1970-01-01", "1970-03-01", "2000-02-29", "2000-03-01", "2026-11-28", "2100-02-28"]
        );
    }

    #[test]
    fn a_report_is_kept_and_found_again() {
        let folder = std::env::temp_dir().join(format!("volley-bench-report-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("report.json");
        let mut report = Report::new();
        report.begin(vec!["--quick".into()]);
        report.put(Section::Matrix, Row { course: course(), entries: vec![entry("a", Kind::Floor, &[1])] });
        report.put(Section::InFlight, Row { course: course(), entries: Vec::new() });
        report.save(&path).unwrap();
        let kept = Report::load(&path).unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!(kept, report);
    }

    #[test]
    fn a_row_is_replaced_by_a_row_of_its_course() {
        let mut report = Report::new();
        let failed = || {
            let mut one = entry("b", Kind::Volley, &[1]);
            one.note(Err("it broke".into()));
            one
        };
        let names = ["a".to_owned(), "b".to_owned()];
        report.put(
            Section::Matrix,
            Row { course: course(), entries: vec![entry("a", Kind::Floor, &[1]), failed()] },
        );
        assert!(report.has(Section::Matrix, &course(), &names[..1], 1));
        assert!(!report.has(Section::Matrix, &course(), &names[..1], 2), "it ran once");
        assert!(!report.has(Section::Matrix, &course(), &names, 1));
        assert!(!report.has(Section::Counts, &course(), &[], 1));
        assert_eq!(report.failed(), ["b (tcp, 64 in flight, unpinned): it broke"]);
        let shorter = Course { seconds: 0.1, ..course() };
        let entries = vec![entry("a", Kind::Floor, &[2]), entry("b", Kind::Volley, &[2])];
        report.put(Section::Matrix, Row { course: shorter, entries });
        assert_eq!(report.rows.len(), 1);
        assert!(report.has(Section::Matrix, &shorter, &names, 1) && report.failed().is_empty());
        assert!(!report.has(Section::Matrix, &course(), &names, 1), "it was shorter");
        assert_eq!(report.rounds(), Some(1));
        assert!(report.matrix(Transport::Tcp, Cores::Free, 64).is_some());
        assert!(report.matrix(Transport::Tcp, Cores::One, 64).is_none());
    }
}
