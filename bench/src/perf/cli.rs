//! The program `perf`: its words, its order, its files.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::{Parser, ValueEnum};
use rustix::process::{Signal, set_parent_process_death_signal};

use super::curve::curves;
use super::document::{Report, Section};
use super::job::Job;
use super::markdown;
use super::measure::{self, Watch};
use super::plan::{RowPlan, Settings, connections_possible};
use super::process::CELL;
use super::{chart, soak};
use crate::call::Era;
use crate::contestant::{Cores, Failure};
use crate::link::Transport;
use crate::peer::wrk::Wrk;
use crate::registry;

/// Measures whole calls: the floor, the engine in each of its ways, and other clients, in turns, against one fast target.
///
/// Without words it measures everything (about 40 minutes, six of them the soak) and writes
/// results/reports/DATE-hot-path.md, .json and two charts. Everybody runs in a process of its own, in turns (A B C,
/// A B C, ...). Build all programs of the package before: `cargo build --release -p volley-bench --bins`. The exit code
/// is 1 if anybody failed to run; a bar that was missed stands in the verdict and changes no exit code.
#[derive(Debug, Parser)]
#[command(name = "perf", args_override_self = true)]
struct Cli {
    /// A few minutes instead: one round, short runs, a short soak, fewer connections. For a look, not for a claim
    #[arg(long)]
    quick: bool,
    /// Parts of the report to measure; all without this
    #[arg(long, value_enum, value_delimiter = ',', value_name = "PART,...")]
    sections: Vec<Section>,
    /// Only contestants whose name has one of these in it
    #[arg(long, value_delimiter = ',', value_name = "NAME,...")]
    only: Vec<String>,
    /// What carries the bytes [default: stdio,unix,tcp,http]
    #[arg(long, value_delimiter = ',', value_name = "TRANSPORT,...")]
    transports: Vec<Transport>,
    /// Calls in flight in the matrix; over HTTP, connections with one call each [default: 1,64,1024]
    #[arg(
        long,
        short = 'c',
        alias = "connections",
        value_delimiter = ',',
        value_name = "CALLS,...",
        value_parser = clap::value_parser!(u32).range(1..=65_536)
    )]
    in_flight: Vec<u32>,
    /// Where the matrix is run: wherever the system puts both sides, or both on one core [default: free,one]
    #[arg(long, value_enum, value_delimiter = ',')]
    cores: Vec<Cores>,
    /// The same as --cores one
    #[arg(long)]
    one_core: bool,
    /// How often everyone takes a turn; five or more for a claim [default: 5; quick: 1]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: Option<u32>,
    /// How long a turn is measured; wrk knows whole seconds only [default: 0.5; quick: 0.2]
    #[arg(long, value_parser = seconds)]
    seconds: Option<f64>,
    /// Calls with their metadata, or as after a handshake
    #[arg(long, value_enum, default_value_t = Era::Modern)]
    era: Era,
    /// The right end of the curve of calls in flight [default: 16384]
    #[arg(long, value_name = "CALLS", value_parser = clap::value_parser!(u32).range(1..=262_144))]
    in_flight_max: Option<u32>,
    /// The right end of the curve of connections, and how many the part `many` opens [default: 10000; quick: 2000]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(2..=100_000))]
    connections_max: Option<u32>,
    /// How long the engine runs in the soak; the floor's slices add a quarter [default: 300; quick: 10]
    #[arg(long, value_parser = seconds)]
    soak_seconds: Option<f64>,
    /// How the engine is driven in the soak
    #[arg(long, value_enum, value_delimiter = ',', default_value = "inline")]
    soak_drives: Vec<soak::Drive>,
    /// Lengths of the long replies, in MiB [default: 10,100; quick: 10]
    #[arg(long, value_delimiter = ',', value_name = "MIB,...", value_parser = clap::value_parser!(u32).range(1..=256))]
    big_reply_mib: Vec<u32>,
    /// Where the report is written: this with .md, .json, -in-flight.svg and -connections.svg [default:
    /// results/reports/DATE-hot-path, DATE-hot-path-quick with --quick]
    #[arg(long, value_name = "STEM")]
    out: Option<PathBuf>,
    /// Goes on with the report that is there: rows that it has are not measured again
    #[arg(long)]
    resume: bool,
    /// Measures nothing, and makes the report anew from its JSON
    #[arg(long)]
    render: bool,
    /// Prints tables and writes no report
    #[arg(long)]
    table: bool,
    /// Tables of the matrix alone, unpinned unless something else is said: what `just hot-path` and `just wrk` print
    #[arg(long, value_enum)]
    view: Option<View>,
    /// Prints tables, writes no report, and keeps all runs in this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// A part of the matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum View {
    /// Over streams
    Streams,
    /// Over HTTP, with 64 connections and with one
    Http,
}

