//! What a world is like: how many of everything, and how often it goes wrong.

use fastrand::Rng;

use crate::server::{Habits, Manner, Mode};

/// What a world is like; drawn from its seed, or set by a test.
#[derive(Clone, Debug)]
pub(crate) struct Nature {
    pub(crate) connections: usize,
    /// Connections of the overflow.
    pub(crate) extra: usize,
    /// How silent ones are asked whether they live, in milliseconds: after how long, and how long they have.
    pub(crate) health: Option<(u64, u64)>,
    pub(crate) in_flight: u32,
    /// The window moves between 1 and `in_flight`.
    pub(crate) adaptive: bool,
    pub(crate) frame_bytes_max: usize,
    pub(crate) mode: Mode,
    pub(crate) habits: Habits,
    /// Calls that wait leave as JSON-RPC arrays, and every server of the handshake era speaks the revision that has them and takes them like
    /// this.
    pub(crate) arrays: Option<Manner>,
    /// Percent of steps in which a transport breaks, an opening fails, the kernel blocks.
    pub(crate) breaks: u32,
    pub(crate) fails_to_open: u32,
    pub(crate) blocks: u32,
    /// Percent of transports on which another sort of server answers than before.
    pub(crate) changes: u32,
    /// Percent of steps in which somebody cancels.
    pub(crate) cancels: u32,
    /// Percent of steps in which much time passes.
    pub(crate) naps: u32,
}

impl Nature {
    pub(crate) fn drawn(rng: &mut Rng) -> Self {
        let some = |rng: &mut Rng, most: u32| if rng.bool() { 0 } else { rng.u32(1..=most) };
        let frame_bytes_max = 1024 + rng.usize(..512);
        if rng.u32(..16) == 0 {
            return Self::hung(rng);
        }
        // Drawn aside, so that the worlds of older seeds stay what they were, but for this.
        let adaptive = rng.clone().u32(..3) == 0;
        // A generator of its own: a clone would draw what the next lines draw.
        let mut aside = Rng::with_seed(rng.clone().u64(..) ^ 0xA88A_5EED);
        let arrays = (aside.u32(..4) == 0).then(|| Manner::drawn(&mut aside));
        let extra = [0, 0, 1, 3][aside.usize(..4)];
        let health = (aside.u32(..4) == 0).then(|| (aside.u64(1..500), aside.u64(1..500)));
        Self {
            connections: [1, 1, 2, 3, 5][rng.usize(..5)],
            extra,
            health,
            in_flight: [1, 2, 4, 16][rng.usize(..4)],
            adaptive,
            frame_bytes_max,
            mode: match (draw_mode(rng), arrays) {
                (Mode::Modern, Some(_)) => Mode::Legacy,
                (mode, _) => mode,
            },
            habits: Habits {
                answers: [15, 60, 95][rng.usize(..3)],
                odd_spelling: some(rng, 60),
                twice: some(rng, 30),
                unusable: some(rng, 20),
                chatter: some(rng, 40),
                forges: some(rng, 10),
                frame_bytes_max,
            },
            arrays,
            breaks: some(rng, 6),
            fails_to_open: some(rng, 40),
            blocks: some(rng, 10),
            changes: some(rng, 30),
            cancels: some(rng, 20),
            naps: some(rng, 10),
        }
    }

    /// Servers that open and answer no call.
    fn hung(rng: &mut Rng) -> Self {
        let mut nature = Self::calm(rng.usize(1..3), 128, Mode::Modern);
        nature.habits.answers = 0;
        nature.naps = 30;
        nature
    }

    /// Servers that do as they should, on transports that never break.
    pub(crate) fn calm(connections: usize, in_flight: u32, mode: Mode) -> Self {
        let habits = Habits {
            answers: 100,
            odd_spelling: 0,
            twice: 0,
            unusable: 0,
            chatter: 0,
            forges: 0,
            frame_bytes_max: 1024,
        };
        Self {
            connections,
            extra: 0,
            health: None,
            in_flight,
            adaptive: false,
            frame_bytes_max: 1024,
            mode,
            habits,
            arrays: None,
            breaks: 0,
            fails_to_open: 0,
            blocks: 0,
            changes: 0,
            cancels: 0,
            naps: 0,
        }
    }
}

pub(crate) fn draw_mode(rng: &mut Rng) -> Mode {
    [
        Mode::Modern,
        Mode::Modern,
        Mode::Modern,
        Mode::Legacy,
        Mode::Legacy,
        Mode::LegacyElsewhere,
        Mode::DiesOfProbe,
        Mode::DeafToProbe,
        Mode::Mute,
        Mode::Crashes,
    ][rng.usize(..10)]
}
