//! HTTP/1.1 and HTTP/1.0 (RFC 9110, RFC 9112), without a socket.
//!
//! The server does this for you:
//!
//! - **HEAD** reaches your code like GET, and its answer is sent without the body but with the body's length. So answer
//!   both alike.
//! - **`Date`, `Content-Length`, `Connection`** are written, and chunks, keep-alive and HTTP/1.0 are taken care of:
//!   your code sees only the data of a body.
//! - **`Expect: 100-continue`** is answered with 100 as soon as the head is found to be good, unless the body is
//!   already coming. Your code sees a request only when it is whole, so it cannot refuse one before its body was sent.
//! - **A request that is malformed, or exceeds one of the [`Limits`]**, is refused and never reaches your code.
//!
//! A request's way through the files: if its head is one of the `known_heads`, it is read already; `usual` reads other
//! plain requests that have arrived whole, with `usual_line` and `usual_fields`. For all others, [`Http1`] is the state
//! between two calls, `search` finds the end of the head, `head` validates it, `framing` says where the body ends, and
//! `chunked` joins chunks. All of them read with the help of `grammar` and `words`. The result is a [`Layout`], which
//! [`RequestView`] lays over the bytes. A [`Response`] goes the way back, together with the [`Exchange`], which is what
//! it must know about its request; most answers begin with a `usual_head`.
//!
//! If the RFCs leave a choice, everything that two readers could read in two ways is refused: this server may stand
//! behind a proxy that chose differently, and request smuggling needs such a difference.

mod chunked;
mod exchange;
mod framing;
mod grammar;
mod head;
mod head_writer;
mod known_heads;
mod layout;
mod limits;
mod request;
mod response;
mod search;
mod status;
mod user_fields;
mod usual;
mod usual_fields;
mod usual_head;
mod usual_line;
mod words;

#[cfg(test)]
mod tests;

pub use exchange::Exchange;
pub use layout::Layout;
pub use limits::Limits;
pub use request::{Headers, RequestView, Version};
pub use response::{Body, InvalidHeader, Response};

use std::borrow::Cow;

use self::chunked::{Chunks, Window};
use self::framing::Framing;
use self::known_heads::Place;
use self::layout::KeptLayout;
use self::limits::LimitsNumber;
use self::search::{FieldSearch, HeadSearch};
use super::codec::{Decode, Protocol, Refusal};
use super::error::ProtocolError;
use crate::buffer::Outbound;

/// How many empty lines before a request are skipped. Some clients send one after a body (RFC 9112 section 2.2).
const EMPTY_LINES_MAX: u8 = 4;

/// Bytes of an empty line.
const EMPTY_LINE: usize = 2;

/// The HTTP/1 protocol. The value is the parse state of one connection.
#[derive(Debug, Clone)]
pub struct Http1 {
    limits: Limits,
    state: State,
    /// Empty lines that preceded the request that is being read.
    empty_lines: u8,
    /// A client waits for `100 Continue`.
    continue_due: bool,
    /// Its place among the known heads.
    place: Place,
}

/// The part that is being read. Positions are relative to the first byte of the request.
#[derive(Debug, Clone, Default)]
enum State {
    /// Nothing: no byte of the request was looked at. Empty lines may precede it.
    #[default]
    Nothing,
    /// The head, as far as it was searched for its end.
    Head(HeadSearch),
    /// A body of known length; the layout is final.
    Body(KeptLayout),
    /// Chunks; the layout's `body_end` is where the data joined so far ends. `fields` are those of the head.
    Chunked { layout: KeptLayout, chunks: Chunks, fields: u32 },
    /// What follows the last chunk.
    Trailers { layout: KeptLayout, search: FieldSearch },
    /// Nothing more is read, because the request was refused. `was_head`: it began as a HEAD request.
    Refused { was_head: bool },
}

impl Default for Http1 {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            state: State::default(),
            empty_lines: 0,
            continue_due: false,
            place: Place::new(LimitsNumber::DEFAULT),
        }
    }
}

impl Http1 {
    /// The protocol with other limits than the default ones. Make it once and clone it, as the server does: values that
    /// were made one by one do not share the heads of requests that they remember.
    #[must_use]
    pub fn with_limits(limits: Limits) -> Self {
        Self { limits: limits.clamped(), place: Place::new(LimitsNumber::next()), ..Self::default() }
    }

