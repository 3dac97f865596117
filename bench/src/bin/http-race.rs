//! Whole calls over HTTP, everyone against one target process, in turns.
//!
//! For each number of connections the contestants take turns (A B C, A B C, ...); the table has medians,
//! spreads, and the ratios to wrk and to the official SDK's client. Who fails is named with the reason
//! and takes no further turn in that row, and the exit code says so. `--one-core` pins client and target
//! to one core: the table that repeats.

use std::fs::File;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use volley_bench::contestant::Failure;
use volley_bench::floor::Era;
use volley_bench::link::Target;
use volley_bench::pin;
use volley_bench::race::field::field;
use volley_bench::race::racer::{Course, Kind, Racer};
use volley_bench::race::table::{Lane, Report, Row};
use volley_bench::race::wrk::Wrk;
use volley_bench::report::load;

/// Measures calls per second over HTTP/1.1: the engine, wrk, and the official Rust SDK.
#[derive(Debug, Parser)]
struct Cli {
    /// How often everyone takes a turn; five or more for a claim
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// How long a turn is measured, in whole seconds
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=3600))]
    seconds: u32,
    /// Connections, each with one call in flight
    #[arg(long, short = 'c', value_delimiter = ',', default_value = "64,1")]
    connections: Vec<NonZeroUsize>,
    /// Only those whose name has one of these in it
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Calls with their metadata, or as after a handshake
    #[arg(long, value_enum, default_value_t = Era::Modern)]
    era: Era,
    /// Pin client and target to one core
    #[arg(long)]
    one_core: bool,
    /// Write every run to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

fn main() -> Result<ExitCode, Failure> {
    let cli = Cli::parse();
    if cli.one_core {
        println!("everything on core {}", pin::to_one_core()?);
    }
    let wanted = |name: &str| cli.only.is_empty() || cli.only.iter().any(|part| name.contains(part));
    let racers: Vec<_> = field(cli.one_core).into_iter().filter(|racer| wanted(racer.name())).collect();
    if racers.iter().any(|racer| racer.kind() == Kind::Wrk) {
        Wrk::check()?;
    }
    let mut report =
        Report { schema: 1, era: cli.era, one_core: cli.one_core, load_before: load()?, rows: Vec::new() };
    println!(
        "{} calls over HTTP/1.1, {} rounds of {} s, contestants in turns; load before {}\ns/M: CPU seconds per million calls\n",
        if cli.era == Era::Modern { "modern" } else { "legacy" },
        cli.rounds,
        cli.seconds,
        report.load_before
    );
    let target = Target::start_http()?;
    let url = target.endpoint().ok_or("an HTTP target has an endpoint")?;
    for &connections in &cli.connections {
        let course = Course {
            url: url.clone(),
            target_pid: target.pid(),
            era: cli.era,
            connections,
            seconds: cli.seconds,
        };
        let row = measure(&course, &racers, cli.rounds);
        println!("{}", row.table());
        report.rows.push(row);
    }
    if let Some(path) = &cli.json {
        serde_json::to_writer_pretty(File::create(path)?, &report)?;
    }
    let failed = report.rows.iter().flat_map(|row| &row.lanes).any(|lane| lane.failed.is_some());
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// All rounds of one row.
fn measure(course: &Course, racers: &[Box<dyn Racer>], rounds: u32) -> Row {
    let able: Vec<_> = racers.iter().filter(|racer| racer.runs_with(course.connections)).collect();
    let mut lanes: Vec<_> = able.iter().map(|racer| Lane::new(racer.kind(), racer.name())).collect();
    for _ in 0..rounds {
        for (racer, lane) in able.iter().zip(&mut lanes) {
            if lane.failed.is_none() {
                lane.note(racer.run(course));
            }
        }
    }
    let mut row = Row { connections: course.connections, lanes };
    row.compare();
    row
}
