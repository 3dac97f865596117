//! What may stand between a caller and the wire: interceptors, and a call as they see it.
//!
//! Nothing here runs: the chain is run by `api/interceptor.rs`, which says in which order and what becomes of a panic. A trait
//! with async methods cannot be kept as a `dyn`, so each interceptor is kept as a [`Link`], whose steps are boxed futures; they
//! are made for calls that have a chain, and for no others.
//!
//! Unit: one call. Cost: with a chain, a box for each step and a few for each call; the params are parsed only if somebody
//! looks at them. Owner: the future of the call. Always: a call's body is what [`InterceptedCall::params`] says. Proof: the
//! tests below, `tests/integration/interceptors.rs`.

use std::{any::Any, future::Future, pin::Pin, sync::OnceLock, time::Duration};

use serde::Serialize;
use serde_json::Value;

use super::{answer::RawAnswer, body::Body, tool::Members};
use crate::{
    error::Error,
    proto::{
        event::{Fate, Patience},
        revision::Revision,
    },
};

/// Looks at calls on their way out and at outcomes on their way back; may change, answer or refuse them.
///
/// Register it with [`ConfigBuilder::interceptor`](crate::ConfigBuilder::interceptor). Interceptors are asked in the order in
/// which they were registered, and look at the outcome in the reverse order, as the layers of an onion. Every request that a
/// caller makes goes through them: tool calls, single ones and those of [`Bulk`](crate::Bulk), and all typed requests;
/// notifications, subscriptions and what the engine itself says to open a connection do not. Without one registered, a call
/// costs what it costs without this trait.
///
/// The methods are async and know no executor: they run where the call is awaited, and for the first time where it is made, so
/// that a call whose interceptors need not wait is on its way at once. Their time is not counted against the call's time-out,
/// which begins when the call has a place, and nobody interrupts them but the caller, by dropping the call: whoever waits
/// for something bounds the wait. An interceptor that panics fails the call it looked at, with
/// [`ErrorKind::Refused`](crate::ErrorKind::Refused), and no other.
///
/// The engine never repeats a call, so an interceptor sees each call once; a caller who repeats one makes another. Each round of
/// [`Client::converse`](crate::Client::converse) is a call of its own. So is a call that an interceptor makes itself through the
/// same client: it goes through all of them again, and has to be told from the others, or it goes in a circle.
///
/// ```
/// use std::time::Instant;
/// use volley::{Config, Error, InterceptedCall, Interceptor, RawAnswer, Verdict};
///
/// struct Watch;
///
/// impl Interceptor for Watch {
///     async fn before(&self, call: &mut InterceptedCall) -> Result<Verdict, Error> {
///         if call.tool().as_deref() == Some("delete_everything") {
///             return Err(call.refuse("not from here"));
///         }
///         call.keep(Instant::now());
///         Ok(Verdict::Pass)
///     }
///
///     async fn after(
///         &self,
///         call: &mut InterceptedCall,
///         outcome: Result<RawAnswer, Error>,
///     ) -> Result<RawAnswer, Error> {
///         if let Some(began) = call.take::<Instant>() {
///             println!("{} took {:?}, {}", call.method(), began.elapsed(), outcome.is_ok());
///         }
///         outcome
///     }
/// }
///
/// let config = Config::builder().interceptor(Watch).build()?;
/// # Ok::<(), Error>(())
/// ```
///
/// # Cancel safety
/// Dropping a call drops the step that is running, where it waits. If that was before the call had a place, nothing is sent;
/// no further step runs, `after` neither. What was [kept](InterceptedCall::keep) is dropped with the call.
pub trait Interceptor: Send + Sync + 'static {
    /// Does it concern calls to a server of this revision? Asked for each call, before anything else; if not, the call passes it
    /// by in both directions. The revision is the one that was agreed on or insisted on, as known when the call is made; `None`
    /// when it is not known yet. By default it concerns all.
    fn concerns(&self, revision: Option<Revision>) -> bool {
        let _ = revision;
        true
    }

    /// The call is about to be placed. It may be changed, answered (then neither the interceptors behind this one nor the
    /// server see it) or refused with an error ([`InterceptedCall::refuse`]); the fate of such an error is always
    /// [`Fate::NotSent`], whatever it was. By default it passes.
    ///
    /// # Errors
    /// What the call is to fail with.
    fn before(&self, call: &mut InterceptedCall) -> impl Future<Output = Result<Verdict, Error>> + Send {
        let _ = call;
        async { Ok(Verdict::Pass) }
    }

    /// The call has ended, in an answer or in an error. What this returns goes on to the interceptor before this one, and at last
    /// to the caller. Only those see it whose `before` has let the call pass. A JSON-RPC error is an `Err` here, a tool that
    /// failed is an answer. The fate of an error stays what it was, [`Fate::Answered`] if an answer is turned into one: how far
    /// a call got cannot be changed afterwards. By default the outcome is left as it is.
    ///
    /// # Errors
    /// What the call is to fail with.
    fn after(
        &self,
        call: &mut InterceptedCall,
        outcome: Result<RawAnswer, Error>,
    ) -> impl Future<Output = Result<RawAnswer, Error>> + Send {
        let _ = call;
        async move { outcome }
    }
}

