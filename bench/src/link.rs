//! A started target, the way to it, and how to speak over it without getting stuck.
//!
//! [`Target`] is a fresh process of the fast target; it dies with its owner. [`Link`] is one
//! connection to it as two descriptors, the same two for a socket. Writing never blocks (see
//! [`Link::write`]); reading does, or does not, as the caller chose. Both ends of a stdio link are
//! pipes of `PIPE_BYTES`; sockets keep the sizes the system gives them. Proof: every run of `perf`.

use std::fmt;
use std::io::{self, BufRead, BufReader, Error, ErrorKind};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::str::FromStr;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::event::{PollFd, PollFlags, epoll, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;
use rustix::net::{SendFlags, send};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What carries the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// A TCP connection over loopback, without Nagle.
    Tcp,
    /// Pipes to a child process.
    Stdio,
    /// A Unix stream socket.
    Unix,
    /// POSTs over TCP, one exchange at a time on each connection.
    Http,
}

impl Transport {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Stdio, Self::Unix, Self::Tcp, Self::Http];
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Tcp => "tcp",
            Self::Stdio => "stdio",
            Self::Unix => "unix",
            Self::Http => "http",
        })
    }
}

impl FromStr for Transport {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        match word {
            "tcp" => Ok(Self::Tcp),
            "stdio" => Ok(Self::Stdio),
            "unix" => Ok(Self::Unix),
            "http" => Ok(Self::Http),
            _ => Err(format!("no transport {word:?}; there are stdio, unix, tcp and http")),
        }
    }
}

/// The fast target, running as a process of its own.
#[derive(Debug)]
pub struct Target {
    child: Child,
    place: Place,
}

#[derive(Debug)]
enum Place {
    Tcp(String),
    Unix(PathBuf),
    Http(String),
    Stdio,
}

impl Target {
    /// Starts a fresh target for so many connections, and waits until it can be reached.
    ///
    /// A few connections are served fastest by a thread each, many by one thread in a loop, as all are over HTTP.
    ///
    /// # Errors
    ///
    /// When the `fast-target` binary does not stand beside the running one, or does not start.
    pub fn start(transport: Transport, connections: usize) -> io::Result<Self> {
        let mut command = Command::new(Self::program()?);
        command.arg("--with-parent").stdin(Stdio::null()).stdout(Stdio::piped());
        if connections > THREADS_MAX && transport != Transport::Stdio {
            command.arg("--in-loop");
        }
        match transport {
            Transport::Tcp => command.args(["--tcp", "127.0.0.1:0"]),
            Transport::Unix => command.arg("--unix").arg(socket_path()),
            Transport::Http => command.args(["--http", "127.0.0.1:0"]),
            Transport::Stdio => {
                let child = command.stdin(Stdio::piped()).spawn()?;
                return Ok(Self { child, place: Place::Stdio });
            }
        };
        Self::listening(command)
    }

    /// Waits for the line that says where.
    fn listening(mut command: Command) -> io::Result<Self> {
        // Owned from here on, so that a target which starts badly is reaped too.
        let mut target = Self { child: command.spawn()?, place: Place::Stdio };
        let mut line = String::new();
        BufReader::new(target.child.stdout.take().ok_or_else(taken)?).read_line(&mut line)?;
        target.place = match line.trim_end().strip_prefix("listening ") {
            Some(place) if place.starts_with("tcp://") => Place::Tcp(place["tcp://".len()..].into()),
            Some(place) if place.starts_with("unix:") => Place::Unix(place["unix:".len()..].into()),
            Some(place) if place.starts_with("http://") => Place::Http(place.into()),
            _ => return Err(Error::other(format!("the target said {line:?}, not where it listens"))),
        };
        Ok(target)
    }

    /// Where the target's binary stands: beside the running one, or one folder up for tests and benches.
    ///
    /// # Errors
    ///
    /// When it has not been built.
    pub fn program() -> io::Result<PathBuf> {
        let here = std::env::current_exe()?;
        let beside = here.ancestors().skip(1).take(2).map(|folder| folder.join("fast-target"));
        beside.into_iter().find(|path| path.is_file()).ok_or_else(|| {
            Error::new(
                ErrorKind::NotFound,
                "no fast-target beside this binary: build the package's --bins first",
            )
        })
    }

    /// `tcp://ADDR`, `unix:PATH` or `http://ADDR/mcp`; `None` over stdio, where the target is reached by being started.
    pub fn endpoint(&self) -> Option<String> {
        match &self.place {
            Place::Tcp(addr) => Some(format!("tcp://{addr}")),
            Place::Unix(path) => Some(format!("unix:{}", path.display())),
            Place::Http(url) => Some(url.clone()),
            Place::Stdio => None,
        }
    }

    /// The process whose CPU time is the target's.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Opens a connection. Over stdio there is one, and it can be had once.
    ///
    /// # Errors
    ///
    /// When connecting fails, or the one stdio connection was given away before.
    pub fn connect(&mut self) -> io::Result<Link> {
        match &self.place {
            Place::Tcp(_) | Place::Http(_) | Place::Unix(_) => Link::socket(self.connect_socket()?),
            Place::Stdio => {
                let write = self.child.stdin.take().ok_or_else(taken)?;
                let read = self.child.stdout.take().ok_or_else(taken)?;
                Link::pipes(read.into(), write.into())
            }
        }
    }
}

