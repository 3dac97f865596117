//! The instruction gate: counts of the stages against their limits, a verdict for each line.
//!
//! Counts come from the files that callgrind leaves under `target/gungraun`, one a bench; limits from
//! `results/gates/instructions.toml`, each with the reason for its value. A line is *broken* if its count is above its
//! baseline by more than its tolerance, and also if one of the two is missing: a stage without a limit is not gated, and a
//! limit without a stage gates nothing. A count well below its baseline is no failure; the line says that the baseline is old.
//!
//! Unit: instructions of one whole bench; shown for each call. Proof: the tests below, and `just instr-demo`, which plants a
//! slowdown of 5 % and sees the gate fail.

use std::{
    collections::BTreeMap,
    fmt::{self, Write},
    fs, io,
    path::Path,
};

use toml_edit::{ArrayOfTables, DocumentMut, Item, Table, value};

/// Instructions of each bench, by `stage/case`.
pub type Counts = BTreeMap<String, u64>;

/// What a count depends on besides the code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tools {
    /// Of the compiler, such as `1.95.0`.
    pub rustc: String,
    /// Of valgrind, such as `3.19.0`.
    pub valgrind: String,
    /// The architecture, and whether searches and decoding find vectors of 32 bytes.
    pub cpu: String,
}

/// The limits, as they stand in their file. Rewriting the baselines keeps every other word of it.
#[derive(Debug)]
pub struct Limits {
    file: DocumentMut,
}

/// One line of the table.
#[derive(Debug, PartialEq)]
pub struct Line {
    /// `stage/case`.
    pub stage: String,
    /// Calls in one count.
    pub calls: u64,
    /// The baseline, if the stage has a limit.
    pub before: Option<u64>,
    /// The count, if there is one.
    pub now: Option<u64>,
    /// How much more than the baseline is let pass.
    pub tolerance_percent: f64,
    /// What follows.
    pub verdict: Verdict,
}

/// What is said of one line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Within its tolerance.
    Holds,
    /// Below the baseline by more than the tolerance: rewrite the baseline, or the gain can be lost unseen.
    Better,
    /// Above the baseline by more than the tolerance.
    Broken,
    /// Counted, and nobody said how much it may be.
    NoLimit,
    /// Limited, and nothing was counted.
    NoCount,
}

impl Verdict {
    /// Does it fail the gate?
    pub fn fails(self) -> bool {
        matches!(self, Self::Broken | Self::NoLimit | Self::NoCount)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Holds => "holds",
            Self::Better => "better: rewrite the baseline",
            Self::Broken => "BROKEN",
            Self::NoLimit => "BROKEN: no limit in the file",
            Self::NoCount => "BROKEN: no such bench",
        })
    }
}

impl Line {
    /// The change in percent, if both numbers are there.
    pub fn delta_percent(&self) -> Option<f64> {
        let (before, now) = (self.before? as f64, self.now? as f64);
        Some((now - before) / before * 100.0)
    }
}

impl Limits {
    /// Reads the file.
    ///
    /// # Errors
    /// If it is no TOML, or a stage lacks a member, or its reason is empty.
    pub fn read(text: &str) -> Result<Self, String> {
        let limits = Self::lenient(text)?;
        for stage in limits.stages() {
            let name = text_of(stage, "name");
            let whole = |key: &str| stage.get(key).and_then(Item::as_integer).is_some_and(|n| n > 0);
            if name.is_empty()
                || !whole("calls")
                || !whole("instructions")
                || tolerance(stage).is_none()
                || text_of(stage, "why").is_empty()
            {
                return Err(format!(
                    "stage {name:?} needs a name, calls, instructions, tolerance_percent and the reason why"
                ));
            }
        }
        Ok(limits)
    }

    /// Reads the file and leaves open whether its stages are complete: for rewriting it.
    ///
    /// # Errors
    /// If it is no TOML.
    pub fn lenient(text: &str) -> Result<Self, String> {
        Ok(Self { file: text.parse().map_err(|error| format!("the limits are no TOML: {error}"))? })
    }

    /// What the baselines were counted with.
    pub fn tools(&self) -> Tools {
        let with = |key: &str| {
            self.file
                .get("counted_with")
                .and_then(|with| with.get(key))
                .and_then(Item::as_str)
                .unwrap_or_default()
        };
        Tools { rustc: with("rustc").into(), valgrind: with("valgrind").into(), cpu: with("cpu").into() }
    }

