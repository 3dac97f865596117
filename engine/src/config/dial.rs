//! How a server is reached: an [`Endpoint`] with its names resolved and its secrets in place, made once for a client.
//!
//! Owner: shared read-only by the shards of a client. Cost: blocks for the system's resolver, and where TLS is wanted for
//! reading the trusted roots; nothing afterwards.

use std::{
    net::{SocketAddr, ToSocketAddrs},
    path::PathBuf,
};

#[cfg(feature = "tls")]
use super::tls::TlsDial;
#[cfg(feature = "websocket")]
use super::websocket::WebSocketDial;
use super::{
    Config,
    endpoint::{Command, Endpoint, Household},
};
use crate::error::Error;

/// An endpoint ready to be dialled.
#[derive(Clone, Debug)]
pub(crate) enum Dial {
    Net(Net),
    Unix(PathBuf),
    Stdio(Command, Household),
}

/// A TCP stream and what is spoken on it below the messages.
#[derive(Clone, Debug)]
pub(crate) struct Net {
    /// At least one.
    pub(crate) addresses: Vec<SocketAddr>,
    #[cfg(feature = "tls")]
    pub(crate) tls: Option<TlsDial>,
    #[cfg(feature = "websocket")]
    pub(crate) websocket: Option<WebSocketDial>,
}

impl Dial {
    /// Resolves names and builds what TLS needs. Blocks for as long as the system's resolver does.
    pub(crate) fn resolve(
        endpoint: &Endpoint,
        #[cfg_attr(
            not(any(feature = "tls", feature = "websocket")),
            expect(unused_variables, reason = "settings of features")
        )]
        config: &Config,
    ) -> Result<Self, Error> {
        Ok(match endpoint {
            Endpoint::Http(http) => {
                let net = Net::resolve(endpoint, http.host(), http.port())?;
                #[cfg(not(feature = "tls"))]
                if http.is_tls() {
                    return Err(Error::config(format!(
                        "endpoint {endpoint}: TLS is not built in (feature `tls`)"
                    )));
                }
                #[cfg(feature = "tls")]
                let net = Net {
                    tls: http
                        .is_tls()
                        .then(|| config.values.tls.dial(http.host(), http.alpn(config.values.http.version)))
                        .transpose()?,
                    ..net
                };
                Self::Net(net)
            }
            Endpoint::Tcp { host, port } => Self::Net(Net::resolve(endpoint, host, *port)?),
            #[cfg(feature = "tls")]
            Endpoint::Tls { host, port } => {
                let tls = config.values.tls.dial(host, &[])?;
                Self::Net(Net { tls: Some(tls), ..Net::resolve(endpoint, host, *port)? })
            }
            #[cfg(feature = "websocket")]
            Endpoint::WebSocket { secure, host, port, path } => {
                let net = Net::resolve(endpoint, host, *port)?;
                let mut headers = config.values.headers.clone();
                let own = headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("authorization"));
                let authorization = config.values.http.authorization().filter(|_| !own);
                headers.extend(authorization.map(|value| ("Authorization".to_owned(), value.into())));
                let websocket = Some(WebSocketDial::new(*secure, host, *port, path, &headers)?);
                #[cfg(feature = "tls")]
                let tls = secure.then(|| config.values.tls.dial(host, &[b"http/1.1"])).transpose()?;
                Self::Net(Net {
                    websocket,
                    #[cfg(feature = "tls")]
                    tls,
                    ..net
                })
            }
            Endpoint::Unix(path) => Self::Unix(path.clone()),
            Endpoint::Stdio(command) => Self::Stdio(command.clone(), Household::new()),
        })
    }

    /// Whose children the connections are, if they are child processes.
    pub(crate) fn household(&self) -> Option<Household> {
        match self {
            Self::Stdio(_, household) => Some(*household),
            Self::Net(_) | Self::Unix(_) => None,
        }
    }
}

impl Net {
    /// Plain TCP to all addresses of the host.
    fn resolve(endpoint: &Endpoint, host: &str, port: u16) -> Result<Self, Error> {
        let found = (host, port).to_socket_addrs().map_err(|error| {
            Error::config(format!("endpoint {endpoint}: the name {host:?} cannot be resolved: {error}"))
                .because(error)
        })?;
        let addresses: Vec<SocketAddr> = found.collect();
        if addresses.is_empty() {
            return Err(Error::config(format!("endpoint {endpoint}: the name {host:?} has no address")));
        }
        Ok(Self {
            addresses,
            #[cfg(feature = "tls")]
            tls: None,
            #[cfg(feature = "websocket")]
            websocket: None,
        })
    }
}