    /// How many bytes of empty lines are at the front. They belong to no message.
    fn skip_empty_lines(&mut self, bytes: &[u8]) -> Result<usize, ProtocolError> {
        let mut skipped = 0;
        while bytes[skipped..].starts_with(b"\r\n") {
            skipped += 2;
            self.empty_lines += 1;
            if self.empty_lines > EMPTY_LINES_MAX {
                return Err(malformed(format!("more than {EMPTY_LINES_MAX} empty lines before a request")));
            }
        }
        Ok(skipped)
    }

    /// Decodes a request from its beginning, whose head is not known at the place where it was looked for.
    #[inline(never)]
    fn decode_unknown(&mut self, bytes: &mut [u8]) -> Result<Decode<Layout>, ProtocolError> {
        if self.place.deal() {
            // There it may be known.
            return self.decode(bytes);
        }
        match usual::request(bytes, &self.limits, self.place) {
            Some(layout) => Ok(self.complete_usual(layout)),
            None => self.decode_any(bytes),
        }
    }

    /// Decodes a request that is not usual, or not whole. Not inlined: it needs more than a page of stack, and the
    /// usual request should not have to probe for that.
    #[inline(never)]
    fn decode_any(&mut self, bytes: &mut [u8]) -> Result<Decode<Layout>, ProtocolError> {
        // No request begins with CR, so the first byte alone tells whether empty lines are in front.
        let skipped = if self.state.is_before_request(bytes) { self.skip_empty_lines(bytes)? } else { 0 };
        let rest = &mut bytes[skipped..];
        if matches!(rest, [] | [b'\r']) && self.state.is_in_head() {
            let keep = rest.len();
            bytes.copy_within(skipped.., 0);
            return Ok(Decode::Partial { needs: None, keep });
        }
        let decoded = self.decode_request(rest);
        if decoded.is_err() {
            self.state = State::Refused { was_head: rest.starts_with(b"HEAD ") };
        }
        let decoded = decoded?;
        if skipped == 0 {
            return Ok(decoded);
        }
        Ok(match decoded {
            // The empty lines are dropped, so that positions stay relative to the request.
            Decode::Partial { needs, keep } => {
                bytes.copy_within(skipped..skipped + keep, 0);
                Decode::Partial { needs, keep }
            }
            // Nothing moves here: the next request must follow directly.
            Decode::Complete { consumed, layout } => {
                Decode::Complete { consumed: skipped + consumed, layout: layout.shifted(skipped) }
            }
        })
    }

    /// Decodes `bytes`, which begin with a request.
    fn decode_request(&mut self, bytes: &mut [u8]) -> Result<Decode<Layout>, ProtocolError> {
        // Where the bytes begin that have not been read in this call; only after joining the body of chunks does this
        // differ from the start of the part that the state describes.
        let mut unread = None;
        loop {
            match &mut self.state {
                State::Nothing => self.state = State::Head(HeadSearch::default()),
                State::Head(search) => {
                    let Some(end) = search.find_end(bytes, &self.limits)? else {
                        return Ok(Decode::Partial { needs: None, keep: bytes.len() });
                    };
                    let (head, fields) = (head::read(&bytes[..end], search, &self.limits)?, search.field_count());
                    self.continue_due = head.expects_continue;
                    self.state = State::after_head(head.layout, head.framing, fields);
                }
                State::Body(layout) => {
                    let layout = layout.get();
                    let end = layout.body_end() as usize;
                    if bytes.len() < end {
                        self.body_began(bytes.len() > layout.head_end() as usize);
                        return Ok(Decode::Partial { needs: Some(end), keep: bytes.len() });
                    }
                    return Ok(self.complete(end, layout));
                }
                State::Chunked { layout: kept, chunks, fields } => {
                    let layout = kept.get();
                    let (body_start, body_end) = (layout.head_end() as usize, layout.body_end() as usize);
                    let mut window = Window { body_start, body_end, unread: body_end };
                    let done = chunks.read(bytes, &mut window, &self.limits)?;
                    *kept = layout.with_body_end(window.body_end as u32).kept();
                    if !done {
                        let (keep, began) = (window.body_end, window.unread > body_end);
                        self.body_began(began);
                        return Ok(Decode::Partial { needs: None, keep });
                    }
                    unread = Some(window.unread);
                    self.state = State::Trailers { layout: *kept, search: FieldSearch::from(0, *fields) };
                }
                State::Trailers { .. } => return self.decode_trailers(bytes, unread),
                State::Refused { .. } => return Err(malformed("it was refused already")),
            }
        }
    }

