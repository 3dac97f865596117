//! The fast target as a process: `fast-target [--tcp ADDR | --unix PATH | --http ADDR]`, stdio when neither is given.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Parser;
use rustix::process::{Signal, set_parent_process_death_signal};
use volley_bench::{link, loop_target, target};

/// An MCP server that splices its answers and does nothing else. Its tools: `echo` gives its message back, `blob` a
/// text of so many bytes
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
    /// Serve all connections in one thread, as over HTTP; without it each has a thread of its own
    #[arg(long)]
    in_loop: bool,
    /// End when the process that started this one ends
    #[arg(long)]
    with_parent: bool,
    /// Bytes asked of one read
    #[arg(long, value_name = "BYTES", default_value_t = target::SLICE_BYTES)]
    slice: usize,
}

fn main() -> std::io::Result<()> {
    let cli = Cli::parse();
    if cli.with_parent {
        set_parent_process_death_signal(Some(Signal::KILL))?;
    }
    link::raise_descriptor_limit();
    match (cli.tcp, cli.unix, cli.http) {
        (Some(addr), ..) if cli.in_loop => loop_target::serve_tcp(addr, cli.slice),
        (Some(addr), ..) => target::serve_tcp(addr, cli.slice),
        (_, Some(path), _) if cli.in_loop => loop_target::serve_unix(&path, cli.slice),
        (_, Some(path), _) => target::serve_unix(&path, cli.slice),
        (.., Some(addr)) => loop_target::serve(addr, cli.slice),
        (None, None, None) => target::serve_stdio(cli.slice),
    }
}
