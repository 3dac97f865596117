//! `loadgen gate`: a result against its baseline, as rows and an exit code.
//!
//! 0 when every row is within its limit, 3 when one is not, 2 when the two cannot be compared
//! or read, 1 when the result itself is of a run that failed: a fast wrong answer is no
//! improvement. The rows go to stdout, reasons for refusing to stderr. It is one run against
//! one run, and every verdict says how little that is.

use std::fs;
use std::path::Path;

use crate::cli::GateArgs;
use crate::exit::Exit;
use crate::report::compare::{self, Limits, Row};
use crate::report::schema::{RunResult, SCHEMA};

/// Reads both, compares them, prints the rows.
pub(crate) fn run(words: &GateArgs) -> Exit {
    let limits = Limits { ordinary: words.limit, tail: words.limit_p99 };
    match read(&words.baseline).and_then(|before| Ok((before, read(&words.result)?))) {
        Ok((before, after)) => {
            let (text, exit) = judge(&before, &after, limits);
            match exit {
                Exit::Good | Exit::Regression => println!("{text}"),
                _ => eprintln!("loadgen: {text}"),
            }
            exit
        }
        Err(reason) => {
            eprintln!("loadgen: {reason}");
            Exit::Usage
        }
    }
}

fn read(path: &Path) -> Result<RunResult, String> {
    let name = path.display();
    let text = fs::read_to_string(path).map_err(|error| format!("cannot read {name}: {error}"))?;
    serde_json::from_str(&text).map_err(|error| format!("{name} is no result of the form {SCHEMA}: {error}"))
}

/// The text to print and the code to end with.
fn judge(before: &RunResult, after: &RunResult, limits: Limits) -> (String, Exit) {
    let rows = match compare::compare(before, after, limits) {
        Ok(rows) => rows,
        Err(incomparable) => return (incomparable.to_string(), Exit::Usage),
    };
    let spoiled = |result: &RunResult| {
        let ending = result.ending();
        ending.untrue || ending.failed || ending.interrupted
    };
    if spoiled(before) {
        return (
            "the baseline is of a run that failed or was interrupted; measure it anew".into(),
            Exit::Usage,
        );
    }
    if spoiled(after) {
        return ("the result is of a run that failed or was interrupted".into(), Exit::Failed);
    }
    let failed = rows.iter().filter(|row| !row.passes()).count();
    let mut lines: Vec<String> = rows.iter().map(Row::to_string).collect();
    lines.push(match failed {
        0 => format!("no row is worse by more than {} % (p99: {} %)", limits.ordinary, limits.tail),
        _ => format!(
            "{failed} of {} rows worse by more than {} % (p99: {} %)",
            rows.len(),
            limits.ordinary,
            limits.tail
        ),
    });
    if before.host != after.host
        && (&before.host.cpu, before.host.cores) != (&after.host.cpu, after.host.cores)
    {
        lines.push(format!(
            "different machines: {} with {} cores, then {} with {}",
            before.host.cpu, before.host.cores, after.host.cpu, after.host.cores
        ));
    }
    lines.push(WEAK_EVIDENCE.to_owned());
    (lines.join("\n"), if failed == 0 { Exit::Good } else { Exit::Regression })
}

const WEAK_EVIDENCE: &str = "\
one run against one run is weak evidence: on a shared machine the same code can differ by more than this limit;
repeat both, alternating, before you believe it";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::schema::tests::result;

    const LIMITS: Limits = Limits { ordinary: 10.0, tail: 30.0 };

    #[test]
    fn a_regression_exits_with_3_and_says_what_it_is_worth() {
        let before = result(&[]);
        let mut after = before.clone();
        after.calls_per_s *= 0.8;
        let (text, exit) = judge(&before, &after, LIMITS);
        assert_eq!(exit, Exit::Regression);
        assert!(text.starts_with("Network I/O: 1.00K msg/s -> 800 msg/s (-20.0%) FAIL\n"), "{text}");
        assert!(text.contains("1 of 4 rows worse by more than 10 % (p99: 30 %)"));
        assert!(text.contains("one run against one run is weak evidence"));
    }

    #[test]
    fn the_same_result_passes() {
        let (text, exit) = judge(&result(&[]), &result(&[]), LIMITS);
        assert_eq!(exit, Exit::Good);
        assert!(text.contains("(+0.0%) PASS") && text.contains("weak evidence"), "{text}");
        assert!(!text.contains("different machines"));
    }

    #[test]
    fn what_cannot_be_compared_is_a_usage_error() {
        let (text, exit) = judge(&result(&[]), &result(&["-c", "2"]), LIMITS);
        assert_eq!(exit, Exit::Usage);
        assert!(text.contains("connections was 1, is 2"));
        let mut cut_short = result(&[]);
        cut_short.interrupted = true;
        assert_eq!(judge(&cut_short, &result(&[]), LIMITS).1, Exit::Usage);
    }

    #[test]
    fn a_fast_wrong_answer_is_no_improvement() {
        let mut after = result(&[]);
        after.calls_per_s *= 10.0;
        after.calls.wrong = 1;
        assert_eq!(judge(&result(&[]), &after, LIMITS).1, Exit::Failed);
    }

    #[test]
    fn another_machine_is_mentioned() {
        let mut after = result(&[]);
        after.host.load_1m = Some(9.0);
        assert!(!judge(&result(&[]), &after, LIMITS).0.contains("different machines"));
        after.host.cores = 64;
        assert!(judge(&result(&[]), &after, LIMITS).0.contains("different machines"));
    }

    #[test]
    fn a_file_that_is_no_result_is_named() {
        let missing = read(Path::new("/nowhere/at/all.json")).unwrap_err();
        assert!(missing.starts_with("cannot read /nowhere/at/all.json: "), "{missing}");
    }
}
