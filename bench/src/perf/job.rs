//! What one child process does: one run, and it says what came of it on one line.
//!
//! Every run has a process of its own, so that none meets the memory, the threads or the core of another, and one that
//! hangs can be ended. The words go in as an argument and come out on the standard output, as JSON.

use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{big_reply, burst, decode, soak};
use crate::contestant::{Cores, Course, Failure};
use crate::{link, pin, registry};

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Job {
    /// A contestant runs a course; its outcome is a [`Run`](crate::meter::Run).
    Run {
        /// Its name.
        contestant: String,
        /// What it runs.
        course: Course,
    },
    /// See [`soak`].
    Soak(soak::Plan),
    /// See [`big_reply`].
    BigReply(big_reply::Plan),
    /// See [`burst`].
    Burst(burst::Plan),
    /// See [`decode`].
    Decode(decode::Plan),
}

/// What a child says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Said<T> {
    /// It went well.
    Done {
        /// What came of it.
        outcome: T,
        /// Calls of `read`, `write` and their kin in the whole life of the process, as the kernel accounts for them.
        reads_and_writes: Option<u64>,
    },
    /// It did not, for this reason.
    Failed(String),
}

impl Job {
    /// What is run, and where.
    pub fn course(&self) -> &Course {
        match self {
            Self::Run { course, .. } => course,
            Self::Soak(plan) => &plan.course,
            Self::BigReply(plan) => &plan.course,
            Self::Burst(plan) => &plan.course,
            Self::Decode(plan) => &plan.course,
        }
    }

    /// Does it in this process, which does nothing else before or after, and says what came of it.
    pub fn work(&self) -> Said<serde_json::Value> {
        let outcome = self.outcome();
        match outcome {
            Ok(outcome) => Said::Done { outcome, reads_and_writes: reads_and_writes() },
            Err(error) => Said::Failed(error.to_string()),
        }
    }

    fn outcome(&self) -> Result<serde_json::Value, Failure> {
        link::raise_descriptor_limit();
        if self.course().cores == Cores::One {
            pin::to_one_core()?;
        }
        Ok(match self {
            Self::Run { contestant, course } => {
                let one =
                    registry::find(contestant).ok_or_else(|| format!("nobody is called {contestant:?}"))?;
                serde_json::to_value(one.run(course)?)
            }
            Self::Soak(plan) => serde_json::to_value(soak::run(plan)?),
            Self::BigReply(plan) => serde_json::to_value(big_reply::run(plan)?),
            Self::Burst(plan) => serde_json::to_value(burst::run(plan)?),
            Self::Decode(plan) => serde_json::to_value(decode::run(plan)?),
        }?)
    }
}

impl fmt::Display for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Run { contestant, course } => write!(f, "{contestant} ({course})"),
            Self::Soak(plan) => write!(f, "soak ({})", plan.course),
            Self::BigReply(plan) => write!(f, "replies of {} MiB ({})", plan.reply_bytes >> 20, plan.course),
            Self::Burst(plan) => write!(f, "bursts, {:?} ({})", plan.drive, plan.course),
            Self::Decode(decode::Plan { alone: Some((content, bytes)), .. }) => {
                write!(f, "decoding, {}, {} KiB, the engine alone", content.name(), bytes >> 10)
            }
            Self::Decode(_) => f.write_str("decoding of all kinds"),
        }
    }
}

impl<T: DeserializeOwned> Said<T> {
    /// The last line of what a child wrote.
    ///
    /// # Errors
    ///
    /// When it is not what a child says, or says that it failed.
    pub fn read(text: &str) -> Result<(T, Option<u64>), Failure> {
        let line = text.lines().next_back().ok_or("the run ended without a word")?;
        match serde_json::from_str(line)? {
            Self::Done { outcome, reads_and_writes } => Ok((outcome, reads_and_writes)),
            Self::Failed(why) => Err(why.into()),
        }
    }
}

fn reads_and_writes() -> Option<u64> {
    let account = std::fs::read_to_string("/proc/self/io").ok()?;
    let of = |name: &str| {
        let line = account.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim_start_matches(':').trim().parse::<u64>().ok()
    };
    Some(of("syscr")? + of("syscw")?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::course;

    #[test]
    fn what_goes_in_comes_out() {
        let job = Job::Run { contestant: "volley inline".into(), course: course() };
        let words = serde_json::to_string(&job).unwrap();
        assert_eq!(serde_json::from_str::<Job>(&words).unwrap(), job);
        let done = Said::Done { outcome: 7, reads_and_writes: Some(3) };
        let line = format!("noise\n{}\n", serde_json::to_string(&done).unwrap());
        assert_eq!(Said::<u32>::read(&line).unwrap(), (7, Some(3)));
        let failed = serde_json::to_string(&Said::<u32>::Failed("it broke".into())).unwrap();
        assert_eq!(Said::<u32>::read(&failed).unwrap_err().to_string(), "it broke");
        assert!(Said::<u32>::read("").is_err() && Said::<u32>::read("{}").is_err());
    }

    #[test]
    fn nobody_runs_under_a_wrong_name() {
        let job = Job::Run { contestant: "nobody".into(), course: course() };
        assert!(matches!(job.work(), Said::Failed(why) if why.contains("nobody")));
    }

    #[test]
    fn the_kernel_accounts_for_reads() {
        assert!(reads_and_writes().is_none_or(|count| count > 0));
    }
}
