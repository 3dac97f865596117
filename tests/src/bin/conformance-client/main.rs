//! The client that the official conformance suite starts: `conformance-client URL`, told by the environment what to play.
//!
//! `MCP_CONFORMANCE_SCENARIO` names the scenario, `MCP_CONFORMANCE_PROTOCOL_VERSION` the revision, and
//! `MCP_CONFORMANCE_CONTEXT` may hold more. One way of doing things serves nearly all scenarios: list the tools, call each once
//! with invented arguments, accept whatever is asked. `just official` runs the suite.

mod auth;

use std::{error::Error, time::Duration};

use serde_json::{Value, json};
use volley::{
    Client, Config, Revision, ToolCall, ToolDescription,
    mcp::{CreateMessageResult, ElicitResult},
};

type Outcome = Result<(), Box<dyn Error>>;

fn main() -> Outcome {
    let url = std::env::args().next_back().ok_or("usage: conformance-client URL")?;
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let scenario = variable("MCP_CONFORMANCE_SCENARIO");
    let context = serde_json::from_str(&variable("MCP_CONFORMANCE_CONTEXT")).unwrap_or(Value::Null);
    let revision = variable("MCP_CONFORMANCE_PROTOCOL_VERSION").parse::<Revision>().ok();
    pollster::block_on(play(&url, &scenario, revision, &context))
}

async fn play(url: &str, scenario: &str, revision: Option<Revision>, context: &Value) -> Outcome {
    let config = Config::builder()
        .client_info("volley-conformance", env!("CARGO_PKG_VERSION"))
        .timeout(Duration::from_secs(20))
        .in_flight(4)
        .on_sampling(|_| Ok(CreateMessageResult::text("none", "Paris")))
        .roots(Vec::new())
        .credentials(auth::credentials(context))
        .on_elicitation(|form| Ok(ElicitResult::accept(&accepted(&form.requested_schema))));
    let config = match revision {
        Some(revision) => config.revision(revision),
        None => config,
    };
    let client = Client::connect(url, config.build()?).await?;
    let played = act(&client, scenario, context).await;
    client.close().await;
    played
}

async fn act(client: &Client, scenario: &str, context: &Value) -> Outcome {
    if scenario == "initialize" {
        return Ok(());
    }
    let tools = client.list_tools().await?;
    match scenario {
        "json-schema-ref-no-deref" => return Ok(()),
        "json-schema-2020-12-preservation" => {
            let tool = tools.iter().find(|tool| tool.name == "json_schema_2020_12_tool");
            let schema = tool.map(|tool| tool.input_schema.clone()).unwrap_or_default();
            client.call_tool("json_schema_echo", &json!({"schema": schema})).await?;
            return Ok(());
        }
        "http-standard-headers" => list_and_read_all(client).await?,
        _ => {}
    }
    if let Some(calls) = context["toolCalls"].as_array() {
        for call in calls {
            let name = call["name"].as_str().unwrap_or_default();
            client.call_tool(name, &call["arguments"]).await?;
        }
        return Ok(());
    }
    for tool in &tools {
        let result = client.converse(ToolCall::new(&tool.name, &invented(tool))?).await?;
        println!("{}: {}", tool.name, result.text());
    }
    Ok(())
}

async fn list_and_read_all(client: &Client) -> Outcome {
    for resource in &client.list_resources().await? {
        client.read_resource(&resource.uri).await?;
    }
    for prompt in &client.list_prompts().await? {
        client.get_prompt(&prompt.name, &json!({})).await?;
    }
    Ok(())
}

/// Arguments that fit a tool's schema well enough: its required properties, each with something of its type.
fn invented(tool: &ToolDescription) -> Value {
    let schema = &tool.input_schema;
    let names = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
    names.map(|name| (name.to_owned(), sample(&schema["properties"][name]))).collect()
}

/// What is filled into a form: nothing that has a default, and something for all else that is required.
fn accepted(schema: &Value) -> Value {
    let names = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
    names
        .filter(|name| schema["properties"][*name].get("default").is_none())
        .map(|name| (name.to_owned(), sample(&schema["properties"][name])))
        .collect()
}

fn sample(schema: &Value) -> Value {
    if let Some(first) = schema["enum"].get(0) {
        return first.clone();
    }
    match schema["type"].as_str() {
        Some("number" | "integer") => json!(2),
        Some("boolean") => json!(true),
        Some("array") => json!([]),
        Some("object") => json!({}),
        _ => json!("sample"),
    }
}
