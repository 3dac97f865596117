//! Runs what is planned, part by part, and takes it into the report; whoever waits sees each row as it is there.

use std::time::Instant;

use super::document::{Report, Section};
use super::job::Job;
use super::plan::{RowPlan, Settings};
use super::verdict::{Standing, verdict};
use super::{big_reply, burst, decode, process, profile, soak};
use crate::contestant::{Cores, Course, Failure};
use crate::link::Transport;
use crate::meter::Run;
use crate::registry;
use crate::report::{Entry, Row};

/// What is told of the way: a line for people, and that the report has grown.
pub trait Watch {
    /// A line or a table, as soon as it is there.
    fn say(&mut self, text: &str);

    /// The report has another row.
    ///
    /// # Errors
    ///
    /// When it cannot be kept.
    fn grown(&mut self, report: &Report) -> Result<(), Failure>;
}

/// Measures one part. What the report has already is not measured again if it is to be resumed.
///
/// # Errors
///
/// When the report cannot be kept; who fails to run is noted in it.
pub fn section(
    section: Section,
    settings: &Settings,
    resume: bool,
    report: &mut Report,
    watch: &mut impl Watch,
) -> Result<(), Failure> {
    for plan in settings.rows(section) {
        if resume && report.has(section, &plan.course, &plan.names, plan.rounds) {
            watch.say(&format!("{section:?}: {} is there", plan.course));
            continue;
        }
        let row = match section {
            Section::Counts => counted(&plan, watch),
            _ => in_turns(&plan),
        };
        watch.say(&row.table());
        report.put(section, row);
        watch.grown(report)?;
    }
    match section {
        Section::Coalescing => bursts(settings, resume, report, watch),
        Section::BigReply => big_replies(settings, resume, report, watch),
        Section::Decode => decodes(settings, resume, report, watch),
        Section::Soak => soaks(settings, resume, report, watch),
        Section::Profile => profiles(resume, report, watch),
        _ => Ok(()),
    }
}

/// A B C, A B C, ...: a machine that slows down slows all of them down.
fn in_turns(plan: &RowPlan) -> Row {
    let mut entries = entries(plan);
    for _ in 0..plan.rounds {
        for entry in entries.iter_mut().filter(|entry| entry.failed.is_none()) {
            let job = Job::Run { contestant: entry.name.clone(), course: plan.course };
            entry.note(process::ask::<Run>(&job));
        }
    }
    Row { course: plan.course, entries }
}

fn counted(plan: &RowPlan, watch: &mut impl Watch) -> Row {
    let mut entries = entries(plan);
    for entry in &mut entries {
        match process::count(&entry.name, &plan.course, plan.course.seconds) {
            Ok(counts) => {
                let figure = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.4}"));
                watch.say(&format!(
                    "{}, {}: {} allocations, {} system calls for a call",
                    plan.course,
                    entry.name,
                    figure(counts.allocations),
                    figure(counts.syscalls)
                ));
                entry.counts = Some(counts);
            }
            Err(error) => entry.failed = Some(error.to_string()),
        }
    }
    Row { course: plan.course, entries }
}

fn entries(plan: &RowPlan) -> Vec<Entry> {
    let known = plan.names.iter().filter_map(|name| Some((name, registry::find(name)?.kind())));
    known.map(|(name, kind)| Entry::new(name, kind)).collect()
}

