//! The engine's types beside the schema of every revision: what the schema allows is read, and comes back as it was.
//!
//! From each definition samples are made: first one with every property that the schema names, then others with some of
//! them and other choices. A sample is read into the type and written again, and must be equal, so that each property is either
//! a field or survives. Every definition is accounted for: it has a type, or stands in a list with the reason. The seed of a
//! sample is in the message when it fails.

use std::collections::BTreeSet;

use fastrand::Rng;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};
use volley::{
    Content, Revision, ToolDescription, ToolResult,
    mcp::{
        Annotations, CompletionRequest, CompletionResult, CreateMessageRequest, CreateMessageResult,
        CreateTaskResult, ElicitForm, ElicitRequest, ElicitResult, ElicitUrl, GetPromptResult, Icon,
        InputRequest, InputRequired, ListRootsResult, LogLevel, LogMessage, ModelHint, ModelPreferences,
        Page, Progress, Prompt, PromptArgument, PromptMessage, ReadResourceResult, Reference, Resource,
        ResourceContents, ResourceTemplate, ResourceUpdated, Role, Root, SamplingMessage, Task, TaskStatus,
    },
};

type Through = fn(Value) -> Result<Value, serde_json::Error>;

/// Reads a value as a type and writes it again.
fn through<T: Serialize + DeserializeOwned>(value: Value) -> Result<Value, serde_json::Error> {
    serde_json::to_value(serde_json::from_value::<T>(value)?)
}

/// Which type reads what. A place is a definition, or a property of one: `CompleteRequest.params`.
const TYPES: &[(&str, Through)] = &[
    ("Annotations", through::<Annotations>),
    ("Icon", through::<Icon>),
    ("Resource", through::<Resource>),
    ("ResourceTemplate", through::<ResourceTemplate>),
    ("ResourceContents", through::<ResourceContents>),
    ("TextResourceContents", through::<ResourceContents>),
    ("BlobResourceContents", through::<ResourceContents>),
    ("ReadResourceResult", through::<ReadResourceResult>),
    ("ResourceUpdatedNotification.params", through::<ResourceUpdated>),
    ("ListResourcesResult", through::<Page<Resource>>),
    ("ListResourceTemplatesResult", through::<Page<ResourceTemplate>>),
    ("ListPromptsResult", through::<Page<Prompt>>),
    ("ListToolsResult", through::<Page<ToolDescription>>),
    ("ListTasksResult", through::<Page<Task>>),
    ("Prompt", through::<Prompt>),
    ("PromptArgument", through::<PromptArgument>),
    ("PromptMessage", through::<PromptMessage>),
    ("GetPromptResult", through::<GetPromptResult>),
    ("Tool", through::<ToolDescription>),
    ("CallToolResult", through::<ToolResult>),
    ("TextContent", through::<Content>),
    ("ImageContent", through::<Content>),
    ("AudioContent", through::<Content>),
    ("EmbeddedResource", through::<Content>),
    ("ResourceLink", through::<Content>),
    ("ContentBlock", through::<Content>),
    ("ToolUseContent", through::<Content>),
    ("ToolResultContent", through::<Content>),
    ("SamplingMessageContentBlock", through::<Content>),
    ("PromptReference", through::<Reference>),
    ("ResourceReference", through::<Reference>),
    ("ResourceTemplateReference", through::<Reference>),
    ("CompleteRequest.params", through::<CompletionRequest>),
    ("CompleteResult", through::<CompletionResult>),
    ("LoggingLevel", through::<LogLevel>),
    ("LoggingMessageNotification.params", through::<LogMessage>),
    ("ProgressNotification.params", through::<Progress>),
    ("Role", through::<Role>),
    ("Root", through::<Root>),
    ("ListRootsResult", through::<ListRootsResult>),
    ("SamplingMessage", through::<SamplingMessage>),
    ("ModelPreferences", through::<ModelPreferences>),
    ("ModelHint", through::<ModelHint>),
    ("CreateMessageRequest.params", through::<CreateMessageRequest>),
    ("CreateMessageResult", through::<CreateMessageResult>),
    ("ElicitRequest.params", through::<ElicitRequest>),
    ("ElicitRequestFormParams", through::<ElicitForm>),
    ("ElicitRequestURLParams", through::<ElicitUrl>),
    ("ElicitResult", through::<ElicitResult>),
    ("InputRequest", through::<InputRequest>),
    ("InputRequiredResult", through::<InputRequired>),
    ("Task", through::<Task>),
    ("TaskStatus", through::<TaskStatus>),
    ("GetTaskResult", through::<Task>),
    ("CancelTaskResult", through::<Task>),
    ("CreateTaskResult", through::<CreateTaskResult>),
];

