//! The head of a request: the few fields that matter here, as slices of the bytes.
//!
//! Field names are compared without regard to case; a field that may stand once only and stands
//! twice makes the head invalid, since two readers could disagree about it. `Accept` may be
//! spread over several fields. Cost: one pass of `httparse`, no allocation unless a request
//! carries `Mcp-Param-*`. Clauses: RFC 9110 and 9112; MCP 2026-07-28, transports.

use std::mem::MaybeUninit;

/// One head. Values are as they came, without the blanks around them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Head<'a> {
    pub(super) method: &'a str,
    /// Without the query.
    pub(super) path: &'a str,
    pub(super) query: &'a str,
    /// HTTP/1.0, which knows no chunks and closes unless told otherwise.
    pub(super) is_old: bool,
    pub(super) closes: bool,
    pub(super) content_length: Option<u64>,
    pub(super) chunked: bool,
    pub(super) expects_continue: bool,
    pub(super) host: Option<&'a [u8]>,
    pub(super) origin: Option<&'a [u8]>,
    pub(super) content_type: Option<&'a [u8]>,
    pub(super) accept: Accept,
    pub(super) session: Option<&'a [u8]>,
    pub(super) version: Option<&'a [u8]>,
    pub(super) last_event: Option<&'a [u8]>,
    pub(super) mcp_method: Option<&'a [u8]>,
    pub(super) mcp_name: Option<&'a [u8]>,
    /// `Mcp-Param-*`: what follows the prefix, and the value.
    pub(super) mcp_params: Vec<(&'a str, &'a [u8])>,
    /// A field `Mcp-*` or `MCP-Protocol-Version` that stands twice.
    pub(super) repeats: bool,
    pub(super) upgrade: Option<&'a [u8]>,
    pub(super) websocket_key: Option<&'a [u8]>,
    pub(super) websocket_version: Option<&'a [u8]>,
    pub(super) websocket_protocols: Option<&'a [u8]>,
}

/// Which kinds of answer the client takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Accept {
    pub(super) json: bool,
    pub(super) events: bool,
}

impl<'a> Head<'a> {
    /// The head that `bytes` begin with and its length, `None` when its end is not there, or the
    /// status of a refusal.
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Option<(Self, usize)>, u16> {
        let mut fields = [const { MaybeUninit::uninit() }; FIELDS_MAX];
        let mut request = httparse::Request::new(&mut []);
        let window = &bytes[..bytes.len().min(HEAD_BYTES_MAX + 1)];
        let length = match request.parse_with_uninit_headers(window, &mut fields) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(httparse::Error::TooManyHeaders) => return Err(431),
            Err(httparse::Error::Version) => return Err(505),
            Err(_) => return Err(400),
        };
        let target = request.path.unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let is_old = request.version == Some(0);
        let method = request.method.unwrap_or_default();
        let mut head = Self { method, path, query, is_old, closes: is_old, ..Self::default() };
        for field in request.headers.iter() {
            head.take(field.name, field.value.trim_ascii())?;
        }
        if head.chunked && head.content_length.is_some() || head.host.is_none() && !is_old {
            return Err(400);
        }
        Ok(Some((head, length)))
    }

    fn take(&mut self, name: &'a str, value: &'a [u8]) -> Result<(), u16> {
        let is = |other: &str| name.eq_ignore_ascii_case(other);
        match name.len() {
            4 if is("host") => only_once(&mut self.host, value)?,
            6 if is("accept") => self.accept.take(value),
            6 if is("origin") => only_once(&mut self.origin, value)?,
            6 if is("expect") => match value.eq_ignore_ascii_case(b"100-continue") {
                true => self.expects_continue = !self.is_old,
                false => return Err(417),
            },
            7 if is("upgrade") => self.upgrade = Some(value),
            8 if is("mcp-name") => self.mirror(|head| &mut head.mcp_name, value),
            10 if is("connection") => self.take_connection(value),
            10 if is("mcp-method") => self.mirror(|head| &mut head.mcp_method, value),
            12 if is("content-type") => only_once(&mut self.content_type, value)?,
            13 if is("last-event-id") => only_once(&mut self.last_event, value)?,
            14 if is("content-length") => {
                let length = parse_length(value).ok_or(400_u16)?;
                if self.content_length.replace(length).is_some_and(|other| other != length) {
                    return Err(400);
                }
            }
            14 if is("mcp-session-id") => only_once(&mut self.session, value)?,
            17 if is("transfer-encoding") => {
                if self.chunked || self.is_old {
                    return Err(400);
                }
                if !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(501);
                }
                self.chunked = true;
            }
            17 if is("sec-websocket-key") => only_once(&mut self.websocket_key, value)?,
            20 if is("mcp-protocol-version") => self.mirror(|head| &mut head.version, value),
            21 if is("sec-websocket-version") => only_once(&mut self.websocket_version, value)?,
            22 if is("sec-websocket-protocol") => self.websocket_protocols = Some(value),
            11.. if name.as_bytes()[..10].eq_ignore_ascii_case(b"mcp-param-") => {
                let rest = &name[10..];
                self.repeats |= self.mcp_params.iter().any(|(other, _)| other.eq_ignore_ascii_case(rest));
                self.mcp_params.push((rest, value));
            }
            _ => {}
        }
        Ok(())
    }

    fn mirror(&mut self, field: impl FnOnce(&mut Self) -> &mut Option<&'a [u8]>, value: &'a [u8]) {
        self.repeats |= field(self).replace(value).is_some();
    }

    fn take_connection(&mut self, value: &[u8]) {
        for option in value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
            if option.eq_ignore_ascii_case(b"close") {
                self.closes = true;
            } else if option.eq_ignore_ascii_case(b"keep-alive") && self.is_old {
                self.closes = false;
            }
        }
    }

    /// Whether the body is declared to be JSON.
    pub(super) fn has_json(&self) -> bool {
        let kind = self.content_type.unwrap_or_default();
        let kind = kind.split(|&byte| byte == b';').next().unwrap_or_default();
        kind.trim_ascii_end().eq_ignore_ascii_case(b"application/json")
    }
}

impl Accept {
    fn take(&mut self, value: &[u8]) {
        if value == b"application/json, text/event-stream" {
            *self = Self { json: true, events: true };
            return;
        }
        for range in value.split(|&byte| byte == b',') {
            let kind = range.split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii();
            let is = |other: &[u8]| kind.eq_ignore_ascii_case(other);
            self.json |= is(b"application/json") || is(b"application/*") || is(b"*/*");
            self.events |= is(b"text/event-stream") || is(b"text/*") || is(b"*/*");
        }
    }
}

fn only_once<'a>(field: &mut Option<&'a [u8]>, value: &'a [u8]) -> Result<(), u16> {
    if field.replace(value).is_some() { Err(400) } else { Ok(()) }
}

fn parse_length(value: &[u8]) -> Option<u64> {
    let is_length = (1..=LENGTH_DIGITS_MAX).contains(&value.len()) && value.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(value).ok().filter(|_| is_length)?.parse().ok()
}

/// A longer head is refused with 431.
pub(super) const HEAD_BYTES_MAX: usize = 64 << 10;
/// More fields are refused with 431.
const FIELDS_MAX: usize = 96;
const LENGTH_DIGITS_MAX: usize = 18;
