//! The questions to the authorization server: the user's consent, and the token.
//!
//! PKCE with S256 always, `state` always, `resource` wherever the resource has a name. The answer to the authorization request is
//! believed only if its `state` is ours and its `iss`, if there has to be one or is one, is the issuer's byte for byte.
//! Follows: OAuth 2.1, 4.1 to 4.3; RFC 7636; RFC 8707; RFC 9207, 2.4.

use std::{borrow::Cow, collections::BTreeMap};

use oauth2::{
    AuthType, AuthUrl, AuthorizationCode, ClientId, ClientSecret, CsrfToken, EndpointNotSet, EndpointSet,
    PkceCodeChallenge, RedirectUrl, RefreshToken, RequestTokenError, Scope, TokenResponse, TokenUrl,
    basic::{BasicClient, BasicErrorResponse, BasicTokenResponse, BasicTokenType},
};
use url::Url;

use super::{
    error::OAuthError,
    http::{Http, address},
    metadata::Site,
    registration::{Client, Method},
    scope::Scopes,
};
use crate::config::credentials::CredentialsError;

/// One client at one authorization server, for one resource.
pub(super) struct Flow<'a> {
    pub(super) http: &'a Http,
    pub(super) site: &'a Site,
    pub(super) client: &'a Client,
    pub(super) scopes: &'a Scopes,
}

/// What came of it.
pub(super) struct Tokens {
    pub(super) access: String,
    pub(super) refresh: Option<String>,
}

type Asking = BasicClient<EndpointNotSet, EndpointNotSet, EndpointNotSet, EndpointNotSet, EndpointSet>;

impl Flow<'_> {
    /// The user's consent by `on_authorize`, then a token for the code.
    pub(super) fn by_code(
        &self,
        redirect_uri: &str,
        on_authorize: &dyn Fn(&str) -> Result<String, CredentialsError>,
    ) -> Result<Tokens, OAuthError> {
        let server = &self.site.server;
        let endpoint = server
            .authorization_endpoint
            .as_deref()
            .ok_or(OAuthError::Missing("the authorization server has no authorization endpoint"))?;
        if !server.knows_pkce() {
            return Err(OAuthError::Missing(
                "the authorization server does not say that it knows PKCE with S256",
            ));
        }
        address("the authorization endpoint", endpoint)?;
        let auth_url =
            AuthUrl::new(endpoint.to_owned()).map_err(|_| no_url("the authorization endpoint", endpoint))?;
        let redirect =
            RedirectUrl::new(redirect_uri.to_owned()).map_err(|_| no_url("the redirect", redirect_uri))?;
        let client = self.asking()?.set_auth_uri(auth_url).set_redirect_uri(redirect);
        let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
        let mut request = client
            .authorize_url(CsrfToken::new_random)
            .set_pkce_challenge(challenge)
            .add_scopes(self.scopes.iter().cloned().map(Scope::new));
        if let Some(resource) = &self.site.resource {
            request = request.add_extra_param("resource", resource);
        }
        if self.scopes.contains("offline_access") {
            // OpenID Connect Core, 11: without it the scope is ignored.
            request = request.add_extra_param("prompt", "consent");
        }
        let (url, state) = request.url();
        let answer = on_authorize(url.as_str()).map_err(OAuthError::Authorize)?;
        let code = self.code(&answer, redirect_uri, state.secret())?;
        let mut request = client.exchange_code(AuthorizationCode::new(code)).set_pkce_verifier(verifier);
        if let Some(resource) = &self.site.resource {
            request = request.add_extra_param("resource", resource);
        }
        tokens(request.request(&|request| self.http.ask_for_tokens(request)))
    }

    /// A token for the client itself.
    pub(super) fn by_client(&self) -> Result<Tokens, OAuthError> {
        let client = self.asking()?;
        let mut request =
            client.exchange_client_credentials().add_scopes(self.scopes.iter().cloned().map(Scope::new));
        if let Some(resource) = &self.site.resource {
            request = request.add_extra_param("resource", resource);
        }
        tokens(request.request(&|request| self.http.ask_for_tokens(request)))
    }

    /// A token for a refresh token, which stays if no other comes back.
    pub(super) fn by_refresh(&self, refresh: &str) -> Result<Tokens, OAuthError> {
        let client = self.asking()?;
        let token = RefreshToken::new(refresh.to_owned());
        let mut request = client.exchange_refresh_token(&token);
        if let Some(resource) = &self.site.resource {
            request = request.add_extra_param("resource", resource);
        }
        let mut tokens = tokens(request.request(&|request| self.http.ask_for_tokens(request)))?;
        tokens.refresh.get_or_insert_with(|| refresh.to_owned());
        Ok(tokens)
    }

    fn asking(&self) -> Result<Asking, OAuthError> {
        let endpoint = &self.site.server.token_endpoint;
        address("the token endpoint", endpoint)?;
        let token_url =
            TokenUrl::new(endpoint.clone()).map_err(|_| no_url("the token endpoint", endpoint))?;
        let mut client = BasicClient::new(ClientId::new(self.client.id.clone())).set_token_uri(token_url);
        let auth_type = match self.client.method {
            Method::Basic => AuthType::BasicAuth,
            Method::Post | Method::None => AuthType::RequestBody,
        };
        if let (Some(secret), Method::Basic | Method::Post) = (&self.client.secret, self.client.method) {
            client = client.set_client_secret(ClientSecret::new(secret.clone()));
        }
        Ok(client.set_auth_type(auth_type))
    }

    /// The code in the address to which the user was sent back. The address itself is in no error: the code is a secret.
    fn code(&self, answer: &str, redirect_uri: &str, state: &str) -> Result<String, OAuthError> {
        let url = Url::parse(answer)
            .map_err(|_| OAuthError::Missing("the answer to the authorization request is no URL"))?;
        let expected = Url::parse(redirect_uri).map_err(|_| no_url("the redirect", redirect_uri))?;
        if (url.scheme(), url.host_str(), url.path())
            != (expected.scheme(), expected.host_str(), expected.path())
        {
            return Err(OAuthError::Mismatch {
                what: "the address of the answer to the authorization request",
                expected: redirect_uri.to_owned(),
                found: format!("{}{}", url.origin().ascii_serialization(), url.path()),
            });
        }
        let parameters: BTreeMap<Cow<'_, str>, Cow<'_, str>> = url.query_pairs().collect();
        let parameter = |name: &str| parameters.get(name).map(|value| &**value);
        if parameter("state") != Some(state) {
            return Err(OAuthError::Missing(
                "the answer to the authorization request has another state, or none",
            ));
        }
        let server = &self.site.server;
        match parameter("iss") {
            Some(iss) if iss != server.issuer => {
                return Err(OAuthError::Mismatch {
                    what: "the issuer in the answer to the authorization request",
                    expected: server.issuer.clone(),
                    found: iss.to_owned(),
                });
            }
            None if server.authorization_response_iss_parameter_supported == Some(true) => {
                return Err(OAuthError::Missing(
                    "the answer to the authorization request does not name its issuer, as was promised",
                ));
            }
            _ => {}
        }
        if let Some(error) = parameter("error") {
            return Err(OAuthError::Refused {
                what: "the authorization",
                error: error.to_owned(),
                description: parameter("error_description").map(str::to_owned),
            });
        }
        let code = parameter("code").filter(|code| !code.is_empty());
        code.map(str::to_owned)
            .ok_or(OAuthError::Missing("the answer to the authorization request has no code"))
    }
}

