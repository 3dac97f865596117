//! The report for people, made from what was kept: nothing is measured here, and nothing is kept here.

use std::fmt::Write;

use super::curve::{Curve, curves};
use super::document::{Report, Section};
use super::plan::ROUNDS_OF_WIDE_ROWS;
use super::profile::Owner;
use super::verdict::{Bar, Line, Standing, Unit, memory_of_a_connection, verdict};
use crate::contestant::{Cores, Course, Kind};
use crate::link::Transport;
use crate::report::{Entry, Row, Spread, short};

/// All of it; the charts lie beside it under this stem.
pub fn document(report: &Report, stem: &str) -> String {
    let mut text = String::new();
    head(&mut text, report);
    verdicts(&mut text, report);
    profiles(&mut text, report);
    matrix(&mut text, report);
    counts(&mut text, report);
    memory(&mut text, report);
    decodes(&mut text, report);
    curve_section(
        &mut text,
        report,
        Section::InFlight,
        "Rates against calls in flight",
        &format!("{stem}-in-flight.svg"),
    );
    curve_section(
        &mut text,
        report,
        Section::Connections,
        "Rates against connections",
        &format!("{stem}-connections.svg"),
    );
    rows(
        &mut text,
        report,
        Section::Many,
        "Ten thousand connections",
        "One call in flight on each; times of calls as their caller sees them.",
    );
    rows(
        &mut text,
        report,
        Section::Callers,
        "Ten thousand callers on fifty connections",
        "One call in flight on each connection. The callers are tasks of one shared client, each awaiting one call at a time and most of them waiting for a place; who is not named so makes one call on each connection.",
    );
    rows(
        &mut text,
        report,
        Section::Coalescing,
        "Coalesced against one write for each call",
        "The same window on both sides; `a turn for each call` is the engine made to write each call by itself.",
    );
    bursts(&mut text, report);
    rows(
        &mut text,
        report,
        Section::Arrays,
        "Arrays of a hundred against calls by themselves",
        "The same number of calls in flight, in one array a connection, in arrays on one stream, or by themselves; legacy calls.",
    );
    rows(
        &mut text,
        report,
        Section::Shards,
        "One shard and two",
        "A job for each of two connections, each on a thread of its own, through a client with one shard and with two.",
    );
    big_replies(&mut text, report);
    soaks(&mut text, report);
    failures(&mut text, report);
    text + TAIL
}

/// The verdict alone, for a terminal.
pub fn summary(report: &Report) -> String {
    let lines = verdict(report);
    let count = |standing| lines.iter().filter(|line| line.standing() == standing).count();
    let mut text = format!(
        "verdict: {} at the goal, {} hold, {} missed, {} below a goal alone, {} not measured\n",
        count(Standing::Goal),
        count(Standing::Holds),
        count(Standing::Missed),
        count(Standing::BelowGoal),
        count(Standing::NotMeasured)
    );
    for line in lines.iter().filter(|line| line.standing() == Standing::Missed) {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  missed: {}, {}: {}", line.what, line.reading.place, reached(line));
    }
    text
}

fn head(text: &mut String, report: &Report) {
    let machine = &report.machine;
    let _ = writeln!(text, "# The hot path: the engine against the floor and against other clients\n");
    let _ = writeln!(
        text,
        "**Question.** How near does the engine come to what the kernel and a fast target leave, what does a call cost, and how far is it from other clients?\n"
    );
    let _ = writeln!(
        text,
        "**Method.** `just perf`, {}, on {} cores ({}), Linux {}. Every contestant of a row runs in a process of its own against a fresh fast target, in turns (A B C, A B C, ...); figures are medians, with the range in brackets. Shares are of the floor of the same row: the best median of its modes. s/M are CPU seconds per million calls, of the client and of the target. All runs are in the JSON beside this page; [docs/performance.md](../../docs/performance.md) says how to read it.\n",
        report.date, machine.cores, machine.cpu, machine.kernel
    );
    for invocation in &report.invocations {
        let took =
            invocation.seconds.map_or("was cut short".to_owned(), |seconds| format!("took {seconds:.0} s"));
        let _ = writeln!(
            text,
            "- `perf {}` at revision {} {took}; load of the machine before: {:.2}",
            invocation.arguments.join(" "),
            invocation.revision.as_deref().unwrap_or("unknown"),
            invocation.load_before
        );
    }
    let _ = writeln!(text);
}

