//! OAuth 2.1 as MCP profiles it: tokens by the user's consent, or for the client itself.
//!
//! ```text
//! refusal -> metadata (where) -> registration (as whom) -> scope (for what) -> flow (consent, token)
//! ```
//!
//! Everything runs on the credentials' thread, blocking, when a server has refused; nothing before that. What an issuer gave,
//! client credentials and refresh tokens, is kept in memory under that issuer and shown to no other.
//!
//! Proof: the tests of the parts; the scenarios `auth/*` of the official suite by `just official`.
//! Follows: MCP basic/authorization in all revisions since 2025-03-26.

mod error;
mod flow;
mod http;
mod metadata;
mod registration;
mod scope;

use std::{collections::BTreeMap, fmt};

use parking_lot::Mutex;

use crate::config::credentials::{Challenge, Credentials, CredentialsError};

use error::OAuthError;
use flow::{Flow, Tokens};
use http::Http;
use registration::{Client, Identity, Registered};
use scope::Scopes;

/// Brings tokens by OAuth 2.1; for [`ConfigBuilder::credentials`](crate::ConfigBuilder::credentials).
///
/// ```no_run
/// use volley::{Config, OAuth};
///
/// # fn show_in_browser(url: &str) {}
/// # fn wait_for_request_on_port_8765() -> String { String::new() }
/// let oauth = OAuth::authorization_code("http://127.0.0.1:8765/callback", |url| {
///     show_in_browser(url);
///     Ok(wait_for_request_on_port_8765())
/// });
/// let config = Config::builder().credentials(oauth.client_name("my program")).build()?;
/// # Ok::<(), volley::Error>(())
/// ```
pub struct OAuth {
    identity: Identity,
    grant: Grant,
    wants_refresh: bool,
    http: Http,
    known: Mutex<Known>,
}

type OnAuthorize = Box<dyn Fn(&str) -> Result<String, CredentialsError> + Send + Sync>;

enum Grant {
    Code(OnAuthorize),
    Client,
}

/// What issuers gave.
#[derive(Default)]
struct Known {
    by_issuer: BTreeMap<String, Given>,
}

struct Given {
    client: Client,
    /// Scopes asked for so far, and the refresh token.
    scopes: Scopes,
    refresh: Option<String>,
    /// A token was had.
    served: bool,
}

/// Issuers remembered; servers have one, and change it rarely.
const ISSUERS_MAX: usize = 64;

impl OAuth {
    /// With the consent of a user. `on_authorize` gets the address to which the user's browser goes, and returns the whole address
    /// to which the authorization server sent it back, which begins with `redirect_uri`.
    pub fn authorization_code(
        redirect_uri: impl Into<String>,
        on_authorize: impl Fn(&str) -> Result<String, CredentialsError> + Send + Sync + 'static,
    ) -> Self {
        let identity = Identity { redirect_uri: redirect_uri.into(), ..Identity::default() };
        Self::new(identity, Grant::Code(Box::new(on_authorize)))
    }

    /// Without a user, by the client's own credentials.
    pub fn client_credentials(id: impl Into<String>, secret: impl Into<String>) -> Self {
        Self::new(Identity::default(), Grant::Client).registered(id, Some(secret.into()))
    }

    fn new(identity: Identity, grant: Grant) -> Self {
        Self { identity, grant, wants_refresh: true, http: Http::new(), known: Mutex::default() }
    }

    /// The name that a user sees when asked for consent. Default `volley`.
    #[must_use]
    pub fn client_name(mut self, name: impl Into<String>) -> Self {
        self.identity.name = Some(name.into());
        self
    }

    /// Credentials that were agreed on with the authorization server; see [`Self::issuer`].
    #[must_use]
    pub fn registered(mut self, id: impl Into<String>, secret: Option<String>) -> Self {
        let issuer = self.identity.registered.take().and_then(|registered| registered.issuer);
        self.identity.registered = Some(Registered { id: id.into(), secret, issuer });
        self
    }

    /// Whose the credentials of [`Self::registered`] are; no other issuer is shown them. Default: the first that the server
    /// names.
    #[must_use]
    pub fn issuer(mut self, issuer: impl Into<String>) -> Self {
        if let Some(registered) = &mut self.identity.registered {
            registered.issuer = Some(issuer.into());
        }
        self
    }

