//! nginx in between: TLS towards the engine, HTTP/1.1 with kept connections towards a real server.
//!
//! A hundred thousand calls, each answered with its own text. nginx speaks HTTP/2 to whoever offers it, so each version
//! is told. Needs nginx (`just nginx` installs Debian's) and says so where there is none.

use std::{
    env, fs,
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Instant,
};

use volley::{Client, Config, HttpVersion, Revision, TlsConfig};
use volley_tests::{patience::until_blocking, processes::Mark, tls_front::Authority};

use crate::{
    servers::RMCP,
    volleys::{has_echo, must_not_fail, volley},
};

/// What is offered to nginx, by name.
const VERSIONS: [(&str, HttpVersion); 2] = [("http/1.1", HttpVersion::Http1), ("http/2", HttpVersion::Http2)];

/// A running nginx with a folder of its own. Dropping it ends it.
struct Nginx {
    child: Child,
    folder: PathBuf,
    port: u16,
}

impl Nginx {
    /// In front of a server on this port, with this certificate and key. `None` if there is no nginx.
    fn start(behind: u16, chain: &str, key: &str) -> Option<Self> {
        let program = program()?;
        let folder = env::temp_dir().join(format!("volley-nginx-{}", Mark::new().as_str()));
        fs::create_dir_all(&folder).expect("a folder");
        let port = free_port();
        for (name, text) in
            [("chain.pem", chain), ("key.pem", key), ("nginx.conf", &configuration(&folder, port, behind))]
        {
            fs::write(folder.join(name), text).expect("a file");
        }
        let child = Command::new(program)
            .arg("-p")
            .arg(&folder)
            .args(["-e", "error.log", "-c", "nginx.conf"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("nginx can be started");
        let nginx = Self { child, folder, port };
        until_blocking("nginx listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        Some(nginx)
    }

    /// What it has complained about.
    fn complaints(&self) -> String {
        fs::read_to_string(self.folder.join("error.log")).unwrap_or_default()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // In the foreground and without worker processes, it is this one process. Both fail only if it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// One process in the foreground, all files in the folder; buffering off, so that events pass as they come.
fn configuration(folder: &Path, port: u16, behind: u16) -> String {
    let folder = folder.display();
    format!(
        "daemon off;
master_process off;
pid nginx.pid;
error_log error.log warn;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    keepalive_requests 1000;
    upstream behind {{
        server 127.0.0.1:{behind};
        keepalive 128;
    }}
    server {{
        listen 127.0.0.1:{port} ssl http2;
        ssl_certificate {folder}/chain.pem;
        ssl_certificate_key {folder}/key.pem;
        ssl_protocols TLSv1.2 TLSv1.3;
        location / {{
            proxy_pass http://behind;
            proxy_http_version 1.1;
            proxy_set_header Connection \"\";
            proxy_set_header Host 127.0.0.1:{behind};
            proxy_buffering off;
            proxy_read_timeout 60s;
        }}
    }}
}}
"
    )
}

/// The program, where `PATH` or Debian has it.
fn program() -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    folders.map(|folder| folder.join("nginx")).find(|program| program.is_file())
}

/// From below the range out of which the system draws ports.
fn free_port() -> u16 {
    loop {
        let port = fastrand::u16(10_000..30_000);
        if TcpStream::connect(("127.0.0.1", port)).is_err() {
            return port;
        }
    }
}

#[test]
#[ignore = "needs nginx; `just nginx` runs it"]
fn nginx_in_between_loses_no_call() {
    let server = RMCP.listen("http-json");
    let authority = Authority::new();
    let identity = authority.sign(&["localhost", "127.0.0.1"], |_| ());
    let Some(nginx) = Nginx::start(server.port(), &identity.chain, &identity.key) else {
        println!("skipped: there is no nginx on this machine (on Debian: apt-get install nginx)");
        return;
    };
    let url = format!("https://localhost:{}/mcp", nginx.port);
    for (name, version) in VERSIONS {
        for revision in [Revision::V2025_11_25, Revision::V2026_07_28] {
            let tls = TlsConfig::new().ca_pem(authority.pem()).only_these_roots();
            let config =
                Config::builder().in_flight(IN_FLIGHT).tls(tls).revision(revision).http_version(version);
            pollster::block_on(async {
                let started = Instant::now();
                let client = Client::connect(url.as_str(), config.build().expect("valid"))
                    .await
                    .unwrap_or_else(|error| panic!("{url}: {error}; nginx: {}", nginx.complaints()));
                let connected = started.elapsed();
                has_echo(&client).await;
                let took = volley(&client, &RMCP, CALLS, must_not_fail, |_| ()).await;
                client.close().await;
                let stats = client.stats();
                println!(
                    "nginx {name} {revision}: ready after {:.2} s, {CALLS} calls in {:.2} s = {:.0} calls/s over {} sockets",
                    connected.as_secs_f64(),
                    took.as_secs_f64(),
                    CALLS as f64 / took.as_secs_f64(),
                    stats.http_sockets,
                );
                assert_eq!(
                    (stats.submitted, stats.answered, stats.live),
                    (CALLS + 1, CALLS + 1, 0),
                    "{stats:?}"
                );
                assert_eq!((stats.late, stats.unknown, stats.malformed), (0, 0, 0), "{stats:?}");
                // After a thousand requests nginx closes a connection, in the middle of everything.
                assert!(stats.http_sockets >= CALLS / KEEPALIVE_REQUESTS, "{stats:?}");
            });
        }
    }
    assert!(!nginx.complaints().contains("[error]"), "{}", nginx.complaints());
}

const CALLS: u64 = 100_000;
const IN_FLIGHT: u32 = 64;
/// What the configuration says; nginx's own default as well.
const KEEPALIVE_REQUESTS: u64 = 1_000;
