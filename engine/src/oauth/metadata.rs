//! Finding the authorization server: what the resource says of itself, and what the authorization server says of itself.
//!
//! ```text
//! WWW-Authenticate resource_metadata=URL ----\
//! /.well-known/oauth-protected-resource/path --+--> resource, its issuer --> metadata of the issuer, three places
//! /.well-known/oauth-protected-resource ------/
//! none of them: a server of 2025-03-26, which is its own issuer; without metadata, /authorize, /token and /register
//! ```
//!
//! Always: the resource is the server that was asked or contains it, and metadata names the very issuer whose it was asked to
//! be, byte for byte. Follows: RFC 9728, 3.1 and 3.3; RFC 8414, 3.1 and 3.3; MCP 2025-03-26, basic/authorization, 2.3.

use serde::Deserialize;
use url::Url;

use super::{
    error::OAuthError,
    http::{Http, address},
};
use crate::config::credentials::Challenge;

/// Where tokens for a server come from.
#[derive(Clone, Debug)]
pub(super) struct Site {
    /// The resource as it calls itself; `None` for a server that does not.
    pub(super) resource: Option<String>,
    pub(super) scopes: Option<Vec<String>>,
    pub(super) server: Server,
}

/// An authorization server's metadata, as far as it is used (RFC 8414, RFC 9207, OpenID Connect Discovery).
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Server {
    pub(super) issuer: String,
    pub(super) authorization_endpoint: Option<String>,
    pub(super) token_endpoint: String,
    pub(super) registration_endpoint: Option<String>,
    pub(super) scopes_supported: Option<Vec<String>>,
    pub(super) token_endpoint_auth_methods_supported: Option<Vec<String>>,
    code_challenge_methods_supported: Option<Vec<String>>,
    pub(super) client_id_metadata_document_supported: Option<bool>,
    pub(super) authorization_response_iss_parameter_supported: Option<bool>,
    /// Made up here, for a server without metadata.
    #[serde(skip)]
    is_default: bool,
}

#[derive(Deserialize)]
struct Resource {
    resource: String,
    #[serde(default)]
    authorization_servers: Vec<String>,
    scopes_supported: Option<Vec<String>>,
}

impl Server {
    /// Does it know PKCE with S256? Without it the flow is not begun.
    pub(super) fn knows_pkce(&self) -> bool {
        let methods = self.code_challenge_methods_supported.as_ref();
        self.is_default || methods.is_some_and(|methods| methods.iter().any(|method| method == "S256"))
    }

    /// The endpoints of a server of 2025-03-26 that has no metadata.
    fn by_default(origin: &str) -> Self {
        let endpoint = |name: &str| format!("{origin}/{name}");
        Self {
            issuer: origin.to_owned(),
            authorization_endpoint: Some(endpoint("authorize")),
            token_endpoint: endpoint("token"),
            registration_endpoint: Some(endpoint("register")),
            scopes_supported: None,
            token_endpoint_auth_methods_supported: None,
            code_challenge_methods_supported: None,
            client_id_metadata_document_supported: None,
            authorization_response_iss_parameter_supported: None,
            is_default: true,
        }
    }
}

/// Finds out where a token that answers `challenge` comes from. Of several issuers the first that is `preferred` is taken, or
/// else the first.
pub(super) fn discover(
    http: &Http,
    challenge: &Challenge,
    preferred: impl Fn(&str) -> bool,
) -> Result<Site, OAuthError> {
    let server = Url::parse(challenge.server()).map_err(|_| OAuthError::Address {
        what: "the server",
        url: challenge.server().to_owned(),
        why: "is no URL",
    })?;
    let found = resource(http, challenge, &server)?;
    let issuer = found.as_ref().and_then(|found| {
        let issuers = &found.authorization_servers;
        issuers.iter().find(|issuer| preferred(issuer)).or(issuers.first())
    });
    let server = match issuer {
        Some(issuer) => metadata(http, issuer)?.ok_or(OAuthError::Missing(
            "the authorization server has no metadata at any of its well-known addresses",
        ))?,
        None => {
            let origin = server.origin().ascii_serialization();
            metadata(http, &origin)?.unwrap_or_else(|| Server::by_default(&origin))
        }
    };
    let (resource, scopes) =
        found.map_or((None, None), |found| (Some(found.resource), found.scopes_supported));
    Ok(Site { resource, scopes, server })
}