/// Bursts of a hundred over streams, and over HTTP on a hundred connections.
fn bursts(
    settings: &Settings,
    resume: bool,
    report: &mut Report,
    watch: &mut impl Watch,
) -> Result<(), Failure> {
    let all = [Transport::Unix, Transport::Tcp, Transport::Http];
    for transport in all.into_iter().filter(|one| settings.over(*one)) {
        for (drive, name) in
            [(burst::Drive::Inline, "volley inline"), (burst::Drive::Client, "volley client")]
        {
            let course = settings.course(transport, Cores::Free, BURST);
            let plan = burst::Plan { course, drive, rounds: BURST_ROUNDS, alone: false };
            let is_there = |outcome: &burst::Outcome| {
                outcome.plan.drive == drive && outcome.plan.course.is_row_of(&course)
            };
            if !settings.wants(name) || resume && report.bursts.iter().any(is_there) {
                continue;
            }
            let place = format!("burst, {transport}, {drive:?}");
            match process::ask::<burst::Outcome>(&Job::Burst(plan)) {
                Ok(outcome) => {
                    watch.say(&format!(
                        "burst of {BURST}, {transport}, {drive:?}: {:.3} of the time saved, {:.2} round trips",
                        outcome.saved().unwrap_or(f64::NAN),
                        outcome.round_trips().unwrap_or(f64::NAN)
                    ));
                    report.bursts.retain(|outcome| !is_there(outcome));
                    report.bursts.push(outcome);
                    well(report, &place);
                }
                Err(error) => fail(report, watch, &place, &error),
            }
            watch.grown(report)?;
        }
    }
    Ok(())
}

/// Calls of a burst.
const BURST: usize = 100;

/// Each takes a few milliseconds.
const BURST_ROUNDS: u32 = 50;

fn big_replies(
    settings: &Settings,
    resume: bool,
    report: &mut Report,
    watch: &mut impl Watch,
) -> Result<(), Failure> {
    // Not over HTTP: there the target has one thread, and would be what holds the small calls up.
    for transport in [Transport::Unix, Transport::Tcp].into_iter().filter(|one| settings.over(*one)) {
        for &reply_bytes in &settings.big_reply_bytes {
            for connections in [1, 2] {
                let course = Course {
                    connections,
                    in_flight: big_reply::SMALL_IN_FLIGHT,
                    ..settings.course(transport, Cores::Free, 1)
                };
                let plan = big_reply::Plan { course, reply_bytes, rounds: settings.rounds };
                let is_there = |outcome: &big_reply::Outcome| {
                    outcome.plan.reply_bytes == reply_bytes && outcome.plan.course.is_row_of(&course)
                };
                if !settings.wants("volley inline") || resume && report.big_replies.iter().any(is_there) {
                    continue;
                }
                let place = format!("long reply, {reply_bytes} bytes, {course}");
                match process::ask::<big_reply::Outcome>(&Job::BigReply(plan)) {
                    Ok(outcome) => {
                        watch.say(&format!(
                            "{place}: p99 of small calls {:.2} times, meanwhile {:.2} times (the floor's {:.2})",
                            outcome.factor(|round| &round.engine).unwrap_or(f64::NAN),
                            outcome.factor_meanwhile(|round| &round.engine).unwrap_or(f64::NAN),
                            outcome.factor_meanwhile(|round| &round.floor).unwrap_or(f64::NAN)
                        ));
                        report.big_replies.retain(|outcome| !is_there(outcome));
                        report.big_replies.push(outcome);
                        well(report, &place);
                    }
                    Err(error) => fail(report, watch, &place, &error),
                }
                watch.grown(report)?;
            }
        }
    }
    Ok(())
}

fn decodes(
    settings: &Settings,
    resume: bool,
    report: &mut Report,
    watch: &mut impl Watch,
) -> Result<(), Failure> {
    // No transport is in it; the course says on which cores, and for how long.
    let course = settings.course(Transport::Unix, Cores::One, 1);
    let plan = decode::Plan { course, rounds: settings.rounds, alone: None };
    if !settings.wants("decode") || resume && report.decodes.iter().any(|outcome| outcome.plan == plan) {
        return Ok(());
    }
    match process::ask::<decode::Outcome>(&Job::Decode(plan)) {
        Ok(outcome) => {
            for row in &outcome.rows {
                watch.say(&format!(
                    "decode, {}, {} bytes: {:.0} MB/s, {:.2} times serde_json",
                    row.content,
                    row.bytes,
                    row.rate().unwrap_or(f64::NAN) / 1e6,
                    row.ratio().unwrap_or(f64::NAN)
                ));
            }
            report.decodes = vec![outcome];
            well(report, "decode");
        }
        Err(error) => fail(report, watch, "decode", &error),
    }
    watch.grown(report)
}

