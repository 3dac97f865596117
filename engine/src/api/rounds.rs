//! Requests that take several rounds: the server of 2026-07-28 asks for input, the caller's handlers give it, and the same
//! request is made again with the answers.
//!
//! ```text
//! request ──► complete ──► the result
//!    ▲   └──► input_required ──► handlers, each kind declared ──┐
//!    └── same method, same params, new id, inputResponses, requestState as it came ◄──┘     at most `input_rounds_max` times
//! ```
//!
//! [`Client::call_tool`] and its like stay what they are, one exchange each; a result that asks for input is an error there, or is
//! read by [`crate::RawAnswer::outcome`]. [`Client::converse`], [`Client::get_prompt`] and [`Client::read_resource`] take as many
//! rounds as it needs. A server can only ask for kinds that are declared, and they are looked over before any handler runs.
//!
//! Handlers run on a thread of their own for each round, never on an event loop and never on the task that awaits, so they may
//! block. The time of a request (`timeout_at_most` of the call, else of the configuration) covers all its rounds and handlers,
//! and the wait for places in windows as well (a plain call's time counts from its place on). A handler that is still running when the time is over is
//! not interrupted; its answer is dropped. A round costs two threads while it waits, one for the handlers and one for the time, so
//! as many conversations at a time as one has people to ask, not as many as one has calls. What belongs to one request never gets into another: the answers live in the body
//! of the one retry. Proof: `tests/integration/protocol.rs`.

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{
    client::{Client, offload},
    pause::{no_thread, within},
};
use crate::{
    base::{buffer::Frame, time::Instant},
    decode::answer::RawAnswer,
    error::{Error, ErrorKind, Phase},
    model::{
        body::Body,
        inbound::{RequestHandler, ServerRequest},
        input::{InputRequest, InputRequired},
        outcome::Outcome,
        prompt::GetPromptResult,
        resource::ReadResourceResult,
        tool::{Members, ToolCall, ToolResult},
    },
    proto::event::{Fate, Patience},
    shard::clock::Clock,
};

/// What the server wants to know, by its keys.
pub(super) type InputRequests = BTreeMap<String, InputRequest>;

/// The time that a request has over all its rounds.
pub(super) struct Budget {
    clock: Clock,
    until: Instant,
    patience: Patience,
}

impl Budget {
    pub(super) fn new(patience: Patience) -> Self {
        let clock = Clock::new();
        let until = clock.now().after(patience.at_most);
        Self { clock, until, patience }
    }

    /// The patience for the first exchange: the call's own.
    fn first(&self) -> Patience {
        self.patience
    }

    /// What is left; an error when nothing is.
    pub(super) fn left(&self) -> Result<Duration, Error> {
        let left = self.until.since(self.clock.now());
        if left.is_zero() { Err(self.spent()) } else { Ok(left) }
    }

    /// The patience for one exchange of several, after the first.
    pub(super) fn patience(&self) -> Result<Patience, Error> {
        let left = self.left()?;
        Ok(Patience { timeout: self.patience.timeout.min(left), at_most: left, ..self.patience })
    }

    /// The patience for an exchange that may take all there is.
    pub(super) fn all(&self) -> Result<Patience, Error> {
        let left = self.left()?;
        Ok(Patience { timeout: left, at_most: left, ..self.patience })
    }

    fn spent(&self) -> Error {
        let context = format!("no result within {:?} over all rounds", self.patience.at_most);
        Error::new(ErrorKind::Timeout, Fate::Answered, Phase::Call, context)
    }
}

