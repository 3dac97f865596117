//! What a request can come to: the result that was asked for, or one of the other types that a server may answer with.
//!
//! The type stands in `resultType`; absent, it is `complete`, as it is in every revision before 2026-07-28. A type that nobody
//! asked for is a failed request. Proof: `each_type_is_read_and_others_fail`.

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{input::InputRequired, task::Task};
use crate::error::Error;

/// A result, by its type.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Outcome<T> {
    /// The result that was asked for.
    Complete(T),
    /// The server wants to know something first, and the request is to be made again.
    InputRequired(InputRequired),
    /// The server made a task of it; its result is fetched later.
    Task(Task),
}

impl<T: DeserializeOwned> Outcome<T> {
    /// Reads a result.
    pub(crate) fn read(result: Value) -> Result<Self, Error> {
        fn typed<T: DeserializeOwned>(result: Value) -> Result<T, Error> {
            serde_json::from_value(result)
                .map_err(|error| Error::decode(format!("the result cannot be read: {error}")).because(error))
        }
        match result.get("resultType") {
            None | Some(Value::Null) => typed(result).map(Self::Complete),
            Some(Value::String(kind)) if kind == "complete" => typed(result).map(Self::Complete),
            Some(Value::String(kind)) if kind == "input_required" => typed(result).map(Self::InputRequired),
            Some(Value::String(kind)) if kind == "task" => typed(result).map(Self::Task),
            Some(other) => Err(Error::decode(format!(
                "the server answered with result type {other}, which was not asked for"
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{error::ErrorKind, model::root::ListRootsResult};

    #[test]
    fn each_type_is_read_and_others_fail() {
        let read = Outcome::<ListRootsResult>::read;
        for complete in [json!({"roots": []}), json!({"roots": [], "resultType": "complete"})] {
            assert!(matches!(read(complete).unwrap(), Outcome::Complete(_)));
        }
        let asked = read(json!({"resultType": "input_required", "requestState": ""})).unwrap();
        assert!(matches!(asked, Outcome::InputRequired(asked) if asked.request_state.as_deref() == Some("")));
        let task = read(json!({"resultType": "task", "taskId": "t", "status": "working"})).unwrap();
        assert!(matches!(task, Outcome::Task(task) if task.task_id == "t"));
        for bad in
            [json!({"resultType": "hologram", "roots": []}), json!({"resultType": 7}), json!({}), json!([])]
        {
            assert_eq!(read(bad).unwrap_err().kind(), ErrorKind::Decode);
        }
    }
}
