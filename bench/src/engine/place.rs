//! Where the engine finds its server, and with which settings: what all ways to drive it have in common.

use volley::{Command, Config, ConfigBuilder, Endpoint, Revision};

use crate::call::{Era, MESSAGE};
use crate::contestant::{Course, Failure};
use crate::link::{Target, Transport};

/// Settings for a course.
pub(crate) fn config(course: &Course) -> Result<ConfigBuilder, Failure> {
    let revision = match course.era {
        Era::Modern => Revision::LATEST,
        Era::Legacy => Revision::LATEST_LEGACY,
    };
    let in_flight = u32::try_from(course.in_flight)?;
    Ok(Config::builder().connections(course.connections).in_flight(in_flight).revision(revision))
}

/// The arguments of the common call.
pub(crate) fn arguments() -> String {
    format!(r#"{{"message":"{MESSAGE}"}}"#)
}

/// Where the server is and which process it is; over stdio it is started by the engine.
pub(crate) struct Place {
    pub(crate) endpoint: Endpoint,
    target: Option<Target>,
}

impl Place {
    /// A fresh target, or the way to start one.
    pub(crate) fn new(course: &Course) -> Result<Self, Failure> {
        if course.transport == Transport::Stdio {
            return Ok(Self { endpoint: Command::new(Target::program()?).into(), target: None });
        }
        let target = Target::start(course.transport, course.connections)?;
        let endpoint = target.endpoint().ok_or("a socket target has an endpoint")?.parse()?;
        Ok(Self { endpoint, target: Some(target) })
    }

    /// The server's process. Over stdio: the child of this process that was started last.
    pub(crate) fn pid(&self) -> Result<u32, Failure> {
        match &self.target {
            Some(target) => Ok(target.pid()),
            None => children()?.into_iter().max().ok_or_else(|| "the engine started no server".into()),
        }
    }
}

fn children() -> Result<Vec<u32>, Failure> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        // A process that has just gone is none of ours.
        let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
        let parent = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1)?.parse::<u32>().ok());
        if parent == Some(std::process::id()) && stat.contains("(fast-target)") {
            found.push(pid);
        }
    }
    Ok(found)
}