fn verdicts(text: &mut String, report: &Report) {
    let _ = writeln!(text, "## What must be reached\n");
    let is_look = report.rounds().is_some_and(|rounds| rounds < ROUNDS_FOR_A_CLAIM);
    if is_look {
        let _ = writeln!(
            text,
            "Rows were run fewer than {ROUNDS_FOR_A_CLAIM} times: this is a look, and no line of it a claim.\n"
        );
    }
    if let Some(rounds) = report.rounds() {
        let _ = writeln!(
            text,
            "Rows of the matrix were run {rounds} times; those of memory, of the curves and of 10,000 connections {} times, and counts once.\n",
            rounds.min(ROUNDS_OF_WIDE_ROWS as usize)
        );
    }
    let _ = writeln!(
        text,
        "| what | where | must | goal | reached | floor | peer | |\n|---|---|---|---|---|---|---|---|"
    );
    for line in verdict(report) {
        let bar = |bar: Option<Bar>| match bar {
            None => "-".to_owned(),
            Some(Bar::AtLeast(value)) => format!("≥ {}", in_unit(value, line.unit)),
            Some(Bar::AtMost(value)) => format!("≤ {}", in_unit(value, line.unit)),
        };
        let standing = match line.standing() {
            _ if is_look && line.reading.figure.is_ok() => "a look",
            // Nobody is faster than the floor: it was slow by accident, as those that sleep can be with one call in flight.
            Standing::Goal if line.is_above_the_floor() => "goal (above the floor)",
            Standing::Goal => "goal",
            Standing::Holds => "holds",
            Standing::Missed => "**missed**",
            Standing::BelowGoal => "below the goal",
            Standing::NotMeasured => "not measured",
        };
        let peer = line.reading.peer.as_ref();
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} | {standing} |",
            line.what,
            line.reading.place,
            bar(line.must),
            bar(line.goal),
            reached(&line),
            line.reading.floor.map_or("-".to_owned(), short),
            peer.map_or("-".to_owned(), |(name, rate)| format!("{name}: {}", short(*rate)))
        );
    }
    let _ = writeln!(text);
}

/// What each missed line is made of, a run a row.
fn profiles(text: &mut String, report: &Report) {
    if report.profiles.is_empty() {
        return;
    }
    let _ = writeln!(text, "## Where the time goes in what is missed\n");
    let _ = writeln!(
        text,
        "Samples of the processor's clock over all threads of the client, `perf record`, in a run apart from all timing. Waiting is in none of them. Beside long replies a floor takes turns with the engine: what it does itself is the benchmark's, and its part of the kernel is among the kernel's. Bursts are looked into without the calls one at a time. Decoding is looked into without the other reader. Lines about bytes and blocks have no run that samples explain; docs/performance.md says what is known of them.\n"
    );
    let owners = Owner::ALL.map(Owner::name).join(" | ");
    let _ = writeln!(text, "| what was run | what it explains | {owners} | most samples in |");
    let _ = writeln!(text, "|---|---|{}---|", "---|".repeat(Owner::ALL.len()));
    let lines = verdict(report);
    for outcome in &report.profiles {
        let is_its = |line: &&Line| {
            line.standing() == Standing::Missed && line.reading.job.as_ref() == Some(&outcome.job)
        };
        let mut explains: Vec<_> = lines.iter().filter(is_its).map(|line| line.what).collect();
        explains.dedup();
        let shares = Owner::ALL.map(|owner| format!("{:.0} %", 100.0 * outcome.share(owner)));
        let most = outcome.symbols.iter().map(|(symbol, _, samples)| {
            let share = 100.0 * *samples as f64 / outcome.samples as f64;
            format!("`{}` {share:.0}", symbol.replace('|', "/"))
        });
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} |",
            outcome.job,
            explains.join("; "),
            shares.join(" | "),
            most.collect::<Vec<_>>().join(", ")
        );
    }
    let _ = writeln!(text);
}

