//! HTTP/2, without a socket: the exchanges of many lanes on one connection.
//!
//! Frames, header compression and flow control are the `h2` crate's, which wants a socket and somebody to wake. It gets
//! neither: its socket is a [`pipe`] that is filled and emptied by hand, it is polled whenever something was put into it or
//! taken out of it, and what it wakes are the lanes whose streams have news. So the connection is a value like the others
//! here. In the order of use: [`H2::receive`] what came, [`H2::poll`] until there is nothing, [`H2::waiting`] for what is to be
//! written, and poll once more after [`H2::written`]. What is handed out no longer counts against the windows.
//!
//! Units: bytes; a lane is the caller's number for an exchange. Cost: two copies of every byte received, one of a body that
//! is sent, some microseconds for the headers of an exchange. Owner: one socket's connection, on one thread. The crate asks
//! a clock of its own how long ago a stream was given up ([`RESET_REMEMBERED`]); nothing else here knows the time.
//! Always: a lane has at most one stream, and each stream's events are a head, data, and an end, or a loss in place of any of
//! these; after either there are none. Bounds: the windows and `H2_*` in `limits.rs` for what comes, the requests themselves
//! for what goes. Proof: `tests`, against the crate's server. Follows: RFC 9113.

mod pipe;
mod request;

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use bytes::Bytes;
use h2::{
    Reason, RecvStream, SendStream,
    client::{Builder, Connection, ResponseFuture, SendRequest},
};
use parking_lot::Mutex;

use self::pipe::Pipe;
pub(crate) use self::request::RequestHead;
use super::head::{self, Head};
use crate::base::limits::{
    H2_CONNECTION_WINDOW_BYTES, H2_RESETS_KEPT_MAX, H2_STREAM_WINDOW_BYTES, H2_STREAMS_UNTOLD_MAX,
    H2_UNREAD_BYTES_MAX, HEAD_BYTES_MAX,
};

/// What a server sends on a stream that was given up is expected for so long: some round trips.
const RESET_REMEMBERED: Duration = Duration::from_secs(10);

/// Bytes of what an error says.
const REASON_BYTES_MAX: usize = 256;

/// What happened on a lane.
#[derive(Debug)]
pub(crate) enum Event {
    /// The answer begins.
    Head(Head),
    /// Bytes of its body.
    Data(Bytes),
    /// It is whole.
    End,
    /// There is no answer, or no more of it. `unprocessed`: the server has not looked at the request, and it may be sent again.
    Lost { reason: String, unprocessed: bool },
}

/// Why a request was not sent. No byte of it has left.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Unsent {
    /// The connection takes no more streams, for now or, if it is closing, for good.
    NoRoom,
    /// It cannot be said in HTTP/2.
    Unspeakable(String),
}

/// The connection.
///
/// Invariant: `out_at <= out.len()`; `open` is the number of streams in `streams`.
#[derive(Debug)]
pub(crate) struct H2 {
    pipe: Pipe,
    /// None once it is over.
    connection: Option<Connection<Pipe, Bytes>>,
    sender: Option<SendRequest<Bytes>>,
    /// By lane.
    streams: Vec<Option<Stream>>,
    open: usize,
    rung: Rung,
    /// The lane whose events are being handed out.
    current: Option<u32>,
    /// Something has changed since the connection was last polled.
    due: bool,
    closing: Option<String>,
    /// Bytes for the socket; `out_at` of them have been written.
    out: Vec<u8>,
    out_at: usize,
    /// Bytes written in all.
    written: u64,
}

/// A machine for one socket of a server that allowed so many streams on the last one.
pub(crate) fn machine(streams_told: Option<usize>) -> Option<Box<H2>> {
    let streams = streams_told.map_or(H2_STREAMS_UNTOLD_MAX, |told| told.clamp(1, H2_STREAMS_UNTOLD_MAX));
    Some(Box::new(H2::with_streams(streams)))
}

/// Lanes with news.
type Rung = Arc<Mutex<Vec<u32>>>;

