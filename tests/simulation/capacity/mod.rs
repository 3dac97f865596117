//! Windows and the choice between connections, against servers whose capacity is known, in virtual time.
//!
//! The claim of an adaptive window is measured against all fixed ones: at least 95 % of the answers per second of the best, and a p99
//! that is lower than that one's, or within a third of that of the smallest fixed window with such a rate (which nobody knows
//! beforehand). Seeds are fixed: what is claimed here is the same in each run.

mod model;

use model::{Demand, Measured, Nature, run};
use volley::Window;

const ADAPTIVE: Window = Window::Adaptive { min: 1, max: 256 };

const FIXED: [u32; 14] = [1, 2, 3, 4, 6, 8, 10, 12, 16, 24, 32, 64, 128, 256];

/// Eight workers of 10 ms, 1 ms away.
const SLOW: Nature = Nature::workers(8, 0.010, 0.001);

struct Comparison {
    best: (u32, Measured),
    /// The smallest fixed window with 95 % of the best rate.
    knee: (u32, Measured),
    /// The widest.
    widest: Measured,
    adaptive: Measured,
}

/// `seconds` of each fixed window, and four times as much of the adaptive one after it has had as much to settle.
fn compare(name: &str, nature: Nature, seconds: f64, widest: u32) -> Comparison {
    let one = |window, warm, measured| run(&[nature], &[Demand::one(window)], warm, measured, 7).remove(0);
    let fixed: Vec<(u32, Measured)> = FIXED
        .iter()
        .filter(|calls| **calls <= widest)
        .map(|calls| (*calls, one(Window::Fixed(*calls), seconds / 8.0, seconds)))
        .collect();
    // A window that is refused is no good one, however much it brings.
    let good = || fixed.iter().filter(|(_, measured)| measured.refused_per_s < 0.01 * measured.calls_per_s);
    let best =
        good().max_by(|a, b| a.1.calls_per_s.total_cmp(&b.1.calls_per_s)).expect("one of them").clone();
    let knee =
        good().find(|(_, fixed)| fixed.calls_per_s >= 0.95 * best.1.calls_per_s).expect("the best").clone();
    let adaptive = one(ADAPTIVE, seconds, 4.0 * seconds);
    println!(
        "{name}: best {} with {:.0}/s, p99 {:.2} ms; knee {} with p99 {:.2} ms; widest: {:.0}/s, p99 {:.2} ms; adaptive {:.0}/s ({:.1} %), \
         p99 {:.2} ms, refused {:.1}/s; stands at {}, raised {}, cut {} flat {} refused",
        best.0,
        best.1.calls_per_s,
        best.1.p99_ms,
        knee.0,
        knee.1.p99_ms,
        fixed[fixed.len() - 1].1.calls_per_s,
        fixed[fixed.len() - 1].1.p99_ms,
        adaptive.calls_per_s,
        100.0 * adaptive.calls_per_s / best.1.calls_per_s,
        adaptive.p99_ms,
        adaptive.refused_per_s,
        adaptive.stats.window,
        adaptive.stats.window_raises,
        adaptive.stats.window_cuts_flat,
        adaptive.stats.window_cuts_refused,
    );
    Comparison { best, knee, widest: fixed[fixed.len() - 1].1.clone(), adaptive }
}

impl Comparison {
    fn holds(&self, least: f64) {
        let share = self.adaptive.calls_per_s / self.best.1.calls_per_s;
        assert!(share >= least, "{share:.3} of the best fixed window's rate");
        let (ours, best, knee) = (self.adaptive.p99_ms, self.best.1.p99_ms, self.knee.1.p99_ms);
        assert!(
            ours < best || ours < 1.34 * knee,
            "p99 {ours:.2} ms, that of the best rate {best:.2} ms, of the knee ({}) {knee:.2} ms",
            self.knee.0
        );
    }
}

#[test]
fn at_a_server_with_a_knee_the_adaptive_window_is_as_good_as_the_best_fixed_one() {
    let slow = compare("eight workers of 10 ms", SLOW, 8.0, 256);
    slow.holds(0.95);
    assert!(
        slow.adaptive.p99_ms < slow.best.1.p99_ms,
        "far right of the knee the queue is all there is to gain"
    );
    assert!(slow.adaptive.p99_ms < 0.1 * slow.widest.p99_ms);
    compare("the same, 40 ms away", Nature { delay: 0.040, ..SLOW }, 10.0, 256).holds(0.95);
    compare("one thread of 125 us", Nature::workers(1, 0.000_125, 0.000_05), 0.6, 256).holds(0.95);
    compare("one thread of 20 us, 600 us away", Nature::workers(1, 0.000_02, 0.000_6), 0.3, 256).holds(0.95);
    compare("two hundred workers of 10 ms", Nature::workers(200, 0.010, 0.001), 0.6, 256).holds(0.95);
}

/// Times that are all random make rates of 48 answers that are wrong by a seventh; the window wanders more.
#[test]
fn random_service_times_cost_little() {
    compare("eight workers of 10 ms on average", Nature { random: 1.0, ..SLOW }, 12.0, 64).holds(0.92);
}