/// Definitions without a type, by what they are.
const OTHERS: &[&str] = &[
    // The engine's own affair: envelopes, ids, capabilities, the opening, cancellation, subscriptions.
    "BatchRequest BatchResponse ClientCapabilities ClientResult Cursor DiscoverResult EmptyResult Implementation",
    "InitializeResult JSONRPCBatchRequest JSONRPCBatchResponse JSONRPCMessage ProgressToken RequestId Result ResultType",
    "ServerCapabilities ServerResult SubscriptionFilter SubscriptionsListenResult",
    // Parts of others, which are tested where they stand.
    "Annotated BaseMetadata CacheableResult Error Icons InputRequests InputResponse InputResponses PaginatedResult ToolAnnotations",
    "ToolChoice ToolExecution JSONArray JSONObject JSONValue TaskMetadata RelatedTaskMetadata GetTaskPayloadResult",
    // Wanted forms stay raw.
    "BooleanSchema EnumSchema LegacyTitledEnumSchema MultiSelectEnumSchema NumberSchema PrimitiveSchemaDefinition",
    "SingleSelectEnumSchema StringSchema TitledMultiSelectEnumSchema TitledSingleSelectEnumSchema",
    "UntitledMultiSelectEnumSchema UntitledSingleSelectEnumSchema",
];

/// Endings of definitions that are messages, or their params and `_meta`.
const MESSAGES: [&str; 7] =
    ["Request", "Notification", "Response", "Error", "Params", "MetaObject", "Metadata"];

struct Schema {
    revision: Revision,
    definitions: Map<String, Value>,
}

impl Schema {
    fn all() -> Vec<Self> {
        let files = [
            include_str!("../schema/2024-11-05.json"),
            include_str!("../schema/2025-03-26.json"),
            include_str!("../schema/2025-06-18.json"),
            include_str!("../schema/2025-11-25.json"),
            include_str!("../schema/2026-07-28.json"),
        ];
        let read = |(revision, text): (Revision, &str)| {
            let mut file: Value = serde_json::from_str(text).expect("a schema");
            let modern = file.get("$defs").is_some();
            let Value::Object(definitions) = file[if modern { "$defs" } else { "definitions" }].take() else {
                panic!("{revision} has no definitions")
            };
            Self { revision, definitions }
        };
        assert_eq!(Revision::all().count(), files.len(), "a schema for each revision");
        Revision::all().zip(files).map(read).collect()
    }

    /// The schema at a place, if this revision has it.
    fn at(&self, place: &str) -> Option<&Value> {
        let (definition, property) = place.split_once('.').map_or((place, None), |(d, p)| (d, Some(p)));
        let schema = self.definitions.get(definition)?;
        property.map_or(Some(schema), |property| schema["properties"].get(property))
    }

