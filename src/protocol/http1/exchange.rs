//! What an answer must know about its request.

use std::fmt;

/// What an answer must know about its request. It is small and holds none of the request's bytes, because it waits
/// wherever the answer is made.
// Bits of one number, because every message carries it from its layout to its answer: four booleans would be taken
// apart and put together again on the way.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Exchange(u32);

/// The properties of a request, one bit each.
const HEAD: u32 = 1;
const CONNECT: u32 = 1 << 1;
const KEEP_ALIVE: u32 = 1 << 2;
const VERSION10: u32 = 1 << 3;

impl Exchange {
    /// For a request about which nothing is known; the connection ends after its answer.
    pub(super) const UNKNOWN: Self = Self(0);
    /// For a usual request: HTTP/1.1, and the client goes on.
    pub(super) const USUAL: Self = Self(KEEP_ALIVE);

    /// The same, for a request whose method is HEAD.
    #[inline]
    pub(super) fn with_head(self, is_head: bool) -> Self {
        self.with(HEAD, is_head)
    }

    /// The same, for a request whose method is CONNECT.
    pub(super) fn with_connect(self, is_connect: bool) -> Self {
        self.with(CONNECT, is_connect)
    }

    /// The same, for a client that goes on afterwards.
    pub(super) fn with_keep_alive(self, keep_alive: bool) -> Self {
        self.with(KEEP_ALIVE, keep_alive)
    }

    /// The same, for a client that speaks HTTP/1.0.
    pub(super) fn with_version10(self, is_version10: bool) -> Self {
        self.with(VERSION10, is_version10)
    }

    /// Its bits, all of them in the lowest byte.
    #[inline]
    pub(super) fn bits(self) -> u8 {
        self.0 as u8
    }

    #[inline]
    pub(super) fn from_bits(bits: u8) -> Self {
        Self(u32::from(bits))
    }

    #[inline]
    fn with(self, bit: u32, set: bool) -> Self {
        Self(if set { self.0 | bit } else { self.0 & !bit })
    }

    #[inline]
    fn has(self, bit: u32) -> bool {
        self.0 & bit != 0
    }

    /// Whether the connection goes on after the answer, as far as the client is concerned.
    #[must_use]
    #[inline]
    pub fn keep_alive(&self) -> bool {
        self.has(KEEP_ALIVE)
    }

    #[inline]
    pub(super) fn is_head(self) -> bool {
        self.has(HEAD)
    }

    #[inline]
    pub(super) fn is_connect(self) -> bool {
        self.has(CONNECT)
    }

    #[inline]
    pub(super) fn is_version10(self) -> bool {
        self.has(VERSION10)
    }

    /// True if its answer has a body whenever the status allows one.
    #[inline]
    pub(super) fn is_plain(self) -> bool {
        !self.has(HEAD | CONNECT)
    }

    /// The same, changed to say that no more requests will be answered.
    #[inline]
    pub(super) fn closing(self) -> Self {
        self.with(KEEP_ALIVE, false)
    }
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange")
            .field("head", &self.is_head())
            .field("connect", &self.is_connect())
            .field("keep_alive", &self.keep_alive())
            .field("version10", &self.is_version10())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_says_what_it_was_told() {
        let usual = Exchange::USUAL;
        assert!(usual.keep_alive() && usual.is_plain() && !usual.is_version10());
        assert!(usual.with_head(true).is_head() && !usual.with_head(true).is_plain());
        assert!(usual.with_connect(true).is_connect() && !usual.with_connect(true).is_plain());
        assert!(usual.with_version10(true).is_version10() && !usual.with_head(true).is_connect());
        let all = usual.with_head(true).with_connect(true).with_version10(true);
        assert_eq!(all.closing().with_head(false).with_connect(false).with_version10(false), Exchange::UNKNOWN);
        assert!(!all.closing().keep_alive() && all.closing().is_head() && !all.with_keep_alive(false).keep_alive());
    }
}
