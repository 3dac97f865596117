//! The typed requests without async: each the twin of one of [`crate::Client`], on the thread that waits.
//!
//! ```no_run
//! use volley::{Config, blocking::Client};
//!
//! let client = Client::connect("stdio:python server.py", Config::default())?;
//! for resource in client.list_resources()? {
//!     println!("{}: {} parts", resource.uri, client.read_resource(&resource.uri)?.contents.len());
//! }
//! # Ok::<(), volley::Error>(())
//! ```

use std::time::Duration;

use serde::Serialize;

use super::blocking::Client;
use crate::{
    error::Error,
    model::{
        completion::{CompletionRequest, CompletionResult},
        logging::LogLevel,
        outcome::Outcome,
        page::{Listable, Listed, Page},
        prompt::{GetPromptResult, Prompt},
        resource::{ReadResourceResult, Resource, ResourceTemplate},
        task::Task,
        tool::{Members, ToolCall, ToolResult},
    },
};

impl Client {
    /// As [`crate::Client::list_page`], and waits.
    ///
    /// # Errors
    /// The same.
    pub fn list_page<T: Listable>(&self, cursor: Option<&str>) -> Result<Page<T>, Error> {
        self.block_on(self.as_async().list_page(cursor))
    }

    /// As [`crate::Client::list`], and waits.
    ///
    /// # Errors
    /// The same.
    pub fn list<T: Listable>(&self) -> Result<Listed<T>, Error> {
        self.block_on(self.as_async().list())
    }

    /// As [`crate::Client::list_resources`], and waits.
    ///
    /// # Errors
    /// The same.
    pub fn list_resources(&self) -> Result<Listed<Resource>, Error> {
        self.block_on(self.as_async().list_resources())
    }

    /// As [`crate::Client::list_resource_templates`], and waits.
    ///
    /// # Errors
    /// The same.
    pub fn list_resource_templates(&self) -> Result<Listed<ResourceTemplate>, Error> {
        self.block_on(self.as_async().list_resource_templates())
    }

    /// As [`crate::Client::list_prompts`], and waits.
    ///
    /// # Errors
    /// The same.
    pub fn list_prompts(&self) -> Result<Listed<Prompt>, Error> {
        self.block_on(self.as_async().list_prompts())
    }

    /// As [`crate::Client::list_tasks`], and waits.
    ///
    /// # Errors
    /// The same.
    pub fn list_tasks(&self) -> Result<Listed<Task>, Error> {
        self.block_on(self.as_async().list_tasks())
    }

    /// As [`crate::Client::read_resource`], and waits.
    ///
    /// # Errors
    /// The same.
    pub fn read_resource(&self, uri: &str) -> Result<ReadResourceResult, Error> {
        self.block_on(self.as_async().read_resource(uri))
    }

    /// As [`crate::Client::get_prompt`], and waits.
    ///
    /// # Errors
    /// The same.
    pub fn get_prompt(&self, name: &str, arguments: &impl Serialize) -> Result<GetPromptResult, Error> {
        self.block_on(self.as_async().get_prompt(name, arguments))
    }

    /// As [`crate::Client::complete`], and waits.
    ///
    /// # Errors
    /// The same.
    pub fn complete(&self, request: &CompletionRequest) -> Result<CompletionResult, Error> {
        self.block_on(self.as_async().complete(request))
    }

    /// As [`crate::Client::subscribe`], and waits.
    ///
    /// # Errors
    /// The same.
    pub fn subscribe(&self, uri: &str) -> Result<(), Error> {
        self.block_on(self.as_async().subscribe(uri))
    }

    /// As [`crate::Client::unsubscribe`], and waits.
    ///
    /// # Errors
    /// The same.
    pub fn unsubscribe(&self, uri: &str) -> Result<(), Error> {
        self.block_on(self.as_async().unsubscribe(uri))
    }

    /// As [`crate::Client::set_log_level`], and waits.
    ///
    /// # Errors
    /// The same.
    pub fn set_log_level(&self, level: LogLevel) -> Result<(), Error> {
        self.block_on(self.as_async().set_log_level(level))
    }

    /// As [`crate::Client::converse`], and waits.
    ///
    /// # Errors
    /// The same.
    pub fn converse(&self, call: ToolCall) -> Result<ToolResult, Error> {
        self.block_on(self.as_async().converse(call))
    }

    /// As [`crate::Client::call_or_task`], and waits.
    ///
    /// # Errors
    /// The same.
    pub fn call_or_task(&self, call: ToolCall) -> Result<Outcome<ToolResult>, Error> {
        self.block_on(self.as_async().call_or_task(call))
    }

    /// As [`crate::Client::start_task`], and waits.
    ///
    /// # Errors
    /// The same.
    pub fn start_task(&self, call: ToolCall, ttl: Option<Duration>) -> Result<Task, Error> {
        self.block_on(self.as_async().start_task(call, ttl))
    }

    /// As [`crate::Client::task`], and waits.
    ///
    /// # Errors
    /// The same.
    pub fn task(&self, task_id: &str) -> Result<Task, Error> {
        self.block_on(self.as_async().task(task_id))
    }

    /// As [`crate::Client::task_result`], and waits.
    ///
    /// # Errors
    /// The same.
    pub fn task_result(&self, task_id: &str, at_most: Duration) -> Result<ToolResult, Error> {
        self.block_on(self.as_async().task_result(task_id, at_most))
    }

    /// As [`crate::Client::cancel_task`], and waits.
    ///
    /// # Errors
    /// The same.
    pub fn cancel_task(&self, task_id: &str) -> Result<(), Error> {
        self.block_on(self.as_async().cancel_task(task_id))
    }

    /// As [`crate::Client::update_task`], and waits.
    ///
    /// # Errors
    /// The same.
    pub fn update_task(&self, task_id: &str, input_responses: &Members) -> Result<(), Error> {
        self.block_on(self.as_async().update_task(task_id, input_responses))
    }

    /// As [`crate::Client::follow_task`], and waits.
    ///
    /// # Errors
    /// The same.
    pub fn follow_task(&self, task: Task, at_most: Duration) -> Result<ToolResult, Error> {
        self.block_on(self.as_async().follow_task(task, at_most))
    }
}
