//! The two ends of a socket that is none: bytes are put in and taken out by hand, and read and written by the `h2` crate.
//!
//! It never wakes anyone: whoever puts in or takes out polls the connection next. Units: bytes. Cost: a copy each way.
//! Owner: one [`H2`](super::H2), on one thread; the lock is there for the types and is never contended. Always: at most
//! [`H2_WRITE_BYTES_MAX`] bytes wait to be taken out; what waits to be read, the machine bounds. Proof:
//! `bytes_come_out_as_they_went_in`, below.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, Result};

use crate::base::limits::{H2_WRITE_BYTES_MAX, READ_SLICE_BYTES};

/// One end, of which every clone is the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Pipe(Arc<Mutex<Buffers>>);

#[derive(Debug, Default)]
struct Buffers {
    /// Bytes from the socket, of which `read` have been read.
    incoming: Vec<u8>,
    read: usize,
    ended: bool,
    outgoing: Vec<u8>,
}

impl Pipe {
    /// Adds what came from the socket.
    pub(super) fn put(&self, bytes: &[u8]) {
        let mut buffers = self.0.lock();
        let read = std::mem::take(&mut buffers.read);
        buffers.incoming.drain(..read);
        buffers.incoming.extend_from_slice(bytes);
    }

    /// The socket says nothing any more.
    pub(super) fn end(&self) {
        self.0.lock().ended = true;
    }

    /// Bytes that nobody has read.
    pub(super) fn unread(&self) -> usize {
        let buffers = self.0.lock();
        buffers.incoming.len() - buffers.read
    }

    /// Bytes for the socket.
    pub(super) fn outgoing(&self) -> usize {
        self.0.lock().outgoing.len()
    }

    /// Takes out what is for the socket, against `empty`. Was it so much that more may follow?
    pub(super) fn take(&self, empty: &mut Vec<u8>) -> bool {
        debug_assert!(empty.is_empty());
        let mut buffers = self.0.lock();
        std::mem::swap(&mut buffers.outgoing, empty);
        empty.len() >= H2_WRITE_BYTES_MAX
    }
}

impl AsyncRead for Pipe {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        let mut buffers = self.0.lock();
        let unread = &buffers.incoming[buffers.read..];
        let bytes = unread.len().min(into.remaining());
        if bytes == 0 {
            return if buffers.ended { Poll::Ready(Ok(())) } else { Poll::Pending };
        }
        into.put_slice(&unread[..bytes]);
        buffers.read += bytes;
        if buffers.read == buffers.incoming.len() {
            (buffers.incoming, buffers.read) = (kept(std::mem::take(&mut buffers.incoming)), 0);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        let mut buffers = self.0.lock();
        let bytes = &bytes[..bytes.len().min(H2_WRITE_BYTES_MAX.saturating_sub(buffers.outgoing.len()))];
        if bytes.is_empty() {
            return Poll::Pending;
        }
        buffers.outgoing.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// The memory of a buffer whose bytes were all read, if it is not much.
fn kept(mut buffer: Vec<u8>) -> Vec<u8> {
    buffer.clear();
    if buffer.capacity() > 4 * READ_SLICE_BYTES {
        buffer.shrink_to(READ_SLICE_BYTES);
    }
    buffer
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    #[test]
    fn bytes_come_out_as_they_went_in() {
        let (pipe, mut cx) = (Pipe::default(), Context::from_waker(Waker::noop()));
        let mut room = [0; 3];
        let read =
            |into: &mut ReadBuf<'_>, cx: &mut Context<'_>| Pin::new(&mut pipe.clone()).poll_read(cx, into);
        assert!(read(&mut ReadBuf::new(&mut room), &mut cx).is_pending());
        pipe.put(b"abcd");
        let mut into = ReadBuf::new(&mut room);
        assert!(read(&mut into, &mut cx).is_ready());
        assert_eq!(into.filled(), b"abc");
        pipe.put(b"ef");
        assert_eq!(pipe.unread(), 3);
        pipe.end();
        let mut into = ReadBuf::new(&mut room);
        assert!(read(&mut into, &mut cx).is_ready());
        assert_eq!(into.filled(), b"def");
        let mut into = ReadBuf::new(&mut room);
        assert!(read(&mut into, &mut cx).is_ready());
        assert!(into.filled().is_empty(), "the end");
    }

    #[test]
    fn what_waits_for_the_socket_is_bounded() {
        let (pipe, mut cx) = (Pipe::default(), Context::from_waker(Waker::noop()));
        let bytes = vec![7; H2_WRITE_BYTES_MAX + 1];
        let written = Pin::new(&mut pipe.clone()).poll_write(&mut cx, &bytes);
        assert!(matches!(written, Poll::Ready(Ok(H2_WRITE_BYTES_MAX))));
        assert!(Pin::new(&mut pipe.clone()).poll_write(&mut cx, &bytes).is_pending());
        let mut out = Vec::new();
        assert!(pipe.take(&mut out), "there may be more");
        assert_eq!((out.len(), pipe.outgoing()), (H2_WRITE_BYTES_MAX, 0));
    }
}
