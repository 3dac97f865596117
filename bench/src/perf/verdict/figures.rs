//! The figures of the verdict: each found in a report, with its place and the run that shows what it is made of.

use super::line::Reading;
use crate::contestant::{Cores, Kind};
use crate::link::Transport;
use crate::perf::curve::{Curve, curves};
use crate::perf::document::{Report, Section};
use crate::perf::job::Job;
use crate::perf::plan::{CALLERS, SHARDS, SHARDS_CORES_MIN};
use crate::perf::{big_reply, burst, decode, soak};
use crate::report::{Entry, Row};

pub(super) fn is_tasks(entry: &Entry) -> bool {
    entry.kind == Kind::Volley && entry.name.contains("tasks")
}

pub(super) fn missing(place: &str, why: &str) -> Reading {
    Reading { place: place.to_owned(), figure: Err(why.to_owned()), floor: None, peer: None, job: None }
}

pub(super) fn streams(read: impl Fn(Transport) -> Reading) -> Vec<Reading> {
    [Transport::Tcp, Transport::Stdio, Transport::Unix].into_iter().map(read).collect()
}

/// A figure of a row and of who is ours in it, with the row's floor and its fastest peer.
fn of_row(
    place: String,
    row: Option<&Row>,
    ours: impl Fn(&Entry) -> bool,
    figure: impl FnOnce(&Row) -> Result<f64, String>,
) -> Reading {
    let Some(row) = row else { return missing(&place, "no such row was run") };
    let peer = row.peer().and_then(|peer| Some((peer.name.clone(), peer.median()?)));
    let job = row.best(ours).map(|entry| run(row, entry));
    Reading { place, figure: figure(row), floor: row.floor(), peer, job }
}

fn run(row: &Row, entry: &Entry) -> Job {
    Job::Run { contestant: entry.name.clone(), course: row.course }
}

fn median_of(row: &Row, name: &str) -> Result<f64, String> {
    row.entry(name).and_then(Entry::median).ok_or_else(|| format!("{name} has no figure"))
}

pub(super) fn of_floor(
    report: &Report,
    transport: Transport,
    cores: Cores,
    calls: usize,
    name: &str,
) -> Reading {
    let ours = |entry: &Entry| entry.name == name;
    of_row(transport.to_string(), report.matrix(transport, cores, calls), ours, |row| {
        Ok(median_of(row, name)? / row.floor().ok_or("the floor did not run")?)
    })
}

/// The best of some by the best of others.
pub(super) fn by(
    report: &Report,
    transport: Transport,
    cores: Cores,
    calls: usize,
    ours: fn(&Entry) -> bool,
    theirs: fn(&Entry) -> bool,
) -> Reading {
    let mut reading = of_row(transport.to_string(), report.matrix(transport, cores, calls), ours, |row| {
        let ours = row.best(ours).and_then(Entry::median).ok_or("the engine has no figure")?;
        let theirs = row.best_of_all(theirs).and_then(Entry::median);
        Ok(ours / theirs.ok_or("of those it is compared with not all ran")?)
    });
    let row = report.matrix(transport, cores, calls);
    let peer = row.and_then(|row| row.best(theirs));
    reading.peer = peer.and_then(|peer| Some((peer.name.clone(), peer.median()?)));
    reading
}

pub(super) fn rate(
    report: &Report,
    transport: Transport,
    cores: Cores,
    calls: usize,
    ours: fn(&Entry) -> bool,
) -> Reading {
    of_row(transport.to_string(), report.matrix(transport, cores, calls), ours, |row| {
        Ok(row.best(ours).and_then(Entry::median).ok_or("the engine has no figure")?)
    })
}

pub(super) fn cpu(report: &Report, transport: Transport, calls: usize, name: &str) -> Reading {
    let ours = |entry: &Entry| entry.name == name;
    of_row(transport.to_string(), report.matrix(transport, Cores::Free, calls), ours, |row| {
        Ok(row.entry(name).ok_or_else(|| format!("{name} has no figure"))?.cpu_per_million().0)
    })
}