/// What becomes of a call that an interceptor has looked at and not refused.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Verdict {
    /// It goes on: to the next interceptor, then to the server.
    Pass,
    /// This is the answer; the call goes no further. [`RawAnswer::from_result`] makes one.
    Answer(RawAnswer),
}

/// A call as its interceptors see it.
///
/// The request can be changed until it is sent; what is set afterwards changes nothing on the wire.
pub struct InterceptedCall {
    method: String,
    body: Body,
    params: OnceLock<Result<Members, String>>,
    patience: Patience,
    revision: Option<Revision>,
    /// How far it has got.
    reached: Fate,
    /// Which interceptor looks at it now.
    looks: usize,
    /// What each of them keeps.
    kept: Vec<(usize, Box<dyn Any + Send + Sync>)>,
}

impl InterceptedCall {
    pub(crate) fn new(body: Body, patience: Patience, revision: Option<Revision>) -> Self {
        let method = body.method();
        let params = OnceLock::new();
        let (reached, looks, kept) = (Fate::NotSent, 0, Vec::new());
        Self { method, body, params, patience, revision, reached, looks, kept }
    }

    /// The method, such as `tools/call`.
    pub fn method(&self) -> &str {
        &self.method
    }

    /// The params with the call's own `_meta`, as they will be sent; the engine adds its own members of `_meta` later.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) if they are nested deeper than a reader goes (128), which
    /// [`ToolCall::raw`](crate::ToolCall::raw) lets pass.
    pub fn params(&self) -> Result<&Members, Error> {
        let params = self.params.get_or_init(|| self.body.params().map_err(|error| error.to_string()));
        params.as_ref().map_err(|error| Error::input(format!("params of {}: {error}", self.method)))
    }

    /// The tool's name, if this is a call to a tool and its params can be read.
    pub fn tool(&self) -> Option<String> {
        if self.method != TOOLS_CALL {
            return None;
        }
        self.params().ok()?.get("name")?.as_str().map(str::to_owned)
    }

    /// The arguments of a call to a tool, if its params can be read.
    pub fn arguments(&self) -> Option<&Value> {
        if self.method == TOOLS_CALL { self.params().ok()?.get("arguments") } else { None }
    }

    /// Puts other params in the place of these. Their `_meta`, if they have one, takes the place of the old.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) if they become neither a JSON object nor null, or have members
    /// in `_meta` that the engine writes ([`ToolCall::with_meta`](crate::ToolCall::with_meta) names them).
    pub fn set_params(&mut self, params: &impl Serialize) -> Result<(), Error> {
        self.body = Body::new(&self.method, params)?;
        self.params = OnceLock::new();
        Ok(())
    }

    /// Puts other arguments in the place of those of a call to a tool; all else stays.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) if they become no JSON object, if this is no call to a tool, or
    /// if its params cannot be read.
    pub fn set_arguments(&mut self, arguments: &impl Serialize) -> Result<(), Error> {
        let arguments = serde_json::to_value(arguments)
            .map_err(|error| Error::input(format!("arguments: {error}")).because(error))?;
        if self.method != TOOLS_CALL || !arguments.is_object() {
            let context =
                format!("{} takes no such arguments: only a tool does, and a JSON object", self.method);
            return Err(Error::input(context));
        }
        let mut params = self.params()?.clone();
        params.insert("arguments".to_owned(), arguments);
        self.set_params(&params)
    }

