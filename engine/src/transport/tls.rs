//! TLS over a TCP socket, sans thread: the handshake is part of connecting, plaintext goes in and comes out.
//!
//! The socket is edge-triggered. [`Tls::read`] therefore says `WouldBlock` only when the session has no plaintext and the
//! socket no ciphertext, and [`Tls::may_have_more`] tells after a short read whether there may be more without the poll saying
//! so. What is accepted by [`Tls::write`] is encrypted at once and may have left; ciphertext that the kernel did not take waits
//! for [`Tls::flush`], and nothing more is accepted before it is gone.
//!
//! Bounds: `TLS_READ_BYTES` of ciphertext in, one record in the session, `TLS_WRITE_BYTES_MAX` out.
//! Always: `start <= end <= incoming.len()`. Owner: one connection. Proof: below, and `tests/integration/tls.rs`.

use std::{
    io::{self, Read, Write},
    sync::Arc,
};

use mio::net::TcpStream;
use rustls::{AlertDescription, CertificateError, ClientConnection, pki_types::UnixTime};

use super::socket;
use crate::{
    base::limits::{FRUITLESS_READS_MAX, TLS_READ_BYTES, TLS_WRITE_BYTES_MAX},
    config::tls::TlsDial,
};

/// A TLS client on its socket. Dropping it says good-bye to the server if the kernel takes it.
#[derive(Debug)]
pub(crate) struct Tls {
    socket: TcpStream,
    session: ClientConnection,
    /// Ciphertext that has been read: `start..end` is not yet with the session.
    incoming: Box<[u8]>,
    start: usize,
    end: usize,
    /// The last read filled all it was given, so there may be more in the kernel.
    filled: bool,
    /// The session holds plaintext.
    has_plaintext: bool,
    /// The server has said that it says nothing more.
    closed: bool,
    /// Why the session is over. Plaintext that came before is still handed out.
    broken: Option<String>,
    established: bool,
}

impl Tls {
    /// On a socket that may still be connecting.
    pub(super) fn new(socket: TcpStream, dial: &TlsDial) -> io::Result<Self> {
        let mut session = ClientConnection::new(Arc::clone(&dial.config), dial.name.clone())
            .map_err(|e| invalid(words(&e)))?;
        session.set_buffer_limit(Some(TLS_WRITE_BYTES_MAX));
        Ok(Self {
            socket,
            session,
            incoming: vec![0; TLS_READ_BYTES].into(),
            start: 0,
            end: 0,
            filled: false,
            has_plaintext: false,
            closed: false,
            broken: None,
            established: false,
        })
    }

    pub(super) fn socket(&mut self) -> &mut TcpStream {
        &mut self.socket
    }

    /// Is somebody there?
    pub(super) fn has_reached(&self) -> bool {
        self.established
    }

    /// Goes on with connecting and the handshake. `Ok(false)`: not there yet.
    pub(super) fn is_connected(&mut self) -> io::Result<bool> {
        if !self.established {
            self.established = socket::is_connected(&self.socket)?;
            if !self.established {
                return Ok(false);
            }
        }
        loop {
            match self.flush() {
                Err(error) if !is_not_yet(&error) => {
                    // The server may have said why before it closed, which is a better reason than ours.
                    while self.fill().is_ok() && self.broken.is_none() {}
                    return Err(self.broken.take().map_or(error, invalid));
                }
                _ => {}
            }
            if let Some(reason) = self.broken.take() {
                return Err(invalid(reason));
            }
            if !self.session.is_handshaking() {
                return Ok(true);
            }
            match self.fill() {
                Ok(()) => {}
                Err(error) if is_not_yet(&error) => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Err(invalid("the server hung up in the TLS handshake".to_owned()));
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Did the server choose HTTP/2?
    pub(super) fn is_h2(&self) -> bool {
        self.session.alpn_protocol() == Some(b"h2")
    }

    /// Plaintext. `Ok(0)` is the end that the server announced; an end without that is an error. `Interrupted`: it says a lot and
    /// none of it is for us; come again.
    pub(super) fn read(&mut self, space: &mut [u8]) -> io::Result<usize> {
        for _ in 0..FRUITLESS_READS_MAX {
            match self.session.reader().read(space) {
                Ok(n) if n > 0 || self.closed => {
                    self.has_plaintext = n == space.len();
                    return Ok(n);
                }
                Ok(_) => {}
                Err(error) if is_not_yet(&error) => {}
                Err(error) => return Err(error),
            }
            self.has_plaintext = false;
            if let Some(reason) = &self.broken {
                return Err(invalid(reason.clone()));
            }
            self.fill()?;
        }
        Err(io::ErrorKind::Interrupted.into())
    }

    /// After a read that was short: is there more that the poll will not tell of?
    pub(super) fn may_have_more(&self) -> bool {
        self.has_plaintext || self.start < self.end || self.filled || self.closed || self.broken.is_some()
    }

    /// Takes plaintext, encrypts it, and writes what the kernel takes. `WouldBlock`: ciphertext from before still waits.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.flush()?;
        let taken = self.session.writer().write(bytes)?;
        // It is ours now and may have left. If the socket has failed, the next read, write or flush says so.
        let _ = self.flush();
        Ok(taken)
    }

    /// Does ciphertext wait?
    pub(super) fn has_unsent(&self) -> bool {
        self.session.wants_write()
    }

    /// Writes the ciphertext that waits. `WouldBlock`: not all of it.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        while self.session.wants_write() {
            match self.session.write_tls(&mut self.socket) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Brings ciphertext to the session, reading from the socket when there is none. Only while the session holds no
    /// plaintext, so that it has room.
    fn fill(&mut self) -> io::Result<()> {
        if self.start == self.end {
            self.filled = false;
            let n = self.socket.read(&mut self.incoming)?;
            if n == 0 {
                let why =
                    "the server hung up without closing TLS (no close_notify): what it said may be cut short";
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, why));
            }
            (self.start, self.end, self.filled) = (0, n, n == self.incoming.len());
        }
        let taken = self.session.read_tls(&mut &self.incoming[self.start..self.end])?;
        if taken == 0 {
            return Err(invalid("the TLS session takes no more bytes".to_owned()));
        }
        self.start += taken;
        match self.session.process_new_packets() {
            Ok(state) => {
                self.has_plaintext = state.plaintext_bytes_to_read() > 0;
                self.closed = state.peer_has_closed();
            }
            Err(error) => self.broken = Some(words(&error)),
        }
        // A reply of the session: a key update, an alert. When the kernel is full the poll will tell; and if the socket has failed,
        // the next read, write or flush says so.
        let _ = self.flush();
        Ok(())
    }
}