pub(super) fn arrays(report: &Report) -> Vec<Reading> {
    let rows: Vec<_> = report
        .section(Section::Arrays)
        .filter(|row| row.course.transport == Transport::Http && row.course.array > 1)
        .collect();
    if rows.is_empty() {
        return vec![missing("", "no such row was run")];
    }
    let one = |row: &&Row| {
        // Those that make and decode every call, as jsonrpsee does.
        let ours = |entry: &Entry| entry.name.starts_with(AWAITED_ARRAYS);
        of_row(format!("{} calls in flight", row.course.calls_in_flight()), Some(row), ours, |row| {
            let ours = row.best(ours).and_then(Entry::median);
            let theirs = row.best_of_all(|entry| entry.kind == Kind::Jsonrpsee).and_then(Entry::median);
            Ok(ours.ok_or("no contestant of the engine sends arrays")?
                / theirs.ok_or("jsonrpsee did not run")?)
        })
    };
    rows.iter().map(one).collect()
}

/// Against the floor's writes, which parse nothing, and against the engine's own.
pub(super) fn coalesced(report: &Report) -> Vec<Reading> {
    let rows = || report.section(Section::Coalescing).filter(|row| row.course.in_flight > 1);
    if rows().next().is_none() {
        return vec![missing("", "no such row was run")];
    }
    let others = [
        ("floor, a write for each call", "those of the floor"),
        ("volley inline, a turn for each call", "those of the engine, a whole turn each"),
    ];
    let both = |row: &Row| {
        others.map(|(other, whose)| {
            let ours = |entry: &Entry| entry.name == INLINE;
            of_row(format!("{}, {whose}", row.course.transport), Some(row), ours, |row| {
                Ok(median_of(row, INLINE)? / median_of(row, other)?)
            })
        })
    };
    rows().flat_map(both).collect()
}

pub(super) fn bursts(report: &Report, figure: impl Fn(&burst::Outcome) -> Option<f64>) -> Vec<Reading> {
    if report.bursts.is_empty() {
        return vec![missing("", "no burst was run")];
    }
    let one = |burst: &burst::Outcome| Reading {
        place: format!("{}, {:?}", burst.plan.course.transport, burst.plan.drive).to_lowercase(),
        figure: figure(burst).ok_or_else(|| "no rounds".to_owned()),
        floor: None,
        peer: None,
        job: Some(Job::Burst(burst.plan.alone())),
    };
    report.bursts.iter().map(one).collect()
}

pub(super) fn allocations(report: &Report, transport: Transport, name: &str) -> Reading {
    let rows = report.section(Section::Counts).filter(|row| row.course.transport == transport);
    let counted = |row: &Row| {
        let entry = row.entries.iter().find(|entry| entry.name == name);
        entry.and_then(|entry| entry.counts.as_ref()).and_then(|counts| counts.allocations)
    };
    // The worst of them; one that was not counted is worse.
    let row = rows.max_by(|one, other| {
        let [one, other] = [one, other].map(|row| counted(row).unwrap_or(f64::INFINITY));
        one.total_cmp(&other)
    });
    let ours = |entry: &Entry| entry.name == name;
    let mut reading = of_row(transport.to_string(), row, ours, |row| {
        counted(row).ok_or_else(|| format!("{name} was not counted"))
    });
    if let Some(row) = row {
        reading.place = format!("{transport}, {} in flight, the worst", row.course.calls_in_flight());
    }
    // Samples say nothing of blocks.
    reading.job = None;
    reading
}

/// What each connection beyond the first takes: idle and busy, of one contestant with so many calls in flight on each.
pub fn memory_of_a_connection(report: &Report, name: &str, in_flight: usize) -> Option<(f64, f64)> {
    let rows = || report.section(Section::Memory).filter(|row| row.course.in_flight == in_flight);
    let one = rows().find(|row| row.course.connections == 1)?;
    let many = rows().max_by_key(|row| row.course.connections).filter(|row| row.course.connections > 1)?;
    let (few, all) = (one.entry(name)?.memory()?, many.entry(name)?.memory()?);
    let more = (many.course.connections - 1) as f64;
    Some(((all.0 - few.0) / more, (all.1 - few.1) / more))
}