fn soaks(
    settings: &Settings,
    resume: bool,
    report: &mut Report,
    watch: &mut impl Watch,
) -> Result<(), Failure> {
    // Over what is fastest of those asked for.
    let order = [Transport::Tcp, Transport::Unix, Transport::Stdio];
    let Some(transport) = order.into_iter().find(|one| settings.over(*one)) else { return Ok(()) };
    for &drive in &settings.soak_drives {
        let course = Course {
            seconds: settings.soak_seconds,
            ..settings.course(transport, Cores::Free, SOAK_IN_FLIGHT)
        };
        let plan = soak::Plan { course, drive };
        let is_there = |outcome: &soak::Outcome| {
            outcome.plan.drive == drive
                && outcome.plan.course.is_row_of(&course)
                && outcome.plan.course.seconds >= course.seconds
        };
        let name = match drive {
            soak::Drive::Inline => "volley inline",
            soak::Drive::Bulk => "volley client, bulk",
        };
        if !settings.wants(name) || resume && report.soaks.iter().any(is_there) {
            continue;
        }
        let place = format!("soak, {transport}, {drive:?}");
        watch.say(&format!("{place}: {:.0} s", 1.25 * settings.soak_seconds));
        let begun = Instant::now();
        match process::ask::<soak::Outcome>(&Job::Soak(plan)) {
            Ok(outcome) => {
                watch.say(&format!(
                    "{place}: {:.0} s, the last minute by the first {:.3}, {} bytes more",
                    begun.elapsed().as_secs_f64(),
                    outcome.last_by_first().unwrap_or(f64::NAN),
                    outcome.growth_bytes()
                ));
                report.soaks.retain(|outcome| outcome.plan.drive != drive);
                report.soaks.push(outcome);
                well(report, &place);
            }
            Err(error) => fail(report, watch, &place, &error),
        }
        watch.grown(report)?;
    }
    Ok(())
}

/// The window at full speed.
const SOAK_IN_FLIGHT: usize = 1024;

/// Of each run that shows why a line is missed; what other lines were looked into for is no longer said.
fn profiles(resume: bool, report: &mut Report, watch: &mut impl Watch) -> Result<(), Failure> {
    let mut jobs: Vec<Job> = Vec::new();
    for line in verdict(report).into_iter().filter(|line| line.standing() == Standing::Missed) {
        jobs.extend(line.reading.job.filter(|job| !jobs.contains(job)));
    }
    report.profiles.retain(|outcome| resume && jobs.contains(&outcome.job));
    if let Some(why) = profile::cannot() {
        watch.say(&format!("where the time goes is not looked into: {why}"));
        return watch.grown(report);
    }
    for job in jobs {
        let place = format!("profile, {job}");
        if report.profiles.iter().any(|outcome| outcome.job == job) {
            continue;
        }
        match profile::look_into(&job) {
            Ok(outcome) => {
                let shares = profile::Owner::ALL
                    .map(|owner| format!("{} {:.0} %", owner.name(), 100.0 * outcome.share(owner)));
                watch.say(&format!("{job}: {}", shares.join(", ")));
                report.profiles.push(outcome);
                well(report, &place);
            }
            Err(error) => fail(report, watch, &place, &error),
        }
        watch.grown(report)?;
    }
    Ok(())
}

fn fail(report: &mut Report, watch: &mut impl Watch, place: &str, error: &Failure) {
    well(report, place);
    let what = format!("{place}: {error}");
    watch.say(&format!("failed: {what}"));
    report.failures.push(what);
}

/// What failed there before has no place in the report any more.
fn well(report: &mut Report, place: &str) {
    report.failures.retain(|what| !what.starts_with(place));
}
