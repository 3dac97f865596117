//! Unit costs of the engine's stages, and the floor they are measured against.
//!
//! Two kinds of measurement live here. *Unit costs* are work on bytes in memory: [`corpus`] has
//! the bytes as real servers send them, [`scenario`] the work, each with its expected answer, and
//! `benches/` runs them under a clock or an instruction counter, whose counts [`gate`] compares with their limits. *The hot path* is whole calls
//! over real sockets: [`registry`] lists who runs, [`target`] answers all of them alike, [`floor`]
//! says what the kernel leaves, [`meter`] what it cost, [`report`] makes the table; `hot-path` runs it.
//! [`race`] does the same over HTTP, where the measure is wrk; `http-race` runs it.
//!
//! [`target`], [`http_target`], [`http`] and [`splice`] share no code with the engine or with loadgen.

pub mod contestant;
pub mod corpus;
pub mod engine;
pub mod floor;
pub mod gate;
pub mod http;
pub mod http_target;
pub mod link;
pub mod meter;
pub mod peer;
pub mod pin;
pub mod race;
pub mod registry;
pub mod report;
pub mod scenario;
pub mod splice;
pub mod target;
