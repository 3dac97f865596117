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
//! Whole calls are the feature `whole-calls`, which is on unless it is turned off: they bring other people's clients with them, and who
//! counts instructions does without.
//!
//! [`target`], [`loop_target`], [`http`] and [`splice`] share no code with the engine or with loadgen.

pub mod answers;
pub mod corpus;
pub mod gate;
pub mod scenario;

#[cfg(feature = "whole-calls")]
pub mod call;
#[cfg(feature = "whole-calls")]
pub mod contestant;
#[cfg(feature = "whole-calls")]
pub mod counted;
#[cfg(feature = "whole-calls")]
pub mod engine;
#[cfg(feature = "whole-calls")]
pub mod floor;
#[cfg(feature = "whole-calls")]
pub mod http;
#[cfg(feature = "whole-calls")]
pub mod link;
#[cfg(feature = "whole-calls")]
pub mod loop_target;
#[cfg(feature = "whole-calls")]
pub mod meter;
#[cfg(feature = "whole-calls")]
pub mod peer;
#[cfg(feature = "whole-calls")]
pub mod perf;
#[cfg(feature = "whole-calls")]
pub mod pin;
#[cfg(feature = "whole-calls")]
pub mod registry;
#[cfg(feature = "whole-calls")]
pub mod report;
#[cfg(feature = "whole-calls")]
pub mod splice;
#[cfg(feature = "whole-calls")]
pub mod target;