fn reached(line: &Line) -> String {
    match &line.reading.figure {
        Ok(figure) => in_unit(*figure, line.unit),
        Err(why) => why.clone(),
    }
}

fn in_unit(value: f64, unit: Unit) -> String {
    match unit {
        Unit::OfFloor => format!("{value:.2} of the floor"),
        Unit::Times if value.abs() >= 100.0 => format!("{value:.0}x"),
        Unit::Times => format!("{value:.2}x"),
        Unit::Part => format!("{value:.3}"),
        Unit::Rate => format!("{}/s", short(value)),
        Unit::CpuSeconds => format!("{value:.3} s/M"),
        Unit::PerCall => format!("{value:.4}"),
        Unit::BytesRate => format!("{:.2} GB/s", value / 1e9),
        Unit::Bytes => bytes(value),
        Unit::Count => format!("{value:.0}"),
    }
}

fn bytes(value: f64) -> String {
    match value.abs() {
        size if size >= 1024.0 * 1024.0 => format!("{:.1} MiB", value / (1024.0 * 1024.0)),
        size if size >= 1024.0 => format!("{:.1} KiB", value / 1024.0),
        _ => format!("{value:.0} B"),
    }
}

/// A median of fewer turns is no claim.
const ROUNDS_FOR_A_CLAIM: usize = 5;

/// One table for each transport and choice of cores: contestants down, calls in flight across.
fn matrix(text: &mut String, report: &Report) {
    if report.section(Section::Matrix).next().is_none() {
        return;
    }
    let _ = writeln!(text, "## Rates and CPU\n");
    for cores in [Cores::Free, Cores::One] {
        for transport in Transport::ALL {
            let of_table = |row: &&Row| row.course.cores == cores && row.course.transport == transport;
            let mut rows: Vec<_> = report.section(Section::Matrix).filter(of_table).collect();
            rows.sort_by_key(|row| row.course.calls_in_flight());
            let Some(first) = rows.first() else { continue };
            let pinned = if cores == Cores::Free { "unpinned" } else { "client and target on one core" };
            let _ = writeln!(text, "### {transport}, {pinned}\n");
            let _ = writeln!(text, "Calls/s [range], of the floor; client s/M and target s/M.\n");
            across(text, &rows, first);
        }
    }
    targets(text, report);
}

/// Where it is not the engine alone that was measured.
fn targets(text: &mut String, report: &Report) {
    let mut busy = Vec::new();
    for row in report.section(Section::Matrix) {
        for entry in row.entries.iter().filter(|entry| entry.kind == Kind::Volley && entry.median().is_some())
        {
            let (client, target) = entry.cpu_per_million();
            if target > client {
                busy.push(format!("{} ({}: {client:.3} and {target:.3} s/M)", entry.name, row.course));
            }
        }
    }
    let _ = if busy.is_empty() {
        writeln!(text, "The target took less CPU time than the engine in every row.\n")
    } else {
        writeln!(
            text,
            "The target took more CPU time than the engine, and bounds its rate, in: {}.\n",
            busy.join("; ")
        )
    };
}

fn across(text: &mut String, rows: &[&Row], first: &Row) {
    let head: Vec<_> = rows.iter().map(|row| column(&row.course)).collect();
    let _ = writeln!(text, "| | {} |", head.join(" | "));
    let _ = writeln!(text, "|---|{}", "---|".repeat(rows.len()));
    let mut names: Vec<&str> = first.entries.iter().map(|entry| entry.name.as_str()).collect();
    for entry in rows.iter().flat_map(|row| &row.entries) {
        if !names.contains(&entry.name.as_str()) {
            names.push(&entry.name);
        }
    }
    for name in names {
        let cells: Vec<_> = rows.iter().map(|row| cell(row, name)).collect();
        let _ = writeln!(text, "| {name} | {} |", cells.join(" | "));
    }
    let _ = writeln!(text);
}

fn column(course: &Course) -> String {
    match (course.transport, course.connections) {
        (Transport::Http, 1) => "1 connection".into(),
        (Transport::Http, several) => format!("{several} connections"),
        _ => format!("{} in flight", course.in_flight),
    }
}

