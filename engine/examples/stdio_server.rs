//! Starts a server as a child process, asks it who it is and what it can do, and ends it with all it has started.
//!
//! `cargo run -p mcp-volley --example stdio_server -- target/release/loadgen serve --stdio`

use volley::{Client, Command, Config};

#[tokio::main]
async fn main() -> Result<(), volley::Error> {
    let mut words = std::env::args().skip(1);
    let Some(program) = words.next() else {
        eprintln!("usage: stdio_server COMMAND [ARGS]");
        return Ok(());
    };
    // What the server says on stderr is drained in any case; here it is shown.
    let config =
        Config::builder().on_stderr(|bytes| eprint!("{}", String::from_utf8_lossy(bytes))).build()?;
    let client = Client::connect(Command::new(program).args(words), config).await?;
    if let Some(info) = client.server_info() {
        println!(
            "{} {}, revision {:?}",
            info.name().unwrap_or("?"),
            info.version().unwrap_or("?"),
            info.revision()
        );
    }
    for tool in client.list_tools().await? {
        println!("  {}: {}", tool.name, tool.description.unwrap_or_default());
    }
    client.close().await;
    Ok(())
}