    /// The `https` address of the client's metadata document, which is its id at authorization servers that read such.
    #[must_use]
    pub fn metadata_document(mut self, url: impl Into<String>) -> Self {
        self.identity.document = Some(url.into());
        self
    }

    /// Asks for no refresh token: when the token expires, the user is asked again.
    #[must_use]
    pub fn without_refresh(mut self) -> Self {
        self.wants_refresh = false;
        self
    }

    fn bring(&self, challenge: &Challenge) -> Result<String, OAuthError> {
        // Held on purpose: of several clients that share these credentials one asks at a time.
        let mut known = self.known.lock();
        let registered_for =
            self.identity.registered.as_ref().and_then(|registered| registered.issuer.as_deref());
        let site = metadata::discover(&self.http, challenge, |issuer| {
            known.by_issuer.contains_key(issuer) || registered_for == Some(issuer)
        })?;
        let given = known.of(&self.identity, &self.http, &site.server)?;
        let scopes = scope::select(scope::Known {
            challenged: challenge.scope(),
            resource: site.scopes.as_deref(),
            server: site.server.scopes_supported.as_deref(),
            before: Some(&given.scopes),
            wants_refresh: self.wants_refresh && matches!(self.grant, Grant::Code(_)),
        });
        if challenge.is_about_scope() && given.served && scopes == given.scopes {
            return Err(OAuthError::NothingMore { scope: challenge.scope().unwrap_or_default().to_owned() });
        }
        let flow = Flow { http: &self.http, site: &site, client: &given.client, scopes: &scopes };
        // A refresh never widens what was granted.
        let refresh = given.refresh.as_deref().filter(|_| !challenge.is_about_scope());
        let refreshed = match refresh.map(|refresh| flow.by_refresh(refresh)) {
            Some(Ok(tokens)) => Some(tokens),
            // It was not refused: it did not get there, or the server was not well.
            Some(Err(error @ OAuthError::Transport { .. })) => return Err(error),
            Some(Err(_)) | None => None,
        };
        let brought = match (refreshed, &self.grant) {
            (Some(tokens), _) => Ok(tokens),
            (None, Grant::Code(on_authorize)) => flow.by_code(&self.identity.redirect_uri, on_authorize),
            (None, Grant::Client) => flow.by_client(),
        };
        match brought {
            Ok(Tokens { access, refresh }) => {
                (given.scopes, given.served) = (scopes, true);
                given.refresh = refresh.filter(|_| self.wants_refresh);
                Ok(access)
            }
            Err(error) => {
                if !challenge.is_about_scope() {
                    given.refresh = None;
                }
                if given.client.is_dynamic
                    && matches!(&error, OAuthError::Refused { error, .. } if error == "invalid_client")
                {
                    // It has forgotten the client; the next time it gets to know it anew.
                    known.by_issuer.remove(&site.server.issuer);
                }
                Err(error)
            }
        }
    }
}

impl Known {
    /// What this issuer gave; the client is made known to it first, if need be.
    fn of(
        &mut self,
        identity: &Identity,
        http: &Http,
        server: &metadata::Server,
    ) -> Result<&mut Given, OAuthError> {
        if !self.by_issuer.contains_key(&server.issuer) {
            let mut identity = identity.clone();
            if !self.by_issuer.is_empty()
                && identity.registered.as_ref().is_some_and(|one| one.issuer.is_none())
            {
                // They were taken for the first issuer's, and are not another's.
                identity.registered = None;
            }
            let client = identity.client(http, server)?;
            if self.by_issuer.len() >= ISSUERS_MAX {
                self.by_issuer.pop_first();
            }
            let given = Given { client, scopes: Scopes::new(), refresh: None, served: false };
            self.by_issuer.insert(server.issuer.clone(), given);
        }
        self.by_issuer
            .get_mut(&server.issuer)
            .ok_or(OAuthError::Missing("the authorization server was forgotten meanwhile"))
    }
}

impl Credentials for OAuth {
    fn token(&self, challenge: &Challenge) -> Result<String, CredentialsError> {
        self.bring(challenge).map_err(Into::into)
    }
}

impl fmt::Debug for OAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let grant = match self.grant {
            Grant::Code(_) => "authorization_code",
            Grant::Client => "client_credentials",
        };
        // Who it is and whom it knows are secrets, or next to them.
        f.debug_struct("OAuth").field("grant", &grant).finish_non_exhaustive()
    }
}