    /// Adds a member to the call's `_meta`, as [`ToolCall::with_meta`](crate::ToolCall::with_meta) does.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) for the members that the engine writes.
    pub fn set_meta(&mut self, key: &str, value: impl Into<Value>) -> Result<(), Error> {
        self.body.add_meta(Members::from_iter([(key.to_owned(), value.into())]))?;
        self.params = OnceLock::new();
        Ok(())
    }

    /// How long the call may take from when it has a place.
    pub fn timeout(&self) -> Duration {
        self.patience.timeout
    }

    /// Sets how long the call may take from when it has a place, or from its last progress.
    pub fn set_timeout(&mut self, timeout: Duration) {
        self.patience.timeout = timeout;
        self.patience.at_most = self.patience.at_most.max(timeout);
    }

    /// The revision of the server, as known when the call was made.
    pub fn revision(&self) -> Option<Revision> {
        self.revision
    }

    /// An error to fail this call with: [`ErrorKind::Refused`](crate::ErrorKind::Refused), and as its fate how far the call has
    /// got.
    #[must_use]
    pub fn refuse(&self, why: impl Into<String>) -> Error {
        Error::refused(why, self.reached)
    }

    /// Keeps a value with the call, for the same interceptor's `after` to [take](Self::take); others do not see it. One of the
    /// same type is replaced. It is dropped with the call, so a guard sees a call that was dropped.
    pub fn keep<T: Any + Send + Sync>(&mut self, value: T) {
        drop(self.take::<T>());
        self.kept.push((self.looks, Box::new(value)));
    }

    /// Takes a value that this interceptor [kept](Self::keep).
    pub fn take<T: Any + Send + Sync>(&mut self) -> Option<T> {
        let place = self.kept.iter().position(|(by, kept)| *by == self.looks && kept.is::<T>())?;
        self.kept.swap_remove(place).1.downcast().ok().map(|value| *value)
    }

    pub(crate) fn body(&self) -> &Body {
        &self.body
    }

    pub(crate) fn patience(&self) -> Patience {
        self.patience
    }

    pub(crate) fn reached(&self) -> Fate {
        self.reached
    }

    /// This interceptor looks at it from now on.
    pub(crate) fn shown_to(&mut self, interceptor: usize) {
        self.looks = interceptor;
    }

    /// The call has ended.
    pub(crate) fn set_reached(&mut self, fate: Fate) {
        self.reached = fate;
    }
}

impl std::fmt::Debug for InterceptedCall {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InterceptedCall")
            .field("method", &self.method)
            .field("revision", &self.revision)
            .field("reached", &self.reached)
            .finish_non_exhaustive()
    }
}

const TOOLS_CALL: &str = "tools/call";

/// A step of an interceptor.
pub(crate) type Step<'a, T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send + 'a>>;

/// An interceptor as it is kept.
pub(crate) trait Link: Send + Sync {
    /// For messages.
    fn name(&self) -> &'static str;

    fn concerns(&self, revision: Option<Revision>) -> bool;

    fn before<'a>(&'a self, call: &'a mut InterceptedCall) -> Step<'a, Verdict>;

    fn after<'a>(
        &'a self,
        call: &'a mut InterceptedCall,
        outcome: Result<RawAnswer, Error>,
    ) -> Step<'a, RawAnswer>;
}