#[test]
fn a_server_that_breaks_down_under_load_is_kept_from_it() {
    let collapsing = compare(
        "slower from 16 calls on",
        Nature { collapses_at: 16, ..Nature::workers(8, 0.005, 0.001) },
        5.0,
        64,
    );
    collapsing.holds(0.95);
    assert!(
        collapsing.widest.calls_per_s < 0.4 * collapsing.best.1.calls_per_s,
        "fixed and too wide, it breaks down"
    );
}

#[test]
fn a_server_that_refuses_what_is_too_much_is_seldom_asked_for_it() {
    let roomy = compare("refuses more than 20", Nature { holds: 20, ..SLOW }, 6.0, 64);
    roomy.holds(0.95);
    let tight = compare(
        "refuses more than its 16 workers",
        Nature { holds: 16, ..Nature::workers(16, 0.010, 0.001) },
        6.0,
        64,
    );
    tight.holds(0.93);
    for refusing in [roomy, tight] {
        assert!(refusing.adaptive.refused_per_s < 0.01 * refusing.adaptive.calls_per_s);
        assert!(
            refusing.widest.refused_per_s > refusing.widest.calls_per_s,
            "fixed and too wide: little but refusals"
        );
    }
}

#[test]
fn clients_that_share_a_server_share_it_about_evenly() {
    for (name, from) in
        [("together", &[0.0, 0.0][..]), ("one later", &[0.0, 5.0]), ("four", &[0.0, 0.0, 2.0, 4.0])]
    {
        let clients: Vec<Demand> =
            from.iter().map(|from| Demand { from: *from, ..Demand::one(ADAPTIVE) }).collect();
        let measured = run(&[SLOW], &clients, 30.0, 40.0, 11);
        let all: f64 = measured.iter().map(|one| one.calls_per_s).sum();
        let shares: Vec<f64> = measured.iter().map(|one| one.calls_per_s / all).collect();
        let p99 = measured.iter().map(|one| one.p99_ms).fold(0.0, f64::max);
        println!("{name}: {all:.0}/s, shares {shares:.2?}, p99 {p99:.1} ms");
        assert!(all >= 0.93 * 800.0, "{name}: {all:.0} of 800 calls/s");
        let even = 1.0 / from.len() as f64;
        // Two are about even; of four, who has never seen the server without the queue of the others takes more for a while.
        let least = if from.len() == 2 { 0.7 * even } else { 0.35 * even };
        assert!(shares.iter().all(|share| *share >= least), "{name}: shares {shares:?}");
        // Each of them with 256 calls would be 320 ms for each.
        assert!(p99 < 320.0 * from.len() as f64 / 2.0, "{name}: p99 {p99:.1} ms");
    }
}

/// Ten connections, one of them to a server that is twenty times slower. In turn, each would get a tenth of the calls.
#[test]
fn a_slow_connection_is_passed_by() {
    let natures = [Nature::workers(4, 0.002, 0.0005), Nature::workers(1, 0.040, 0.0005)];
    let mut connections = vec![0; 9];
    connections.push(1);
    // Below what the fast ones bear: nothing waits because windows are full.
    let client = Demand { window: Window::Fixed(64), connections, from: 0.0, most: 12 };
    let measured = run(&natures, &[client], 1.0, 20.0, 3).remove(0);
    let all: u64 = measured.answered.iter().sum();
    let slow = measured.answered[9] as f64 / all as f64;
    println!(
        "{:.0} calls/s, p99 {:.2} ms, {:.2} % on the slow one",
        measured.calls_per_s,
        measured.p99_ms,
        100.0 * slow
    );
    assert!(slow < 0.05, "{slow:.3} of the calls");
    // With turns, a tenth of the calls take 40 ms and more: so would the p99.
    assert!(slow * all as f64 / 21.0 < 26.0, "more than the slow server can do");
}

/// A connection that fails every call at once has always the fewest calls in flight. It must not get them all.
#[test]
fn a_connection_that_fails_at_once_does_not_draw_the_calls() {
    let broken = Nature { is_broken: true, ..SLOW };
    for most in [20, usize::MAX] {
        let client = Demand { window: Window::Fixed(16), connections: vec![0, 0, 1, 0], from: 0.0, most };
        let measured = run(&[SLOW, broken], &[client], 2.0, 20.0, 5).remove(0);
        let (good, bad) = (measured.calls_per_s, measured.refused_per_s);
        println!(
            "at most {most} calls: {good:.0} answers/s, {bad:.1} refusals/s, rests {}",
            measured.stats.rests
        );
        assert!(good > 0.9 * 800.0, "{good:.0} answers/s of 800");
        // A rest of a second lets one window through, and some more before it is noticed again.
        assert!(bad < 40.0, "{bad:.0} refusals/s");
        assert_eq!(measured.answered[2], 0);
    }
}

/// If all refuse, none is the bad one, and all are asked.
#[test]
fn where_every_connection_refuses_none_is_left_alone_for_ever() {
    let broken = Nature { is_broken: true, ..SLOW };
    let client = Demand { window: Window::Fixed(4), connections: vec![0, 0, 0], from: 0.0, most: 6 };
    let measured = run(&[broken], &[client], 0.0, 2.0, 5).remove(0);
    assert!(measured.failed.iter().all(|failed| *failed > 0), "{:?}", measured.failed);
    assert!(measured.refused_per_s > 100.0, "callers hear the refusals: {:.0}/s", measured.refused_per_s);
}
