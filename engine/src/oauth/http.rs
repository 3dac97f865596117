//! HTTP for the flow: short questions to authorization servers, blocking, on the credentials' thread.
//!
//! Always: an answer is at most [`ANSWER_BYTES_MAX`] long and takes at most [`ANSWER_TIME_MAX`]; no redirect is followed, for
//! it could carry a secret elsewhere; nothing is sent over clear text, unless to this machine.

use std::time::Duration;

use serde::de::DeserializeOwned;
use ureq::http::{self, StatusCode};
use url::Url;

use super::error::OAuthError;
use crate::config::http::is_loopback;

/// Metadata and tokens are a few thousand bytes.
const ANSWER_BYTES_MAX: u64 = 1 << 20;

/// One question and its answer, name resolution and TLS included.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(30);

/// Asks.
#[derive(Debug)]
pub(super) struct Http {
    agent: ureq::Agent,
}

impl Http {
    pub(super) fn new() -> Self {
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(ANSWER_TIME_MAX))
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .user_agent(concat!("volley/", env!("CARGO_PKG_VERSION")))
            .proxy(None)
            .build();
        Self { agent: config.new_agent() }
    }

    /// Sends a request and reads the whole answer.
    pub(super) fn send(
        &self,
        request: http::Request<Vec<u8>>,
    ) -> Result<http::Response<Vec<u8>>, ureq::Error> {
        let answer = self.agent.run(request)?;
        let (parts, mut body) = answer.into_parts();
        let bytes = body.with_config().limit(ANSWER_BYTES_MAX).read_to_vec()?;
        Ok(http::Response::from_parts(parts, bytes))
    }

    /// As [`Self::send`], for tokens: a server that is not well, or busy, has refused nothing.
    pub(super) fn ask_for_tokens(
        &self,
        request: http::Request<Vec<u8>>,
    ) -> Result<http::Response<Vec<u8>>, ureq::Error> {
        let answer = self.send(request)?;
        match answer.status() {
            status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
                Err(ureq::Error::StatusCode(status.as_u16()))
            }
            _ => Ok(answer),
        }
    }

    /// The JSON document at `url`; `None` if there is none.
    pub(super) fn document<T: DeserializeOwned>(
        &self,
        what: &'static str,
        url: &str,
    ) -> Result<Option<T>, OAuthError> {
        let request = http::Request::get(url)
            .header("Accept", "application/json")
            .body(Vec::new())
            .map_err(|error| transport(url, &error))?;
        let answer = self.send(request).map_err(|error| transport(url, &error))?;
        match answer.status() {
            StatusCode::OK => {}
            status if status.is_server_error() => {
                return Err(OAuthError::Answer { what, url: url.to_owned(), why: format!("HTTP {status}") });
            }
            _ => return Ok(None),
        }
        if !answer.body().trim_ascii_start().starts_with(b"{") {
            // Some servers have a page for every address.
            return Ok(None);
        }
        crate::base::json::from_slice(answer.body()).map(Some).map_err(|error| OAuthError::Answer {
            what,
            url: url.to_owned(),
            why: error.to_string(),
        })
    }

    /// Posts a JSON document; the answer's status and body.
    pub(super) fn post(&self, url: &str, json: &serde_json::Value) -> Result<(u16, Vec<u8>), OAuthError> {
        let request = http::Request::post(url)
            .header("Accept", "application/json")
            .header("Content-Type", "application/json")
            .body(json.to_string().into_bytes())
            .map_err(|error| transport(url, &error))?;
        let answer = self.send(request).map_err(|error| transport(url, &error))?;
        Ok((answer.status().as_u16(), answer.into_body()))
    }
}

fn transport(url: &str, error: &dyn std::error::Error) -> OAuthError {
    OAuthError::Transport { url: url.to_owned(), why: error.to_string() }
}

/// Reads an address to which secrets may be sent: `https`, or this machine.
pub(super) fn address(what: &'static str, text: &str) -> Result<Url, OAuthError> {
    let wrong = |why| OAuthError::Address { what, url: text.to_owned(), why };
    let url = Url::parse(text).map_err(|_| wrong("is no URL"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(OAuthError::Address {
            what,
            url: url.host_str().unwrap_or_default().to_owned(),
            why: "names a user",
        });
    }
    match url.scheme() {
        "https" => Ok(url),
        "http" if is_loopback(&url) => Ok(url),
        "http" => Err(wrong("is not https, and not on this machine")),
        _ => Err(wrong("is not https")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_go_over_tls_or_stay_on_this_machine() {
        for good in ["https://as.example/x", "http://localhost:1/", "http://127.0.0.1/", "http://[::1]:8/"] {
            address("it", good).unwrap();
        }
        for bad in
            ["http://as.example/", "ftp://localhost/", "x", "", "javascript:alert(1)", "https://u:p@h/"]
        {
            let error = address("it", bad).unwrap_err().to_string();
            assert!(!error.contains("u:p"), "{error}");
        }
    }
}
