//! The engine over HTTP: inline, on the measuring thread, every answer routed by its id.

use std::time::Duration;

use volley::{Config, Endpoint, Inline, Revision};

use super::racer::{Course, Kind, Racer};
use crate::contestant::Failure;
use crate::engine::drive_inline;
use crate::floor::Era;
use crate::meter::Run;

/// The engine.
#[derive(Debug)]
pub struct Volley {
    /// Polls 50 us before it sleeps.
    pub spin: bool,
}

impl Racer for Volley {
    fn name(&self) -> &'static str {
        if self.spin { "volley inline, spin 50us" } else { "volley inline" }
    }

    fn kind(&self) -> Kind {
        Kind::Volley
    }

    fn run(&self, course: &Course) -> Result<Run, Failure> {
        let endpoint: Endpoint = course.url.parse()?;
        let revision = match course.era {
            Era::Modern => Revision::LATEST,
            Era::Legacy => Revision::LATEST_LEGACY,
        };
        let config = Config::builder()
            .connections(course.connections.get())
            .in_flight(1)
            .revision(revision)
            .spin(if self.spin { Duration::from_micros(50) } else { Duration::ZERO })
            .build()?;
        drive_inline(Inline::connect(&endpoint, &config)?, course.duration(), course.target_pid)
    }
}
