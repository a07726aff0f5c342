//! Answers, and how they are written.
//!
//! The server writes the fields that frame an answer (Content-Length, Connection, Date); the user's fields are checked
//! when they are set. So an answer is always exactly one answer on the wire.

use std::fmt;
use std::sync::Arc;

use super::exchange::Exchange;
use super::grammar;
use super::head_writer::{CONTENT_TYPE, HEAD_MOST, HeadWriter};
use super::user_fields::UserFields;
use super::usual_head::{self, UsualHead};
use super::{Http1, status};
use crate::buffer::{COPY_BELOW, Outbound};
use crate::encode_error::EncodeError;
use crate::protocol::codec::{After, Encode, Refusal};

/// An answer to one request.
///
/// ```
/// use sluicegate::http1::Response;
///
/// # fn main() -> Result<(), sluicegate::http1::InvalidHeader> {
/// let answer = Response::new(201).header("Location", "/things/7")?.content_type("text/plain").body("made\n");
/// # let _ = answer;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct Response<'b> {
    status: u16,
    close: bool,
    /// There is an Upgrade field.
    upgrade: bool,
    /// `header` has set the Content-Type.
    typed: bool,
    /// The status allows no body. Found out when the status is set, because that usually is a constant in the program's
    /// text.
    bodiless: bool,
    /// Empty if there is none.
    content_type: &'static str,
    /// `None` if there are none, because clearing room for them takes time.
    fields: Option<UserFields>,
    body: Body<'b>,
}

impl<'b> Response<'b> {
    /// An answer with this status and no body.
    ///
    /// A final answer has a status from 200 to 599 (RFC 9110 section 15); anything else is written as 500.
    #[inline]
    pub fn new(status: u16) -> Self {
        let status = if (200..600).contains(&status) { status } else { 500 };
        let [close, upgrade, typed] = [false; 3];
        let (bodiless, content_type, body) = (bodiless(status), "", Body::default());
        Self { status, close, upgrade, typed, bodiless, content_type, fields: None, body }
    }

    /// An answer `200 OK` with this body: at most [`Config::reply_max`](crate::Config::reply_max) bytes, unless it is
    /// static or shared.
    #[inline]
    pub fn ok(body: impl Into<Body<'b>>) -> Self {
        Self::new(200).body(body)
    }

    /// Sets the body, replacing any previous one. Answers with status 204, 205 or 304 have no body, whatever is set
    /// here.
    #[inline]
    pub fn body(mut self, body: impl Into<Body<'b>>) -> Self {
        self.body = body.into();
        self
    }

    /// Appends a field. There may be several fields of the same name, and none replaces another; only Content-Type may
    /// be set just once (RFC 9110 section 8.3).
    ///
    /// `Upgrade`, which 426 must have, may be set: it names protocols that the server could speak, but the server never
    /// switches.
    ///
    /// # Errors
    /// The name is not a token, the value has a control character (CR, LF, NUL, ...), the field is one of those that
    /// the server writes itself, or it is a second Content-Type.
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Result<Self, InvalidHeader> {
        let value = value.as_ref();
        if !grammar::is_token(name.as_bytes()) {
            return Err(InvalidHeader::Name);
        }
        if !grammar::is_field(value) {
            return Err(InvalidHeader::Value);
        }
        if OWNED.iter().any(|owned| owned.eq_ignore_ascii_case(name)) {
            return Err(InvalidHeader::Owned);
        }
        if name.eq_ignore_ascii_case("content-type") {
            if self.typed || !self.content_type.is_empty() {
                return Err(InvalidHeader::Repeated);
            }
            self.typed = true;
        }
        self.upgrade |= name.eq_ignore_ascii_case("upgrade");
        self.fields.get_or_insert_default().push(name.as_bytes(), value);
        Ok(self)
    }

