//! The fields of a usual request: none of them asks for more than the length of the body.

use std::mem::replace;

use super::{grammar, words};

/// Digits of a length that is sure to fit.
const LENGTH_DIGITS: usize = 9;

/// How long a section of fields is, and what follows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Section {
    /// Bytes of all its lines, with the empty line.
    pub(super) len: u32,
    /// Bytes of the body that it announces.
    pub(super) body_len: u32,
}

/// What the lines that were read say.
#[derive(Default)]
pub(super) struct Fields {
    content_length: Option<u32>,
    has_host: bool,
    /// Among them is one by which a client proves who it is.
    pub(super) has_secret: bool,
}

impl Fields {
    /// Reads the lines at the front of `bytes`, at most `most` and the empty one, each with CR LF. `None`: they are not
    /// usual, or not all there.
    #[inline]
    pub(super) fn read(bytes: &[u8], most: u32) -> Option<(Section, Self)> {
        let mut fields = Self::default();
        let mut rest = bytes;
        for _ in 0..=most {
            if let Some(behind) = rest.strip_prefix(b"\r\n") {
                let (len, body_len) = ((bytes.len() - behind.len()) as u32, fields.content_length.unwrap_or(0));
                return fields.has_host.then_some((Section { len, body_len }, fields));
            }
            rest = fields.read_line(rest)?;
        }
        None
    }

    /// Reads the line at the front of `bytes`. What is behind it.
    #[inline]
    fn read_line<'b>(&mut self, bytes: &'b [u8]) -> Option<&'b [u8]> {
        let (name, rest) = bytes.split_at(words::find(b':', bytes)?);
        // More than one blank is left in the value: none that is looked at below is good then.
        let value = rest[1..].strip_prefix(b" ").unwrap_or(&rest[1..]);
        let (value, rest) = value.split_at(words::leading_text(value));
        // By length first: most fields are none of these, and need no comparison then.
        let plain = match name.len() {
            4 if is(name, b"host") => !replace(&mut self.has_host, true) && grammar::is_authority(value),
            14 if is(name, b"content-length") => self.content_length.replace(digits(value)?).is_none(),
            10 if is(name, b"connection") => value.eq_ignore_ascii_case(b"keep-alive"),
            6 if is(name, b"expect") => false,
            17 if is(name, b"transfer-encoding") => false,
            6 | 13 | 19 => self.note_secret(name),
            _ => grammar::is_token(name),
        };
        if plain { rest.strip_prefix(b"\r\n") } else { None }
    }

    /// For a name as long as that of a secret. False if it is no name.
    fn note_secret(&mut self, name: &[u8]) -> bool {
        self.has_secret |= is(name, b"cookie") || is(name, b"authorization") || is(name, b"proxy-authorization");
        grammar::is_token(name)
    }
}

#[inline]
fn digits(value: &[u8]) -> Option<u32> {
    let few = (1..=LENGTH_DIGITS).contains(&value.len()) && value.iter().all(u8::is_ascii_digit);
    few.then(|| value.iter().fold(0, |number, digit| number * 10 + u32::from(digit - b'0')))
}

/// True if `name` is `lower`, whatever its case. In letters case is one bit; a hyphen has none.
#[inline]
fn is<const N: usize>(name: &[u8], lower: &[u8; N]) -> bool {
    let differ = |byte: u8, lower: u8| (byte | (lower & 0x40) >> 1) ^ lower;
    name.len() == N && name.iter().zip(lower).fold(0, |differs, (&byte, &lower)| differs | differ(byte, lower)) == 0
}
