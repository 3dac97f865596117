//! The credentials with which the auth scenarios are played, and a user who always consents.

use std::{
    io::{BufRead, BufReader, Write},
    net::TcpStream,
    time::Duration,
};

use serde_json::Value;
use volley::{CredentialsError, OAuth};

/// The document that stands for this client. The suite never fetches it.
const METADATA_DOCUMENT: &str = "https://conformance-test.local/client-metadata.json";

/// Nobody listens there: the user's way back is read from the answer that sends him.
const REDIRECT_URI: &str = "http://127.0.0.1:3000/callback";

const PATIENCE: Duration = Duration::from_secs(10);

/// What the scenario's context asks for: credentials of the client itself, credentials that were agreed on beforehand, or none.
pub(crate) fn credentials(context: &Value) -> OAuth {
    let text = |name: &str| context[name].as_str().map(str::to_owned);
    let is_headless = context["name"].as_str().is_some_and(|name| name.contains("client-credentials"));
    match (text("client_id"), text("client_secret")) {
        (Some(id), Some(secret)) if is_headless => OAuth::client_credentials(id, secret),
        (Some(id), secret) => {
            let oauth = by_consent().registered(id, secret);
            match text("issuer") {
                Some(issuer) => oauth.issuer(issuer),
                None => oauth,
            }
        }
        (None, _) => by_consent(),
    }
}

fn by_consent() -> OAuth {
    OAuth::authorization_code(REDIRECT_URI, consent)
        .client_name("volley-conformance")
        .metadata_document(METADATA_DOCUMENT)
}

/// Goes where the authorization server says, as a browser would, and returns where that sends it.
fn consent(url: &str) -> Result<String, CredentialsError> {
    let rest = url.strip_prefix("http://").ok_or("the suite's authorization servers speak clear text")?;
    let (host, target) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let mut socket = TcpStream::connect(host)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    write!(socket, "GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")?;
    for line in BufReader::new(socket).lines() {
        let line = line?;
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("location")
        {
            return Ok(value.trim().to_owned());
        }
        if line.is_empty() {
            break;
        }
    }
    Err("the authorization server sent the user nowhere".into())
}