/// Whose connections are looked at, and with how many calls in flight on each. With many, and through the client, what the calls
/// themselves take is counted as the connection's.
pub(super) const MEMORY: [(&str, usize); 4] = [(INLINE, 1), (INLINE, 64), (TASKS, 1), (TASKS, 64)];

pub(super) fn memory(report: &Report, name: &str, in_flight: usize, pick: fn((f64, f64)) -> f64) -> Reading {
    let figure = memory_of_a_connection(report, name, in_flight).map(pick);
    Reading {
        place: format!("Unix, {}, {in_flight} in flight on each", name.trim_start_matches("volley ")),
        figure: figure.ok_or_else(|| "no such rows were run".to_owned()),
        floor: None,
        peer: None,
        // Samples say nothing of bytes.
        job: None,
    }
}

/// Is it one of those?
type Ours = fn(&Entry) -> bool;

/// Of the engine on the caller's thread and of the shared client, whose caller awaits as the peer's does; each by the one of the peer's runtimes
/// that `best` has most of.
pub(super) fn many(
    report: &Report,
    figure: fn(&Entry) -> Option<f64>,
    best: fn(&Entry) -> Option<f64>,
) -> Vec<Reading> {
    let Some(row) = report.section(Section::Many).next() else {
        return vec![missing("", "no such row was run")];
    };
    let of_peer = || row.entries.iter().filter(|entry| entry.kind == Kind::Rmcp);
    // Without one of them nobody knows which is the best.
    let peers: Option<Vec<_>> = of_peer().map(|entry| Some((best(entry)?, entry))).collect();
    let peer = peers.and_then(|all| all.into_iter().max_by(|one, other| one.0.total_cmp(&other.0)));
    let peer = peer.map(|(_, entry)| entry);
    let engines: [(&str, Ours); 2] = [("inline", |entry| entry.name == INLINE), ("tasks", is_tasks)];
    let reading = |(who, ours): (&str, Ours)| {
        let place = format!("unix, {} connections, {who}", row.course.connections);
        let mut reading = of_row(place, Some(row), ours, |row| {
            // Of the fastest, also where it is not about how fast it is.
            let own = row.best(ours).and_then(figure).ok_or("the engine has no figure")?;
            Ok(own / peer.and_then(figure).ok_or("rmcp has no figure")?)
        });
        reading.peer = peer.and_then(|entry| Some((entry.name.clone(), entry.median()?)));
        reading
    };
    engines.into_iter().map(reading).collect()
}

/// What all but one in a hundred calls take at most, in microseconds.
pub(super) fn p99(entry: &Entry) -> Option<f64> {
    Some(entry.latency()?.p99_us)
}

/// The better of the two ways to run them.
pub(super) fn callers(report: &Report) -> Vec<Reading> {
    let row = report.section(Section::Callers).next();
    let place = row.map_or_else(String::new, |row| row.course.to_string());
    let ours = |entry: &Entry| CALLERS.contains(&entry.name.as_str());
    vec![of_row(place, row, ours, |row| {
        row.best(ours).and_then(Entry::median).ok_or_else(|| "the callers have no figure".to_owned())
    })]
}

/// On two connections, those that overlap the long reply. On one they wait behind it, whatever a client does; and the p99 over all of a run
/// says how long the pauses between long replies were, so it is in the report and not here.
pub(super) fn big_replies(report: &Report) -> Vec<Reading> {
    let of_two = || report.big_replies.iter().filter(|outcome| outcome.plan.course.connections > 1);
    if of_two().next().is_none() {
        return vec![missing("", "no long reply was sent")];
    }
    let one = |outcome: &big_reply::Outcome| {
        let (transport, size) = (outcome.plan.course.transport, outcome.plan.reply_bytes >> 20);
        let floor = outcome.factor_meanwhile(|round| &round.floor).unwrap_or(f64::NAN);
        let place = "two connections, those that overlap it and are not behind it";
        Reading {
            place: format!("{transport}, {size} MiB, {place}; the floor's {floor:.2}"),
            figure: outcome.factor_meanwhile(|round| &round.engine).ok_or_else(|| "no rounds".to_owned()),
            floor: None,
            peer: None,
            job: Some(Job::BigReply(outcome.plan)),
        }
    };
    of_two().map(one).collect()
}

