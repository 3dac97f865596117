//! Whole calls over real sockets, everyone against the same target, in turns.
//!
//! For each transport and each window the contestants take turns (A B C, A B C, ...), so that a
//! machine that slows down slows all of them down; the table has medians, spreads, and the ratio to
//! the floor of the same rounds. `--one-core` pins client and target to one core: the table that repeats.

use std::fs::File;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use volley_bench::contestant::{Contestant, Failure};
use volley_bench::floor::Era;
use volley_bench::link::Transport;
use volley_bench::pin;
use volley_bench::registry::{Conditions, registry};
use volley_bench::report::{Entry, Report, Row};

/// Measures calls per second on one connection: the floor, and who tries to reach it.
#[derive(Debug, Parser)]
struct Cli {
    /// How often everyone takes a turn; five or more for a claim
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// How long a turn is measured
    #[arg(long, default_value_t = 1.0, value_parser = seconds)]
    seconds: f64,
    /// What carries the bytes
    #[arg(long, value_delimiter = ',', default_value = "tcp,stdio,unix")]
    transports: Vec<Transport>,
    /// Calls kept in flight
    #[arg(long, value_delimiter = ',', default_value = "1,64,1024")]
    in_flight: Vec<NonZeroUsize>,
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

fn main() -> Result<(), Failure> {
    let cli = Cli::parse();
    let conditions = Conditions { era: cli.era, one_core: cli.one_core };
    if cli.one_core {
        println!("everything on core {}", pin::to_one_core()?);
    }
    let wanted = |name: &str| cli.only.is_empty() || cli.only.iter().any(|part| name.contains(part));
    let contestants: Vec<_> = registry(conditions).into_iter().filter(|one| wanted(one.name())).collect();
    let mut report = Report::new(conditions)?;
    println!(
        "{} calls, {} rounds of {} s, contestants in turns; load before {}\ns/M: CPU seconds per million calls\n",
        if cli.era == Era::Modern { "modern" } else { "legacy" },
        cli.rounds,
        cli.seconds,
        report.load_before
    );
    for &transport in &cli.transports {
        for &in_flight in &cli.in_flight {
            let row = measure(&cli, &contestants, transport, in_flight)?;
            println!("{}", row.table());
            report.rows.push(row);
        }
    }
    if let Some(path) = &cli.json {
        serde_json::to_writer_pretty(File::create(path)?, &report)?;
    }
    Ok(())
}

/// All rounds of one row.
fn measure(
    cli: &Cli,
    contestants: &[Box<dyn Contestant>],
    transport: Transport,
    in_flight: NonZeroUsize,
) -> Result<Row, Failure> {
    let mut entries = Vec::new();
    let able: Vec<_> = contestants.iter().filter(|one| one.runs_over(transport)).collect();
    for one in &able {
        entries.push(Entry { name: one.name(), floor: one.is_floor(), runs: Vec::new() });
    }
    for _ in 0..cli.rounds {
        for (one, entry) in able.iter().zip(&mut entries) {
            let run = one.run(transport, in_flight, Duration::from_secs_f64(cli.seconds));
            entry.runs.push(run.map_err(|error| {
                format!("{} over {transport}, {in_flight} in flight: {error}", one.name())
            })?);
        }
    }
    Ok(Row { transport, in_flight: in_flight.get(), entries })
}

fn seconds(word: &str) -> Result<f64, String> {
    match word.parse::<f64>() {
        Ok(value) if value > 0.0 && value <= 3600.0 => Ok(value),
        _ => Err("a number of seconds above 0, at most 3600".into()),
    }
}
