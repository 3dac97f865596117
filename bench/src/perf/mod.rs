//! `perf`: all measurements of whole calls, in one program, and the report on them.
//!
//! [`cli`] is the program. [`plan`] says which rows each part of the report has, [`measure`] runs them, each run in a
//! child process of its own ([`process`], [`job`]); [`soak`], [`big_reply`], [`burst`] and [`decode`] are runs that are no row of
//! contestants, and [`profile`] looks into runs of others. What was measured is kept by [`document`] as JSON after each row; [`curve`] and [`verdict`] read it,
//! [`markdown`] and [`chart`] show it. Who runs is not said here but in [`crate::registry`].

pub mod big_reply;
pub mod burst;
pub mod chart;
pub mod cli;
pub mod curve;
pub mod decode;
pub mod document;
pub mod job;
pub mod markdown;
pub mod measure;
pub mod plan;
pub mod process;
pub mod profile;
pub mod soak;
pub mod verdict;
