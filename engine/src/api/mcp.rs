//! The protocol's own requests in typed form: lists over pages, resources, prompts, completion, the log level.
//!
//! A thin skin over [`Client::request`]: each method writes the params, checks the result's type and reads it. Lists end when the
//! server gives no cursor; a cursor that comes twice, or more than [`LIST_PAGES_MAX`] pages, is an error, so that no server
//! can keep a client listing for ever. Proof: `tests/integration/protocol.rs`.

use std::collections::HashSet;

use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::client::Client;
use crate::{
    base::limits::LIST_PAGES_MAX,
    decode::answer::RawAnswer,
    error::{Error, ErrorKind, Phase},
    model::{
        cache::CacheHints,
        completion::{CompletionRequest, CompletionResult},
        logging::LogLevel,
        outcome::Outcome,
        page::{Listable, Listed, Page},
        prompt::Prompt,
        resource::{Resource, ResourceTemplate},
        tool::ToolDescription,
    },
    proto::{event::Fate, http::request},
};

impl RawAnswer {
    /// The result by its type: complete, input required, or a task.
    ///
    /// ```no_run
    /// # async fn example(client: volley::Client) -> Result<(), volley::Error> {
    /// use volley::{ToolCall, ToolResult, mcp::Outcome};
    ///
    /// match client.call_raw(ToolCall::raw("deploy", "{}")?).await?.outcome::<ToolResult>()? {
    ///     Outcome::Complete(result) => println!("{}", result.text()),
    ///     Outcome::InputRequired(asked) => println!("the server asks: {:?}", asked.input_requests),
    ///     other => println!("{other:?}"),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Decode`] for a type that this version does not know, and for a result that cannot be read.
    pub fn outcome<T: DeserializeOwned>(&self) -> Result<Outcome<T>, Error> {
        Outcome::read(self.result()?)
    }

    /// The result of a request that has only one type of result.
    pub(super) fn complete<T: DeserializeOwned>(&self) -> Result<T, Error> {
        match self.outcome()? {
            Outcome::Complete(result) => Ok(result),
            Outcome::InputRequired(_) => Err(not_asked_for("input_required")),
            Outcome::Task(_) => Err(not_asked_for("task")),
        }
    }
}

fn not_asked_for(kind: &str) -> Error {
    Error::decode(format!("the server answered with result type {kind:?}, which this request cannot have"))
}

impl Client {
    /// One page of a list, by the cursor of the page before; the first without.
    ///
    /// ```no_run
    /// # async fn example(client: volley::Client) -> Result<(), volley::Error> {
    /// use volley::mcp::Resource;
    ///
    /// let first = client.list_page::<Resource>(None).await?;
    /// println!("{} resources, to be kept for {:?}", first.items.len(), first.cache_hints().ttl);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Those of the request; -32602 if the server does not know the cursor any more.
    ///
    /// # Cancel safety
    /// Dropping it cancels the request.
    pub async fn list_page<T: Listable>(&self, cursor: Option<&str>) -> Result<Page<T>, Error> {
        let params = cursor.map_or_else(|| json!({}), |cursor| json!({"cursor": cursor}));
        self.ask(T::METHOD, &params).await
    }

    /// A whole list, over all its pages.
    ///
    /// # Errors
    /// Those of the requests, of which the first ends it: what came before is dropped. [`ErrorKind::Protocol`] if the pages run
    /// in a circle or never end.
    ///
    /// # Cancel safety
    /// Dropping it cancels the request that is under way.
    pub async fn list<T: Listable>(&self) -> Result<Listed<T>, Error> {
        let mut page = self.list_page::<T>(None).await?;
        let mut listed = Listed { cache: page.cache_hints(), items: Vec::new() };
        let mut seen = HashSet::new();
        loop {
            listed.items.append(&mut page.items);
            let Some(cursor) = page.next_cursor else { return Ok(listed) };
            if seen.len() + 1 >= LIST_PAGES_MAX || !seen.insert(cursor.clone()) {
                let context = format!(
                    "{}: cursor {cursor:?} came a second time, or there are more than {LIST_PAGES_MAX} pages",
                    T::METHOD
                );
                return Err(Error::new(ErrorKind::Protocol, Fate::Answered, Phase::Call, context));
            }
            page = self.list_page::<T>(Some(&cursor)).await?;
            listed.cache = CacheHints::and(listed.cache, page.cache_hints());
        }
    }

