//! The meaning of a whole head: validated, and reduced to the layout and the framing of the body.

use httparse::Header;

use super::exchange::Exchange;
use super::framing::{self, BodyFields, Framing};
use super::search::HeadSearch;
use super::{grammar, layout::Layout, limits::Limits, malformed};
use crate::protocol::ProtocolError;

/// A head that was found to be good.
pub(super) struct Head {
    /// The ends of its body and trailers are still at the end of the head.
    pub(super) layout: Layout,
    pub(super) framing: Framing,
    /// The client waits for `100 Continue` before it sends the body.
    pub(super) expects_continue: bool,
}

/// Checks everything that can be judged only by the whole head. This happens once, so the result cannot depend on where
/// the pieces ended.
///
/// Reads `head`, which ends with its empty line and whose request line has already been read.
pub(super) fn read(head: &[u8], search: &HeadSearch, limits: &Limits) -> Result<Head, ProtocolError> {
    let mut facts = Facts::default();
    let fields = &head[search.fields_start()..];
    for_each_field(fields, search.field_count(), |field| facts.add(field.name.as_bytes(), field.value))?;
    judge(head, search, &facts, limits)
}

fn judge(head: &[u8], search: &HeadSearch, facts: &Facts<'_>, limits: &Limits) -> Result<Head, ProtocolError> {
    let line = search.line();
    facts.check(line.version10)?;

    let framing = framing::of_request(line.version10, &facts.body, limits)?;
    let method = line.method(head);
    // A body of CONNECT or TRACE has no meaning (RFC 9110 sections 9.3.6 and 9.3.8): some readers skip it and some take
    // it for the next request.
    if matches!(method, b"CONNECT" | b"TRACE") && framing != Framing::Length(0) {
        return Err(malformed("CONNECT or TRACE with a body"));
    }
    let connect = method == b"CONNECT";
    // A client may send the tunnel's bytes before it has an answer (RFC 9110 section 9.3.6). There will be no tunnel,
    // so they must not be read as a request.
    let keep_alive = facts.keep_alive(line.version10) && !connect;
    let exchange = Exchange::UNKNOWN
        .with_head(method == b"HEAD")
        .with_connect(connect)
        .with_keep_alive(keep_alive)
        .with_version10(line.version10);
    let layout = Layout::of_head(line.method_len, line.target_end, head.len() as u32, exchange);
    // In HTTP/1.0 the expectation must be ignored (RFC 9110 section 10.1.1).
    let expects_continue = facts.expects_continue && !line.version10 && framing != Framing::Length(0);
    Ok(Head { layout, framing, expects_continue })
}

/// Reads a trailer section of `count` fields, which ends with its empty line.
pub(super) fn check_trailers(section: &[u8], count: u32) -> Result<(), ProtocolError> {
    for_each_field(section, count, |field| {
        if may_trail(field.name) { Ok(()) } else { Err(malformed("a trailer field that must stand in the head")) }
    })
}

/// Fields that frame, route, authenticate or steer the request are not allowed behind its body (RFC 9110 section
/// 6.5.1). Ignoring them would be allowed, too; they are refused, because they would deceive code that later merges
/// them into the head.
fn may_trail(name: &str) -> bool {
    const FORBIDDEN: [&str; 18] = [
        "authorization",
        "cache-control",
        "connection",
        "content-encoding",
        "content-length",
        "content-range",
        "content-type",
        "cookie",
        "expect",
        "host",
        "keep-alive",
        "max-forwards",
        "proxy-authorization",
        "range",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ];
    !FORBIDDEN.iter().any(|forbidden| forbidden.eq_ignore_ascii_case(name))
}

/// Parses the fields of a section, which ends with its empty line, and hands each to `each`.
fn for_each_field<'b>(
    section: &'b [u8],
    count: u32,
    each: impl FnMut(&Header<'b>) -> Result<(), ProtocolError>,
) -> Result<(), ProtocolError> {
    // Room for the fields has to be cleared first, which takes time: so a few fields get little room.
    match count {
        0..=4 => for_each_of(section, &mut [httparse::EMPTY_HEADER; 4], each),
        5..=32 => for_each_of(section, &mut [httparse::EMPTY_HEADER; 32], each),
        _ => for_each_of(section, &mut [httparse::EMPTY_HEADER; Limits::FIELDS_MAX as usize], each),
    }
}

