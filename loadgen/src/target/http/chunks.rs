//! Gathering a chunked body while its bytes come in.
//!
//! The bytes shown always start where the body starts; the place reached is remembered, so that
//! no chunk is read twice. Trailers are stepped over. Sizes have a bound before they are
//! believed. Clause: RFC 9112 section 7.1. Proof: `any_cut_gives_the_same_requests` in `request`.

/// A body on its way in.
#[derive(Debug, Default)]
pub(super) struct Chunks {
    /// Bytes of the wire that are dealt with.
    at: usize,
    body: Vec<u8>,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, Default)]
enum Stage {
    #[default]
    Size,
    Data {
        left: usize,
    },
    /// The line end after a chunk.
    DataEnd,
    Trailers,
    Whole,
}

impl Chunks {
    /// Takes what is new in `bytes` and says whether the body is whole, or the status of a refusal.
    pub(super) fn take(&mut self, bytes: &[u8], body_bytes_max: usize) -> Result<bool, u16> {
        loop {
            if self.at > WIRE_BYTES_MIN + WIRE_FACTOR * body_bytes_max {
                return Err(413);
            }
            let rest = &bytes[self.at..];
            match self.stage {
                Stage::Whole => return Ok(true),
                Stage::Size => {
                    let Some(line) = take_line(rest, SIZE_LINE_BYTES_MAX)? else { return Ok(false) };
                    self.at += line.len() + 2;
                    let left = parse_size(line).ok_or(400_u16)?;
                    if left > (body_bytes_max - self.body.len()) as u64 {
                        return Err(413);
                    }
                    self.stage =
                        if left == 0 { Stage::Trailers } else { Stage::Data { left: left as usize } };
                }
                Stage::Data { left } => {
                    let piece = &rest[..rest.len().min(left)];
                    if piece.is_empty() {
                        return Ok(false);
                    }
                    self.body.extend_from_slice(piece);
                    self.at += piece.len();
                    let left = left - piece.len();
                    self.stage = if left == 0 { Stage::DataEnd } else { Stage::Data { left } };
                }
                Stage::DataEnd => {
                    let Some(line) = take_line(rest, 0)? else { return Ok(false) };
                    self.at += line.len() + 2;
                    self.stage = Stage::Size;
                }
                Stage::Trailers => {
                    let Some(line) = take_line(rest, TRAILER_BYTES_MAX)? else { return Ok(false) };
                    self.at += line.len() + 2;
                    if line.is_empty() {
                        self.stage = Stage::Whole;
                    }
                }
            }
        }
    }

    pub(super) fn body(&self) -> &[u8] {
        &self.body
    }

    pub(super) fn bytes_read(&self) -> usize {
        self.at
    }
}

/// The line that `bytes` begin with, without its end; `None` while the end is not there.
fn take_line(bytes: &[u8], bytes_max: usize) -> Result<Option<&[u8]>, u16> {
    match memchr::memchr(b'\n', &bytes[..bytes.len().min(bytes_max + 2)]) {
        Some(end) if end > 0 && bytes[end - 1] == b'\r' => Ok(Some(&bytes[..end - 1])),
        Some(_) => Err(400),
        None if bytes.len() >= bytes_max + 2 => Err(400),
        None => Ok(None),
    }
}

/// The size at the start of a chunk, its extensions ignored.
fn parse_size(line: &[u8]) -> Option<u64> {
    let digits = line.split(|&byte| byte == b';').next()?.trim_ascii_end();
    let is_size = (1..=SIZE_DIGITS_MAX).contains(&digits.len()) && digits.iter().all(u8::is_ascii_hexdigit);
    let text = std::str::from_utf8(digits).ok().filter(|_| is_size)?;
    u64::from_str_radix(text, 16).ok()
}

const SIZE_DIGITS_MAX: usize = 15;
const SIZE_LINE_BYTES_MAX: usize = 1024;
const TRAILER_BYTES_MAX: usize = 8 << 10;
/// What a body and its chunk heads may take on the wire: chunks of one byte need six.
const WIRE_FACTOR: usize = 8;
const WIRE_BYTES_MIN: usize = 64 << 10;
