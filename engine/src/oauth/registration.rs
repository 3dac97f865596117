//! Who the client is to an authorization server: registered by hand, by the address of its own metadata document, or on the spot.
//!
//! In this order: credentials that were configured, if they are for this issuer; the address of the client's metadata document,
//! if there is one and the issuer reads such; dynamic registration. What one issuer gave is never shown to another.
//! Follows: MCP 2026-07-28, basic/authorization, "Client Registration Approaches"; RFC 7591, 3.

use serde::Deserialize;
use serde_json::json;

use super::{
    error::OAuthError,
    http::{Http, address},
    metadata::Server,
};
use crate::base::json;

/// What the caller said of the client.
#[derive(Clone, Default)]
pub(super) struct Identity {
    pub(super) name: Option<String>,
    pub(super) redirect_uri: String,
    pub(super) document: Option<String>,
    pub(super) registered: Option<Registered>,
}

/// Credentials that were agreed on beforehand.
#[derive(Clone)]
pub(super) struct Registered {
    pub(super) id: String,
    pub(super) secret: Option<String>,
    /// Whose they are; if nobody said, the first issuer's that is met.
    pub(super) issuer: Option<String>,
}

/// The client as one issuer knows it.
#[derive(Clone)]
pub(super) struct Client {
    pub(super) id: String,
    pub(super) secret: Option<String>,
    pub(super) method: Method,
    /// It was registered on the spot, and can be once more.
    pub(super) is_dynamic: bool,
}

/// How the client shows who it is when it asks for a token (RFC 6749, 2.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Method {
    Basic,
    Post,
    None,
}

#[derive(Deserialize)]
struct Registration {
    client_id: String,
    client_secret: Option<String>,
    token_endpoint_auth_method: Option<String>,
}

#[derive(Deserialize)]
struct Refusal {
    error: String,
    error_description: Option<String>,
}

impl Method {
    fn name(self) -> &'static str {
        match self {
            Self::Basic => "client_secret_basic",
            Self::Post => "client_secret_post",
            Self::None => "none",
        }
    }

    fn named(name: &str) -> Option<Self> {
        [Self::Basic, Self::Post, Self::None].into_iter().find(|method| method.name() == name)
    }

    /// The method to register for: this client can keep no secret from its user, so none if that is allowed.
    fn to_register(server: &Server) -> Self {
        [Self::None, Self::Basic, Self::Post]
            .into_iter()
            .find(|method| server.allows(*method))
            .unwrap_or(Self::Basic)
    }

    /// The method to use: what was agreed on, or the best that both sides can.
    fn to_use(server: &Server, has_secret: bool, agreed: Option<&str>) -> Self {
        if let Some(agreed) = agreed.and_then(Self::named)
            && (agreed == Self::None || has_secret)
        {
            return agreed;
        }
        if !has_secret {
            return Self::None;
        }
        [Self::Basic, Self::Post, Self::None]
            .into_iter()
            .find(|method| server.allows(*method))
            .unwrap_or(Self::Basic)
    }
}

impl Server {
    /// Without a list it is `client_secret_basic` (RFC 8414, 2).
    fn allows(&self, method: Method) -> bool {
        match &self.token_endpoint_auth_methods_supported {
            Some(methods) => methods.iter().any(|name| name == method.name()),
            None => method == Method::Basic,
        }
    }
}

impl Identity {
    /// The client for this issuer, registered if need be.
    pub(super) fn client(&self, http: &Http, server: &Server) -> Result<Client, OAuthError> {
        if let Some(registered) = &self.registered
            && registered.issuer.as_ref().is_none_or(|issuer| *issuer == server.issuer)
        {
            let method = Method::to_use(server, registered.secret.is_some(), None);
            let (id, secret) = (registered.id.clone(), registered.secret.clone());
            return Ok(Client { id, secret, method, is_dynamic: false });
        }
        if let Some(document) = &self.document
            && server.client_id_metadata_document_supported == Some(true)
        {
            return Ok(Client {
                id: document.clone(),
                secret: None,
                method: Method::None,
                is_dynamic: false,
            });
        }
        let endpoint = server.registration_endpoint.as_deref().ok_or(OAuthError::Missing(
            "the authorization server registers no clients, and there are no credentials for it",
        ))?;
        self.register(http, server, endpoint)
    }

