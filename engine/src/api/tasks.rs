//! Tasks: calls whose result is fetched later, in both dialects of the protocol.
//!
//! | | 2025-11-25, core | extension `io.modelcontextprotocol/tasks` |
//! |---|---|---|
//! | who decides | the client ([`Client::start_task`]) | the server, if declared ([`Client::call_or_task`]) |
//! | the result | `tasks/result`, which waits | inside the task |
//! | input | asked for as any request of the server's | inside the task, answered with `tasks/update` |
//! | `tasks/list` | yes | no |
//!
//! [`Client::follow_task`] knows both. It looks no more often than the server wishes, and never more often than each
//! [`POLL_EVERY_MIN`]. Proof: `tests/integration/protocol.rs`.

use std::{collections::BTreeSet, time::Duration};

use serde_json::{Value, json};

use super::{
    client::Client,
    pause::pause,
    rounds::{Budget, protocol},
};
use crate::{
    decode::answer::RawAnswer,
    error::{Error, ErrorKind, Phase},
    model::{
        body::Body,
        outcome::Outcome,
        page::Listed,
        task::{CreateTaskResult, Task, TaskStatus},
        tool::{Members, ToolCall, ToolResult},
    },
    proto::{
        event::{Fate, Patience},
        revision::{Era, Revision},
    },
};

/// How often a task is looked at if the server does not say: a second, as long as people wait before they wonder.
const POLL_EVERY: Duration = Duration::from_secs(1);

/// How often at most, whatever the server says: a wish for zero must not make a busy loop.
const POLL_EVERY_MIN: Duration = Duration::from_millis(20);

impl Client {
    /// Calls a tool as a task (2025-11-25): the answer is the task, to be followed with [`Self::follow_task`]. The server keeps
    /// it for `ttl` from its beginning, or as long as it likes.
    ///
    /// ```no_run
    /// # async fn example(client: volley::Client) -> Result<(), volley::Error> {
    /// use std::time::Duration;
    /// use volley::ToolCall;
    ///
    /// let task = client.start_task(ToolCall::raw("simulate", "{}")?, Some(Duration::from_secs(600))).await?;
    /// let result = client.follow_task(task, Duration::from_secs(300)).await?;
    /// println!("{}", result.text());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if the server has not declared that its tools can be called so; those of the request.
    ///
    /// # Cancel safety
    /// Dropping it cancels the request; a task that the server has made by then goes on.
    pub async fn start_task(&self, call: ToolCall, ttl: Option<Duration>) -> Result<Task, Error> {
        let takes_tasks = self
            .server_info()
            .is_some_and(|info| info.capabilities()["tasks"]["requests"]["tools"].get("call").is_some());
        if self.era() == Era::Modern || !takes_tasks {
            return Err(Error::input("the server has not declared that its tools can be called as tasks"));
        }
        let ttl = ttl.map(|ttl| ("ttl".to_owned(), Value::from(milliseconds(ttl))));
        let task = Members::from_iter([("task".to_owned(), Value::Object(ttl.into_iter().collect()))]);
        let patience = call.patience(self.engine().config.patience());
        let answer = self.send(Ok(call.request().with(&task)), patience).await?;
        Ok(answer.complete::<CreateTaskResult>()?.task)
    }

    /// Calls a tool of a server that may make a task of it (the extension), and gives what came: one exchange, no rounds.
    /// [`Self::converse`] goes on to the result.
    ///
    /// # Errors
    /// Those of a call; [`ErrorKind::Decode`] for a task that was not declared ([`tasks`](crate::ConfigBuilder::tasks)).
    ///
    /// # Cancel safety
    /// Dropping it cancels the call.
    pub async fn call_or_task(&self, call: ToolCall) -> Result<Outcome<ToolResult>, Error> {
        let answer: RawAnswer = self.call_raw(call).await?;
        match answer.outcome()? {
            Outcome::Task(_) if !self.engine().config.values.declared.tasks => {
                Err(Error::decode("the server answered with a task, which was not asked for"))
            }
            other => Ok(other),
        }
    }

    /// Looks at a task.
    ///
    /// # Errors
    /// Those of the request; -32602 if the server does not know it.
    pub async fn task(&self, task_id: &str) -> Result<Task, Error> {
        self.ask("tasks/get", &json!({"taskId": task_id})).await
    }

    /// The result of a task (2025-11-25). The server answers when the task has ended, so the time for this is `at_most`.
    ///
    /// # Errors
    /// Those of the call that the task was made of, and those of the request.
    ///
    /// # Cancel safety
    /// Dropping it cancels the request; the task goes on.
    pub async fn task_result(&self, task_id: &str, at_most: Duration) -> Result<ToolResult, Error> {
        self.payload(task_id, &Budget::new(self.patience_of(at_most))).await
    }

    /// Cancels a task. With the extension the server may finish it all the same.
    ///
    /// # Errors
    /// Those of the request; -32602 if the task has ended or the server does not know it.
    pub async fn cancel_task(&self, task_id: &str) -> Result<(), Error> {
        self.ask::<Value>("tasks/cancel", &json!({"taskId": task_id})).await.map(drop)
    }

