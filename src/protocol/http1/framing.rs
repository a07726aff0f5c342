//! Where a body ends. Request smuggling needs two readers that disagree about this, so everything that could be read in
//! two ways is refused.

use super::{grammar, limits::Limits, malformed};
use crate::protocol::ProtocolError;

/// How the body of a request is delimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// This many bytes follow the head; zero when there is no body.
    Length(u32),
    /// Chunks follow the head (RFC 9112 section 7.1).
    Chunked,
}

/// Everything that the fields of a head say about the body, collected in one pass over them.
#[derive(Default)]
pub(super) struct BodyFields<'a> {
    lengths: u32,
    length: &'a [u8],
    codings: Option<Codings>,
}

/// The transfer codings of all `Transfer-Encoding` lines, read as one list (RFC 9110 section 5.3).
#[derive(Default)]
struct Codings {
    chunked: u32,
    after_chunked: bool,
    unknown: bool,
    malformed: bool,
}

impl<'a> BodyFields<'a> {
    pub(super) fn content_length(&mut self, value: &'a [u8]) {
        self.lengths += 1;
        self.length = value;
    }

    pub(super) fn transfer_encoding(&mut self, value: &[u8]) {
        let codings = self.codings.get_or_insert_default();
        for coding in grammar::list(value) {
            codings.add(coding);
        }
    }
}

impl Codings {
    fn add(&mut self, coding: &[u8]) {
        self.after_chunked |= self.chunked > 0;
        if coding.eq_ignore_ascii_case(b"chunked") {
            self.chunked += 1;
            return;
        }
        // transfer-coding = token *( OWS ";" OWS transfer-parameter ). An empty element would be allowed in a list, and
        // `chunked` has no parameters: both are sent only to find a reader that stumbles over them. Both are refused.
        let name = coding.split(|&byte| byte == b';').next().map_or(coding, grammar::trim);
        if !grammar::is_token(name) || name.eq_ignore_ascii_case(b"chunked") {
            self.malformed = true;
        }
        self.unknown = true;
    }
}

/// RFC 9112 section 6.3, step by step, as far as it speaks of requests.
pub(super) fn of_request(version10: bool, fields: &BodyFields<'_>, limits: &Limits) -> Result<Framing, ProtocolError> {
    // 1. and 2. are about responses.
    if let Some(codings) = &fields.codings {
        // Section 6.1: a Transfer-Encoding in HTTP/1.0 was added by a program that did not understand it, and the
        // framing is faulty even when there is a Content-Length too.
        if version10 {
            return Err(malformed("Transfer-Encoding in an HTTP/1.0 request"));
        }
        // 3. Transfer-Encoding overrides Content-Length, and "ought to be handled as an error".
        if fields.lengths > 0 {
            return Err(malformed("both Content-Length and Transfer-Encoding"));
        }
        // 4. Chunked must be the final coding, and only once (section 7.1).
        if codings.malformed || codings.chunked > 1 || codings.after_chunked {
            return Err(malformed("Transfer-Encoding is not a list of codings that ends with one chunked"));
        }
        // Section 6.1: a coding that is not understood is answered with 501. That also goes for one without chunked
        // behind it, although section 6.3 has 400 for a body without an end: the peer has to hear that no coding is
        // known here.
        if codings.unknown {
            return Err(ProtocolError::with_status(501, "transfer coding other than chunked"));
        }
        if codings.chunked == 0 {
            return Err(malformed("Transfer-Encoding without a coding"));
        }
        return Ok(Framing::Chunked);
    }
    match fields.lengths {
        // 7. Neither of the two: there is no body.
        0 => Ok(Framing::Length(0)),
        // 6. A valid Content-Length is the length.
        1 => content_length(fields.length, limits),
        // 5. The same length said twice may be refused or accepted. It is refused, because the next reader may not
        //   compare.
        count => Err(malformed(format!("{count} Content-Length fields"))),
    }
}

/// Content-Length = 1*DIGIT (RFC 9110 section 8.6): no sign, no list, no space.
fn content_length(value: &[u8], limits: &Limits) -> Result<Framing, ProtocolError> {
    /// So many digits always fit into 64 bits; readers differ in what they do with more.
    const DIGITS_MAX: usize = 19;
    if value.is_empty() || value.len() > DIGITS_MAX || !value.iter().all(u8::is_ascii_digit) {
        return Err(malformed("Content-Length is not a number"));
    }
    let length = value.iter().fold(0u64, |length, digit| length * 10 + u64::from(digit - b'0'));
    match u32::try_from(length) {
        Ok(length) if length <= limits.body_max => Ok(Framing::Length(length)),
        _ => Err(body_too_long(length, limits)),
    }
}

pub(super) fn body_too_long(length: u64, limits: &Limits) -> ProtocolError {
    ProtocolError::with_status(413, format!("body of at least {length} bytes, body_max is {}", limits.body_max))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framing(version10: bool, lengths: &[&'static str], codings: &[&str]) -> Result<Framing, u16> {
        let mut fields = BodyFields::default();
        lengths.iter().for_each(|value| fields.content_length(value.as_bytes()));
        codings.iter().for_each(|value| fields.transfer_encoding(value.as_bytes()));
        of_request(version10, &fields, &Limits::default()).map_err(|error| error.status().unwrap_or(0))
    }

    #[test]
    fn one_reading_or_none() {
        assert_eq!(framing(false, &[], &[]), Ok(Framing::Length(0)));
        assert_eq!(framing(true, &["5"], &[]), Ok(Framing::Length(5)));
        assert_eq!(framing(false, &[], &["ChunKed"]), Ok(Framing::Chunked));
        assert_eq!(framing(false, &["5"], &["chunked"]), Err(400));
        assert_eq!(framing(false, &["5", "5"], &[]), Err(400));
        assert_eq!(framing(true, &[], &["chunked"]), Err(400));
        assert_eq!(framing(false, &[], &["gzip, chunked"]), Err(501));
        assert_eq!(framing(false, &[], &["gzip", "chunked"]), Err(501));
        for unknown in ["gzip", "identity", "chunkedx"] {
            assert_eq!(framing(false, &[], &[unknown]), Err(501), "{unknown}");
        }
        for unframed in
            ["", ",", "chunked, gzip", "chunked, chunked", "chunked;a=b", "chunked,", "\"chunked\"", "chun ked"]
        {
            assert_eq!(framing(false, &[], &[unframed]), Err(400), "{unframed}");
        }
    }

    #[test]
    fn lengths_are_digits() {
        assert_eq!(framing(false, &["983040"], &[]), Ok(Framing::Length(960 * 1024)));
        assert_eq!(framing(false, &["983041"], &[]), Err(413));
        assert_eq!(framing(false, &["9999999999999999999"], &[]), Err(413));
        for wrong in ["", "+5", "-5", "0x5", "5 5", "5,5", "5.0", "18446744073709551621", "\u{665}"] {
            assert_eq!(framing(false, &[wrong], &[]), Err(400), "{wrong}");
        }
    }
}
