//! The caller's handlers for what servers ask, and the capabilities that they declare.
//!
//! Setting a handler declares its capability, so that a server never is invited to ask what nobody answers. The typed handlers
//! become one [`RequestHandler`], and whoever asks (a legacy server by a request, a modern one by a result of type
//! `input_required`) goes through it. A mode of elicitation that is not declared is refused with -32602, as are params that cannot be
//! read; any other method with -32601. Proof: the tests below; `tests/integration/protocol.rs`.

use std::sync::Arc;

use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::{
    error::RpcError,
    model::{
        elicitation::{ElicitForm, ElicitRequest, ElicitResult, ElicitUrl},
        inbound::{RequestHandler, ServerRequest},
        root::{ListRootsResult, Root},
        sampling::{CreateMessageRequest, CreateMessageResult},
        task::EXTENSION,
        tool::Members,
    },
};

pub(crate) const SAMPLING: &str = "sampling/createMessage";
pub(crate) const ROOTS: &str = "roots/list";
pub(crate) const ELICITATION: &str = "elicitation/create";

/// One typed handler.
pub(crate) type Handler<Q, A> = Arc<dyn Fn(Q) -> Result<A, RpcError> + Send + Sync>;

/// The typed handlers, and what is declared besides them.
#[derive(Clone, Default)]
pub(crate) struct Handlers {
    pub(crate) sampling: Option<Handler<CreateMessageRequest, CreateMessageResult>>,
    pub(crate) roots: Option<Handler<(), Vec<Root>>>,
    pub(crate) form: Option<Handler<ElicitForm, ElicitResult>>,
    pub(crate) url: Option<Handler<ElicitUrl, ElicitResult>>,
    /// Declared by the caller in so many words.
    pub(crate) capabilities: Members,
}

/// Which of the things a server may ask for are declared.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Declared {
    pub(crate) sampling: bool,
    pub(crate) roots: bool,
    pub(crate) form: bool,
    pub(crate) url: bool,
    pub(crate) tasks: bool,
}

impl Declared {
    /// Reads them from the client's capabilities.
    pub(crate) fn of(capabilities: &Value) -> Self {
        let has = |name: &str| capabilities.get(name).is_some();
        let mode = |name: &str| capabilities["elicitation"].get(name).is_some();
        Self {
            sampling: has("sampling"),
            roots: has("roots"),
            // An empty object means forms: it is older than the modes.
            form: has("elicitation") && (mode("form") || !mode("url")),
            url: mode("url"),
            tasks: capabilities["extensions"].get(EXTENSION).is_some(),
        }
    }

    /// Has the server the right to ask this?
    pub(crate) fn covers(self, method: &str, params: &Value) -> bool {
        match method {
            SAMPLING => self.sampling,
            ROOTS => self.roots,
            ELICITATION => match params.get("mode").map(Value::as_str) {
                None | Some(Some("form")) => self.form,
                Some(Some("url")) => self.url,
                Some(_) => false,
            },
            _ => false,
        }
    }
}

impl Handlers {
    /// The capabilities of the client: those of the handlers, and over them the caller's own.
    pub(crate) fn declared(&self) -> Value {
        let mut all = json!({});
        if self.sampling.is_some() {
            all["sampling"] = json!({});
        }
        if self.roots.is_some() {
            all["roots"] = json!({});
        }
        match (&self.form, &self.url) {
            // Without naming a mode, so that servers of 2025-06-18 read it as they know it.
            (Some(_), None) => all["elicitation"] = json!({}),
            (None, Some(_)) => all["elicitation"] = json!({"url": {}}),
            (Some(_), Some(_)) => all["elicitation"] = json!({"form": {}, "url": {}}),
            (None, None) => {}
        }
        merge(&mut all, &Value::Object(self.capabilities.clone()));
        all
    }

    /// Declares more, in so many words.
    pub(crate) fn declare(&mut self, capabilities: Members) {
        let mut all = Value::Object(std::mem::take(&mut self.capabilities));
        merge(&mut all, &Value::Object(capabilities));
        if let Value::Object(all) = all {
            self.capabilities = all;
        }
    }

    /// The one handler behind which all of them stand; `other` takes what is left.
    pub(crate) fn compose(&self, other: Option<RequestHandler>) -> Option<RequestHandler> {
        let handlers = self.clone();
        if handlers.sampling.is_none()
            && handlers.roots.is_none()
            && handlers.form.is_none()
            && handlers.url.is_none()
        {
            return other;
        }
        Some(Arc::new(move |request| handlers.answer(request, other.as_ref())))
    }

    fn answer(&self, request: ServerRequest, other: Option<&RequestHandler>) -> Result<Value, RpcError> {
        match (request.method(), &self.sampling, &self.roots) {
            (SAMPLING, Some(handler), _) => written(&handler(read(&request)?)?),
            (ROOTS, _, Some(handler)) => {
                written(&ListRootsResult { roots: handler(())?, rest: Members::new() })
            }
            (ELICITATION, ..) if self.form.is_some() || self.url.is_some() => {
                match (read(&request)?, &self.form, &self.url) {
                    (ElicitRequest::Form(form), Some(handler), _) => {
                        let schema = form.requested_schema.clone();
                        written(&handler(form)?.settle(Some(&schema)))
                    }
                    (ElicitRequest::Url(url), _, Some(handler)) => written(&handler(url)?.settle(None)),
                    _ => match other.filter(|_| covers(&self.declared(), &request)) {
                        Some(handler) => handler(request),
                        None => {
                            Err(refusal(-32602, "a mode of elicitation that this client has not declared"))
                        }
                    },
                }
            }
            _ => other.map_or_else(|| Err(refusal(-32601, "method not found")), |handler| handler(request)),
        }
    }
}