impl<T: Interceptor> Link for T {
    fn name(&self) -> &'static str {
        std::any::type_name::<T>()
    }

    fn concerns(&self, revision: Option<Revision>) -> bool {
        Interceptor::concerns(self, revision)
    }

    fn before<'a>(&'a self, call: &'a mut InterceptedCall) -> Step<'a, Verdict> {
        Box::pin(Interceptor::before(self, call))
    }

    fn after<'a>(
        &'a self,
        call: &'a mut InterceptedCall,
        outcome: Result<RawAnswer, Error>,
    ) -> Step<'a, RawAnswer> {
        Box::pin(Interceptor::after(self, call, outcome))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{error::ErrorKind, model::tool::ToolCall};

    fn intercepted(call: ToolCall) -> InterceptedCall {
        InterceptedCall::new(call.into_body(), Patience::default(), None)
    }

    fn sent(call: &InterceptedCall) -> String {
        String::from_utf8(call.body().bytes().to_vec()).unwrap()
    }

    #[test]
    fn a_call_is_read_as_it_will_be_sent_and_changed_in_parts() {
        let plain = ToolCall::new("echo \"x\"", &json!({"message": "hi", "n": [1, {}]})).unwrap();
        let mut call = intercepted(plain.clone().with_meta("a/b", ",").unwrap());
        assert_eq!((call.method(), call.tool().as_deref()), ("tools/call", Some("echo \"x\"")));
        assert_eq!(call.arguments(), Some(&json!({"message": "hi", "n": [1, {}]})));
        assert_eq!(call.params().unwrap()["_meta"], json!({"a/b": ","}));
        call.set_arguments(&json!({"message": "ho"})).unwrap();
        assert_eq!(call.arguments(), Some(&json!({"message": "ho"})));
        call.set_meta("traceparent", "00").unwrap();
        assert_eq!(call.params().unwrap()["_meta"], json!({"a/b": ",", "traceparent": "00"}));
        assert!(sent(&call).ends_with(r#""_meta":{"a/b":",","traceparent":"00","#), "{}", sent(&call));
        assert_eq!(call.tool().as_deref(), Some("echo \"x\""));
        assert_eq!(call.set_meta("progressToken", 1).unwrap_err().kind(), ErrorKind::InvalidInput);
        assert_eq!(call.set_arguments(&7).unwrap_err().kind(), ErrorKind::InvalidInput);
        call.set_params(&json!({"name": "other"})).unwrap();
        assert_eq!(sent(&call), r#""method":"tools/call","params":{"name":"other""#);
        assert_eq!(sent(&intercepted(plain.clone())).as_bytes(), plain.body(), "unread and unchanged");
    }

    #[test]
    fn other_requests_have_no_tool_and_take_no_arguments() {
        let body = Body::new("resources/read", &json!({"name": "x", "arguments": {}})).unwrap();
        let mut call = InterceptedCall::new(body, Patience::default(), None);
        assert_eq!((call.tool(), call.arguments()), (None, None));
        assert_eq!(call.set_arguments(&json!({})).unwrap_err().kind(), ErrorKind::InvalidInput);
        let none = InterceptedCall::new(Body::new("ping", &Value::Null).unwrap(), Patience::default(), None);
        assert_eq!(none.params().unwrap().len(), 0);
    }

    #[test]
    fn params_that_are_too_deep_are_an_error_and_are_sent_all_the_same() {
        let deep = format!(r#"{{"a":{}{}}}"#, "[".repeat(1_000), "]".repeat(1_000));
        let mut call = intercepted(ToolCall::raw("echo", &deep).unwrap());
        assert_eq!((call.method(), call.tool()), ("tools/call", None));
        assert_eq!(call.params().unwrap_err().kind(), ErrorKind::InvalidInput);
        call.set_meta("k", 1).unwrap();
        assert!(sent(&call).contains(&deep[5..]), "what nobody could read was not touched");
    }

    #[test]
    fn what_is_kept_is_found_by_its_owner_and_type_and_replaced() {
        let mut call = intercepted(ToolCall::raw("echo", "{}").unwrap());
        call.keep(1_u32);
        call.keep("text");
        call.keep(2_u32);
        call.shown_to(1);
        assert_eq!(call.take::<u32>(), None, "another's");
        call.keep(3_u32);
        assert_eq!(call.take::<u32>(), Some(3));
        call.shown_to(0);
        assert_eq!(
            (call.take::<u32>(), call.take::<u32>(), call.take::<&str>()),
            (Some(2), None, Some("text"))
        );
    }

    #[test]
    fn a_refusal_says_how_far_the_call_got() {
        let mut call = intercepted(ToolCall::raw("echo", "{}").unwrap());
        let error = call.refuse("no");
        assert_eq!((error.kind(), error.fate(), error.context()), (ErrorKind::Refused, Fate::NotSent, "no"));
        call.set_reached(Fate::Answered);
        assert_eq!(call.refuse("no").fate(), Fate::Answered);
    }
}
