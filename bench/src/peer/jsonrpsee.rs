//! The client of jsonrpsee over HTTP: JSON-RPC without MCP, with arrays that its users ask for (`batch_request`).
//!
//! One client for all tasks, which pools its connections; each task awaits one call, or one array, at a time. A modern
//! call carries its metadata as a parameter, so that the bytes are those of everybody else. Answers are decoded into a
//! type that holds the text.

use jsonrpsee_core::client::ClientT;
use jsonrpsee_core::params::{BatchRequestBuilder, ObjectParams};
use jsonrpsee_http_client::HttpClient;

use super::{Caller, Runtime, Tasks};
use crate::call::{Era, MESSAGE, META};
use crate::contestant::{Contestant, Course, Failure, Kind};
use crate::link::{Target, Transport};
use crate::meter::{Idle, Run};

/// The client, on one kind of runtime.
#[derive(Debug)]
pub struct Jsonrpsee {
    /// What carries it.
    pub runtime: Runtime,
}

#[derive(Debug, serde::Deserialize)]
struct Answer {
    content: Vec<Content>,
}

#[derive(Debug, serde::Deserialize)]
struct Content {
    text: String,
}

impl Contestant for Jsonrpsee {
    fn name(&self) -> &'static str {
        match self.runtime {
            Runtime::CurrentThread => "jsonrpsee, current-thread",
            Runtime::MultiThread => "jsonrpsee, multi-thread",
        }
    }

    fn kind(&self) -> Kind {
        Kind::Jsonrpsee
    }

    fn runs(&self, course: &Course) -> bool {
        course.transport == Transport::Http && course.in_flight == course.array
    }

    fn run(&self, course: &Course) -> Result<Run, Failure> {
        self.runtime.build()?.block_on(async {
            let target = Target::start(course.transport, course.connections)?;
            let url = target.endpoint().ok_or("an HTTP target has an endpoint")?;
            let client = HttpClient::builder().build(url)?;
            let idle = Idle::now()?;
            let mut tasks = Tasks::new(course);
            for _ in 0..course.connections {
                let (client, array) = (client.clone(), course.array);
                let meta: Option<serde_json::Value> = match course.era {
                    Era::Modern => Some(serde_json::from_str(&format!("{{{META}}}"))?),
                    Era::Legacy => None,
                };
                tasks.spawn(Task { client, meta, array });
            }
            tasks.measure(idle, target.pid()).await
        })
    }
}

/// A task with its share in the client.
struct Task {
    client: HttpClient,
    meta: Option<serde_json::Value>,
    array: usize,
}

impl Caller for Task {
    async fn call(&self) -> Result<(), Failure> {
        if self.array > 1 {
            batch(&self.client, self.meta.as_ref(), self.array).await
        } else {
            call(&self.client, self.meta.as_ref()).await
        }
    }
}

async fn call(client: &HttpClient, meta: Option<&serde_json::Value>) -> Result<(), Failure> {
    check(&client.request("tools/call", params(meta)?).await?)
}

async fn batch(client: &HttpClient, meta: Option<&serde_json::Value>, calls: usize) -> Result<(), Failure> {
    let mut batch = BatchRequestBuilder::new();
    for _ in 0..calls {
        batch.insert("tools/call", params(meta)?)?;
    }
    let answers = client.batch_request::<Answer>(batch).await?;
    if answers.len() != calls {
        return Err(format!("{} answers to {calls} calls", answers.len()).into());
    }
    for answer in answers {
        check(&answer.map_err(|error| format!("a call of an array failed: {error}"))?)?;
    }
    Ok(())
}

fn params(meta: Option<&serde_json::Value>) -> Result<ObjectParams, Failure> {
    let mut params = ObjectParams::new();
    params.insert("name", "echo")?;
    params.insert("arguments", serde_json::json!({ "message": MESSAGE }))?;
    if let Some(meta) = meta {
        params.insert("_meta", &meta["_meta"])?;
    }
    Ok(params)
}

fn check(answer: &Answer) -> Result<(), Failure> {
    match answer.content.first() {
        Some(content) if content.text == MESSAGE => Ok(()),
        _ => Err(format!("not the echo of {MESSAGE:?}: {answer:?}").into()),
    }
}
