//! Runs a chain of interceptors around a call.
//!
//! ```text
//! caller ─► before 1 ─► before 2 ─► before 3 ─► place, wire, answer
//!        ◄─  after 1 ◄─  after 2 ◄─  after 3 ◄──────────┘
//! ```
//!
//! An interceptor that answers or refuses ends the way out: the outcome goes back through those before it. One whose
//! [`concerns`](crate::Interceptor::concerns) says no is passed by in both directions. A panic in a step is a refusal by that
//! interceptor: of the call, if it happened on the way out; of the outcome on the way back. The fate of an error is set here and
//! nowhere else: on the way out nothing has been sent, on the way back the call has got as far as it got.
//!
//! Unit: one call. Cost: none without a chain; with one, the boxes of its steps and of this future. Owner: the `Call` it belongs
//! to, on the caller's task. The chain is polled once when the call is made, so that one that need not wait places the call at
//! once. Always: an interceptor that let a call pass sees its outcome, unless the call is dropped. Decisions: ADR 0022.
//! Proof: the tests below; `tests/integration/interceptors.rs`.

use std::{
    any::Any,
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Waker},
};

use parking_lot::Mutex;

use crate::{
    decode::answer::RawAnswer,
    engine::Engine,
    error::Error,
    model::{
        body::Body,
        interceptor::{InterceptedCall, Link, Verdict},
    },
    proto::event::{Fate, Patience},
};

type Outcome = Result<RawAnswer, Error>;

/// A call on its way through a chain.
///
/// The lock is never taken: it makes a [`Call`](crate::Call) one that threads may share, which the futures of interceptors need not be.
pub(super) struct Intercepted(Mutex<State>);

enum State {
    Running(Pin<Box<dyn Future<Output = Outcome> + Send>>),
    /// It ended when it was polled for the first time.
    Ended(Outcome),
    Done,
}

impl Intercepted {
    /// Begins, and goes as far as it goes without waiting. `place` makes the call that no interceptor sees.
    pub(super) fn begin<C>(
        engine: &Arc<Engine>,
        body: Body,
        patience: Patience,
        place: impl FnOnce(Body, Patience) -> C + Send + 'static,
    ) -> Self
    where
        C: Future<Output = Outcome> + Send + 'static,
    {
        let mut running: Pin<Box<dyn Future<Output = Outcome> + Send>> =
            Box::pin(run(Arc::clone(engine), body, patience, place));
        // Nobody is to be woken yet: whoever awaits the call polls it again.
        let state = match running.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(outcome) => State::Ended(outcome),
            Poll::Pending => State::Running(running),
        };
        Self(Mutex::new(state))
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Outcome> {
        let state = self.0.get_mut();
        let outcome = match std::mem::replace(state, State::Done) {
            State::Ended(outcome) => outcome,
            State::Running(mut running) => match running.as_mut().poll(cx) {
                Poll::Ready(outcome) => outcome,
                Poll::Pending => {
                    *state = State::Running(running);
                    return Poll::Pending;
                }
            },
            State::Done => panic!("a call was polled after its answer"),
        };
        Poll::Ready(outcome)
    }
}

/// The way out, the call, the way back.
async fn run<C: Future<Output = Outcome>>(
    engine: Arc<Engine>,
    body: Body,
    patience: Patience,
    place: impl FnOnce(Body, Patience) -> C,
) -> Outcome {
    let mut call = InterceptedCall::new(body, patience, engine.revision());
    let (passed, early) = way_out(&engine.config.values.interceptors, &mut call).await;
    let outcome = match early {
        Some(outcome) => outcome,
        None => {
            let outcome = place(call.body().clone(), call.patience()).await;
            call.set_reached(outcome.as_ref().map_or_else(Error::fate, |_| Fate::Answered));
            outcome
        }
    };
    way_back(&passed, &mut call, outcome).await
}

