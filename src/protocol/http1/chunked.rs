//! The chunked coding (RFC 9112 section 7.1), taken off in place.
//!
//! The data of the chunks is moved together behind the head, each byte once; the framing is dropped as soon as it is
//! read. So a body of one-byte chunks needs no more memory than any other body, and an endless chunk extension needs
//! none.

use super::framing::body_too_long;
use super::{grammar, limits::Limits, malformed};
use crate::protocol::ProtocolError;

/// The parser's state between two bytes of a chunked body.
#[derive(Debug, Clone, Default)]
pub(super) struct Chunks {
    /// While the digits of the current chunk are read: their value so far; then: how much of its data is missing.
    size: u32,
    /// Bytes of framing so far.
    framing: u32,
    phase: Phase,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    FirstDigit,
    Digits {
        seen: u8,
    },
    /// White space behind the size; only an extension may follow it.
    Space,
    Extension,
    SizeLineFeed,
    Data,
    DataReturn,
    DataLineFeed,
    Done,
}

/// Where the body and the bytes not yet read lie in the buffer.
pub(super) struct Window {
    pub(super) body_start: usize,
    /// Where the next byte of data goes.
    pub(super) body_end: usize,
    /// What is read next; never before `body_end`.
    pub(super) unread: usize,
}

impl Chunks {
    /// Reads everything that is there, at most up to the end of the last chunk's line. True if that end was reached:
    /// the trailer section then begins at `unread`.
    pub(super) fn read(&mut self, bytes: &mut [u8], at: &mut Window, limits: &Limits) -> Result<bool, ProtocolError> {
        while at.unread < bytes.len() && self.phase != Phase::Done {
            if self.phase == Phase::Data {
                self.move_data(bytes, at);
                continue;
            }
            let byte = bytes[at.unread];
            at.unread += 1;
            let data = at.body_end - at.body_start;
            self.framing += 1;
            if self.framing as usize > limits.chunk_framing_max as usize + data {
                return Err(too_much_framing(data, limits));
            }
            self.phase = self.framing_byte(byte, data as u64, limits)?;
        }
        Ok(self.phase == Phase::Done)
    }

    /// Moves as much of the current chunk as has arrived.
    fn move_data(&mut self, bytes: &mut [u8], at: &mut Window) {
        let length = (bytes.len() - at.unread).min(self.size as usize);
        // They are equal if the data came in pieces: then it already is where it belongs.
        if at.unread != at.body_end {
            bytes.copy_within(at.unread..at.unread + length, at.body_end);
        }
        at.body_end += length;
        at.unread += length;
        self.size -= length as u32;
        if self.size == 0 {
            self.phase = Phase::DataReturn;
        }
    }

    /// Every line end must be CR LF, also in extensions, where a lone LF has made smuggling attacks possible.
    fn framing_byte(&mut self, byte: u8, body: u64, limits: &Limits) -> Result<Phase, ProtocolError> {
        match (self.phase, byte) {
            (Phase::FirstDigit, _) => self.digit(byte, 1, body, limits),
            (Phase::Digits { .. } | Phase::Extension, b'\r') => Ok(Phase::SizeLineFeed),
            (Phase::Digits { .. } | Phase::Space, b';') => Ok(Phase::Extension),
            // RFC 9112 section 7.1.1: "bad" white space, allowed before the extension's semicolon only.
            (Phase::Digits { .. } | Phase::Space, b' ' | b'\t') => Ok(Phase::Space),
            (Phase::Digits { seen }, _) => self.digit(byte, seen + 1, body, limits),
            // Unknown extensions must be ignored, and all of them are unknown here; so their inner grammar does not
            // matter.
            (Phase::Extension, _) if grammar::is_field_byte(byte) => Ok(Phase::Extension),
            (Phase::SizeLineFeed, b'\n') if self.size == 0 => Ok(Phase::Done),
            (Phase::SizeLineFeed, b'\n') => Ok(Phase::Data),
            (Phase::DataReturn, b'\r') => Ok(Phase::DataLineFeed),
            (Phase::DataLineFeed, b'\n') => Ok(Phase::FirstDigit),
            (Phase::DataReturn | Phase::DataLineFeed, _) => {
                Err(malformed("chunk data does not end where its size says"))
            }
            _ => Err(malformed("chunk-size line is not well-formed")),
        }
    }

    fn digit(&mut self, byte: u8, seen: u8, body: u64, limits: &Limits) -> Result<Phase, ProtocolError> {
        /// Leading zeros are allowed; beyond 64 bits readers differ in what they do.
        const DIGITS_MAX: u8 = 16;
        let Some(digit) = char::from(byte).to_digit(16) else {
            return Err(malformed("chunk size is not hexadecimal"));
        };
        if seen > DIGITS_MAX {
            return Err(malformed(format!("chunk size has more than {DIGITS_MAX} digits")));
        }
        if seen == 1 {
            self.size = 0;
        }
        let size = u64::from(self.size) * 16 + u64::from(digit);
        // Refused at the first digit that is too much, so `size` never outgrows its type.
        if body + size > u64::from(limits.body_max) {
            return Err(body_too_long(body + size, limits));
        }
        self.size = size as u32;
        Ok(Phase::Digits { seen })
    }
}

#[cold]
fn too_much_framing(data: usize, limits: &Limits) -> ProtocolError {
    let most = limits.chunk_framing_max;
    malformed(format!("chunk framing is over the {data} bytes of data by more than chunk_framing_max = {most} bytes"))
}
