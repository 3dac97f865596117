//! Tokens: which connection an event is about, and which of its transport's sources.

use mio::Token;

/// Which of a transport's sources an event is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stream {
    /// The socket, or the child's stdout.
    Main = 0,
    /// The child's stdin.
    Stdin = 1,
    /// The child's stderr.
    Stderr = 2,
    /// The child itself: readable when it has exited.
    Exit = 3,
}

/// The token of one source of a connection's transport.
pub(super) fn token(connection: u32, stream: Stream) -> Token {
    Token(connection as usize * 4 + stream as usize)
}

/// The connection and source of a token.
pub(crate) fn of_token(token: Token) -> (u32, Stream) {
    let stream = [Stream::Main, Stream::Stdin, Stream::Stderr, Stream::Exit][token.0 % 4];
    ((token.0 / 4) as u32, stream)
}
