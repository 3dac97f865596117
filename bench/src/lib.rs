//! Unit costs of the engine's stages, and whole calls against the floor and against other people's clients.
//!
//! Two kinds of measurement live here. *Unit costs* are work on bytes in memory: [`corpus`] has
//! the bytes as real servers send them, [`answers`] every kind of content in every size, [`scenario`] the work, each with its
//! expected answer, and
//! `benches/` runs them under a clock or an instruction counter, whose counts [`gate`] compares with their limits. *Whole calls*
//! go over real sockets: [`registry`] lists who runs, [`floor`] says what the kernel leaves, [`engine`] and [`peer`] are the
//! contestants, a [`contestant::Course`] what they run, [`target`] and [`loop_target`] answer all of them alike, [`meter`] says
//! what it cost, [`report`] makes the rows. [`perf`] is the program that runs all of it and writes the report.
//!
//! [`target`], [`loop_target`], [`http`] and [`splice`] share no code with the engine or with loadgen.

pub mod answers;
pub mod call;
pub mod contestant;
pub mod corpus;
pub mod counted;
pub mod engine;
pub mod floor;
pub mod gate;
pub mod http;
pub mod link;
pub mod loop_target;
pub mod meter;
pub mod peer;
pub mod perf;
pub mod pin;
pub mod registry;
pub mod report;
pub mod scenario;
pub mod splice;
pub mod target;
