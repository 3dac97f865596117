//! `loadgen`: measures MCP servers honestly, and gates on what it measured.
//!
//! `run` loads a target and reports, `gate` compares two reports, `serve` is the target that
//! `run` brings along. Words become a plan that is already valid ([`plan`]), the plan is driven
//! ([`drive`]), what happened is recorded ([`record`]) and told ([`report`]). This file only
//! parses, dispatches and hands out the exit code ([`exit`]).

#![forbid(unsafe_code)]

mod cli;
mod drive;
mod embedded;
mod endpoint;
mod exit;
mod gate;
mod host;
mod plan;
mod process;
mod record;
mod refusal;
mod report;
mod run;
mod signal;
mod target;
mod template;
mod threshold;
mod units;
mod web;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match cli::Cli::parse().command {
        cli::Command::Run(words) => run::run(&words).into(),
        cli::Command::Gate(words) => gate::run(&words).into(),
        cli::Command::Serve(words) => target::serve(*words),
    }
}