    /// A value that the schema allows. `whole`: with all properties; otherwise some of those that may be left out.
    fn sample(&self, schema: &Value, whole: bool, depth: usize, rng: &mut Rng) -> Value {
        if let Some(reference) = schema["$ref"].as_str() {
            let name = reference.rsplit('/').next().unwrap_or_default();
            return self.sample(&self.definitions[name], whole, depth, rng);
        }
        if let Some(constant) = schema.get("const") {
            return constant.clone();
        }
        if let Some(choices) = schema["enum"].as_array() {
            return rng.choice(choices).expect("a choice").clone();
        }
        if let Some(parts) = schema["allOf"].as_array() {
            let mut all = Map::new();
            for part in parts {
                if let Value::Object(members) = self.sample(part, whole, depth, rng) {
                    all.extend(members);
                }
            }
            return Value::Object(all);
        }
        if let Some(choices) = schema["anyOf"].as_array() {
            // The last is the plain one wherever a definition holds itself.
            let last = choices.last().expect("a choice");
            let choice = if depth > 6 { last } else { rng.choice(choices).expect("a choice") };
            return self.sample(choice, whole, depth + 1, rng);
        }
        let kind = match &schema["type"] {
            Value::Array(kinds) => rng.choice(kinds).and_then(Value::as_str),
            one => one.as_str(),
        };
        match kind {
            Some("string") => {
                rng.choice(["", "text", " \"\\\u{0}é\u{1F3D0}", "2026-01-01T00:00:00Z", "QQ=="]).into()
            }
            Some("integer") => rng.choice([0, 1, 1_i64 << 40]).into(),
            Some("number") => rng.choice([json!(0.25), json!(1), json!(1e300)]).expect("a choice"),
            // A false that means what its absence means, as that of `isError`, need not come back.
            Some("boolean") => Value::Bool(true),
            Some("null") => Value::Null,
            Some("array") => {
                let count = if whole { 2 } else { rng.usize(0..3) };
                (0..count).map(|_| self.sample(&schema["items"], whole, depth + 1, rng)).collect()
            }
            Some("object") => self.object(schema, whole, depth, rng),
            _ => json!({"any": [1, null, "thing"]}),
        }
    }

    fn object(&self, schema: &Value, whole: bool, depth: usize, rng: &mut Rng) -> Value {
        let required: Vec<&str> =
            schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let mut members = Map::new();
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            if whole || required.contains(&name.as_str()) || rng.bool() {
                members.insert(name.clone(), self.sample(property, whole, depth + 1, rng));
            }
        }
        if let Some(more) = schema.get("additionalProperties").filter(|more| more.is_object()) {
            members.insert("one more".to_owned(), self.sample(more, whole, depth + 1, rng));
        }
        Value::Object(members)
    }
}

fn check(schema: &Schema, place: &str, through: Through, sample: Value, seed: u64) {
    let revision = schema.revision;
    let back = through(sample.clone())
        .unwrap_or_else(|error| panic!("{revision}, {place}, seed {seed}: {error}: {sample}"));
    assert_eq!(back, sample, "{revision}, {place}, seed {seed}");
}

#[test]
fn whatever_a_schema_allows_is_read_and_comes_back_whole() {
    for schema in Schema::all() {
        for (place, through) in TYPES {
            let Some(at) = schema.at(place) else { continue };
            for seed in 0..200 {
                let mut rng = Rng::with_seed(seed);
                let sample = schema.sample(at, seed < 20, 0, &mut rng);
                check(&schema, place, *through, sample, seed);
            }
        }
    }
}

#[test]
fn members_that_no_revision_knows_come_back_too() {
    for schema in Schema::all() {
        for (place, through) in TYPES {
            // Results of tools are read on the hot path, and only for what they are known to have.
            let Some(at) = schema.at(place).filter(|_| *place != "CallToolResult") else { continue };
            let mut rng = Rng::with_seed(1);
            let mut sample = schema.sample(at, true, 0, &mut rng);
            if let Some(members) = sample.as_object_mut() {
                members.insert("x/unknown".to_owned(), json!({"a": [1, null, {"b": false}]}));
                check(&schema, place, *through, sample, 1);
            }
        }
    }
}

#[test]
fn every_definition_has_a_type_or_a_reason_to_have_none() {
    let others: BTreeSet<&str> = OTHERS.iter().flat_map(|line| line.split(' ')).collect();
    let mut used = BTreeSet::new();
    for schema in Schema::all() {
        for name in schema.definitions.keys() {
            let typed = TYPES.iter().any(|(place, _)| place.split('.').next() == Some(name.as_str()));
            let message = MESSAGES.iter().any(|end| name.ends_with(end))
                || ["Request", "Notification"].iter().any(|end| name.contains(end));
            assert!(
                typed || message || others.contains(name.as_str()),
                "{}: {name} is new: give it a type, or say why it has none",
                schema.revision
            );
            used.insert(name.clone());
        }
    }
    for (place, _) in TYPES {
        let name = place.split('.').next().unwrap_or_default();
        assert!(used.contains(name), "{name} is in no schema");
    }
}