fn cell(row: &Row, name: &str) -> String {
    let Some(entry) = row.entries.iter().find(|entry| entry.name == name) else { return "-".into() };
    if entry.failed.is_some() {
        return "failed".into();
    }
    let Some(rate) = entry.rate() else { return "-".into() };
    let share = row.floor().map_or(String::new(), |floor| format!(" **{}**", share(rate.median / floor)));
    let (client, target) = entry.cpu_per_million();
    format!(
        "{} [{}..{}]{share}; {client:.3}, {target:.3}",
        short(rate.median),
        short(rate.min),
        short(rate.max)
    )
}

fn share(share: f64) -> String {
    if share < 0.095 { format!("{share:.3}") } else { format!("{share:.2}") }
}

fn counts(text: &mut String, report: &Report) {
    let rows: Vec<_> = report.section(Section::Counts).collect();
    if rows.is_empty() {
        return;
    }
    let _ = writeln!(text, "## Allocations and system calls of a call\n");
    let by = rows.iter().flat_map(|row| &row.entries).find_map(|entry| entry.counts.as_ref());
    let _ = writeln!(
        text,
        "Of the client's process, in runs of their own, without the bodies that the caller of a bulk job brings. System calls are counted by {}: with more than one call in flight, more calls travel together under it than otherwise.\n",
        by.map_or("nothing", |counts| counts.syscalls_by.as_str())
    );
    let _ = writeln!(
        text,
        "| | contestant | allocations | bytes allocated | system calls |\n|---|---|---|---|---|"
    );
    for row in rows {
        for entry in &row.entries {
            let Some(counts) = &entry.counts else { continue };
            let figure = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.4}"));
            let _ = writeln!(
                text,
                "| {}, {} | {} | {} | {} | {} |",
                row.course.transport,
                column(&row.course),
                entry.name,
                figure(counts.allocations),
                counts.allocated_bytes.map_or("-".to_owned(), |value| format!("{value:.1}")),
                figure(counts.syscalls)
            );
        }
    }
    let _ = writeln!(text);
}

fn memory(text: &mut String, report: &Report) {
    let mut names: Vec<&str> = Vec::new();
    for entry in report.section(Section::Memory).flat_map(|row| &row.entries) {
        if !names.contains(&entry.name.as_str()) {
            names.push(&entry.name);
        }
    }
    if names.is_empty() {
        return;
    }
    let most = report.section(Section::Memory).map(|row| row.course.connections).max().unwrap_or(0);
    let _ = writeln!(text, "## Memory of a connection\n");
    let _ = writeln!(
        text,
        "Resident bytes with {most} Unix connections less those with one, by the connections between; idle after they were opened, busy at the end of a run at full speed.\n"
    );
    let _ = writeln!(text, "| contestant | in flight on each | idle | busy |\n|---|---|---|---|");
    for name in names {
        for in_flight in [1, 64] {
            let Some((idle, busy)) = memory_of_a_connection(report, name, in_flight) else { continue };
            let _ = writeln!(text, "| {name} | {in_flight} | {} | {} |", bytes(idle), bytes(busy));
        }
    }
    let _ = writeln!(text);
}

fn decodes(text: &mut String, report: &Report) {
    if report.decodes.is_empty() {
        return;
    }
    let _ = writeln!(text, "## Typed decoding\n");
    let _ = writeln!(
        text,
        "Whole answers into `ToolResult`, the engine's reader and serde_json in turns, MB/s [range]; {}. The last column is the median of the quotients of each round.\n",
        report.decodes[0].plan.course
    );
    let _ = writeln!(
        text,
        "| content | answer | engine | serde_json | engine by serde_json |\n|---|---|---|---|---|"
    );
    for row in report.decodes.iter().flat_map(|outcome| &outcome.rows) {
        let of = |value: fn(&(f64, f64)) -> f64| {
            Spread::of(row.rounds.iter().map(|round| value(round) / 1e6)).map_or("-".to_owned(), |spread| {
                format!("{:.0} [{:.0}..{:.0}]", spread.median, spread.min, spread.max)
            })
        };
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {:.2} |",
            row.content,
            bytes(row.bytes as f64),
            of(|round| round.0),
            of(|round| round.1),
            row.ratio().unwrap_or(f64::NAN)
        );
    }
    let _ = writeln!(text);
}