impl Client {
    /// Calls a tool and answers what the server wants to know meanwhile, with the handlers of the configuration, until there
    /// is a result. If the extension for tasks is declared and the server makes a task of it, waits for its result.
    ///
    /// The call's `timeout_at_most` covers all of it. Against a server that never asks it is [`Self::call`].
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), volley::Error> {
    /// use serde_json::json;
    /// use volley::{Client, Config, ToolCall, mcp::ElicitResult};
    ///
    /// let config = Config::builder().on_elicitation(|_form| Ok(ElicitResult::accept(&json!({"sure": true})))).build()?;
    /// let client = Client::connect("tcp://127.0.0.1:9000", config).await?;
    /// let result = client.converse(ToolCall::new("deploy", &json!({"to": "staging"}))?).await?;
    /// println!("{}", result.text());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Those of a call. [`ErrorKind::Protocol`] if the server asks for a kind of input that was not declared, for nothing at
    /// all, or too often; [`ErrorKind::Cancelled`] if a handler refused or failed; [`ErrorKind::Timeout`] when the time for
    /// all rounds is over.
    ///
    /// # Cancel safety
    /// Dropping it cancels the exchange that is under way; a handler that runs goes on to its end, for nothing.
    pub async fn converse(&self, call: ToolCall) -> Result<ToolResult, Error> {
        let budget = Budget::new(call.patience(self.engine().config.patience()));
        match self.settle(call.request(), &budget).await? {
            Outcome::Complete(result) => Ok(result),
            Outcome::Task(task) => self.follow(task, &budget).await,
            Outcome::InputRequired(_) => Err(rounds_are_over(self)),
        }
    }

    /// Fills in a prompt. `arguments` are a JSON object of texts, or null for none. It takes as many rounds as it needs
    /// ([`Self::converse`] says how).
    ///
    /// ```no_run
    /// # async fn example(client: volley::Client) -> Result<(), volley::Error> {
    /// let prompt = client.get_prompt("review", &serde_json::json!({"language": "rust"})).await?;
    /// for message in &prompt.messages {
    ///     println!("{}: {:?}", message.role, message.content);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Self::converse`].
    ///
    /// # Cancel safety
    /// As [`Self::converse`].
    pub async fn get_prompt(&self, name: &str, arguments: &impl Serialize) -> Result<GetPromptResult, Error> {
        let mut params = json!({"name": name});
        let arguments = crate::model::body::object("prompts/get", arguments)?;
        if !arguments.is_null() {
            params["arguments"] = arguments;
        }
        self.ask_in_rounds("prompts/get", &params).await
    }

    /// Reads a resource. It takes as many rounds as it needs ([`Self::converse`] says how).
    ///
    /// ```no_run
    /// # async fn example(client: volley::Client) -> Result<(), volley::Error> {
    /// for part in &client.read_resource("file:///etc/motd").await?.contents {
    ///     println!("{}: {} bytes", part.uri, part.bytes()?.len());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Self::converse`]. A resource that does not exist is [`ErrorKind::Rpc`], code -32602 from 2026-07-28 on and
    /// -32002 before.
    ///
    /// # Cancel safety
    /// As [`Self::converse`].
    pub async fn read_resource(&self, uri: &str) -> Result<ReadResourceResult, Error> {
        self.ask_in_rounds("resources/read", &json!({"uri": uri})).await
    }

    async fn ask_in_rounds<T: DeserializeOwned>(&self, method: &str, params: &Value) -> Result<T, Error> {
        let body = Body::new(method, params)?;
        match self.settle(&body, &Budget::new(self.engine().config.patience())).await? {
            Outcome::Complete(result) => Ok(result),
            Outcome::InputRequired(_) => Err(rounds_are_over(self)),
            Outcome::Task(_) => Err(Error::decode(format!("the server made a task of {method}"))),
        }
    }

    /// Makes a request until it has another outcome than a wish for input, or the rounds are over.
    async fn settle<T: DeserializeOwned>(&self, body: &Body, budget: &Budget) -> Result<Outcome<T>, Error> {
        let (mut next, mut patience) = (body.clone(), budget.first());
        let mut rounds_left = self.engine().config.values.input_rounds_max;
        loop {
            let answer: RawAnswer = self.send(Ok(next), patience).await?;
            match answer.outcome()? {
                Outcome::InputRequired(asked) if rounds_left > 0 => {
                    rounds_left -= 1;
                    next = body.with(&self.retry_params(asked, budget).await?);
                    patience = budget.patience()?;
                }
                Outcome::Task(_) if !self.engine().config.values.declared.tasks => {
                    return Err(Error::decode("the server answered with a task, which was not asked for"));
                }
                other => return Ok(other),
            }
        }
    }

    /// What the retry has more than the request: the answers and the state, each if it was given.
    async fn retry_params(&self, asked: InputRequired, budget: &Budget) -> Result<Members, Error> {
        if asked.input_requests.is_none() && asked.request_state.is_none() {
            return Err(protocol("the server requires input and says neither which nor in what state"));
        }
        let mut params = Members::new();
        if let Some(requests) = asked.input_requests {
            let answers = self.answer_inputs(requests, budget).await?;
            params.insert("inputResponses".to_owned(), Value::Object(answers));
        }
        if let Some(state) = asked.request_state {
            params.insert("requestState".to_owned(), Value::String(state));
        }
        Ok(params)
    }

    /// Has the handlers answer, on a thread of their own.
    pub(super) async fn answer_inputs(
        &self,
        requests: InputRequests,
        budget: &Budget,
    ) -> Result<Members, Error> {
        let values = &self.engine().config.values;
        let none = Value::Null;
        for (key, request) in &requests {
            if !values.declared.covers(&request.method, request.params.as_ref().unwrap_or(&none)) {
                return Err(protocol(format!(
                    "the server asks for {:?} under the key {key:?}, which this client has not declared",
                    request.method
                )));
            }
        }
        let handler = values.on_request.clone();
        let answers = offload("volley-input", move || answer_all(handler.as_ref(), requests));
        match within(budget.left()?, answers).await? {
            None => Err(budget.spent()),
            Some(answered) => answered.ok_or_else(no_thread)?,
        }
    }
}

