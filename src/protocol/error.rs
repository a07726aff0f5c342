//! Errors in a stream of bytes.

use std::borrow::Cow;
use std::fmt;
use std::num::NonZeroU16;
use std::sync::Arc;

/// Why a stream is not acceptable. Carries what the protocol needs to say so to the peer.
///
/// It is kept for as long as its connection takes to end, so its text is bounded: a static text takes no memory; one
/// that was made at run time, perhaps from bytes of the peer, is cut after [`TEXT_MAX`](Self::TEXT_MAX) bytes. Clones
/// share it.
// Behind a pointer, so that a decoder's result does not grow because of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProtocolError(Arc<Wrong>);

#[derive(Debug, PartialEq, Eq)]
struct Wrong {
    status: Option<NonZeroU16>,
    what: Cow<'static, str>,
}

impl ProtocolError {
    /// How many bytes of a text that was made are kept.
    pub const TEXT_MAX: usize = 120;

    /// The most that one takes, as the allocator hands it out: two counters before it, and the text.
    pub(crate) const MEMORY: usize = 2 * size_of::<usize>() + size_of::<Wrong>() + 16 + Self::TEXT_MAX + 16;

    /// An error with a text for the log. The text should name the limit and the value that broke it.
    pub fn new(what: impl Into<Cow<'static, str>>) -> Self {
        Self::of(0, what.into())
    }

    /// The same with a status, for protocols that have one (HTTP: 400, 413, 431, ...). Zero is none.
    pub fn with_status(status: u16, what: impl Into<Cow<'static, str>>) -> Self {
        Self::of(status, what.into())
    }

    /// Not inlined: decoders have this in them, and should be as short as what they usually do.
    #[cold]
    #[inline(never)]
    fn of(status: u16, what: Cow<'static, str>) -> Self {
        let what = match what {
            Cow::Borrowed(text) => Cow::Borrowed(text),
            Cow::Owned(text) => Cow::Owned(cut(&text, Self::TEXT_MAX).to_owned()),
        };
        Self(Arc::new(Wrong { status: NonZeroU16::new(status), what }))
    }

    /// The protocol's own status, if it has one.
    pub fn status(&self) -> Option<u16> {
        self.0.status.map(NonZeroU16::get)
    }
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Wrong { status, what } = &*self.0;
        match status {
            None => f.write_str(what),
            Some(status) => write!(f, "{status}: {what}"),
        }
    }
}

impl std::error::Error for ProtocolError {}

/// The front of `text`, of at most this many bytes.
fn cut(text: &str, bytes: usize) -> &str {
    let fits = (0..=bytes.min(text.len())).rev().find(|&end| text.is_char_boundary(end));
    &text[..fits.unwrap_or(0)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_was_made_is_cut_between_two_characters() {
        let long = |text: &str| ProtocolError::new(text.to_owned()).to_string();
        assert_eq!(long(&"x".repeat(120)), "x".repeat(120));
        assert_eq!(long(&"x".repeat(121)), "x".repeat(120));
        assert_eq!(long(&"\u{20ac}".repeat(1000)), "\u{20ac}".repeat(40));
        assert_eq!(long(&format!("{}\u{20ac}", "x".repeat(119))), "x".repeat(119));
    }

    #[test]
    fn a_text_of_the_program_is_kept_as_it_is() {
        const LONG: &str = "a text that stands in the program takes no memory, however long it is, and so there is no reason \
                            to cut it, also if nobody would want to read all of it";
        assert_eq!(ProtocolError::with_status(400, LONG).to_string(), format!("400: {LONG}"));
    }
}