    /// Appends `Retry-After` (RFC 9110 section 10.2.3).
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.fields.get_or_insert_default().push(b"Retry-After", seconds.to_string().as_bytes());
        self
    }

    /// Sets the `Content-Type` if it is part of the program's text; use [`header`](Self::header) for others.
    ///
    /// # Panics
    /// The text has a control character, or `header` has set a Content-Type already.
    #[inline]
    pub fn content_type(mut self, value: &'static str) -> Self {
        assert!(grammar::is_field(value.as_bytes()), "a content type has no control characters");
        assert!(!self.typed, "an answer has one content type");
        self.content_type = value;
        self
    }

    /// Ends the connection with this answer.
    pub fn close(mut self) -> Self {
        self.close = true;
        self
    }

    /// The length of the lines set by the user.
    #[inline]
    fn lines_len(&self) -> usize {
        let content_type = match self.content_type {
            "" => 0,
            value => CONTENT_TYPE.len() + value.len() + 2,
        };
        content_type + self.fields.as_ref().map_or(0, UserFields::len)
    }

    /// Appends the user's lines behind the server's own.
    #[inline]
    fn write_fields<'m>(&self, head: HeadWriter<'m>) -> HeadWriter<'m> {
        match &self.fields {
            Some(fields) => fields.pieces().into_iter().fold(head, HeadWriter::extend),
            None => head,
        }
    }
}

/// Fields that say where an answer ends or how the connection goes on, and `Date`, which every answer has.
const OWNED: [&str; 7] =
    ["Content-Length", "Transfer-Encoding", "Connection", "Date", "Keep-Alive", "Trailer", "Proxy-Connection"];

/// Why a field can't be part of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidHeader {
    /// The name is not a token (RFC 9110 section 5.1).
    Name,
    /// The value has a control character. With a line end in it, one answer would become two.
    Value,
    /// The server writes this field itself.
    Owned,
    /// The answer already has this field, and may have it only once.
    Repeated,
}

impl fmt::Display for InvalidHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Name => "the name of the field is not a token",
            Self::Value => "the value of the field has a control character",
            Self::Owned => "the server writes this field itself",
            Self::Repeated => "the answer has this field already, and may have it once only",
        })
    }
}

impl std::error::Error for InvalidHeader {}

/// The body of an answer. Static and shared bodies are not copied if they are long enough for that to pay, and may then
/// be of any size.
// With a tag of its own: a tag encoded in the fields takes longer to read, and each answer reads it. The first two,
// which need no drop and lie alike, are told from the others by one comparison.
#[derive(Debug, Clone)]
#[non_exhaustive]
#[repr(u8)]
pub enum Body<'b> {
    /// Copied when the answer is written.
    Borrowed(&'b [u8]),
    /// Part of the program.
    Static(&'static [u8]),
    /// Copied when the answer is written.
    Owned(Vec<u8>),
    /// Shared with other answers, or with a cache.
    Shared(Arc<[u8]>),
}

impl Body<'static> {
    /// A body that is part of the program and need not be copied. (`From` can't know that a slice lives forever.)
    #[must_use]
    pub fn from_static(bytes: &'static (impl AsRef<[u8]> + ?Sized)) -> Self {
        Self::Static(bytes.as_ref())
    }
}

impl Body<'_> {
    /// Its length in bytes.
    #[must_use]
    #[inline]
    pub fn len(&self) -> usize {
        self.bytes().len()
    }

    /// True when it has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    #[inline]
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Borrowed(bytes) | Self::Static(bytes) => bytes,
            Self::Owned(bytes) => bytes,
            Self::Shared(bytes) => bytes,
        }
    }

    /// True if it is static or shared, and long enough to be carried as it is instead of being copied behind the head.
    #[inline]
    fn is_carried(&self, len: usize) -> bool {
        len >= COPY_BELOW && matches!(self, Self::Static(_) | Self::Shared(_))
    }

    /// Appends a body that [is carried](Self::is_carried), without copying it.
    #[inline(never)]
    fn carry(self, out: &mut Outbound) {
        match self {
            Self::Static(bytes) => out.put_static(bytes),
            Self::Shared(bytes) => out.put_shared(bytes),
            copied => out.put(copied.bytes()),
        }
    }
}

impl Default for Body<'_> {
    fn default() -> Self {
        Self::Static(&[])
    }
}

impl<'b, T: AsRef<[u8]> + ?Sized> From<&'b T> for Body<'b> {
    fn from(bytes: &'b T) -> Self {
        Self::Borrowed(bytes.as_ref())
    }
}

impl From<Vec<u8>> for Body<'_> {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Owned(bytes)
    }
}

impl From<String> for Body<'_> {
    fn from(text: String) -> Self {
        Self::Owned(text.into_bytes())
    }
}