    fn register(&self, http: &Http, server: &Server, endpoint: &str) -> Result<Client, OAuthError> {
        address("the registration endpoint", endpoint)?;
        let wish = json!({
            "client_name": self.name.as_deref().unwrap_or("volley"),
            "redirect_uris": [self.redirect_uri],
            "grant_types": ["authorization_code", "refresh_token"],
            "response_types": ["code"],
            "token_endpoint_auth_method": Method::to_register(server).name(),
            "application_type": "native",
        });
        let (status, body) = http.post(endpoint, &wish)?;
        if !(200..300).contains(&status) {
            let refusal = json::from_slice(&body)
                .unwrap_or(Refusal { error: format!("HTTP {status}"), error_description: None });
            return Err(OAuthError::Refused {
                what: "the registration",
                error: refusal.error,
                description: refusal.error_description,
            });
        }
        let made: Registration = json::from_slice(&body).map_err(|error| OAuthError::Answer {
            what: "the registration",
            url: endpoint.to_owned(),
            // The place and the kind, without the text around it, which may hold the secret.
            why: format!("no registration: {:?} at line {}", error.classify(), error.line()),
        })?;
        let agreed = made.token_endpoint_auth_method.as_deref();
        let method = Method::to_use(server, made.client_secret.is_some(), agreed);
        Ok(Client { id: made.client_id, secret: made.client_secret, method, is_dynamic: true })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(methods: Option<&[&str]>) -> Server {
        serde_json::from_value(json!({
            "issuer": "https://as", "token_endpoint": "https://as/token",
            "token_endpoint_auth_methods_supported": methods,
        }))
        .unwrap()
    }

    #[test]
    fn the_method_is_what_was_agreed_on_or_both_can() {
        let chosen = |methods, secret, agreed| Method::to_use(&server(methods), secret, agreed);
        assert_eq!(chosen(None, true, None), Method::Basic);
        assert_eq!(chosen(None, false, None), Method::None);
        assert_eq!(chosen(Some(&["none"]), true, None), Method::None);
        assert_eq!(chosen(Some(&["client_secret_post", "none"]), true, None), Method::Post);
        assert_eq!(chosen(Some(&["client_secret_basic"]), true, Some("client_secret_post")), Method::Post);
        assert_eq!(chosen(Some(&["client_secret_basic"]), false, Some("client_secret_basic")), Method::None);
        assert_eq!(Method::to_register(&server(Some(&["client_secret_basic", "none"]))), Method::None);
        assert_eq!(Method::to_register(&server(None)), Method::Basic);
    }

    #[test]
    fn credentials_are_for_their_issuer_and_a_document_for_those_who_read_it() {
        let http = Http::new();
        let registered = |issuer: &str| Registered {
            id: "me".to_owned(),
            secret: Some("s".to_owned()),
            issuer: Some(issuer.to_owned()),
        };
        let mut identity = Identity { registered: Some(registered("https://as")), ..Identity::default() };
        assert_eq!(identity.client(&http, &server(None)).map(|client| client.id).ok().as_deref(), Some("me"));
        identity.registered = Some(registered("https://other"));
        assert!(identity.client(&http, &server(None)).is_err());
        identity.document = Some("https://me/client.json".to_owned());
        assert!(identity.client(&http, &server(None)).is_err());
        let mut reads = server(None);
        reads.client_id_metadata_document_supported = Some(true);
        let client = identity.client(&http, &reads).ok().map(|client| client.id);
        assert_eq!(client.as_deref(), Some("https://me/client.json"));
    }
}