#[derive(Debug)]
struct Stream {
    stage: Stage,
    /// Kept for giving the stream up; all it had to send was handed over at once.
    sending: SendStream<Bytes>,
    bell: Waker,
    /// All bytes of the request come after so many written.
    queued_at: u64,
}

#[derive(Debug)]
enum Stage {
    /// The head is to come.
    Head(ResponseFuture),
    /// The body is to come.
    Body(RecvStream),
}

/// What the crate wakes: a lane's name is put on the list. It is rung once for each time the lane was looked at.
struct Bell(u32, Rung);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.1.lock().push(self.0);
    }
}

impl H2 {
    /// A connection whose preface waits to be written. The server's settings are not waited for: until they are there, it has
    /// so many streams.
    fn with_streams(streams_untold: usize) -> Self {
        let mut builder = Builder::new();
        builder
            .enable_push(false)
            .initial_window_size(H2_STREAM_WINDOW_BYTES)
            .initial_connection_window_size(H2_CONNECTION_WINDOW_BYTES)
            .max_header_list_size(HEAD_BYTES_MAX as u32)
            .initial_max_send_streams(streams_untold)
            .max_concurrent_reset_streams(H2_RESETS_KEPT_MAX)
            .reset_stream_duration(RESET_REMEMBERED);
        let pipe = Pipe::default();
        let mut handshake = std::pin::pin!(builder.handshake::<_, Bytes>(pipe.clone()));
        let mut machine = Self {
            pipe,
            connection: None,
            sender: None,
            streams: Vec::new(),
            open: 0,
            rung: Rung::default(),
            current: None,
            due: true,
            closing: None,
            out: Vec::new(),
            out_at: 0,
            written: 0,
        };
        match handshake.as_mut().poll(&mut nobody()) {
            Poll::Ready(Ok((sender, connection))) => {
                (machine.sender, machine.connection) = (Some(sender), Some(connection));
            }
            Poll::Ready(Err(error)) => machine.close(said(&error)),
            // It writes the preface, for which an empty pipe has room.
            Poll::Pending => machine.close("the preface could not be written".to_owned()),
        }
        machine
    }

    // Told.

    /// Bytes came from the socket.
    pub(crate) fn receive(&mut self, bytes: &[u8]) {
        if self.connection.is_none() {
            return;
        }
        self.pipe.put(bytes);
        self.pump();
        let unread = self.pipe.unread();
        if unread > H2_UNREAD_BYTES_MAX {
            self.end(format!(
                "the server reads nothing and sends on: {unread} bytes, the bound is {H2_UNREAD_BYTES_MAX}"
            ));
        }
    }

    /// The socket has ended. What was sent on it whole is still handed out.
    pub(crate) fn receive_end(&mut self) {
        self.pipe.end();
        self.pump();
        // It may wait to write before it reads the end, and never will.
        self.end("the server has closed the connection".to_owned());
    }

    /// So many bytes of [`Self::waiting`] have been written.
    pub(crate) fn written(&mut self, bytes: usize) {
        let bytes = bytes.min(self.out.len() - self.out_at);
        self.out_at += bytes;
        self.written += bytes as u64;
    }

    // Commanded.