fn curve_section(text: &mut String, report: &Report, section: Section, title: &str, chart: &str) {
    let curves = curves(report, section);
    if curves.is_empty() {
        return;
    }
    let _ = writeln!(text, "## {title}\n\n![{title}]({chart})\n");
    let mut across: Vec<usize> = curves.iter().flat_map(|curve| &curve.points).map(|point| point.0).collect();
    across.sort_unstable();
    across.dedup();
    let head: Vec<_> = across.iter().map(usize::to_string).collect();
    let _ = writeln!(text, "| | {} | knee | worst by the best left of it |", head.join(" | "));
    let _ = writeln!(text, "|---|{}---|---|", "---|".repeat(across.len()));
    for curve in &curves {
        let at = |x: &usize| {
            curve.points.iter().find(|point| point.0 == *x).map_or("-".into(), |point| short(point.1))
        };
        let cells: Vec<String> = across.iter().map(at).collect();
        let knee = curve.knee();
        let _ = writeln!(
            text,
            "| {}, {} | {} | {} | {} |",
            curve.transport,
            curve.name,
            cells.join(" | "),
            knee.map_or("-".into(), |knee| knee.at.to_string()),
            knee.map_or("-".into(), |knee| format!("{:.2}", knee.worst_behind))
        );
    }
    let _ = writeln!(text);
}

/// The lines of a chart: the floor and the engine, of each transport a dashed and some solid ones.
pub fn series(curves: &[Curve]) -> Vec<super::chart::Series> {
    let colour = |curve: &Curve| {
        curves.iter().position(|other| other.name == curve.name && other.transport == curve.transport)
    };
    let one = |curve: &Curve| super::chart::Series {
        name: format!("{}, {}", curve.transport, curve.name),
        dashed: curve.floor,
        colour: colour(curve).unwrap_or(0),
        points: curve.points.iter().map(|point| (point.0 as f64, point.1)).collect(),
    };
    curves.iter().map(one).collect()
}

fn rows(text: &mut String, report: &Report, section: Section, title: &str, about: &str) {
    let rows: Vec<_> = report.section(section).collect();
    if rows.is_empty() {
        return;
    }
    let _ = writeln!(text, "## {title}\n\n{about}\n");
    let latency = rows.iter().any(|row| row.course.latency);
    let _ = writeln!(
        text,
        "| | contestant | calls/s [range] | of the floor | client s/M | target s/M |{}",
        if latency { " p50 | p99 | resident, idle | busy |" } else { "" }
    );
    let _ = writeln!(text, "|---|---|---|---|---|---|{}", if latency { "---|---|---|---|" } else { "" });
    for row in rows {
        for entry in &row.entries {
            let _ = writeln!(text, "| {} | {} | {}", row.course, entry.name, one_of(row, entry, latency));
        }
    }
    let _ = writeln!(text);
}

fn one_of(row: &Row, entry: &Entry, latency: bool) -> String {
    if let Some(why) = &entry.failed {
        return format!("failed: {} |{}", why.replace('|', "/"), " - |".repeat(if latency { 7 } else { 3 }));
    }
    let Some(rate) = entry.rate() else { return String::new() };
    let (client, target) = entry.cpu_per_million();
    let mut text = format!(
        "{} [{}..{}] | {} | {client:.3} | {target:.3} |",
        short(rate.median),
        short(rate.min),
        short(rate.max),
        row.floor().map_or("-".into(), |floor| share(rate.median / floor))
    );
    if latency {
        let ms = |us: f64| format!("{:.3} ms", us / 1e3);
        let times = entry.latency();
        let memory = entry.memory();
        let _ = write!(
            text,
            " {} | {} | {} | {} |",
            times.map_or("-".into(), |times| ms(times.p50_us)),
            times.map_or("-".into(), |times| ms(times.p99_us)),
            memory.map_or("-".into(), |memory| bytes(memory.0)),
            memory.map_or("-".into(), |memory| bytes(memory.1))
        );
    }
    text
}