    /// Compares: a line for each stage, in the order of the file, and then those that are not in it.
    pub fn judge(&self, counts: &Counts) -> Vec<Line> {
        let mut rest = counts.clone();
        let mut lines: Vec<Line> = self
            .stages()
            .map(|stage| {
                let name = text_of(stage, "name").to_owned();
                let number =
                    |key: &str| stage.get(key).and_then(Item::as_integer).unwrap_or(1).unsigned_abs();
                let (before, tolerance_percent) = (number("instructions"), tolerance(stage).unwrap_or(0.0));
                let now = rest.remove(&name);
                let verdict = now.map_or(Verdict::NoCount, |now| verdict(before, now, tolerance_percent));
                Line {
                    stage: name,
                    calls: number("calls"),
                    before: Some(before),
                    now,
                    tolerance_percent,
                    verdict,
                }
            })
            .collect();
        lines.extend(rest.into_iter().map(|(stage, now)| Line {
            stage,
            calls: 1,
            before: None,
            now: Some(now),
            tolerance_percent: 0.0,
            verdict: Verdict::NoLimit,
        }));
        lines
    }

    /// Writes the counts down as the new baselines. A stage that has none yet gets an entry without a reason, which
    /// [`Self::read`] refuses until somebody writes it.
    pub fn rewrite(&mut self, counts: &Counts, tools: &Tools) -> String {
        let mut with = Table::new();
        with["rustc"] = value(&tools.rustc);
        with["valgrind"] = value(&tools.valgrind);
        with["cpu"] = value(&tools.cpu);
        if let Some(Item::Table(old)) = self.file.get_mut("counted_with") {
            for (key, item) in with.iter() {
                old[key] = item.clone();
            }
        } else {
            self.file["counted_with"] = Item::Table(with);
        }
        let mut rest = counts.clone();
        if self.file.get("stage").is_none() {
            self.file["stage"] = Item::ArrayOfTables(ArrayOfTables::new());
        }
        if let Some(stages) = self.file["stage"].as_array_of_tables_mut() {
            for stage in stages.iter_mut() {
                if let Some(now) = rest.remove(text_of(stage, "name")) {
                    stage["instructions"] = value(now.cast_signed());
                }
            }
            for (name, now) in rest {
                let mut stage = Table::new();
                stage["name"] = value(name);
                stage["calls"] = value(1);
                stage["instructions"] = value(now.cast_signed());
                stage["tolerance_percent"] = value(2.0);
                stage["why"] = value("");
                stages.push(stage);
            }
        }
        self.file.to_string()
    }

    fn stages(&self) -> impl Iterator<Item = &Table> {
        self.file.get("stage").and_then(Item::as_array_of_tables).into_iter().flatten()
    }
}

fn text_of<'a>(stage: &'a Table, key: &str) -> &'a str {
    stage.get(key).and_then(Item::as_str).unwrap_or_default()
}

fn tolerance(stage: &Table) -> Option<f64> {
    let item = stage.get("tolerance_percent")?;
    item.as_float().or_else(|| item.as_integer().map(|whole| whole as f64)).filter(|percent| *percent >= 0.0)
}

fn verdict(before: u64, now: u64, tolerance_percent: f64) -> Verdict {
    let tolerated = before as f64 * tolerance_percent / 100.0;
    let more = now as f64 - before as f64;
    if more > tolerated {
        Verdict::Broken
    } else if more < -tolerated {
        Verdict::Better
    } else {
        Verdict::Holds
    }
}

/// Reads what callgrind left under `folder`: a folder `GROUP/BENCH.CASE` for each bench, its counts in files `callgrind.*.out`
/// (one for each thread, if there were several).
///
/// # Errors
/// When a file cannot be read, or does not say how many instructions there were.
pub fn read_counts(folder: &Path) -> io::Result<Counts> {
    let mut counts = Counts::new();
    for group in fs::read_dir(folder)? {
        let group = group?;
        if !group.file_type()?.is_dir() {
            continue;
        }
        for bench in fs::read_dir(group.path())? {
            let bench = bench?;
            let mut instructions = 0;
            for file in fs::read_dir(bench.path())? {
                let file = file?.path();
                let name = file.file_name().unwrap_or_default().to_string_lossy();
                if name.starts_with("callgrind.") && name.ends_with(".out") {
                    let total = total(&fs::read_to_string(&file)?);
                    let missing = || io::Error::other(format!("{} has no total", file.display()));
                    instructions += total.ok_or_else(missing)?;
                }
            }
            let name = bench.file_name().to_string_lossy().replacen('.', "/", 1);
            counts.insert(name, instructions);
        }
    }
    Ok(counts)
}