    /// Opens a stream for `lane` with all of a request. One that the lane still has is given up.
    ///
    /// # Errors
    ///
    /// When there is no room ([`Self::room`]), or the request has no form in HTTP/2.
    pub(crate) fn send(&mut self, lane: u32, head: &RequestHead<'_>, body: &[u8]) -> Result<(), Unsent> {
        self.reset(lane);
        if self.room() == 0 {
            return Err(Unsent::NoRoom);
        }
        let request = head.request().map_err(Unsent::Unspeakable)?;
        let Some(sender) = &mut self.sender else { return Err(Unsent::NoRoom) };
        match sender.poll_ready(&mut nobody()) {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(error)) => {
                let reason = said(&error);
                self.close(reason);
                return Err(Unsent::NoRoom);
            }
            // A stream that this handle opened is not out yet, which only means that an earlier one still counts whose reset
            // is not out. A fresh handle does not wait for it.
            Poll::Pending => *sender = sender.clone(),
        }
        let unspeakable = |error: h2::Error| Unsent::Unspeakable(error.to_string());
        let (response, mut sending) = sender.send_request(request, body.is_empty()).map_err(unspeakable)?;
        if !body.is_empty() {
            let sent = sending.send_data(Bytes::copy_from_slice(body), true);
            sent.inspect_err(|_| sending.send_reset(Reason::CANCEL)).map_err(unspeakable)?;
        }
        let stream = Stream {
            stage: Stage::Head(response),
            sending,
            bell: Waker::from(Arc::new(Bell(lane, Arc::clone(&self.rung)))),
            queued_at: self.written + (self.out.len() - self.out_at + self.pipe.outgoing()) as u64,
        };
        let at = lane as usize;
        if at >= self.streams.len() {
            self.streams.resize_with(at + 1, || None);
        }
        self.streams[at] = Some(stream);
        self.open += 1;
        self.due = true;
        // It is looked at once, so that it rings from then on.
        self.rung.lock().push(lane);
        Ok(())
    }

    /// Gives up the stream of a lane, if it has one; it has no more events.
    pub(crate) fn reset(&mut self, lane: u32) {
        if let Some(mut stream) = self.remove(lane) {
            stream.sending.send_reset(Reason::CANCEL);
        }
    }

    /// Opens no stream any more, for this reason. Those that are open may still end well.
    pub(crate) fn retire(&mut self, reason: &str) {
        self.close(reason.to_owned());
    }

    // Asked.

    /// The next event of any lane, or nothing for now.
    pub(crate) fn poll(&mut self) -> Option<(u32, Event)> {
        loop {
            if let Some(lane) = self.current.or_else(|| self.rung.lock().pop()) {
                self.current = Some(lane);
                if let Some(event) = self.advance(lane) {
                    return Some((lane, event));
                }
                self.current = None;
            } else if self.due {
                self.pump();
            } else {
                return None;
            }
        }
    }

    /// Bytes for the socket that [`Self::waiting`] has brought out.
    pub(crate) fn pumped(&self) -> &[u8] {
        &self.out[self.out_at..]
    }

    /// Bytes for the socket.
    pub(crate) fn waiting(&mut self) -> &[u8] {
        if self.out_at == self.out.len() {
            if self.due {
                self.pump();
            }
            self.out.clear();
            self.out_at = 0;
            self.due |= self.pipe.take(&mut self.out);
        }
        &self.out[self.out_at..]
    }

    /// Streams that may be opened now.
    pub(crate) fn room(&self) -> usize {
        match &self.sender {
            Some(sender) if self.closing.is_none() => {
                sender.current_max_send_streams().saturating_sub(self.open)
            }
            _ => 0,
        }
    }

    /// Streams that the server allows; before it has said so, the number to begin with. `None` when it is over.
    pub(crate) fn streams_max(&self) -> Option<usize> {
        self.sender.as_ref().map(SendRequest::current_max_send_streams)
    }

    /// Are there bytes from the socket that could not be taken apart before something is written?
    pub(crate) fn is_behind(&self) -> bool {
        self.pipe.unread() > 0
    }

    /// Streams that are open.
    pub(crate) fn streams(&self) -> usize {
        self.open
    }

    /// May any byte of the request on `lane` have been written? Not before one was that came after [`Self::send`].
    pub(crate) fn has_left(&self, lane: u32) -> bool {
        self.streams
            .get(lane as usize)
            .and_then(Option::as_ref)
            .is_some_and(|stream| stream.queued_at < self.written)
    }

    /// Has no byte been written of any request that is open?
    pub(crate) fn is_fresh(&self) -> bool {
        self.streams.iter().flatten().all(|stream| stream.queued_at >= self.written)
    }

    /// Why no stream is opened any more, if so. Those that are open may still end well.
    pub(crate) fn is_closing(&self) -> Option<&str> {
        self.closing.as_deref()
    }

    /// Lets the crate read and write what there is.
    fn pump(&mut self) {
        self.due = false;
        let Some(connection) = &mut self.connection else { return };
        match Pin::new(connection).poll(&mut nobody()) {
            Poll::Pending => {
                if let Some(sender) = &mut self.sender
                    && let Poll::Ready(Err(error)) = sender.poll_ready(&mut nobody())
                {
                    self.close(said(&error));
                }
            }
            Poll::Ready(Ok(())) => self.end("the server has closed the connection".to_owned()),
            Poll::Ready(Err(error)) => self.end(said(&error)),
        }
    }

    /// The connection is over, and its streams find out.
    fn end(&mut self, reason: String) {
        self.close(reason);
        self.connection = None;
    }

    /// No stream is opened any more. The first reason is the one that counts.
    fn close(&mut self, reason: String) {
        self.closing.get_or_insert(reason);
    }

    fn remove(&mut self, lane: u32) -> Option<Stream> {
        let stream = self.streams.get_mut(lane as usize)?.take()?;
        self.open -= 1;
        self.due = true;
        Some(stream)
    }

    /// The next event of one lane.
    fn advance(&mut self, lane: u32) -> Option<Event> {
        let has_left = self.has_left(lane);
        let stream = self.streams.get_mut(lane as usize)?.as_mut()?;
        let mut cx = Context::from_waker(&stream.bell);
        let event = match &mut stream.stage {
            Stage::Head(response) => match Pin::new(response).poll(&mut cx) {
                Poll::Pending => return None,
                Poll::Ready(Ok(response)) => {
                    let (parts, body) = response.into_parts();
                    let headers = parts.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
                    match head::of_stream(parts.status.as_u16(), headers, !body.is_end_stream()) {
                        Ok(head) => {
                            stream.stage = Stage::Body(body);
                            return Some(Event::Head(head));
                        }
                        Err(error) => {
                            self.reset(lane);
                            return Some(Event::Lost { reason: error.to_string(), unprocessed: false });
                        }
                    }
                }
                Poll::Ready(Err(error)) => {
                    let unprocessed = !has_left || is_refusal(&error);
                    Event::Lost { reason: said(&error), unprocessed }
                }
            },
            Stage::Body(body) => match body.poll_data(&mut cx) {
                Poll::Pending => return None,
                Poll::Ready(Some(Ok(data))) => {
                    // It fails only where there is no window to widen any more.
                    let _ = body.flow_control().release_capacity(data.len());
                    self.due = true;
                    return Some(Event::Data(data));
                }
                // Whatever follows the end: a server that wants no more of the request resets the stream (RFC 9113, 8.1).
                Poll::Ready(None) => Event::End,
                Poll::Ready(Some(Err(error))) => Event::Lost { reason: said(&error), unprocessed: false },
            },
        };
        self.remove(lane);
        Some(event)
    }
}

/// The context of what is polled when there is cause to, and needs to wake nobody.
fn nobody() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

/// Does the error say that the server has not looked at the request? So say a refusal, and a GOAWAY to the streams beyond the
/// last one that it names: the crate fails no others with it.
fn is_refusal(error: &h2::Error) -> bool {
    let is_refused = error.is_reset() && error.reason() == Some(Reason::REFUSED_STREAM);
    error.is_remote() && (is_refused || error.is_go_away())
}

/// What an error says, at some length.
fn said(error: &h2::Error) -> String {
    let mut said = match error.reason() {
        Some(Reason::NO_ERROR) if error.is_go_away() => "the server goes away".to_owned(),
        _ => error.to_string(),
    };
    let mut end = REASON_BYTES_MAX.min(said.len());
    while !said.is_char_boundary(end) {
        end -= 1;
    }
    said.truncate(end);
    said
}

#[cfg(test)]
mod tests;