fn bursts(text: &mut String, report: &Report) {
    if report.bursts.is_empty() {
        return;
    }
    let _ = writeln!(text, "## A burst against one at a time\n");
    let _ = writeln!(text, "Total time of the same calls, in turns; medians.\n");
    let _ = writeln!(
        text,
        "| | calls | one at a time | at once | saved | round trips |\n|---|---|---|---|---|---|"
    );
    for burst in &report.bursts {
        let Some((one, at_once)) = burst.medians() else { continue };
        let _ = writeln!(
            text,
            "| {}, {:?}, {} rounds | {} | {one:.0} us | {at_once:.0} us | {:.1} % | {:.2} |",
            burst.plan.course.transport,
            burst.plan.drive,
            burst.rounds.len(),
            burst.plan.course.calls_in_flight(),
            100.0 * burst.saved().unwrap_or(f64::NAN),
            burst.round_trips().unwrap_or(f64::NAN)
        );
    }
    let _ = writeln!(text);
}

fn big_replies(text: &mut String, report: &Report) {
    if report.big_replies.is_empty() {
        return;
    }
    let _ = writeln!(text, "## A long reply among small calls\n");
    let _ = writeln!(
        text,
        "One inline engine, {} small call in flight on each connection (without a long reply one fewer on two, since with it one is stuck behind it), and in turns with it a floor that reads 32 KiB at a time, counts line feeds and forgets what it read; medians over rounds that run without and with a long reply. *Meanwhile* are the small calls that overlap one. On one stream those wait behind it, whatever a client does; on two connections the longest of each long reply is left out, which is the one behind it. (So it is *meanwhile* that compares like with like; between long replies all small calls have one more beside them.)\n",
        super::big_reply::SMALL_IN_FLIGHT
    );
    let _ = writeln!(
        text,
        "| | reply | who | it takes | p50, p99 without | p50, p99 with | factor | p50, p99 meanwhile | factor | calls meanwhile |\n|---|---|---|---|---|---|---|---|---|---|"
    );
    let sides: [(_, super::big_reply::Side); 2] =
        [("volley inline", |round| &round.engine), ("floor", |round| &round.floor)];
    for outcome in &report.big_replies {
        let plan = &outcome.plan;
        for (who, side) in sides {
            let median =
                |value: fn(&super::big_reply::Half) -> f64| outcome.median(side, value).unwrap_or(f64::NAN);
            let _ = writeln!(
                text,
                "| {}, {} | {} | {who} | {:.1} ms | {:.0}, {:.0} us | {:.0}, {:.0} us | {:.2} | {:.0}, {:.0} us | {:.2} | {:.0} |",
                plan.course.transport,
                if plan.course.connections > 1 { "two connections" } else { "one connection" },
                bytes(plan.reply_bytes as f64),
                median(|half| half.long_ms),
                median(|half| half.without.p50_us),
                median(|half| half.without.p99_us),
                median(|half| half.with.p50_us),
                median(|half| half.with.p99_us),
                outcome.factor(side).unwrap_or(f64::NAN),
                median(|half| half.meanwhile.p50_us),
                median(|half| half.meanwhile.p99_us),
                outcome.factor_meanwhile(side).unwrap_or(f64::NAN),
                median(|half| half.meanwhile_calls as f64)
            );
        }
    }
    let _ = writeln!(text);
}

