//! The fast target: the server every contestant is measured against, and the bottleneck of none.
//!
//! Each connection has a thread that blocks in `read`: two system calls an exchange, where a
//! readiness loop needs three; one connection is fastest this way, and 64 are no trouble. It reads a
//! slice, answers each whole line of it ([`Splicer`]), and writes the answers in one go before it
//! reads again, so that client and target overlap when the window holds several slices. A peer that
//! does not read its answers is no longer read from: whoever blocks on both ends locks himself up.
//! Proof: `lines_longer_than_the_slice_are_answered`, below, and every run of `perf`.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::thread;

use rustix::io::{Errno, read, write};

use crate::splice::Splicer;

/// Bytes asked of one `read`. Measured at 1,024 calls of 280 bytes: 16 KiB is as fast on two cores but
/// costs a fifth more CPU; from 64 KiB on the CPU saved is lost again in waiting for each other.
pub const SLICE_BYTES: usize = 32 * 1024;

/// A line may have this many bytes; a longer one ends its connection.
const LINE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Bytes of one `write`. Between two of them whoever else waits for the core has a go: a kernel that is not preempted copies for as long as
/// there is room, and a long answer of one connection would hold up the short ones of others, here and not in the client.
const PIECE_BYTES: usize = 32 * 1024;

/// Small, so that ten thousand connections are ten thousand small threads.
const STACK_BYTES: usize = 128 * 1024;

/// Serves whoever started us, until the input ends.
pub fn serve_stdio(slice_bytes: usize) -> io::Result<()> {
    serve(rustix::stdio::stdin(), rustix::stdio::stdout(), slice_bytes)
}

/// Listens on a TCP address, says where, and serves until killed.
pub fn serve_tcp(addr: SocketAddr, slice_bytes: usize) -> io::Result<()> {
    let listener = TcpListener::bind(addr)?;
    announce(&format!("tcp://{}", listener.local_addr()?))?;
    loop {
        let (stream, _) = listener.accept()?;
        stream.set_nodelay(true)?;
        in_thread(stream, slice_bytes)?;
    }
}

/// Listens on a Unix socket, says where, and serves until killed.
pub fn serve_unix(path: &Path, slice_bytes: usize) -> io::Result<()> {
    let listener = UnixListener::bind(path)?;
    announce(&format!("unix:{}", path.display()))?;
    loop {
        in_thread(listener.accept()?.0, slice_bytes)?;
    }
}

/// Serves one connection to its end: end of input, or a peer that is gone.
pub fn serve(input: impl AsFd, output: impl AsFd, slice_bytes: usize) -> io::Result<()> {
    let mut splicer = Splicer::new();
    let mut inbox = vec![0; slice_bytes];
    let mut outbox = Vec::with_capacity(2 * slice_bytes);
    // The inbox holds `filled` bytes, none of them a newline: the head of an unfinished line.
    let mut filled = 0;
    loop {
        if filled == inbox.len() {
            if filled >= LINE_BYTES_MAX {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a line beyond 64 MiB"));
            }
            inbox.resize(2 * filled, 0);
        }
        let got = match read(&input, &mut inbox[filled..]) {
            Ok(0) => return Ok(()),
            Ok(got) => got,
            Err(Errno::INTR) => continue,
            // The peer closed with answers unread; that is how a measured client ends.
            Err(Errno::CONNRESET) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let used = splicer.answer(&inbox[..filled + got], filled, &mut outbox);
        inbox.copy_within(used..filled + got, 0);
        filled = filled + got - used;
        match write_all(&output, &outbox) {
            Err(Errno::PIPE | Errno::CONNRESET) => return Ok(()),
            other => other?,
        }
        outbox.clear();
    }
}

fn write_all(output: &impl AsFd, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        let piece = &bytes[..bytes.len().min(PIECE_BYTES)];
        match write(output, piece) {
            Err(Errno::INTR) => {}
            wrote => bytes = &bytes[wrote?..],
        }
        if !bytes.is_empty() {
            thread::yield_now();
        }
    }
    Ok(())
}

fn in_thread(stream: impl AsFd + Send + 'static, slice_bytes: usize) -> io::Result<()> {
    let connection = move || {
        // A connection that ends badly ends; there is nobody to tell.
        let _ = serve(&stream, &stream, slice_bytes);
    };
    thread::Builder::new().name("connection".into()).stack_size(STACK_BYTES).spawn(connection)?;
    Ok(())
}

/// Whoever started us waits for this line.
pub(crate) fn announce(endpoint: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "listening {endpoint}")?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::os::unix::net::UnixStream;

    use super::*;

    /// A slice of 16 bytes cuts every line many times, and the long one needs the inbox to grow.
    #[test]
    fn lines_longer_than_the_slice_are_answered() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let server = thread::spawn(move || serve(&theirs, &theirs, 16));
        let message = "m".repeat(100_000);
        let (mut writer, mut lines) = (ours.try_clone().unwrap(), BufReader::new(&ours).lines());
        for id in 0..3 {
            writeln!(
                writer,
                r#"{{"id":{id},"method":"tools/call","params":{{"name":"echo","arguments":{{"message":"{message}"}}}}}}"#
            )
            .unwrap();
            assert!(lines.next().unwrap().unwrap().contains(&message));
        }
        ours.shutdown(std::net::Shutdown::Write).unwrap();
        server.join().unwrap().unwrap();
    }
}
