//! Curves: rates of one contestant along calls in flight or connections, their knee, and what is right of it.
//!
//! The *knee* is the leftmost point with nine tenths of the best rate. *No collapse* is a matter of all points: each as a part of the best
//! that stands left of it, so that a fall counts wherever it is. A floor that falls there too explains it, and stands beside it.

use super::document::{Report, Section};
use crate::contestant::Kind;
use crate::link::Transport;
use crate::report::{Entry, Row};

/// One contestant, or the best of several, along one axis.
#[derive(Debug, Clone, PartialEq)]
pub struct Curve {
    /// What carried the bytes.
    pub transport: Transport,
    /// Who.
    pub name: String,
    /// Whether it is the floor.
    pub floor: bool,
    /// Calls in flight in all, and median calls per second; from left to right.
    pub points: Vec<(usize, f64)>,
}

/// Where a curve stops to rise, and how deep it falls.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Knee {
    /// Calls in flight.
    pub at: usize,
    /// The best rate of all.
    pub best: f64,
    /// The worst rate of all by the best left of it.
    pub worst_behind: f64,
    /// Where that is.
    pub worst_at: usize,
}

impl Curve {
    /// `None` of a curve without points.
    pub fn knee(&self) -> Option<Knee> {
        let best = self.points.iter().map(|point| point.1).max_by(f64::total_cmp)?;
        let from = self.points.iter().position(|point| point.1 >= 0.9 * best)?;
        let (mut best_so_far, mut worst_behind, mut worst_at) = (f64::MIN_POSITIVE, 1.0_f64, 0);
        for (at, rate) in &self.points {
            best_so_far = best_so_far.max(*rate);
            if rate / best_so_far <= worst_behind {
                (worst_behind, worst_at) = (rate / best_so_far, *at);
            }
        }
        Some(Knee { at: self.points[from].0, best, worst_behind, worst_at })
    }
}

/// All curves of a part of the report: for each transport the floor, and the engine in each of its ways.
pub fn curves(report: &Report, section: Section) -> Vec<Curve> {
    let mut curves: Vec<Curve> = Vec::new();
    let mut rows: Vec<&Row> = report.section(section).collect();
    rows.sort_by_key(|row| (row.course.transport, row.course.calls_in_flight()));
    let mut note = |row: &Row, name: &str, floor: bool, rate: f64| {
        let (transport, point) = (row.course.transport, (row.course.calls_in_flight(), rate));
        match curves.iter_mut().find(|curve| curve.transport == transport && curve.name == name) {
            Some(curve) => curve.points.push(point),
            None => curves.push(Curve { transport, name: name.to_owned(), floor, points: vec![point] }),
        }
    };
    for row in rows {
        if let Some(floor) = row.floor() {
            note(row, "floor, its best mode", true, floor);
        }
        let engine = row.entries.iter().filter(|entry| entry.kind == Kind::Volley);
        for (entry, rate) in engine.filter_map(|entry| Some((entry, Entry::median(entry)?))) {
            note(row, &entry.name, false, rate);
        }
    }
    curves
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contestant::Course;
    use crate::report::tests::{course, entry};

    #[test]
    fn the_knee_is_where_nine_tenths_are_reached() {
        let curve = |points: &[(usize, f64)]| Curve {
            transport: Transport::Unix,
            name: "a".into(),
            floor: false,
            points: points.to_vec(),
        };
        let knee = curve(&[(1, 1.0), (4, 9.5), (16, 10.0), (64, 4.0), (256, 6.0)]).knee().unwrap();
        assert_eq!((knee.at, knee.best, knee.worst_behind, knee.worst_at), (4, 10.0, 0.4, 64));
        assert_eq!(curve(&[(1, 1.0), (4, 2.0)]).knee().unwrap().worst_behind, 1.0);
        // A fall before the best point is one.
        assert_eq!(curve(&[(1, 4.0), (4, 2.0), (16, 8.0)]).knee().unwrap().worst_behind, 0.5);
        assert_eq!(curve(&[]).knee(), None);
    }

    #[test]
    fn rows_become_curves_from_left_to_right() {
        let mut report = Report::new();
        for calls in [64, 1, 16] {
            let entries = vec![
                entry("floor spin", Kind::Floor, &[20 * calls]),
                entry("floor coalesced", Kind::Floor, &[10 * calls]),
                entry("volley inline", Kind::Volley, &[8 * calls]),
                entry("rmcp", Kind::Rmcp, &[1]),
            ];
            report.put(
                Section::InFlight,
                Row { course: Course { in_flight: calls as usize, ..course() }, entries },
            );
        }
        let curves = curves(&report, Section::InFlight);
        assert_eq!(curves.len(), 2);
        assert_eq!(
            (curves[0].floor, &curves[0].points[..]),
            (true, &[(1, 10.0), (16, 160.0), (64, 640.0)][..])
        );
        assert_eq!(curves[1].points[2], (64, 256.0));
    }
}