/// Runs it, or, as a child of itself, one job.
pub fn main() -> ExitCode {
    let mut words = std::env::args();
    if words.nth(1).as_deref() == Some(CELL) {
        return cell(words.next().as_deref());
    }
    match run(&Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("perf: {error}");
            ExitCode::FAILURE
        }
    }
}

/// One job, whose outcome is the one line of the output.
fn cell(job: Option<&str>) -> ExitCode {
    // Whoever asked for it ends it by ending.
    if let Err(error) = set_parent_process_death_signal(Some(Signal::KILL)) {
        eprintln!("perf: this run will outlive who asked for it: {error}");
    }
    let Some(Ok(job)) = job.map(serde_json::from_str::<Job>) else {
        eprintln!("perf: `{CELL}` is the word for its own children, which get a job as JSON");
        return ExitCode::FAILURE;
    };
    match serde_json::to_string(&job.work()) {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("perf: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> Result<ExitCode, Failure> {
    let settings = cli.settings();
    if let Some(part) = settings.only.iter().find(|part| !registry::is_in_a_name(part)) {
        return Err(format!(
            "--only {part:?}: nobody's name has this in it (a comma ends a part); there are: {}",
            registry::names().join("; ")
        )
        .into());
    }
    let mut files = Files::of(cli)?;
    let mut report = files.report(cli)?;
    if cli.render {
        files.write(&report)?;
        println!("{}", markdown::summary(&report));
        return Ok(ExitCode::SUCCESS);
    }
    let sections = cli.sections();
    tell_of(&sections, &settings, cli);
    report.begin(std::env::args().skip(1).collect());
    let begun = Instant::now();
    for section in sections {
        println!(
            "== {}",
            section.to_possible_value().map_or(String::new(), |word| word.get_name().to_owned())
        );
        measure::section(section, &settings, cli.resume, &mut report, &mut files)?;
    }
    if let Some(invocation) = report.invocations.last_mut() {
        invocation.seconds = Some(begun.elapsed().as_secs_f64());
    }
    files.write(&report)?;
    if !cli.tables_only() {
        println!("{}", markdown::summary(&report));
        println!("written: {}.md", files.stem.display());
    }
    let failed = report.failed();
    failed.iter().for_each(|what| println!("failed: {what}"));
    Ok(if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What is ahead, before it begins.
fn tell_of(sections: &[Section], settings: &Settings, cli: &Cli) {
    let rows = sections.iter().flat_map(|section| settings.rows(*section));
    let mut seconds: f64 = rows.map(|row| RowPlan::seconds(&row)).sum();
    if sections.contains(&Section::Soak) {
        seconds += 1.25 * settings.soak_seconds * settings.soak_drives.len() as f64;
    }
    if sections.contains(&Section::BigReply) {
        let halves = f64::from(settings.rounds) * 4.0 * settings.seconds;
        seconds += 4.0 * settings.big_reply_bytes.len() as f64 * halves;
    }
    println!(
        "{} calls, {} rounds of {} s, contestants in turns; about {:.0} minutes",
        if settings.era == Era::Modern { "modern" } else { "legacy" },
        settings.rounds,
        settings.seconds,
        (seconds / 60.0).ceil()
    );
    if settings.over(Transport::Http) && settings.wants("wrk") && !Wrk::is_installed() {
        println!("wrk is not installed (`just install-wrk`): what is compared with it will not be measured");
    }
    let asked = cli.connections_max.unwrap_or(CLAIM.connections_max) as usize;
    if !cli.quick && settings.connections_max < asked {
        println!(
            "{} connections at most instead of {asked}: no more descriptors are allowed (`ulimit -Hn`)",
            settings.connections_max
        );
    }
    println!();
}

/// What is not said.
struct Defaults {
    rounds: u32,
    seconds: f64,
    connections_max: u32,
    soak_seconds: f64,
    big_reply_mib: &'static [u32],
}

/// For a claim.
const CLAIM: Defaults = Defaults {
    rounds: 5,
    seconds: 0.5,
    connections_max: 10_000,
    soak_seconds: 300.0,
    big_reply_mib: &[10, 100],
};

/// For a look.
const QUICK: Defaults =
    Defaults { rounds: 1, seconds: 0.2, connections_max: 2_000, soak_seconds: 10.0, big_reply_mib: &[10] };

impl Cli {
    fn sections(&self) -> Vec<Section> {
        match self.view {
            _ if !self.sections.is_empty() => self.sections.clone(),
            Some(_) => vec![Section::Matrix],
            None => Section::value_variants().to_vec(),
        }
    }

    /// Whether no report is written.
    fn tables_only(&self) -> bool {
        self.table || self.view.is_some() || self.json.is_some()
    }

    fn settings(&self) -> Settings {
        let few = if self.quick { QUICK } else { CLAIM };
        let big = if self.big_reply_mib.is_empty() { few.big_reply_mib } else { &self.big_reply_mib };
        let (transports, in_flight, cores): (&[Transport], &[u32], &[Cores]) = match self.view {
            None => (&Transport::ALL, &[1, 64, 1024], &[Cores::Free, Cores::One]),
            Some(View::Streams) => (&Transport::ALL[..3], &[1, 64, 1024], &[Cores::Free]),
            Some(View::Http) => (&[Transport::Http], &[64, 1], &[Cores::Free]),
        };
        let connections_max = self.connections_max.unwrap_or(few.connections_max) as usize;
        Settings {
            rounds: self.rounds.unwrap_or(few.rounds),
            seconds: self.seconds.unwrap_or(few.seconds),
            transports: or(&self.transports, transports),
            in_flight: or(&self.in_flight, in_flight).into_iter().map(|calls| calls as usize).collect(),
            cores: if self.one_core { vec![Cores::One] } else { or(&self.cores, cores) },
            only: self.only.clone(),
            era: self.era,
            in_flight_max: self.in_flight_max.unwrap_or(16_384) as usize,
            connections_max: connections_max.min(connections_possible()),
            soak_seconds: self.soak_seconds.unwrap_or(few.soak_seconds),
            soak_drives: self.soak_drives.clone(),
            big_reply_bytes: big.iter().map(|mib| (*mib as usize) << 20).collect(),
            quick: self.quick,
            processors: std::thread::available_parallelism().map_or(1, usize::from),
        }
    }
}

/// What was said, or what is meant by saying nothing.
fn or<T: Copy>(said: &[T], meant: &[T]) -> Vec<T> {
    if said.is_empty() { meant.to_vec() } else { said.to_vec() }
}

/// Where the report lies.
struct Files {
    stem: PathBuf,
    /// `None` where nothing is kept.
    json: Option<PathBuf>,
    /// Whether there is more than the JSON.
    whole: bool,
}

impl Files {
    fn of(cli: &Cli) -> Result<Self, Failure> {
        if cli.tables_only() {
            return Ok(Self { stem: PathBuf::new(), json: cli.json.clone(), whole: false });
        }
        let name = format!("{}-hot-path{}", Report::new().date, if cli.quick { "-quick" } else { "" });
        let stem = match &cli.out {
            Some(stem) => stem.clone(),
            None => reports()?.join(name),
        };
        Ok(Self { json: Some(beside(&stem, ".json")), stem, whole: true })
    }

    /// A fresh report, or the one that is there if it is wanted.
    fn report(&self, cli: &Cli) -> Result<Report, Failure> {
        match &self.json {
            Some(json) if cli.render || cli.resume && json.exists() => {
                Report::load(json).map_err(|error| format!("{}: {error}", json.display()).into())
            }
            _ => Ok(Report::new()),
        }
    }

    /// All files.
    fn write(&self, report: &Report) -> Result<(), Failure> {
        if let Some(json) = &self.json {
            report.save(json).map_err(|error| format!("{}: {error}", json.display()))?;
        }
        if !self.whole {
            return Ok(());
        }
        let name = self.stem.file_name().map_or(String::new(), |name| name.to_string_lossy().into_owned());
        std::fs::write(beside(&self.stem, ".md"), markdown::document(report, &name))?;
        let charts = [
            (
                Section::InFlight,
                "Rates against calls in flight",
                "calls in flight on one connection",
                "-in-flight.svg",
            ),
            (
                Section::Connections,
                "Rates against connections",
                "connections, one call in flight on each",
                "-connections.svg",
            ),
        ];
        for (section, title, across, ending) in charts {
            let series = markdown::series(&curves(report, section));
            if !series.is_empty() {
                std::fs::write(beside(&self.stem, ending), chart::svg(title, across, &series))?;
            }
        }
        Ok(())
    }
}

impl Watch for Files {
    fn say(&mut self, text: &str) {
        println!("{text}");
    }

    fn grown(&mut self, report: &Report) -> Result<(), Failure> {
        self.write(report)
    }
}

/// `results/reports` of this repository: here, or where this was built.
fn reports() -> Result<PathBuf, Failure> {
    let here = PathBuf::from("results/reports");
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("../results/reports");
    [here, built].into_iter().find(|folder| folder.is_dir()).ok_or_else(|| {
        "there is no folder results/reports here: say where the report is to be written (--out STEM)".into()
    })
}

/// A name with this ending; a stem may have dots of its own.
fn beside(stem: &Path, ending: &str) -> PathBuf {
    let mut name = stem.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

fn seconds(word: &str) -> Result<f64, String> {
    match word.parse::<f64>() {
        Ok(value) if value > 0.0 && value <= 3600.0 => Ok(value),
        _ => Err("a number of seconds above 0, at most 3600".into()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn words_are_sound_and_the_last_one_counts() {
        Cli::command().debug_assert();
        let cli =
            Cli::try_parse_from(["perf", "--rounds", "5", "--transports", "tcp", "--rounds", "2"]).unwrap();
        assert_eq!(cli.settings().rounds, 2);
        assert_eq!(cli.settings().transports, [Transport::Tcp]);
        assert_eq!(cli.sections(), Section::value_variants());
        // A view is a default: what is said besides counts.
        let cli = Cli::try_parse_from(["perf", "--view", "http", "--in-flight", "8", "--one-core"]).unwrap();
        let settings = cli.settings();
        assert_eq!((cli.sections(), cli.tables_only()), (vec![Section::Matrix], true));
        assert_eq!((settings.transports, settings.in_flight), (vec![Transport::Http], vec![8]));
        assert_eq!(settings.cores, [Cores::One]);
        let cli =
            Cli::try_parse_from(["perf", "--quick", "--one-core", "-c", "7", "--sections", "in-flight,soak"])
                .unwrap();
        let settings = cli.settings();
        assert_eq!((settings.rounds, settings.in_flight, settings.cores), (1, vec![7], vec![Cores::One]));
        assert_eq!(cli.sections(), [Section::InFlight, Section::Soak]);
        for wrong in
            [&["perf", "--rounds", "0"], &["perf", "--seconds", "nan"], &["perf", "--transports", "ipx"]]
        {
            assert!(Cli::try_parse_from(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_stem_keeps_its_dots() {
        assert_eq!(beside(Path::new("a/b.c"), ".md"), Path::new("a/b.c.md"));
    }
}
