//! The fast target as a process: `fast-target [--tcp ADDR | --unix PATH | --http ADDR]`, stdio when neither is given.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Parser;
use volley_bench::{http_target, target};

/// An MCP server with one tool, `echo`, that splices its answers and does nothing else.
#[derive(Debug, Parser)]
struct Cli {
    /// Listen on this TCP address; port 0 picks a free one
    #[arg(long, value_name = "ADDR", conflicts_with = "unix")]
    tcp: Option<SocketAddr>,
    /// Listen on this Unix socket
    #[arg(long, value_name = "PATH")]
    unix: Option<PathBuf>,
    /// Serve Streamable HTTP on this TCP address; port 0 picks a free one
    #[arg(long, value_name = "ADDR", conflicts_with_all = ["tcp", "unix"])]
    http: Option<SocketAddr>,
    /// Bytes asked of one read
    #[arg(long, value_name = "BYTES", default_value_t = target::SLICE_BYTES)]
    slice: usize,
}

fn main() -> std::io::Result<()> {
    let cli = Cli::parse();
    match (cli.tcp, cli.unix, cli.http) {
        (Some(addr), ..) => target::serve_tcp(addr, cli.slice),
        (_, Some(path), _) => target::serve_unix(&path, cli.slice),
        (.., Some(addr)) => http_target::serve(addr, cli.slice),
        (None, None, None) => target::serve_stdio(cli.slice),
    }
}
