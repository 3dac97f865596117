//! `loadgen run`, from the words to the exit code: plan, target, drive, tell.
//!
//! stdout gets the table, or with `--json -` the JSON alone; everything else goes to stderr.

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::cli::RunArgs;
use crate::drive::{self, Engine, Gauges, Measured, Moment};
use crate::embedded::Embedded;
use crate::endpoint::{Endpoint, Transport};
use crate::exit::Exit;
use crate::host::{self, Host};
use crate::plan::{JsonTo, Plan, Target};
use crate::process::{Sample, Spent};
use crate::report::progress::Progress;
use crate::report::schema::{Circumstances, RunResult};
use crate::report::table;
use crate::signal;

/// Runs it.
pub(crate) fn run(words: &RunArgs) -> Exit {
    let plan = match Plan::from_words(words) {
        Ok(plan) => plan,
        Err(error) => {
            eprintln!("loadgen: {error}");
            return Exit::Usage;
        }
    };
    if let Err(reason) = Engine::check(&plan) {
        eprintln!("loadgen: {reason}");
        return Exit::Usage;
    }
    if let Target::Given(endpoint) = &plan.target
        && endpoint.is_exposed()
    {
        eprintln!("loadgen: warning: {endpoint} is not encrypted, and its host is not this machine");
    }
    match execute(&plan) {
        Ok(exit) => exit,
        Err(reason) => {
            eprintln!("loadgen: {reason}");
            Exit::Failed
        }
    }
}

fn execute(plan: &Plan) -> Result<Exit, String> {
    writable(plan.json.as_ref())?;
    let interrupt = signal::install().map_err(|error| format!("cannot listen for Ctrl-C: {error}"))?;
    let mut around =
        Circumstances { started_at: host::now_utc(), host: Host::read(), spent: Spent::default() };
    let measured = match &plan.target {
        Target::Given(endpoint) => drive(plan, endpoint, &interrupt, &mut around),
        Target::Embedded(transport) => {
            let embedded = Embedded::start(*transport)
                .map_err(|error| format!("cannot start loadgen's own target: {error}"))?;
            drive(plan, embedded.endpoint(), &interrupt, &mut around)
        }
    };
    tell(plan, &RunResult::new(plan, around, measured))
}

/// Measures, with progress beside it, and writes down what it cost.
fn drive(plan: &Plan, endpoint: &Endpoint, interrupt: &AtomicBool, around: &mut Circumstances) -> Measured {
    let gauges = Arc::new(Gauges::new(plan.shards));
    // Without a thread to show it, a run is merely silent.
    let _progress = plan.progress.then(|| Progress::start(Arc::clone(&gauges)).ok());
    let ours = matches!(plan.target, Target::Embedded(_)) || endpoint.transport() == Transport::Stdio;
    let mut begin = Sample::default();
    drive::run(plan, &Engine::new(plan, endpoint), &gauges, interrupt, |moment| match moment {
        Moment::Begin => begin = Sample::take(ours),
        Moment::End => around.spent = Sample::take(ours).since(&begin),
    })
}

/// A run of ten minutes should not end with a file that cannot be written.
fn writable(json: Option<&JsonTo>) -> Result<(), String> {
    let Some(JsonTo::File(path)) = json else { return Ok(()) };
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    if !folder.is_dir() || path.is_dir() {
        return Err(format!("--json `{}`: not a file in a folder that exists", path.display()));
    }
    let cannot = |error| format!("--json `{}`: it cannot be written: {error}", path.display());
    match fs::metadata(path) {
        Ok(there) if there.is_file() => {
            fs::OpenOptions::new().append(true).open(path).map(drop).map_err(cannot)
        }
        // To open a pipe and close it again would tell its reader that this is the end.
        Ok(_) => Ok(()),
        Err(_) => {
            fs::File::create_new(path).map_err(cannot)?;
            // A run that comes to nothing leaves nothing behind.
            fs::remove_file(path).map_err(cannot)
        }
    }
}

fn tell(plan: &Plan, result: &RunResult) -> Result<Exit, String> {
    let table = table::render(result);
    let told = match &plan.json {
        Some(JsonTo::Stdout) => {
            eprint!("{table}");
            io::stdout().write_all(json(result)?.as_bytes())
        }
        Some(JsonTo::File(path)) => {
            // The table first: a disk that is full by now does not take the measurement with it.
            io::stdout()
                .write_all(table.as_bytes())
                .map_err(|error| format!("cannot write to stdout: {error}"))?;
            let json = json(result)?;
            fs::write(path, json).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
            Ok(())
        }
        None => io::stdout().write_all(table.as_bytes()),
    };
    told.map_err(|error| format!("cannot write to stdout: {error}"))?;
    Ok(Exit::of_run(result.ending()))
}

fn json(result: &RunResult) -> Result<String, String> {
    let mut text =
        serde_json::to_string_pretty(result).map_err(|error| format!("cannot write the result: {error}"))?;
    text.push('\n');
    Ok(text)
}