impl Target {
    /// Opens a connection to a target that listens, as a blocking socket.
    ///
    /// # Errors
    ///
    /// When connecting fails, or the target is reached over stdio.
    pub fn connect_socket(&self) -> io::Result<OwnedFd> {
        let addr = match &self.place {
            Place::Tcp(addr) => addr,
            Place::Http(url) => url.trim_start_matches("http://").trim_end_matches("/mcp"),
            Place::Unix(path) => return Ok(UnixStream::connect(path)?.into()),
            Place::Stdio => return Err(Error::new(ErrorKind::Unsupported, "no socket over stdio")),
        };
        let stream = TcpStream::connect(addr)?;
        stream.set_nodelay(true)?;
        Ok(stream.into())
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        // It may have ended by itself; there is nobody to tell.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Place::Unix(path) = &self.place {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// One connection: what it reads from and what it writes to.
#[derive(Debug)]
pub struct Link {
    read: OwnedFd,
    write: OwnedFd,
    socket: bool,
}

impl Link {
    /// Over a connected socket.
    ///
    /// # Errors
    ///
    /// When there is no descriptor left for its twin.
    pub fn socket(fd: OwnedFd) -> io::Result<Self> {
        Ok(Self { read: fd.try_clone()?, write: fd, socket: true })
    }

    fn pipes(read: OwnedFd, write: OwnedFd) -> io::Result<Self> {
        for end in [&read, &write] {
            rustix::pipe::fcntl_setpipe_size(end, PIPE_BYTES)?;
        }
        // The other end has an open file description of its own and goes on blocking.
        set_nonblocking(&write, true)?;
        Ok(Self { read, write, socket: false })
    }

    /// Writes what fits now; 0 when nothing does. Never waits: a client that waits for room while
    /// the target waits for its answers to be read would wait for ever.
    pub fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        let wrote = if self.socket {
            send(&self.write, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)
        } else {
            rustix::io::write(&self.write, bytes)
        };
        match wrote {
            Err(Errno::AGAIN | Errno::INTR) => Ok(0),
            other => Ok(other?),
        }
    }

    /// Reads what is there; `None` when nothing is and the link is polled ([`Link::set_polled`]).
    ///
    /// # Errors
    ///
    /// The end of the stream is an error: the target does not hang up first.
    pub fn read(&self, bytes: &mut [u8]) -> io::Result<Option<usize>> {
        loop {
            match rustix::io::read(&self.read, &mut *bytes) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(got) => return Ok(Some(got)),
                Err(Errno::AGAIN) => return Ok(None),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Whether [`Link::read`] returns at once when there is nothing.
    pub fn set_polled(&self, polled: bool) -> io::Result<()> {
        set_nonblocking(&self.read, polled)
    }

    /// A poll of its own, edge-triggered, that tells when there is something to read.
    pub fn edges(&self) -> io::Result<OwnedFd> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
        epoll::add(&epoll, &self.read, epoll::EventData::new_u64(0), flags)?;
        Ok(epoll)
    }

    /// Waits until there is something to read or room to write; says whether there is something to read.
    pub fn wait(&self) -> io::Result<bool> {
        let mut both = [PollFd::new(&self.read, PollFlags::IN), PollFd::new(&self.write, PollFlags::OUT)];
        match poll(&mut both, None) {
            Ok(_) => Ok(!both[0].revents().is_empty()),
            Err(Errno::INTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// The socket itself, of a link over one.
    pub fn into_socket(self) -> OwnedFd {
        self.write
    }

    /// What to read from and what to write to, non-blocking, for a runtime that wants to own them.
    /// A socket's two are duplicates: keep either.
    pub fn into_parts(self) -> io::Result<(OwnedFd, OwnedFd)> {
        set_nonblocking(&self.read, true)?;
        Ok((self.read, self.write))
    }
}

fn set_nonblocking(fd: &OwnedFd, on: bool) -> io::Result<()> {
    let mut flags = fcntl_getfl(fd)?;
    flags.set(OFlags::NONBLOCK, on);
    Ok(fcntl_setfl(fd, flags)?)
}

/// A name no other run uses.
fn socket_path() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    std::env::temp_dir().join(format!("volley-bench-{}-{number}.sock", std::process::id()))
}

/// What a run of this process would leave behind if it was killed: sockets in the folder for temporary files.
pub fn remove_sockets_of(pid: u32) {
    let prefix = format!("volley-bench-{pid}-");
    let Ok(folder) = std::fs::read_dir(std::env::temp_dir()) else { return };
    for entry in folder.flatten() {
        if entry.file_name().to_string_lossy().starts_with(&prefix) {
            // Somebody else may have been tidier.
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// How many descriptors this process may ask for.
pub fn descriptors_possible() -> u64 {
    getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX)
}

/// As many descriptors as this process may have; ten thousand connections need them.
pub fn raise_descriptor_limit() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // What is allowed is taken; if it is little, there will be fewer connections.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}

fn taken() -> Error {
    Error::other("the one stdio connection of this target was given away before")
}

/// Beyond so many connections the target serves all of them in one thread: 64 blocking threads are no trouble, a
/// thousand are mostly switches from one to the other.
const THREADS_MAX: usize = 64;

/// What an unprivileged process may ask for. The default of 64 KiB holds a fifth of 1,024 calls.
const PIPE_BYTES: usize = 1024 * 1024;