/// Answers one request after the other.
fn answer_all(handler: Option<&RequestHandler>, requests: InputRequests) -> Result<Members, Error> {
    let failed = |context: String| Error::new(ErrorKind::Cancelled, Fate::Answered, Phase::Call, context);
    let mut answers = Members::new();
    for (key, InputRequest { method, params, .. }) in requests {
        let Some(handler) = handler else {
            return Err(failed(format!("{method} is declared, but has no handler")));
        };
        let mut message = json!({"method": method});
        if let Some(params) = params {
            message["params"] = params;
        }
        let message = Frame::from_vec(message.to_string().into_bytes());
        let request = ServerRequest { method: method.as_str().into(), message };
        let answer = catch_unwind(AssertUnwindSafe(|| handler(request)))
            .map_err(|_panic| failed(format!("the handler of {method} panicked")))?
            .map_err(|error| {
                failed(format!("the handler of {method} refused with {}: {}", error.code, error.message))
            })?;
        answers.insert(key, answer);
    }
    Ok(answers)
}

fn rounds_are_over(client: &Client) -> Error {
    let rounds_max = client.engine().config.values.input_rounds_max;
    protocol(format!("the server still requires input after {rounds_max} rounds"))
}

pub(super) fn protocol(context: impl Into<String>) -> Error {
    Error::new(ErrorKind::Protocol, Fate::Answered, Phase::Call, context)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::error::RpcError;

    fn requests(methods: &[&str]) -> InputRequests {
        let request = |method: &str| InputRequest { method: method.to_owned(), ..InputRequest::default() };
        methods.iter().enumerate().map(|(n, method)| (n.to_string(), request(method))).collect()
    }

    #[test]
    fn every_key_gets_its_own_answer_or_the_call_ends() {
        let handler: RequestHandler = Arc::new(|request| match request.method() {
            "panic" => panic!("a handler may"),
            "refuse" => Err(RpcError { code: -1, message: "no".to_owned(), data: None }),
            other => Ok(json!({"is": other})),
        });
        let answers = answer_all(Some(&handler), requests(&["a", "b", "a"])).unwrap();
        assert_eq!(Value::Object(answers), json!({"0": {"is": "a"}, "1": {"is": "b"}, "2": {"is": "a"}}));
        for (methods, handler) in
            [(["a", "panic"], Some(&handler)), (["a", "refuse"], Some(&handler)), (["a", "b"], None)]
        {
            let error = answer_all(handler, requests(&methods)).unwrap_err();
            assert_eq!((error.kind(), error.fate()), (ErrorKind::Cancelled, Fate::Answered));
        }
    }

    /// Compiles only if executors may move these futures between their threads.
    #[allow(dead_code, reason = "its compiling is the test")]
    fn futures_can_be_sent(client: &Client, call: ToolCall) {
        fn sent<T: Send>(_: T) {}
        sent(client.converse(call));
        sent(client.get_prompt("p", &Value::Null));
        sent(client.list_resources());
    }

    #[test]
    fn a_spent_budget_is_a_time_out() {
        let second = Duration::from_secs(1);
        let spent = Budget::new(Patience { timeout: second, at_most: Duration::ZERO, ..Patience::default() });
        assert_eq!(spent.patience().unwrap_err().kind(), ErrorKind::Timeout);
        let asked = Patience { timeout: second, at_most: second * 3600, ..Patience::default() };
        let fresh = Budget::new(Patience { progress: true, ..asked });
        let patience = fresh.patience().unwrap();
        assert!(patience.timeout == second && patience.at_most > second && patience.progress);
        assert!(fresh.all().unwrap().timeout > second);
    }
}