/// Asks one interceptor after the other. Those that let the call pass, and the outcome if one ended the way.
async fn way_out<'a>(
    chain: &'a [Arc<dyn Link>],
    call: &mut InterceptedCall,
) -> (Vec<(usize, &'a dyn Link)>, Option<Outcome>) {
    let mut passed: Vec<(usize, &dyn Link)> = Vec::with_capacity(chain.len());
    for (n, link) in chain.iter().enumerate() {
        call.shown_to(n);
        let step = contained(async {
            if link.concerns(call.revision()) { link.before(call).await.map(Some) } else { Ok(None) }
        });
        match step.await {
            Ok(Ok(None)) => {}
            Ok(Ok(Some(Verdict::Pass))) => passed.push((n, link.as_ref())),
            Ok(Ok(Some(Verdict::Answer(answer)))) => return (passed, Some(Ok(answer))),
            Ok(Err(error)) => return (passed, Some(Err(error.with_fate(Fate::NotSent)))),
            Err(panic) => {
                return (passed, Some(Err(panicked(link.as_ref(), "before the call", &*panic, call))));
            }
        }
    }
    (passed, None)
}

/// Shows the outcome to those that let the call pass, the last one first.
async fn way_back(
    passed: &[(usize, &dyn Link)],
    call: &mut InterceptedCall,
    mut outcome: Outcome,
) -> Outcome {
    for (n, link) in passed.iter().rev() {
        call.shown_to(*n);
        let step = contained(async { link.after(call, outcome).await });
        outcome = match step.await {
            Ok(outcome) => outcome.map_err(|error| error.with_fate(call.reached())),
            Err(panic) => Err(panicked(*link, "after the call", &*panic, call)),
        };
    }
    outcome
}

/// Runs a step; a panic in it is a value.
async fn contained<T>(step: impl Future<Output = T>) -> Result<T, Box<dyn Any + Send>> {
    let mut step = pin!(step);
    // What a step leaves half done when it panics is its own and is dropped with it; the call has whole members only.
    poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| step.as_mut().poll(cx))) {
        Ok(poll) => poll.map(Ok),
        Err(panic) => Poll::Ready(Err(panic)),
    })
    .await
}