fn soaks(text: &mut String, report: &Report) {
    for soak in &report.soaks {
        let course = &soak.plan.course;
        let of = |value: fn(&super::soak::Slice) -> f64| Spread::of(soak.slices.iter().map(value));
        let (Some(engine), Some(floor)) = (of(|slice| slice.engine), of(|slice| slice.floor)) else {
            continue;
        };
        let range = |spread: Spread| {
            format!("{} [{}..{}]", short(spread.median), short(spread.min), short(spread.max))
        };
        let ends = |value: fn(&super::soak::Slice) -> f64| {
            soak.ends(value).map_or_else(String::new, |(first, last)| {
                format!(" (first minute {}, last {})", short(first), short(last))
            })
        };
        let _ =
            writeln!(text, "## Full speed for {:.0} s: {:?}, {course}\n", course.seconds, soak.plan.drive);
        let _ = writeln!(
            text,
            "One engine from beginning to end, in {} slices that take turns with slices of the floor (sliced). Calls/s: engine {}{}, floor {}{}. The engine's calls by the floor's, minute by minute: {}; the last minute by the first: {:.3}. Resident: {} after the first slice, {} at the end.\n",
            soak.slices.len(),
            range(engine),
            ends(|slice| slice.engine),
            range(floor),
            ends(|slice| slice.floor),
            soak.minutes().iter().map(|minute| format!("{minute:.3}")).collect::<Vec<_>>().join(", "),
            soak.last_by_first().unwrap_or(f64::NAN),
            bytes(soak.rss_bytes.0 as f64),
            bytes(soak.rss_bytes.1 as f64)
        );
        let counters = &soak.counters;
        let _ = writeln!(
            text,
            "Counters: {} submitted = {} answered + {} failed + {} cancelled + {} live; {} taken by the caller.\n",
            counters.submitted,
            counters.answered,
            counters.failed,
            counters.cancelled,
            counters.live,
            counters.taken
        );
    }
}

fn failures(text: &mut String, report: &Report) {
    let failed = report.failed();
    if failed.is_empty() {
        return;
    }
    let _ = writeln!(text, "## What failed\n");
    for what in failed {
        let _ = writeln!(text, "- {what}");
    }
    let _ = writeln!(text);
}

const TAIL: &str = "## Bias

The target splices replies and is faster than any real server; its CPU stands in every row, and where it is above the client's, it is the
target that was measured. Below 128 calls in flight, unpinned figures mostly say how fast the machine wakes an idle core; those of one core
repeat. Long replies leave the target in pieces of 32 KiB with a pause for its other threads between them: given to the kernel in one piece they hold up the
target's own small answers for longer than any client does. The contestants of other clients are ours and follow their examples. A floor that is passed was none: with polling, or where both
sides sleep in turns, it can be slow by accident.
";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::{course, entry};

    #[test]
    fn a_report_has_its_parts() {
        let mut report = Report::new();
        report.begin(vec!["--quick".into()]);
        let mut failed = entry("rmcp, current-thread", Kind::Rmcp, &[1; 5]);
        failed.note(Err("it | broke".into()));
        let entries = vec![
            entry("floor coalesced", Kind::Floor, &[20_000_000; 5]),
            entry("volley inline", Kind::Volley, &[10_000_000; 5]),
            failed,
        ];
        for in_flight in [64, 1024] {
            let row = Row { course: Course { in_flight, ..course() }, entries: entries.clone() };
            report.put(Section::Matrix, row.clone());
            report.put(Section::InFlight, row.clone());
            report.put(Section::Coalescing, row);
        }
        let text = document(&report, "x");
        for part in [
            "# The hot path",
            "## What must be reached",
            "| inline, 1,024 in flight (polling over Unix) | tcp | ≥ 0.70 of the floor | ≥ 0.90 of the floor | 0.50 of the floor | 10.0M | - | **missed** |",
            "### tcp, unpinned",
            "| volley inline | 5.00M [5.00M..5.00M] **0.50**; 0.100, 0.050 |",
            "![Rates against calls in flight](x-in-flight.svg)",
            "## What failed",
            "failed: it / broke",
            "## Bias",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
        assert!(!text.contains("NaN"));
        // Fewer turns are no claim.
        report.put(
            Section::Matrix,
            Row { course: course(), entries: vec![entry("floor spin", Kind::Floor, &[1; 4])] },
        );
        let look = document(&report, "x");
        assert!(look.contains("| a look |") && !look.contains("**missed**"), "{look}");
        // Every line of a table has as many cells as its head.
        let cells = |line: &str| line.matches('|').count();
        for pair in text.lines().collect::<Vec<_>>().windows(2) {
            if pair[0].starts_with('|') && pair[1].starts_with('|') {
                assert_eq!(cells(pair[0]), cells(pair[1]), "{}\n{}", pair[0], pair[1]);
            }
        }
        assert!(
            summary(&report)
                .contains("missed: inline, 1,024 in flight (polling over Unix), tcp: 0.50 of the floor")
        );
        assert_eq!(series(&curves(&report, Section::InFlight)).len(), 2);
    }
}