/// What the server says of itself as a protected resource.
fn resource(http: &Http, challenge: &Challenge, server: &Url) -> Result<Option<Resource>, OAuthError> {
    const WHAT: &str = "the metadata of the resource";
    let found: Resource = if let Some(named) = challenge.resource_metadata() {
        let same_origin = Url::parse(named).is_ok_and(|url| url.origin() == server.origin());
        if !same_origin {
            address(WHAT, named)?;
        }
        http.document(WHAT, named)?.ok_or_else(|| OAuthError::Answer {
            what: WHAT,
            url: named.to_owned(),
            why: "there is no JSON document".to_owned(),
        })?
    } else {
        let mut found = None;
        for place in well_known(server, "oauth-protected-resource") {
            found = http.document(WHAT, &place)?;
            if found.is_some() {
                break;
            }
        }
        match found {
            Some(found) => found,
            None => return Ok(None),
        }
    };
    if !contains(&found.resource, server) {
        return Err(OAuthError::Mismatch {
            what: "the resource of the metadata",
            expected: server.to_string(),
            found: found.resource,
        });
    }
    Ok(Some(found))
}

/// Is `server` the resource, or a part of it: same origin, and the resource's path is where its own begins?
fn contains(resource: &str, server: &Url) -> bool {
    let Ok(resource) = Url::parse(resource) else { return false };
    let path = resource.path().trim_end_matches('/');
    resource.origin() == server.origin()
        && resource.fragment().is_none()
        && server.path().strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The metadata of an issuer, at the first of its places that has any.
fn metadata(http: &Http, issuer: &str) -> Result<Option<Server>, OAuthError> {
    const WHAT: &str = "the metadata of the authorization server";
    for place in metadata_places(&address("the authorization server", issuer)?) {
        let Some(found) = http.document::<Server>(WHAT, &place)? else { continue };
        // Whoever answers for another issuer could be passing that one's codes and tokens on to himself.
        if found.issuer != issuer {
            return Err(OAuthError::Mismatch {
                what: "the issuer in the metadata",
                expected: issuer.to_owned(),
                found: found.issuer,
            });
        }
        return Ok(Some(found));
    }
    Ok(None)
}

/// The well-known addresses of an issuer's metadata, in the order in which they are tried.
fn metadata_places(issuer: &Url) -> Vec<String> {
    let path = issuer.path().trim_end_matches('/');
    let origin = issuer.origin().ascii_serialization();
    let mut places = vec![
        format!("{origin}/.well-known/oauth-authorization-server{path}"),
        format!("{origin}/.well-known/openid-configuration{path}"),
    ];
    if !path.is_empty() {
        places.push(format!("{origin}{path}/.well-known/openid-configuration"));
    }
    places
}

/// The well-known addresses for a URL: with its path behind, then without.
fn well_known(url: &Url, name: &str) -> Vec<String> {
    let path = url.path().trim_end_matches('/');
    let origin = url.origin().ascii_serialization();
    let mut places = vec![format!("{origin}/.well-known/{name}{path}")];
    if !path.is_empty() {
        places.push(format!("{origin}/.well-known/{name}"));
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn a_resource_is_its_server_or_contains_it() {
        let server = url("http://h:1/a/mcp?x=1");
        for resource in ["http://h:1/a/mcp", "http://h:1/a", "http://h:1/a/", "http://h:1", "http://h:1/"] {
            assert!(contains(resource, &server), "{resource}");
        }
        for other in ["http://h:1/a/mc", "http://h/a/mcp", "https://h:1/a/mcp", "http://e/a/mcp", "x", ""] {
            assert!(!contains(other, &server), "{other}");
        }
    }

    #[test]
    fn the_places_are_those_of_the_standards_in_their_order() {
        assert_eq!(
            metadata_places(&url("https://as/t/1/")),
            [
                "https://as/.well-known/oauth-authorization-server/t/1",
                "https://as/.well-known/openid-configuration/t/1",
                "https://as/t/1/.well-known/openid-configuration",
            ]
        );
        assert_eq!(metadata_places(&url("https://as")).len(), 2);
        assert_eq!(
            well_known(&url("http://h:1/mcp"), "oauth-protected-resource"),
            [
                "http://h:1/.well-known/oauth-protected-resource/mcp",
                "http://h:1/.well-known/oauth-protected-resource",
            ]
        );
    }
}