fn panicked(link: &dyn Link, when: &str, panic: &(dyn Any + Send), call: &InterceptedCall) -> Error {
    let words = panic.downcast_ref::<&str>().copied();
    let words = words.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message");
    call.refuse(format!("the interceptor {} panicked {when}: {words}", link.name()))
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use serde_json::json;

    use super::*;
    use crate::{
        api::{call::Call, client::Client},
        config::Config,
        error::ErrorKind,
        model::{interceptor::Interceptor, tool::ToolCall},
        proto::revision::{Era, Revision},
    };

    /// What happened, in order.
    type Log = Arc<Mutex<Vec<String>>>;

    #[derive(Clone, Copy, PartialEq)]
    enum Deed {
        Pass,
        Answer,
        Refuse,
        PanicBefore,
        PanicAfter,
        Fail,
        Wait,
        ModernOnly,
    }

    struct One {
        name: &'static str,
        deed: Deed,
        log: Log,
    }

    impl Interceptor for One {
        fn concerns(&self, revision: Option<Revision>) -> bool {
            self.deed != Deed::ModernOnly || revision.is_some_and(|revision| revision.era() == Era::Modern)
        }

        async fn before(&self, call: &mut InterceptedCall) -> Result<Verdict, Error> {
            self.log.lock().push(format!("before {}", self.name));
            match self.deed {
                Deed::Answer => RawAnswer::from_result(&json!({"by": self.name})).map(Verdict::Answer),
                Deed::Refuse => Err(call.refuse("no").with_fate(Fate::Unknown)),
                Deed::PanicBefore => panic!("before, {}", 7),
                Deed::Wait => pending().await,
                _ => Ok(Verdict::Pass),
            }
        }

        async fn after(&self, call: &mut InterceptedCall, outcome: Outcome) -> Outcome {
            let said =
                outcome.as_ref().map_or_else(|error| format!("{:?}", error.kind()), |_| "Ok".to_owned());
            self.log.lock().push(format!("after {} {said}", self.name));
            match self.deed {
                Deed::PanicAfter => panic!("after"),
                // Claims what would let the caller repeat it.
                Deed::Fail => Err(call.refuse("not good enough").with_fate(Fate::NotSent)),
                _ => outcome,
            }
        }
    }

    /// A client with such a chain, and its log.
    fn client(deeds: &[(&'static str, Deed)]) -> (Client, Log) {
        let log = Log::default();
        let mut config = Config::builder().revision(Revision::V2025_11_25).in_flight(4);
        for (name, deed) in deeds {
            config = config.interceptor(One { name, deed: *deed, log: Arc::clone(&log) });
        }
        (Client::of(Arc::new(Engine::still(config.build().unwrap()))), log)
    }

    /// Makes a call, answers it if it comes to the shard, and takes its outcome.
    fn outcome(client: &Client) -> Poll<Outcome> {
        let mut call = client.call_raw(ToolCall::raw("echo", "{}").unwrap());
        let shard = &client.engine().handles[0];
        if let Some(key) = shard.pop_call() {
            let waker = shard.deliver(key, |reply| {
                reply.copy(br#"{"jsonrpc":"2.0","id":1,"result":{"by":"server"}}"#, false, false);
            });
            waker.into_iter().for_each(Waker::wake);
        }
        Pin::new(&mut call).poll(&mut Context::from_waker(Waker::noop()))
    }

    fn ended(client: &Client) -> Outcome {
        match outcome(client) {
            Poll::Ready(outcome) => outcome,
            Poll::Pending => panic!("it waits"),
        }
    }

    fn by(outcome: Outcome) -> String {
        outcome.unwrap().result::<serde_json::Value>().unwrap()["by"].as_str().unwrap().to_owned()
    }

    #[test]
    fn out_in_order_and_back_in_reverse() {
        let (client, log) = client(&[("1", Deed::Pass), ("2", Deed::Pass), ("3", Deed::Pass)]);
        assert_eq!(by(ended(&client)), "server");
        assert_eq!(
            *log.lock(),
            ["before 1", "before 2", "before 3", "after 3 Ok", "after 2 Ok", "after 1 Ok"]
        );
    }

    #[test]
    fn who_answers_or_refuses_ends_the_way_and_those_before_see_it() {
        let (answering, log) = client(&[("1", Deed::Pass), ("2", Deed::Answer), ("3", Deed::Pass)]);
        assert_eq!(by(ended(&answering)), "2");
        assert_eq!(*log.lock(), ["before 1", "before 2", "after 1 Ok"]);
        let (refusing, log) = client(&[("1", Deed::Pass), ("2", Deed::Refuse), ("3", Deed::Pass)]);
        let error = ended(&refusing).unwrap_err();
        assert_eq!((error.kind(), error.fate()), (ErrorKind::Refused, Fate::NotSent), "whatever it claims");
        assert_eq!(*log.lock(), ["before 1", "before 2", "after 1 Refused"]);
    }

    #[test]
    fn a_panic_is_a_refusal_with_the_fate_of_the_call() {
        let (early, log) = client(&[("1", Deed::Pass), ("2", Deed::PanicBefore)]);
        let error = ended(&early).unwrap_err();
        assert_eq!((error.kind(), error.fate()), (ErrorKind::Refused, Fate::NotSent));
        assert!(error.context().contains("One panicked before the call: before, 7"), "{error}");
        assert_eq!(*log.lock(), ["before 1", "before 2", "after 1 Refused"]);
        let (late, log) = client(&[("1", Deed::Pass), ("2", Deed::PanicAfter)]);
        let error = ended(&late).unwrap_err();
        assert_eq!((error.kind(), error.fate()), (ErrorKind::Refused, Fate::Answered));
        assert_eq!(*log.lock(), ["before 1", "before 2", "after 2 Ok", "after 1 Refused"]);
        // The client goes on.
        assert_eq!(ended(&late).unwrap_err().kind(), ErrorKind::Refused);
    }

    #[test]
    fn an_answer_turned_into_an_error_is_answered_whatever_the_error_claims() {
        let (client, _) = client(&[("1", Deed::Fail)]);
        let error = ended(&client).unwrap_err();
        assert_eq!((error.fate(), error.context()), (Fate::Answered, "not good enough"));
    }

    #[test]
    fn those_that_another_revision_concerns_are_passed_by() {
        let (client, log) = client(&[("1", Deed::ModernOnly), ("2", Deed::Pass)]);
        assert_eq!(by(ended(&client)), "server");
        assert_eq!(*log.lock(), ["before 2", "after 2 Ok"]);
    }

    #[test]
    fn a_call_that_an_interceptor_holds_is_not_sent_and_can_be_dropped() {
        let (client, log) = client(&[("1", Deed::Pass), ("2", Deed::Wait)]);
        assert!(outcome(&client).is_pending());
        assert_eq!(*log.lock(), ["before 1", "before 2"], "and nothing behind it, nor after it");
        assert!(client.engine().handles[0].pop_call().is_none());
    }

    #[test]
    fn try_call_asks_nobody_when_there_is_no_place() {
        let (client, log) = client(&[("1", Deed::Pass)]);
        let call = || ToolCall::raw("echo", "{}").unwrap();
        let taken: Vec<_> = std::iter::from_fn(|| client.try_call(call()).ok()).collect();
        assert_eq!((taken.len(), log.lock().len()), (4, 4));
    }

    /// Compiles only if calls are as free as they were before there were interceptors.
    #[allow(dead_code, reason = "its compiling is the test")]
    fn calls_are_sent_and_shared(call: Call) {
        fn free<T: Send + Sync + Unpin>(_: T) {}
        free(call);
    }
}
