//! Workers that read long answers, so that neither an event loop nor an async executor is held up by them.
//!
//! A bounded queue of frames; a worker takes one, reads it, and hands the value on. A full queue is no error: the answer then
//! goes to its caller unread. A panic while reading fails that one call. Threads end when the pool is dropped.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    thread,
};

use crossbeam::channel::{Sender, TrySendError, bounded};

use super::answer;
use crate::{
    base::buffer::Frame,
    error::{Error, ErrorKind, Phase},
    model::tool::ToolResult,
    proto::event::Fate,
};

/// Frames that may wait for a worker; each is at least as long as the offload bound, so few are much.
const QUEUE_MAX: usize = 64;

/// What is done with a value that was read.
pub(crate) type Deliver = Box<dyn FnOnce(Result<ToolResult, Error>) + Send>;

struct Job {
    frame: Frame,
    deliver: Deliver,
}

/// The workers of one engine.
#[derive(Clone)]
pub(crate) struct Pool {
    jobs: Option<Sender<Job>>,
}

impl Pool {
    /// Starts `workers` threads; with none, every offer is declined.
    pub(crate) fn new(workers: usize) -> std::io::Result<Self> {
        if workers == 0 {
            return Ok(Self { jobs: None });
        }
        let (jobs, inbox) = bounded::<Job>(QUEUE_MAX);
        for n in 0..workers {
            let inbox = inbox.clone();
            thread::Builder::new().name(format!("volley-decode-{n}")).spawn(move || {
                for job in inbox {
                    (job.deliver)(read(&job.frame, |frame| answer::tool_result(&mut frame.to_vec())));
                }
            })?;
        }
        Ok(Self { jobs: Some(jobs) })
    }

    /// Takes a frame to be read, or gives the way to deliver it back when the workers are behind.
    pub(crate) fn offer(&self, frame: Frame, deliver: Deliver) -> Result<(), (Frame, Deliver)> {
        let Some(jobs) = &self.jobs else { return Err((frame, deliver)) };
        jobs.try_send(Job { frame, deliver }).map_err(|refused| match refused {
            TrySendError::Full(job) | TrySendError::Disconnected(job) => (job.frame, job.deliver),
        })
    }
}

/// Reads a frame; a panic becomes the call's failure.
fn read(frame: &Frame, read: impl FnOnce(&Frame) -> Result<ToolResult, Error>) -> Result<ToolResult, Error> {
    catch_unwind(AssertUnwindSafe(|| read(frame))).unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<&str>().map(|said| (*said).to_owned());
        let said = said.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
        Err(Error::new(
            ErrorKind::Internal,
            Fate::Answered,
            Phase::Decode,
            format!("decoding panicked: {said}"),
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_fails_one_call_and_the_next_is_read() {
        let frame = Frame::from_vec(br#"{"result":{"content":[]}}"#.to_vec());
        let failed = read(&frame, |_| panic!("planted")).unwrap_err();
        assert_eq!(failed.kind(), ErrorKind::Internal);
        assert!(failed.to_string().contains("planted"));
        assert!(read(&frame, |frame| answer::tool_result(&mut frame.to_vec())).is_ok());
    }

    #[test]
    fn workers_deliver_and_a_pool_without_workers_declines() {
        let frame = || Frame::from_vec(br#"{"result":{"content":[],"isError":true}}"#.to_vec());
        let (done, wait) = bounded(1);
        let deliver: Deliver = Box::new(move |read| done.send(read.unwrap().is_error).unwrap());
        assert!(Pool::new(1).unwrap().offer(frame(), deliver).is_ok());
        assert!(wait.recv().unwrap());
        assert!(Pool::new(0).unwrap().offer(frame(), Box::new(|_| ())).is_err());
    }
}
