//! The fields of a usual request: the length of the body is all that the server must learn from them.

use std::mem::replace;

use super::{grammar, words};

/// A length of so many digits always fits.
const LENGTH_DIGITS: usize = 9;

/// How long a section of fields is, and what follows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Section {
    /// Bytes of all its lines, with the empty line.
    pub(super) len: u32,
    /// Bytes of the body that it announces.
    pub(super) body_len: u32,
}

impl Section {
    /// Reads the section at the front of `bytes`: at most `fields_max` lines and the empty one, each with CR LF.
    /// `None`: it is not usual, or not all there.
    #[inline]
    pub(super) fn read(bytes: &[u8], fields_max: u32) -> Option<Self> {
        let mut fields = Fields::default();
        let mut rest = bytes;
        for _ in 0..=fields_max {
            if let Some(behind) = rest.strip_prefix(b"\r\n") {
                let len = u32::try_from(bytes.len() - behind.len()).ok()?;
                return fields.has_host.then_some(Self { len, body_len: fields.content_length.unwrap_or(0) });
            }
            rest = fields.read_line(rest)?;
        }
        None
    }
}

/// The facts from the lines that were read.
#[derive(Default)]
struct Fields {
    content_length: Option<u32>,
    has_host: bool,
}

impl Fields {
    /// Reads the line at the front of `bytes`. Returns the bytes behind it.
    #[inline]
    fn read_line<'b>(&mut self, bytes: &'b [u8]) -> Option<&'b [u8]> {
        let (name, rest) = bytes.split_at(words::find(b':', bytes)?);
        // Only one blank is removed. With more, the value keeps a blank, and no value that is checked below is good
        // then.
        let value = rest[1..].strip_prefix(b" ").unwrap_or(&rest[1..]);
        let (value, rest) = value.split_at(words::leading_text(value));
        // Compared by length first: most fields are none of these, and then need no further comparison.
        let plain = match name.len() {
            4 if is(name, b"host") => !replace(&mut self.has_host, true) && grammar::is_authority(value),
            14 if is(name, b"content-length") => self.content_length.replace(digits(value)?).is_none(),
            10 if is(name, b"connection") => value.eq_ignore_ascii_case(b"keep-alive"),
            6 if is(name, b"expect") => false,
            17 if is(name, b"transfer-encoding") => false,
            _ => grammar::is_token(name),
        };
        if plain { rest.strip_prefix(b"\r\n") } else { None }
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