impl From<Arc<[u8]>> for Body<'_> {
    fn from(bytes: Arc<[u8]>) -> Self {
        Self::Shared(bytes)
    }
}

impl<'b> Encode<Response<'b>> for Http1 {
    #[inline]
    fn encode(exchange: Exchange, response: Response<'b>, out: &mut Outbound) -> Result<After, EncodeError> {
        if exchange == Exchange::USUAL && response.write_usual(out) {
            Ok(After::KeepOpen)
        } else {
            response.write_any(exchange, out)
        }
    }

    #[inline]
    fn encode_head<'i>(
        exchange: Exchange,
        response: &'i Response<'b>,
        out: &mut Outbound,
    ) -> Option<(After, &'i [u8])> {
        if out.is_large(response.body.len()) { response.write_large_head(exchange, out) } else { None }
    }
}

impl Response<'_> {
    /// Writes the answer to a usual request, if it is itself usual, directly into the memory from which it leaves.
    /// False if its head says more than what every head has to say, or is too long, if its body is not copied, or if
    /// the memory has no room for it in one piece.
    #[inline]
    fn write_usual(&self, out: &mut Outbound) -> bool {
        let body = self.body.bytes();
        if self.fields.is_some() || self.close || self.bodiless || body.len() >= COPY_BELOW {
            return false;
        }
        let (kind, second) = ((self.status, self.content_type, body.len()), out.unix_seconds());
        let written = UsualHead::with(kind, second, out, Outbound::date_line, |head, out| {
            let mut room = out.room_for(usual_head::MOST + body.len())?;
            let bytes = room.bytes();
            let size = bytes.len();
            let left = head.begin(bytes)?.extend(body).left();
            room.fill(size - left);
            Some(())
        });
        written.is_some()
    }

    /// Writes any other answer.
    #[inline(never)]
    fn write_any(self, exchange: Exchange, out: &mut Outbound) -> Result<After, EncodeError> {
        let body = self.body.bytes();
        let own = OwnLines::of(&self, exchange, body.len());
        let after = own.after();
        let is_carried = own.has_body && self.body.is_carried(body.len());
        let copied = if own.has_body && !is_carried { body } else { b"" };
        match out.room_and_date_line(HEAD_MOST + self.lines_len() + copied.len()) {
            // All of it fits into one block, is written directly there, and leaves in one piece.
            Some((mut room, date_line)) => {
                let bytes = room.bytes();
                let size = bytes.len();
                let head = HeadWriter::new(bytes).status_and_date(self.status, date_line);
                let head = own.write(head.content_type(self.content_type));
                let left = self.write_fields(head).push(b"\r\n").extend(copied).left();
                room.fill(size - left);
            }
            None => {
                self.write_head(exchange, out, copied.len());
                out.put(copied);
            }
        }
        if is_carried {
            self.body.carry(out);
        }
        Ok(after)
    }

    /// The head of an answer whose body is large, and that body, unless there is none or it is carried.
    #[inline(never)]
    fn write_large_head(&self, exchange: Exchange, out: &mut Outbound) -> Option<(After, &[u8])> {
        let body = self.body.bytes();
        let own = OwnLines::of(self, exchange, body.len());
        if self.body.is_carried(body.len()) || !own.has_body {
            return None;
        }
        self.write_head(exchange, out, body.len());
        Some((own.after(), body))
    }

    /// Writes the head piece by piece. `follow`: how many bytes will follow it, in the same block if one has room.
    #[inline(never)]
    fn write_head(&self, exchange: Exchange, out: &mut Outbound, follow: usize) {
        let [mut first, mut last] = [[0; HEAD_MOST]; 2];
        let left = HeadWriter::new(&mut first).status_and_date(self.status, &out.date_line()).left();
        let first = &first[..HEAD_MOST - left];
        let left = OwnLines::of(self, exchange, self.body.len()).write(HeadWriter::new(&mut last)).left();
        let last = &last[..HEAD_MOST - left];
        out.announce(first.len() + last.len() + self.lines_len() + 2 + follow);
        out.put(first);
        if !self.content_type.is_empty() {
            [CONTENT_TYPE, self.content_type.as_bytes(), b"\r\n"].into_iter().for_each(|piece| out.put(piece));
        }
        out.put(last);
        if let Some(fields) = &self.fields {
            fields.pieces().into_iter().for_each(|piece| out.put(piece));
        }
        out.put(b"\r\n");
    }
}

