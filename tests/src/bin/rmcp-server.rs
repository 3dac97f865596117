//! A real server of the official Rust SDK, to test against: `rmcp-server stdio | tcp ADDR | unix PATH | http PORT |
//! http-json PORT`.
//!
//! Both eras are the SDK's own work; nothing here knows a revision. Tools: `echo {message}` gives
//! the message back, `sleepy {ms}` answers after so many milliseconds, `count {message}` is an echo that counts, and
//! `executions` says how many messages it has counted and how many of them more than once. Unless it is spoken to over
//! stdio, one line on stdout says where it listens (`listening tcp://127.0.0.1:PORT`, `listening
//! unix:PATH`, `listening http://127.0.0.1:PORT/mcp`; port 0 is a free one), and it serves until it
//! is killed; over stdio it ends with its input. Each connection is one task. `http` has sessions
//! and answers with events, `http-json` has none and answers with JSON.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::serve::ListenerExt;
use rmcp::handler::server::wrapper::Parameters;
use rmcp::model::{Implementation, ServerCapabilities, ServerConfig};
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{ServerHandler, ServiceExt, tool, tool_handler, tool_router};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["stdio"] => {
            Target.serve(rmcp::transport::io::stdio_pipes()).await?.waiting().await?;
            Ok(())
        }
        ["tcp", addr] => tcp(addr).await,
        ["unix", path] => unix(path).await,
        ["http", port] => http(port, false).await,
        ["http-json", port] => http(port, true).await,
        _ => Err("usage: rmcp-server stdio | tcp ADDR | unix PATH | http PORT | http-json PORT".into()),
    }
}

async fn tcp(addr: &str) -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind(addr).await?;
    announce(&format!("tcp://{}", listener.local_addr()?))?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(converse(stream));
    }
}

async fn unix(path: &str) -> Result<(), Box<dyn Error>> {
    // A socket file left by a killed run would make the bind fail.
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    announce(&format!("unix:{path}"))?;
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(converse(stream));
    }
}

async fn http(port: &str, json: bool) -> Result<(), Box<dyn Error>> {
    let config =
        StreamableHttpServerConfig::default().with_json_response(json).with_legacy_session_mode(!json);
    let service = StreamableHttpService::new(|| Ok(Target), Arc::<LocalSessionManager>::default(), config);
    let listener = TcpListener::bind(("127.0.0.1", port.parse()?)).await?;
    announce(&format!("http://{}/mcp", listener.local_addr()?))?;
    let listener = listener.tap_io(|stream| {
        // A socket that is gone already will say so when it is read.
        let _ = stream.set_nodelay(true);
    });
    Ok(axum::serve(listener, axum::Router::new().nest_service("/mcp", service)).await?)
}

/// Serves one connection to its end. How it ended is the client's story; ours goes to stderr.
async fn converse(stream: impl AsyncRead + AsyncWrite + Send + 'static) {
    match Target.serve(stream).await {
        Ok(running) => {
            if let Err(error) = running.waiting().await {
                eprintln!("connection task failed: {error}");
            }
        }
        Err(error) => eprintln!("connection did not start: {error}"),
    }
}

/// Says where we listen; whoever started us waits for this line.
fn announce(endpoint: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "listening {endpoint}")?;
    out.flush()
}

/// How often `count` was executed with each message.
static COUNTS: Mutex<BTreeMap<String, u64>> = Mutex::new(BTreeMap::new());

/// The server: four tools, and no state but the counts.
#[derive(Clone)]
struct Target;

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct Echo {
    message: String,
}

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct Sleepy {
    ms: u64,
}

#[tool_router]
impl Target {
    #[tool(description = "Gives the message back")]
    async fn echo(&self, Parameters(Echo { message }): Parameters<Echo>) -> String {
        message
    }

    #[tool(description = "Answers after so many milliseconds")]
    async fn sleepy(&self, Parameters(Sleepy { ms }): Parameters<Sleepy>) -> String {
        tokio::time::sleep(Duration::from_millis(ms)).await;
        ms.to_string()
    }

    #[tool(description = "Gives the message back and counts it")]
    async fn count(&self, Parameters(Echo { message }): Parameters<Echo>) -> String {
        *COUNTS.lock().unwrap_or_else(PoisonError::into_inner).entry(message.clone()).or_default() += 1;
        message
    }

    #[tool(description = "How many messages were counted, and how many of them more than once")]
    async fn executions(&self) -> String {
        let counts = COUNTS.lock().unwrap_or_else(PoisonError::into_inner);
        format!("{} {}", counts.len(), counts.values().filter(|times| **times > 1).count())
    }
}

#[tool_handler]
impl ServerHandler for Target {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(Implementation::new("volley-rmcp", env!("CARGO_PKG_VERSION")))
    }
}