    /// All tools of the server, over all pages. Over HTTP in the modern era, tools whose `x-mcp-header` annotations are invalid
    /// are left out, as the protocol demands; [`Self::excluded_tools`] names them.
    ///
    /// # Errors
    /// As [`Self::list`].
    pub async fn list_tools(&self) -> Result<Vec<ToolDescription>, Error> {
        let mut tools: Vec<ToolDescription> = self.list().await?.items;
        if self.engine().mirrors_parameters() {
            let mut excluded = Vec::new();
            tools.retain(|tool| match request::plan(&tool.input_schema) {
                Ok(_) => true,
                Err(why) => {
                    excluded.push((tool.name.clone(), why.to_string()));
                    false
                }
            });
            *self.engine().excluded_tools.lock() = excluded;
        }
        Ok(tools)
    }

    /// The tools that the last [`Self::list_tools`] left out, each with the reason. They cannot be called over HTTP: what their
    /// server wants in the headers is not defined.
    pub fn excluded_tools(&self) -> Vec<(String, String)> {
        self.engine().excluded_tools.lock().clone()
    }

    /// All resources of the server, over all pages.
    ///
    /// ```no_run
    /// # async fn example(client: volley::Client) -> Result<(), volley::Error> {
    /// for resource in &client.list_resources().await? {
    ///     println!("{}: {}", resource.name, resource.uri);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Self::list`].
    pub async fn list_resources(&self) -> Result<Listed<Resource>, Error> {
        self.list().await
    }

    /// All templates of resources, over all pages.
    ///
    /// # Errors
    /// As [`Self::list`].
    pub async fn list_resource_templates(&self) -> Result<Listed<ResourceTemplate>, Error> {
        self.list().await
    }

    /// All prompts of the server, over all pages.
    ///
    /// # Errors
    /// As [`Self::list`].
    pub async fn list_prompts(&self) -> Result<Listed<Prompt>, Error> {
        self.list().await
    }

    /// Asks to be told when a resource changes, by `notifications/resources/updated`
    /// ([`ResourceUpdated`](crate::mcp::ResourceUpdated)). Only servers of the handshake era know it. It holds for the one
    /// connection that it goes over: with more than one, which of them is not to be chosen.
    ///
    /// # Errors
    /// Those of the request; a modern server answers with [`ErrorKind::Rpc`], code -32601.
    pub async fn subscribe(&self, uri: &str) -> Result<(), Error> {
        self.request("resources/subscribe", &json!({"uri": uri})).await.map(drop)
    }

    /// Takes [`Self::subscribe`] back.
    ///
    /// # Errors
    /// Those of the request.
    pub async fn unsubscribe(&self, uri: &str) -> Result<(), Error> {
        self.request("resources/unsubscribe", &json!({"uri": uri})).await.map(drop)
    }

    /// Asks for proposals for an argument of a prompt or of a template of resources.
    ///
    /// ```no_run
    /// # async fn example(client: volley::Client) -> Result<(), volley::Error> {
    /// use volley::mcp::{CompletionRequest, Reference};
    ///
    /// let request = CompletionRequest::new(Reference::prompt("review"), "language", "ru");
    /// println!("{:?}", client.complete(&request).await?.completion.values);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Those of the request.
    ///
    /// # Cancel safety
    /// Dropping it cancels the request.
    pub async fn complete(&self, request: &CompletionRequest) -> Result<CompletionResult, Error> {
        self.ask("completion/complete", request).await
    }

    /// Sets how grave a message must be for the server to log it to this client. Only servers of the handshake era know it,
    /// and it holds for the one connection that it goes over; later ones are told with each request ([`LogLevel::META`]).
    ///
    /// # Errors
    /// Those of the request; a modern server answers with [`ErrorKind::Rpc`], code -32601.
    pub async fn set_log_level(&self, level: LogLevel) -> Result<(), Error> {
        self.request("logging/setLevel", &json!({"level": Value::from(level.as_str())})).await.map(drop)
    }

    /// A request whose result has one type.
    pub(super) async fn ask<T: DeserializeOwned>(
        &self,
        method: &str,
        params: &impl Serialize,
    ) -> Result<T, Error> {
        self.request(method, params).await?.complete()
    }
}