/// Of each size the kind of content that it is slowest with.
pub(super) fn decodes(report: &Report, figure: fn(&decode::Measured) -> Option<f64>) -> Vec<Reading> {
    let Some(outcome) = report.decodes.first() else { return vec![missing("", "nothing was decoded")] };
    let mut readings: Vec<(&decode::Measured, f64)> = Vec::new();
    for row in &outcome.rows {
        let Some(value) = figure(row) else { continue };
        match readings.iter_mut().find(|(worst, _)| worst.bytes == row.bytes) {
            Some(worst) if value < worst.1 => *worst = (row, value),
            Some(_) => {}
            None => readings.push((row, value)),
        }
    }
    let one = |(row, value): (&decode::Measured, f64)| Reading {
        place: format!("{} KiB, worst of all kinds: {}", row.bytes >> 10, row.content),
        figure: Ok(value),
        floor: None,
        peer: None,
        job: row.alone(&outcome.plan).map(Job::Decode),
    };
    readings.into_iter().map(one).collect()
}

pub(super) fn shards(report: &Report) -> Vec<Reading> {
    let cores = report.machine.cores;
    if cores < SHARDS_CORES_MIN {
        return vec![missing("", &format!("needs {SHARDS_CORES_MIN} cores, this machine has {cores}"))];
    }
    let rows: Vec<_> = report.section(Section::Shards).collect();
    if rows.is_empty() {
        return vec![missing("", "no such row was run")];
    }
    let one = |row: &&Row| {
        let [one, two] = SHARDS;
        of_row(
            row.course.transport.to_string(),
            Some(row),
            |entry| entry.name == two,
            |row| Ok(median_of(row, two)? / median_of(row, one)?),
        )
    };
    rows.iter().map(one).collect()
}

pub(super) fn knees(report: &Report, section: Section, names: &[&str]) -> Vec<Reading> {
    let curves = curves(report, section);
    let ours: Vec<_> = curves.iter().filter(|curve| names.contains(&curve.name.as_str())).collect();
    if ours.is_empty() {
        return vec![missing("", "no curve was run")];
    }
    let floor_of = |transport: Transport| {
        let floor = curves.iter().find(|curve| curve.floor && curve.transport == transport);
        floor
            .and_then(Curve::knee)
            .map_or_else(String::new, |knee| format!("; the floor's {:.2}", knee.worst_behind))
    };
    let one = |curve: &&Curve| Reading {
        place: format!(
            "{}, {}{}",
            curve.transport,
            curve.name.trim_start_matches("volley "),
            floor_of(curve.transport)
        ),
        figure: curve.knee().map(|knee| knee.worst_behind).ok_or_else(|| "no points".to_owned()),
        floor: None,
        peer: None,
        job: at_its_worst(report, section, curve),
    };
    ours.iter().map(one).collect()
}

pub(super) fn soaks(report: &Report, figure: impl Fn(&soak::Outcome) -> Option<f64>) -> Vec<Reading> {
    if report.soaks.is_empty() {
        return vec![missing("", "no soak was run")];
    }
    let one = |soak: &soak::Outcome| Reading {
        place: format!(
            "{}, {:?}, {} s",
            soak.plan.course.transport, soak.plan.drive, soak.plan.course.seconds
        )
        .to_lowercase(),
        figure: figure(soak).ok_or_else(|| "too short".to_owned()),
        floor: None,
        peer: None,
        job: None,
    };
    report.soaks.iter().map(one).collect()
}

fn at_its_worst(report: &Report, section: Section, curve: &Curve) -> Option<Job> {
    let at = curve.knee()?.worst_at;
    let mut rows = report.section(section);
    let row =
        rows.find(|row| row.course.transport == curve.transport && row.course.calls_in_flight() == at)?;
    Some(run(row, row.entry(&curve.name)?))
}

/// The contestants that the bars are about.
pub(super) const INLINE: &str = "volley inline";
pub(super) const SPIN: &str = "volley inline, spin 50us";
pub(super) const BULK: &str = "volley client, bulk";
pub(super) const WRK: &str = "wrk -t1";
const TASKS: &str = "volley client, tasks, current-thread";
const AWAITED_ARRAYS: &str = "volley arrays, awaited";