    /// Answers what a task wants to know (the extension): results under the keys of its
    /// [`input_requests`](Task::input_requests).
    ///
    /// # Errors
    /// Those of the request.
    pub async fn update_task(&self, task_id: &str, input_responses: &Members) -> Result<(), Error> {
        let params = json!({"taskId": task_id, "inputResponses": input_responses});
        self.ask::<Value>("tasks/update", &params).await.map(drop)
    }

    /// All tasks that the server has for this client (2025-11-25).
    ///
    /// # Errors
    /// As [`Self::list`].
    pub async fn list_tasks(&self) -> Result<Listed<Task>, Error> {
        self.list().await
    }

    /// Looks at a task as often as the server wishes until it has ended, answers what it wants to know meanwhile with the handlers
    /// of the configuration, and gives its result; for at most so long.
    ///
    /// # Errors
    /// [`ErrorKind::Timeout`] when the time is over: the task goes on, and can be followed again or cancelled.
    /// [`ErrorKind::Cancelled`] if it was cancelled, or a handler refused; [`ErrorKind::Rpc`] if it failed;
    /// [`ErrorKind::Protocol`] if it wants to know what this client has not declared; and those of the requests.
    ///
    /// # Cancel safety
    /// Dropping it stops looking; the task goes on.
    pub async fn follow_task(&self, task: Task, at_most: Duration) -> Result<ToolResult, Error> {
        self.follow(task, &Budget::new(self.patience_of(at_most))).await
    }

    pub(super) async fn follow(&self, mut task: Task, budget: &Budget) -> Result<ToolResult, Error> {
        let is_core = self.era() == Era::Legacy;
        let mut answered = BTreeSet::new();
        let mut rounds_left = self.engine().config.values.input_rounds_max;
        loop {
            match task.status {
                TaskStatus::Cancelled => {
                    let context = format!("task {:?} was cancelled", task.task_id);
                    return Err(Error::new(ErrorKind::Cancelled, Fate::Answered, Phase::Call, context));
                }
                // The core delivers what it wants to know with `tasks/result`, which then waits for the end.
                TaskStatus::Completed | TaskStatus::Failed | TaskStatus::InputRequired if is_core => {
                    return self.payload(&task.task_id, budget).await;
                }
                TaskStatus::Completed => return inlined(&task),
                TaskStatus::Failed => return Err(failure(&task)),
                TaskStatus::InputRequired => {
                    // The server may show what was answered already for some looks yet.
                    let mut asked = task.input_requests();
                    asked.retain(|key, _| !answered.contains(key));
                    if !asked.is_empty() {
                        rounds_left = rounds_left
                            .checked_sub(1)
                            .ok_or_else(|| protocol("the task requires input too often"))?;
                        answered.extend(asked.keys().cloned());
                        let answers = self.answer_inputs(asked, budget).await?;
                        let params = json!({"taskId": task.task_id, "inputResponses": answers});
                        self.within::<Value>("tasks/update", &params, budget.patience()?).await?;
                    }
                }
                TaskStatus::Working | TaskStatus::Other(_) => {}
            }
            let wait = task.poll_interval().unwrap_or(POLL_EVERY).max(POLL_EVERY_MIN);
            pause(wait.min(budget.left()?)).await?;
            task = self.within("tasks/get", &json!({"taskId": task.task_id}), budget.patience()?).await?;
        }
    }

    async fn payload(&self, task_id: &str, budget: &Budget) -> Result<ToolResult, Error> {
        self.within("tasks/result", &json!({"taskId": task_id}), budget.all()?).await
    }

    async fn within<T: serde::de::DeserializeOwned>(
        &self,
        method: &str,
        params: &Value,
        patience: Patience,
    ) -> Result<T, Error> {
        self.send(Body::new(method, params), patience).await?.complete()
    }

    fn patience_of(&self, at_most: Duration) -> Patience {
        Patience { at_most, ..self.engine().config.patience() }
    }

    fn era(&self) -> Era {
        let said = self.server_info().and_then(|info| info.revision());
        said.or(self.engine().config.values.revision).map_or(Era::Modern, Revision::era)
    }
}

/// The result that stands in a completed task.
fn inlined(task: &Task) -> Result<ToolResult, Error> {
    let result = task
        .result()
        .cloned()
        .ok_or_else(|| Error::decode(format!("task {:?} is completed and has no result", task.task_id)))?;
    match Outcome::read(result)? {
        Outcome::Complete(result) => Ok(result),
        _ => Err(Error::decode(format!("the result of task {:?} is not complete", task.task_id))),
    }
}

/// The error that stands in a failed task.
fn failure(task: &Task) -> Error {
    task.error().map_or_else(
        || {
            let words = task.status_message.as_deref().unwrap_or("it does not say why");
            protocol(format!("task {:?} failed without an error: {words}", task.task_id))
        },
        Error::rpc,
    )
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