/// The content of the server's own lines in the head of an answer.
struct OwnLines {
    has_body: bool,
    content_length: Option<usize>,
    keep_open: bool,
    version10: bool,
    upgrade: bool,
}

impl OwnLines {
    #[inline]
    fn of(response: &Response<'_>, exchange: Exchange, body_len: usize) -> Self {
        let (keep_open, version10) = (exchange.keep_alive() && !response.close, exchange.is_version10());
        let (has_body, content_length) = if exchange.is_plain() && !response.bodiless {
            (true, Some(body_len))
        } else {
            unusual_framing(response, exchange)
        };
        Self { has_body, content_length, keep_open, version10, upgrade: response.upgrade }
    }

    #[inline]
    fn after(&self) -> After {
        if self.keep_open { After::KeepOpen } else { After::Close }
    }

    /// How the answer ends, and how the connection goes on.
    #[inline]
    fn write<'m>(&self, head: HeadWriter<'m>) -> HeadWriter<'m> {
        let head = match self.content_length {
            Some(length) => head.length_name().number(length, b"\r\n"),
            None => head,
        };
        head.extend(connection_line(self.keep_open, self.version10, self.upgrade))
    }
}

/// Whether the body follows, and what Content-Length says, if the request or the status has rules of its own.
#[inline(never)]
fn unusual_framing(response: &Response<'_>, exchange: Exchange) -> (bool, Option<usize>) {
    // A client takes what follows a 2xx answer to CONNECT for the tunnel (RFC 9110 section 9.3.6).
    let is_tunnel = exchange.is_connect() && response.status < 300;
    let content_length = match response.status {
        // RFC 9110 section 8.6: never with 204; with 304 it would have to be the length in a 200 answer, which only the
        // user knows.
        204 | 304 => None,
        _ if is_tunnel => None,
        // RFC 9110 section 15.3.6: no content, and said so.
        205 => Some(0),
        // RFC 9110 section 8.6: for HEAD it has to be what GET would have. A program that answers HEAD without a body
        // may not have made the body that GET would have, so no Content-Length is better than zero.
        _ if exchange.is_head() && response.body.is_empty() => None,
        _ => Some(response.body.len()),
    };
    (!(exchange.is_head() || is_tunnel || response.bodiless), content_length)
}

/// The value of Connection, usually none. Upgrade is for the next recipient alone, so it has to be named (RFC 9110
/// section 7.8).
#[inline]
fn connection_line(keep_open: bool, version10: bool, upgrade: bool) -> &'static [u8] {
    match (keep_open, version10, upgrade) {
        (false, _, false) => b"Connection: close\r\n",
        (false, _, true) => b"Connection: close, upgrade\r\n",
        (true, true, false) => b"Connection: keep-alive\r\n",
        (true, true, true) => b"Connection: keep-alive, upgrade\r\n",
        (true, false, true) => b"Connection: upgrade\r\n",
        (true, false, false) => b"",
    }
}

/// RFC 9112 section 6.3 step 1, and RFC 9110 section 15.3.6 for 205.
fn bodiless(status: u16) -> bool {
    matches!(status, 204 | 205 | 304)
}

/// The last words before a connection is closed. The answer to HEAD has no content (RFC 9110 section 9.3.2); whether
/// the request was HEAD is known only if it broke the protocol.
pub(super) fn refuse(why: &Refusal, was_head: bool, out: &mut Outbound) {
    let status = match why {
        Refusal::Protocol(error) => error.status().unwrap_or(400),
        Refusal::TooSlow => 408,
        Refusal::Overloaded { .. } => 503,
        Refusal::Unanswered => 500,
    };
    let words = Response::new(status);
    let words = match why {
        Refusal::Protocol(_) if !was_head => words.content_type("text/plain").body(status::refusal(status)),
        Refusal::Overloaded { retry_after_seconds: Some(seconds) } => words.retry_after(*seconds),
        _ => words,
    };
    // Encoding can't fail by itself: `out` remembers what did not fit.
    let _ = Http1::encode(Exchange::UNKNOWN.with_head(was_head), words, out);
}