/// The instructions that a file of callgrind's says were executed. `Ir` is the first event, and the only one that is always
/// counted.
fn total(text: &str) -> Option<u64> {
    let of = |key: &str| {
        let rest = text.lines().rev().find_map(|line| line.strip_prefix(key))?;
        rest.split_whitespace().next()?.parse().ok()
    };
    of("totals:").or_else(|| of("summary:"))
}

/// The table, a line for each stage, in instructions for each call.
pub fn table(lines: &[Line]) -> String {
    let each = |count: Option<u64>, calls: u64| {
        count.map_or_else(|| "-".to_owned(), |count| format!("{:.1}", count as f64 / calls as f64))
    };
    let mut text = format!(
        "{:<24} {:>10} {:>10} {:>8} {:>6}  {}\n",
        "stage", "before", "now", "change", "limit", "verdict"
    );
    for line in lines {
        let delta = line.delta_percent().map_or_else(|| "-".to_owned(), |delta| format!("{delta:+.2} %"));
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{:<24} {:>10} {:>10} {:>8} {:>6}  {}",
            line.stage,
            each(line.before, line.calls),
            each(line.now, line.calls),
            delta,
            format!("+{} %", line.tolerance_percent),
            line.verdict
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "# Kept.\n[counted_with]\nrustc = \"1.0.0\"\n\n[[stage]]\nname = \"encode/a\"\ncalls = 10 # kept too\ninstructions = 1000\ntolerance_percent = 2.0\nwhy = \"as the code had it\"\n";

    fn counts(all: &[(&str, u64)]) -> Counts {
        all.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
    }

    fn verdicts(all: &[(&str, u64)]) -> Vec<Verdict> {
        Limits::read(FILE).unwrap().judge(&counts(all)).iter().map(|line| line.verdict).collect()
    }

    #[test]
    fn a_line_breaks_above_its_tolerance_and_not_at_it() {
        assert_eq!(verdicts(&[("encode/a", 1000)]), [Verdict::Holds]);
        assert_eq!(verdicts(&[("encode/a", 1020)]), [Verdict::Holds]);
        assert_eq!(verdicts(&[("encode/a", 1021)]), [Verdict::Broken]);
        assert_eq!(verdicts(&[("encode/a", 980)]), [Verdict::Holds]);
        assert_eq!(verdicts(&[("encode/a", 979)]), [Verdict::Better]);
        assert!(!Verdict::Better.fails() && !Verdict::Holds.fails());
    }

    #[test]
    fn a_stage_without_a_limit_and_a_limit_without_a_stage_break() {
        let all = verdicts(&[("split/a", 7)]);
        assert_eq!(all, [Verdict::NoCount, Verdict::NoLimit]);
        assert!(all.into_iter().all(Verdict::fails));
    }

    #[test]
    fn a_limit_without_a_reason_is_refused() {
        let without = FILE.replace("as the code had it", "");
        assert!(Limits::read(&without).unwrap_err().contains("encode/a"));
        assert!(Limits::read(&FILE.replace("1000", "-1")).is_err());
        assert!(Limits::read("[[stage]\n").is_err());
    }

    #[test]
    fn rewriting_changes_the_counts_and_keeps_every_other_word() {
        let tools = Tools { rustc: "2.0.0".into(), valgrind: "3".into(), cpu: "x".into() };
        let mut limits = Limits::read(FILE).unwrap();
        let text = limits.rewrite(&counts(&[("encode/a", 900), ("split/a", 7)]), &tools);
        for kept in ["# Kept.", "# kept too", "as the code had it", "instructions = 900", "rustc = \"2.0.0\""]
        {
            assert!(text.contains(kept), "{kept} in {text}");
        }
        assert!(Limits::read(&text).unwrap_err().contains("split/a"), "the new stage lacks its reason");
        assert_eq!(limits.tools(), tools);
        let written = Limits::read(&text.replace("why = \"\"", "why = \"new\"")).unwrap();
        let lines = written.judge(&counts(&[("encode/a", 900), ("split/a", 7)]));
        assert!(lines.iter().all(|line| line.verdict == Verdict::Holds), "{lines:?}");
    }

    #[test]
    fn totals_are_found_where_callgrind_writes_them() {
        assert_eq!(total("events: Ir\nsummary: 12\n\nfn=a\n1 12\n"), Some(12));
        assert_eq!(total("events: Ir\nfn=a\n1 12\n\ntotals: 13 2\n"), Some(13));
        assert_eq!(total("events: Ir\n"), None);
    }

    #[test]
    fn the_limits_of_this_repository_can_be_read() {
        Limits::read(include_str!("../../results/gates/instructions.toml")).unwrap();
    }
}
