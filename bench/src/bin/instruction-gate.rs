//! Judges the instruction counts that `cargo bench --bench instructions` left behind; `just instr` runs both.

use std::{
    fs,
    path::PathBuf,
    process::{Command, ExitCode},
};

use clap::{Parser, Subcommand};
use volley_bench::gate::{self, Limits, Line, Tools};

/// The instruction gate.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
    /// Where callgrind's files are.
    #[arg(long, default_value = "target/gungraun/volley-bench/instructions")]
    counts: PathBuf,
    /// The file of the limits.
    #[arg(long, default_value = "results/gates/instructions.toml")]
    limits: PathBuf,
}

#[derive(Subcommand)]
enum Task {
    /// Compares the counts with the limits; fails if a line is broken.
    Check,
    /// Writes the counts down as the new baselines.
    Baseline,
    /// For a tree with a planted slowdown: fails unless all lines of this stage are broken, and no line is that has nothing
    /// to do with it.
    Planted {
        /// `encode` or `envelope`.
        stage: String,
    },
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("instruction gate: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<bool, Box<dyn std::error::Error>> {
    let counts = gate::read_counts(&arguments.counts)
        .map_err(|error| format!("{}: {error}; were the benches run?", arguments.counts.display()))?;
    let text = fs::read_to_string(&arguments.limits)?;
    let here = tools()?;
    if let Task::Baseline = arguments.task {
        // Not read by the strict rules: what is missing may be what is to be written.
        let mut limits = Limits::lenient(&text)?;
        let text = limits.rewrite(&counts, &here);
        fs::write(&arguments.limits, &text)?;
        print!("{}", gate::table(&limits.judge(&counts)));
        Limits::read(&text)?;
        return Ok(true);
    }
    let limits = Limits::read(&text)?;
    let lines = limits.judge(&counts);
    print!("{}", gate::table(&lines));
    let there = limits.tools();
    if here.cpu != there.cpu {
        println!(
            "nothing was judged: the limits are for {}, this is {}, whose code is another. Take a baseline of the unchanged tree here (just instr-baseline) to compare with.",
            there.cpu, here.cpu
        );
        return Ok(false);
    }
    if here != there {
        println!(
            "the baselines were counted with rustc {} and valgrind {}, this is {} and {}: counts may differ for that alone; see whether the unchanged tree passes here",
            there.rustc, there.valgrind, here.rustc, here.valgrind
        );
    }
    Ok(match &arguments.task {
        Task::Planted { stage } => caught(stage, &lines),
        _ => passes(&lines),
    })
}

/// Names each broken line.
fn passes(lines: &[Line]) -> bool {
    let broken: Vec<&Line> = lines.iter().filter(|line| line.verdict.fails()).collect();
    for line in &broken {
        let delta = line.delta_percent().map(|delta| format!(", {delta:+.2} %")).unwrap_or_default();
        println!("{}: {}{delta}", line.stage, line.verdict);
    }
    match broken.len() {
        0 => println!("the instruction gate holds: {} lines", lines.len()),
        broken => println!("the instruction gate is broken: {broken} of {} lines", lines.len()),
    }
    broken.is_empty()
}

/// Did the gate see what was planted, and nothing where there is nothing?
fn caught(stage: &str, lines: &[Line]) -> bool {
    let of = |line: &&Line, name: &str| line.stage.split('/').next() == Some(name);
    let planted: Vec<&Line> = lines.iter().filter(|line| of(line, stage)).collect();
    let seen = planted.iter().filter(|line| line.verdict.fails()).count();
    // Neither splitting nor decoding calls what can be planted.
    let blamed: Vec<&Line> = lines
        .iter()
        .filter(|line| of(line, "split") || of(line, "decode"))
        .filter(|line| line.verdict.fails())
        .collect();
    println!("planted in {stage}: {seen} of its {} lines are broken", planted.len());
    blamed.iter().for_each(|line| println!("{} is broken too, for no reason", line.stage));
    !passes(lines) && seen > 0 && seen == planted.len() && blamed.is_empty()
}

fn tools() -> Result<Tools, String> {
    let version = |program: &str, argument: &str| {
        let output = Command::new(program)
            .arg(argument)
            .output()
            .map_err(|error| format!("{program} cannot be asked for its version: {error}"))?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        // `rustc 1.95.0 (...)`, `valgrind-3.19.0`.
        let digits = said.find(|c: char| c.is_ascii_digit()).unwrap_or(0);
        Ok::<String, String>(said[digits..].split_whitespace().next().unwrap_or_default().to_owned())
    };
    Ok(Tools { rustc: version("rustc", "-V")?, valgrind: version("valgrind", "--version")?, cpu: cpu() })
}

fn cpu() -> String {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        return "x86_64 with avx2".to_owned();
    }
    std::env::consts::ARCH.to_owned()
}