/// Members of objects are joined, at any depth the caller wrote; for the rest, `over` wins.
fn merge(under: &mut Value, over: &Value) {
    match (under, over) {
        (Value::Object(under), Value::Object(over)) => {
            for (name, value) in over {
                merge(under.entry(name.as_str()).or_insert(Value::Null), value);
            }
        }
        (under, over) => *under = over.clone(),
    }
}

/// Has the server the right to ask this of a client with these capabilities?
fn covers(capabilities: &Value, request: &ServerRequest) -> bool {
    let params = request.params().unwrap_or(Value::Null);
    Declared::of(capabilities).covers(request.method(), &params)
}

fn read<T: DeserializeOwned>(request: &ServerRequest) -> Result<T, RpcError> {
    request.params().map_err(|error| refusal(-32602, error.context()))
}

fn written(result: &impl Serialize) -> Result<Value, RpcError> {
    serde_json::to_value(result).map_err(|error| refusal(-32603, &error.to_string()))
}

fn refusal(code: i64, message: &str) -> RpcError {
    RpcError { code, message: message.to_owned(), data: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::buffer::Frame;

    fn request(method: &str, params: &Value) -> ServerRequest {
        let message = json!({"method": method, "params": params}).to_string().into_bytes();
        ServerRequest { method: method.into(), message: Frame::from_vec(message) }
    }

    fn forms() -> Handlers {
        Handlers { form: Some(Arc::new(|_| Ok(ElicitResult::accept(&json!({}))))), ..Handlers::default() }
    }

    #[test]
    fn a_handler_declares_its_capability_and_nothing_else_does() {
        assert_eq!(Handlers::default().declared(), json!({}));
        assert_eq!(forms().declared(), json!({"elicitation": {}}));
        let url: Handler<ElicitUrl, ElicitResult> = Arc::new(|_| Ok(ElicitResult::decline()));
        let both = Handlers { url: Some(url.clone()), ..forms() };
        assert_eq!(both.declared(), json!({"elicitation": {"form": {}, "url": {}}}));
        let only = Handlers { url: Some(url), ..Handlers::default() };
        assert_eq!(only.declared(), json!({"elicitation": {"url": {}}}));
        let roots: Handler<(), Vec<Root>> = Arc::new(|()| Ok(Vec::new()));
        let extra = json!({"roots": {"listChanged": true}, "experimental": {"a/b": {}}});
        let Value::Object(capabilities) = extra.clone() else { unreachable!("an object") };
        let with = Handlers { roots: Some(roots), capabilities, ..Handlers::default() };
        assert_eq!(with.declared(), extra);
    }

    #[test]
    fn what_is_declared_is_covered_and_nothing_else() {
        let form = json!({});
        let (said, url, odd) = (json!({"mode": "form"}), json!({"mode": "url"}), json!({"mode": 1}));
        for (elicitation, covered) in [
            (json!({}), [true, true, false]),
            (json!({"form": {}}), [true, true, false]),
            (json!({"url": {}}), [false, false, true]),
            (json!({"form": {}, "url": {}}), [true, true, true]),
        ] {
            let declared = Declared::of(&json!({"elicitation": elicitation}));
            assert_eq!([&form, &said, &url].map(|params| declared.covers(ELICITATION, params)), covered);
            assert!(!declared.covers(ELICITATION, &odd) && !declared.covers(SAMPLING, &form));
        }
        let none = Declared::of(&json!({}));
        assert_eq!(none, Declared::default());
        let tasks = Declared::of(&json!({"extensions": {EXTENSION: {}}, "sampling": {}, "roots": {}}));
        assert!(tasks.tasks && tasks.covers(SAMPLING, &form) && tasks.covers(ROOTS, &form));
        assert!(!tasks.covers("tools/call", &form));
    }

    #[test]
    fn undeclared_modes_and_broken_params_are_refused() {
        let handler = forms().compose(None).unwrap();
        let code = |method: &str, params: Value| handler(request(method, &params)).unwrap_err().code;
        assert_eq!(code(ELICITATION, json!({"mode": "url", "message": "", "url": "https://x"})), -32602);
        assert_eq!(code(ELICITATION, json!({"mode": "smell", "message": ""})), -32602);
        assert_eq!(code(ELICITATION, json!({"message": "no schema"})), -32602);
        assert_eq!(code(SAMPLING, json!({})), -32601);
        assert_eq!(code("tasks/get", json!({})), -32601);
        let schema = json!({"properties": {"a": {"default": 1}}});
        let answer =
            handler(request(ELICITATION, &json!({"message": "", "requestedSchema": schema}))).unwrap();
        assert_eq!(answer, json!({"action": "accept", "content": {"a": 1}}));
    }

    #[test]
    fn what_no_typed_handler_takes_goes_to_the_plain_one() {
        let plain: RequestHandler = Arc::new(|request| Ok(json!(request.method())));
        let handler = forms().compose(Some(plain)).unwrap();
        assert_eq!(handler(request(SAMPLING, &json!({}))).unwrap(), json!(SAMPLING));
        assert!(Handlers::default().compose(None).is_none());
        // A mode with no typed handler: only if the caller declared it in so many words.
        let url = json!({"mode": "url", "message": "", "url": "https://x"});
        assert_eq!(handler(request(ELICITATION, &url)).unwrap_err().code, -32602);
        let mut declaring = forms();
        let Value::Object(both) = json!({"elicitation": {"form": {}, "url": {}}}) else {
            unreachable!("an object")
        };
        declaring.declare(both);
        let handler = declaring.compose(Some(Arc::new(|_| Ok(json!("plain"))))).unwrap();
        assert_eq!(handler(request(ELICITATION, &url)).unwrap(), json!("plain"));
    }
}