fn for_each_of<'b>(
    section: &'b [u8],
    room: &mut [Header<'b>],
    each: impl FnMut(&Header<'b>) -> Result<(), ProtocolError>,
) -> Result<(), ProtocolError> {
    match httparse::parse_headers(section, room) {
        // Both must have found the same end, or one of them is wrong.
        Ok(httparse::Status::Complete((length, fields))) if length == section.len() => fields.iter().try_for_each(each),
        // This refuses bare CR, NUL and other controls, white space before the colon, and folded lines (RFC 9112
        // section 5).
        Err(error) => Err(malformed(format!("malformed fields: {error}"))),
        Ok(_) => Err(malformed("malformed fields")),
    }
}

/// Everything in the fields of a head that the server itself must know, collected in one pass over them. A field that
/// must not come twice is only counted; the judgement is made at the end.
#[derive(Default)]
struct Facts<'a> {
    body: BodyFields<'a>,
    hosts: u32,
    host: &'a [u8],
    close: bool,
    stay: bool,
    expects_continue: bool,
    expects_other: bool,
}

impl<'a> Facts<'a> {
    fn add(&mut self, name: &[u8], value: &'a [u8]) -> Result<(), ProtocolError> {
        // By length first: most fields are none of these, and need no comparison then.
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => {
                self.hosts += 1;
                self.host = value;
            }
            6 if name.eq_ignore_ascii_case(b"expect") => {
                // A list, in which empty elements count for nothing (RFC 9110 sections 5.6.1 and 10.1.1).
                for expectation in grammar::list(value).filter(|expectation| !expectation.is_empty()) {
                    let known = expectation.eq_ignore_ascii_case(b"100-continue");
                    self.expects_continue |= known;
                    self.expects_other |= !known;
                }
            }
            10 if name.eq_ignore_ascii_case(b"connection") => self.connection(value)?,
            14 if name.eq_ignore_ascii_case(b"content-length") => self.body.content_length(value),
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => self.body.transfer_encoding(value),
            _ => {}
        }
        Ok(())
    }

    /// Connection = #connection-option (RFC 9110 section 7.6.1); empty elements are allowed in a list.
    fn connection(&mut self, value: &[u8]) -> Result<(), ProtocolError> {
        for option in grammar::list(value).filter(|option| !option.is_empty()) {
            let is = |name: &str| option.eq_ignore_ascii_case(name.as_bytes());
            if !grammar::is_token(option) {
                return Err(malformed("Connection is not a list of tokens"));
            }
            // A proxy removes the fields that Connection names: naming one of these would turn the request into another
            // one on the way.
            if is("host") || is("content-length") || is("transfer-encoding") {
                return Err(malformed("Connection names a field that the request cannot be read without"));
            }
            self.close |= is("close");
            self.stay |= is("keep-alive");
        }
        Ok(())
    }

    fn check(&self, version10: bool) -> Result<(), ProtocolError> {
        // RFC 9112 section 3.2: 400 for none in HTTP/1.1, for more than one, and for an invalid one.
        if self.hosts > 1 || (self.hosts == 0 && !version10) {
            return Err(malformed(format!("{} Host fields", self.hosts)));
        }
        // HTTP/1.0 need not have one, but if there is one it must be valid.
        if self.hosts == 1 && !grammar::is_authority(self.host) {
            return Err(malformed("Host is not a host"));
        }
        if self.expects_other && !version10 {
            return Err(ProtocolError::with_status(417, "an expectation other than 100-continue"));
        }
        Ok(())
    }

    /// RFC 9112 section 9.3; `close` is stronger than `keep-alive`.
    fn keep_alive(&self, version10: bool) -> bool {
        !self.close && (!version10 || self.stay)
    }
}
