//! The request line of a usual request: a method without rules of its own, a path, HTTP/1.1.

use super::search::VERSION_LEN;
use super::words;

/// Where the parts of a request line lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct UsualLine {
    /// Bytes of the line, with CR LF.
    pub(super) len: u32,
    pub(super) method_len: u32,
}

impl UsualLine {
    /// Reads the line at the front of `bytes`. `None`: it is not usual, or not all there.
    #[inline]
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let method_len = method_len(bytes)?;
        let target = &bytes[method_len + 1..];
        let (_, behind) = target.split_at(origin_form(target)?);
        let rest = behind.strip_prefix(b" HTTP/1.1\r\n")?;
        let len = u32::try_from(bytes.len() - rest.len()).ok()?;
        Some(Self { len, method_len: method_len as u32 })
    }

    #[inline]
    pub(super) fn target_end(self) -> u32 {
        self.len - VERSION_LEN as u32
    }

    #[inline]
    pub(super) fn target_len(self) -> u32 {
        self.target_end() - self.method_len - 1
    }
}

/// The length of a method without rules of its own.
#[inline]
fn method_len(bytes: &[u8]) -> Option<usize> {
    let is = |method: &[u8]| bytes.starts_with(method);
    match () {
        () if is(b"GET ") || is(b"PUT ") => Some(3),
        () if is(b"POST ") || is(b"HEAD ") => Some(4),
        () if is(b"PATCH ") => Some(5),
        () if is(b"DELETE ") => Some(6),
        () => None,
    }
}

/// The length of a target that is a path, with or without a query (RFC 9112 section 3.2.1).
#[inline]
fn origin_form(bytes: &[u8]) -> Option<usize> {
    let starts = bytes.first() == Some(&b'/');
    starts.then(|| words::leading_target(bytes))
}
