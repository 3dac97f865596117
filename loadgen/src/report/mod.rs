//! What is told of a run: JSON for programs, a table for people, progress while it lasts, and
//! the comparison of two results.
//!
//! Everything here works on the finished [`schema::RunResult`], except progress, which reads the
//! gauges. Nothing here measures.

pub(crate) mod compare;
pub(crate) mod progress;
pub(crate) mod schema;
pub(crate) mod table;
mod words;