impl Drop for Tls {
    fn drop(&mut self) {
        // As good as it gets: nobody waits for a kernel that is full, or for a server that is gone.
        self.session.send_close_notify();
        let _ = self.flush();
    }
}

fn is_not_yet(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
}

fn invalid(reason: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

/// The library's error in words that say what was expected and what was found.
fn words(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidCertificate(what) => {
            format!("the server's certificate is refused: {}", refusal(what))
        }
        rustls::Error::AlertReceived(alert) => match alert {
            AlertDescription::CertificateRequired => {
                "the server wants a client certificate (TLS alert certificate_required)".to_owned()
            }
            AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateUnknown => {
                format!("the server refuses the client certificate (TLS alert {alert:?})")
            }
            AlertDescription::ProtocolVersion => {
                "the server speaks neither TLS 1.2 nor TLS 1.3 (TLS alert protocol_version)".to_owned()
            }
            AlertDescription::UnrecognisedName => {
                "the server does not know the name it was asked for (TLS alert unrecognized_name)".to_owned()
            }
            AlertDescription::NoApplicationProtocol => {
                "the server speaks none of the protocols offered (TLS alert no_application_protocol)"
                    .to_owned()
            }
            other => format!("the server ended TLS with the alert {other:?}"),
        },
        rustls::Error::InvalidMessage(what) => format!("the server does not speak TLS: {what:?}"),
        other => format!("TLS failed: {other}"),
    }
}

fn refusal(error: &CertificateError) -> String {
    match error {
        CertificateError::UnknownIssuer => {
            "it is signed by nobody who is trusted (unknown CA); its root can be given with TlsConfig::ca_pem"
                .to_owned()
        }
        CertificateError::NotValidForName => "it is for another name".to_owned(),
        CertificateError::NotValidForNameContext { expected, presented } => {
            let presented =
                if presented.is_empty() { "no name at all".to_owned() } else { presented.join(", ") };
            format!("expected a certificate for {}, it is for {presented}", expected.to_str())
        }
        CertificateError::Expired => "it has expired".to_owned(),
        CertificateError::ExpiredContext { time, not_after } => {
            format!("it expired on {}, today is {}", Date(*not_after), Date(*time))
        }
        CertificateError::NotValidYet => "it is not valid yet".to_owned(),
        CertificateError::NotValidYetContext { time, not_before } => {
            format!("it is valid from {} on, today is {}", Date(*not_before), Date(*time))
        }
        CertificateError::Revoked => "it has been revoked".to_owned(),
        CertificateError::BadEncoding => "it cannot be read".to_owned(),
        CertificateError::BadSignature => "its signature is wrong".to_owned(),
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "it is not meant for servers".to_owned()
        }
        other => other.to_string(),
    }
}

/// A day in UTC, as `2026-11-21`.
struct Date(UnixTime);

impl std::fmt::Display for Date {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Years begin in March here, so that the leap day is the last of its year; eras have 400 years.
        let days = self.0.as_secs() / 86_400 + 719_468;
        let (era, day_of_era) = (days / 146_097, days % 146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
        let year = year_of_era + era * 400 + u64::from(month <= 2);
        write!(f, "{year:04}-{month:02}-{day:02}")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn days_are_those_of_the_calendar() {
        for (seconds, day) in [
            (0, "1970-01-01"),
            (951_782_399, "2000-02-28"),
            (951_782_400, "2000-02-29"),
            (951_868_800, "2000-03-01"),
            (1_795_219_200, "2026-11-21"),
            (4_107_542_399, "2100-02-28"),
            (4_107_542_400, "2100-03-01"),
        ] {
            assert_eq!(Date(UnixTime::since_unix_epoch(Duration::from_secs(seconds))).to_string(), day);
        }
    }

    #[test]
    fn a_refusal_says_what_was_expected_and_what_was_found() {
        let days = |days: u64| UnixTime::since_unix_epoch(Duration::from_secs(days * 86_400));
        for (error, what) in [
            (CertificateError::UnknownIssuer, "unknown CA"),
            (
                CertificateError::NotValidForNameContext {
                    expected: rustls::pki_types::ServerName::try_from("a.example").unwrap(),
                    presented: vec!["b.example".to_owned()],
                },
                "expected a certificate for a.example, it is for b.example",
            ),
            (
                CertificateError::ExpiredContext { time: days(2), not_after: days(1) },
                "it expired on 1970-01-02, today is 1970-01-03",
            ),
            (
                CertificateError::NotValidYetContext { time: days(1), not_before: days(2) },
                "it is valid from 1970-01-03 on, today is 1970-01-02",
            ),
        ] {
            let words = words(&rustls::Error::InvalidCertificate(error));
            assert!(words.contains(what), "{words}");
        }
    }
}