    /// The trailer section lies behind the joined body or, in the call that found it, at `unread`. It is moved behind
    /// the body; what follows it in `bytes` is not.
    fn decode_trailers(&mut self, bytes: &mut [u8], unread: Option<usize>) -> Result<Decode<Layout>, ProtocolError> {
        let State::Trailers { layout, search } = &mut self.state else {
            return Err(malformed("no trailers to read"));
        };
        let layout = layout.get();
        self.continue_due = false;
        let body_end = layout.body_end() as usize;
        let start = unread.unwrap_or(body_end);
        // Head and trailers share one limit. The empty line that ends the section does not count: every chunked body
        // has one.
        let len_max = self.limits.head_max as usize - (layout.head_end() - layout.start()) as usize + EMPTY_LINE;
        let section = &bytes[start..];
        let Some(length) = search.find_end(section, len_max, &self.limits)? else {
            let keep = body_end + section.len();
            bytes.copy_within(start.., body_end);
            return Ok(Decode::Partial { needs: None, keep });
        };
        if length > 2 {
            head::check_trailers(&section[..length], search.count())?;
        }
        bytes.copy_within(start..start + length, body_end);
        let layout = layout.with_trailers_end((body_end + length - 2) as u32);
        Ok(self.complete(start + length, layout))
    }

    fn complete(&mut self, consumed: usize, layout: Layout) -> Decode<Layout> {
        self.state = State::default();
        self.empty_lines = 0;
        self.continue_due = false;
        Decode::Complete { consumed, layout }
    }

    /// Completes a request that was read in one go. All that there is to remember is that empty lines, if there were
    /// any, were followed by one.
    #[inline]
    fn complete_usual(&mut self, layout: Layout) -> Decode<Layout> {
        self.empty_lines = 0;
        Decode::Complete { consumed: layout.body_end() as usize, layout }
    }

    /// A client that did not wait for `100 Continue` needs none (RFC 9110 section 10.1.1).
    fn body_began(&mut self, began: bool) {
        self.continue_due &= !began;
    }
}

impl State {
    fn after_head(layout: Layout, framing: Framing, fields: u32) -> Self {
        match framing {
            Framing::Length(length) => {
                let end = layout.head_end() + length;
                Self::Body(layout.with_body_end(end).kept())
            }
            Framing::Chunked => Self::Chunked { layout: layout.kept(), chunks: Chunks::default(), fields },
        }
    }

    fn is_in_head(&self) -> bool {
        matches!(self, Self::Nothing | Self::Head(_))
    }

    fn is_before_request(&self, bytes: &[u8]) -> bool {
        self.is_in_head() && bytes.first() == Some(&b'\r')
    }
}

impl Protocol for Http1 {
    type Layout = Layout;
    type Exchange = Exchange;
    const IN_ORDER: bool = true;

    fn message_max(&self) -> usize {
        // The empty line behind a chunked body does not count, and chunk framing is read into the room that this line
        // will take.
        self.limits.head_max as usize + self.limits.body_max as usize + EMPTY_LINE
    }

    fn decode(&mut self, bytes: &mut [u8]) -> Result<Decode<Layout>, ProtocolError> {
        if !matches!(self.state, State::Nothing) {
            return self.decode_any(bytes);
        }
        match known_heads::find(bytes, self.place) {
            Some(layout) if layout.is_all_in(bytes) => Ok(self.complete_usual(layout)),
            Some(_) => self.decode_any(bytes),
            None => self.decode_unknown(bytes),
        }
    }

    fn exchange(layout: &Layout) -> Exchange {
        layout.exchange()
    }

    fn sends_no_more(layout: &Layout) -> bool {
        !layout.exchange().keep_alive() && !layout.exchange().is_connect()
    }

    fn closing(exchange: Exchange) -> Exchange {
        exchange.closing()
    }

    fn interim(&mut self, out: &mut Outbound) {
        if std::mem::take(&mut self.continue_due) {
            out.put_static(b"HTTP/1.1 100 Continue\r\n\r\n");
        }
    }

    fn refuse(&self, why: &Refusal, out: &mut Outbound) {
        response::refuse(why, matches!(self.state, State::Refused { was_head: true }), out);
    }
}

fn malformed(what: impl Into<Cow<'static, str>>) -> ProtocolError {
    ProtocolError::with_status(400, what)
}