fn no_url(what: &'static str, url: &str) -> OAuthError {
    OAuthError::Address { what, url: url.to_owned(), why: "is no URL" }
}

/// Reads the answer of the token endpoint; what it holds beside an error is in none of ours.
fn tokens(
    answer: Result<BasicTokenResponse, RequestTokenError<ureq::Error, BasicErrorResponse>>,
) -> Result<Tokens, OAuthError> {
    const WHAT: &str = "the token";
    let other = |error: &str| OAuthError::Refused { what: WHAT, error: error.to_owned(), description: None };
    let answer = answer.map_err(|error| match error {
        RequestTokenError::ServerResponse(said) => OAuthError::Refused {
            what: WHAT,
            error: said.error().as_ref().to_owned(),
            description: said.error_description().cloned(),
        },
        RequestTokenError::Request(error) => {
            OAuthError::Transport { url: "the token endpoint".to_owned(), why: error.to_string() }
        }
        RequestTokenError::Parse(..) => other("the answer of the token endpoint is no token"),
        RequestTokenError::Other(_) => other("the answer of the token endpoint is none of OAuth"),
    })?;
    match answer.token_type() {
        BasicTokenType::Bearer => {}
        BasicTokenType::Extension(name) if name.eq_ignore_ascii_case("bearer") => {}
        _ => return Err(other("the token is no bearer token")),
    }
    Ok(Tokens {
        access: answer.access_token().secret().clone(),
        refresh: answer.refresh_token().map(|token| token.secret().clone()),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const REDIRECT: &str = "http://127.0.0.1:1/back";

    /// What is made of this answer when `promised` says whether the issuer names itself.
    fn code(promised: bool, answer: &str) -> Result<String, String> {
        let server = serde_json::from_value(json!({
            "issuer": "https://as", "token_endpoint": "https://as/token",
            "authorization_response_iss_parameter_supported": promised,
        }));
        let site = Site { resource: None, scopes: None, server: server.unwrap() };
        let client = Client { id: "me".to_owned(), secret: None, method: Method::None, is_dynamic: false };
        let flow = Flow { http: &Http::new(), site: &site, client: &client, scopes: &Scopes::new() };
        flow.code(answer, REDIRECT, "s").map_err(|error| error.to_string())
    }

    #[test]
    fn an_issuer_is_compared_byte_for_byte_and_missed_if_it_was_promised() {
        let answer = |iss: &str| format!("{REDIRECT}?code=c&state=s{iss}");
        assert_eq!(code(true, &answer("&iss=https://as")).as_deref(), Ok("c"));
        assert_eq!(code(false, &answer("")).as_deref(), Ok("c"));
        for (promised, iss) in [
            (true, ""),
            (true, "&iss=https://as/"),
            (true, "&iss=HTTPS://as"),
            (true, "&iss=https://as:443"),
            (false, "&iss=https://evil"),
            (false, "&iss="),
        ] {
            let refused = code(promised, &answer(iss)).unwrap_err();
            assert!(refused.contains("issuer"), "{iss}: {refused}");
        }
    }

    #[test]
    fn an_answer_that_came_elsewhere_or_to_another_question_is_not_believed() {
        for answer in [
            "",
            "code",
            "http://127.0.0.1:1/other?code=secret&state=s",
            "http://evil/back?code=secret&state=s",
            "http://127.0.0.1:1/back?code=secret",
            "http://127.0.0.1:1/back?code=secret&state=t",
            "http://127.0.0.1:1/back?state=s",
            "http://127.0.0.1:1/back?code=&state=s",
        ] {
            let refused = code(false, answer).unwrap_err();
            assert!(!refused.contains("secret"), "{refused}");
        }
        // The port of the way back is free to choose (RFC 8252, 7.3).
        assert_eq!(code(false, "http://127.0.0.1:99/back?code=c&state=s").as_deref(), Ok("c"));
        let said = code(false, "http://127.0.0.1:1/back?state=s&error=access_denied").unwrap_err();
        assert!(said.contains("access_denied"));
    }
}
