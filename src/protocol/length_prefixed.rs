//! Length-prefixed messages: four bytes of length, big-endian, then the payload.

use std::ops::Range;
use std::sync::Arc;

use super::codec::{After, Decode, Encode, Protocol};
use super::error::ProtocolError;
use super::message::Message;
use crate::buffer::Outbound;
use crate::encode_error::EncodeError;

/// How many bytes of length stand before each payload.
const PREFIX: usize = size_of::<u32>();

/// The longest payload that any instance can be made to accept: its end still fits the `u32` of a [`Frame`].
const PAYLOAD_MAX_CEILING: usize = u32::MAX as usize - PREFIX;

/// The smallest possible protocol: a `u32` in network order says how long the payload is, and the payload follows. A
/// payload may be empty.
///
/// **Order.** [`IN_ORDER`](Protocol::IN_ORDER) is false: an answer leaves when it is ready, also before the answers to
/// earlier messages, and a slow one holds up no other. Peers that have several requests under way must therefore put an
/// identifier of the request into the payload. Answers that are sent within `process` do keep the order of their
/// messages.
///
/// **Limits.** What a peer may send is bounded by `payload_max` of the instance. What the server may answer is not: an
/// answer is written without an instance at hand (see [`Encode`]), and is bounded by the prefix (4 GiB) and by the
/// server's `reply_max` for the part of it that is copied.
///
/// **What can be sent.** Bytes and text, owned, borrowed or shared; [`Framed`], which writes piece by piece; and any
/// type of your own, by `impl Encode<YourType> for LengthPrefixed` in your own crate.
///
/// **Last words.** There are none: a refused connection is closed without a byte, because any byte would be read as the
/// beginning of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LengthPrefixed {
    payload_max: u32,
}

impl LengthPrefixed {
    /// What [`Default`] accepts: 1 MiB.
    pub const PAYLOAD_MAX_DEFAULT: usize = 1024 * 1024;

    /// Accepts payloads of up to and including `payload_max` bytes. A value above `u32::MAX - 4` is lowered to that.
    pub const fn new(payload_max: usize) -> Self {
        // `Ord::min` is not const.
        let payload_max = if payload_max < PAYLOAD_MAX_CEILING { payload_max } else { PAYLOAD_MAX_CEILING };
        Self { payload_max: payload_max as u32 }
    }

    /// The longest payload that is accepted, in bytes.
    pub const fn payload_max(&self) -> usize {
        self.payload_max as usize
    }
}

impl Default for LengthPrefixed {
    fn default() -> Self {
        Self::new(Self::PAYLOAD_MAX_DEFAULT)
    }
}

/// Where the payload lies within the bytes of its message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    start: u32,
    end: u32,
}

impl Frame {
    /// The payload's place, relative to the front of the message.
    pub fn range(&self) -> Range<usize> {
        self.start as usize..self.end as usize
    }

    /// The payload of the message that consists of `bytes`.
    ///
    /// # Panics
    /// When `bytes` are not those that this frame was found in: they are fewer.
    pub fn payload<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        &bytes[self.range()]
    }
}

impl Protocol for LengthPrefixed {
    type Layout = Frame;
    type Exchange = ();
    const IN_ORDER: bool = false;

    fn message_max(&self) -> usize {
        PREFIX + self.payload_max()
    }

    /// There is no parse state: the prefix stays at the front of the bytes until the message is whole, and reading it
    /// again costs less than remembering it.
    fn decode(&mut self, bytes: &mut [u8]) -> Result<Decode<Frame>, ProtocolError> {
        let keep = bytes.len();
        let Some(prefix) = bytes.first_chunk::<PREFIX>() else {
            return Ok(Decode::Partial { needs: None, keep });
        };
        let length = u32::from_be_bytes(*prefix);
        // Checked before anything is kept for it: a claim of 4 GiB is refused at its fourth byte.
        if length > self.payload_max {
            return Err(too_long(length, self.payload_max));
        }
        // Does not overflow: `new` has lowered the maximum so far that the end of every payload fits.
        let frame = Frame { start: PREFIX as u32, end: PREFIX as u32 + length };
        let whole = frame.end as usize;
        if keep < whole {
            return Ok(Decode::Partial { needs: Some(whole), keep });
        }
        Ok(Decode::Complete { consumed: whole, layout: frame })
    }

    fn exchange(_layout: &Frame) {}
}

impl Message<'_, LengthPrefixed> {
    /// What the peer sent, without its prefix.
    pub fn payload(&self) -> &[u8] {
        self.layout().payload(self.bytes())
    }
}

impl Encode<&[u8]> for LengthPrefixed {
    /// Copies the payload.
    fn encode((): (), payload: &[u8], out: &mut Outbound) -> Result<After, EncodeError> {
        let prefix = prefix_of(payload.len())?;
        let whole = PREFIX + payload.len();
        match out.room_for(whole) {
            Some(mut room) => {
                let bytes = room.bytes();
                bytes[..PREFIX].copy_from_slice(&prefix);
                bytes[PREFIX..whole].copy_from_slice(payload);
                room.fill(whole);
            }
            None => {
                out.announce(whole);
                out.put(&prefix);
                out.put(payload);
            }
        }
        Ok(After::KeepOpen)
    }

    fn encode_head<'i>((): (), payload: &'i &[u8], out: &mut Outbound) -> Option<(After, &'i [u8])> {
        put_prefix(payload, out)
    }
}

/// For literals, `b"pong"`.
impl<const N: usize> Encode<&[u8; N]> for LengthPrefixed {
    fn encode((): (), payload: &[u8; N], out: &mut Outbound) -> Result<After, EncodeError> {
        Self::encode((), payload.as_slice(), out)
    }
}

impl Encode<&str> for LengthPrefixed {
    fn encode((): (), payload: &str, out: &mut Outbound) -> Result<After, EncodeError> {
        Self::encode((), payload.as_bytes(), out)
    }
}

impl Encode<String> for LengthPrefixed {
    /// Copies the text. To send without a copy, share its bytes.
    fn encode((): (), payload: String, out: &mut Outbound) -> Result<After, EncodeError> {
        Self::encode((), payload.into_bytes(), out)
    }
}

impl Encode<&String> for LengthPrefixed {
    fn encode((): (), payload: &String, out: &mut Outbound) -> Result<After, EncodeError> {
        Self::encode((), payload.as_bytes(), out)
    }
}

impl Encode<&Vec<u8>> for LengthPrefixed {
    fn encode((): (), payload: &Vec<u8>, out: &mut Outbound) -> Result<After, EncodeError> {
        Self::encode((), payload.as_slice(), out)
    }
}

impl Encode<Vec<u8>> for LengthPrefixed {
    /// Copies the payload. To send without a copy, share it.
    fn encode((): (), payload: Vec<u8>, out: &mut Outbound) -> Result<After, EncodeError> {
        Self::encode((), payload.as_slice(), out)
    }

    fn encode_head<'i>((): (), payload: &'i Vec<u8>, out: &mut Outbound) -> Option<(After, &'i [u8])> {
        put_prefix(payload, out)
    }
}

impl Encode<Arc<[u8]>> for LengthPrefixed {
    /// Does not copy a payload that is worth sharing, and then no `reply_max` applies to it.
    fn encode((): (), payload: Arc<[u8]>, out: &mut Outbound) -> Result<After, EncodeError> {
        out.put(&prefix_of(payload.len())?);
        out.put_shared(payload);
        Ok(After::KeepOpen)
    }
}

/// A payload that a closure writes piece by piece, for when its length is known only at its end.
///
/// ```
/// use std::io::Write;
///
/// use sluicegate::length_prefixed::{Framed, LengthPrefixed};
/// use sluicegate::{Encode, Outbound};
///
/// let mut out = Outbound::detached();
/// let answer = Framed(|out| {
///     out.put(b"6 * 7 = ");
///     let _ = write!(out, "{}", 6 * 7); // what finds no room is remembered by `out`
/// });
/// LengthPrefixed::encode((), answer, &mut out)?;
/// assert_eq!(out.to_vec(), b"\0\0\0\x0a6 * 7 = 42");
/// # Ok::<(), sluicegate::EncodeError>(())
/// ```
// The bound stands on the type so that `Framed(|out| ...)` infers the closure's argument.
#[derive(Debug, Clone, Copy)]
pub struct Framed<F: FnOnce(&mut Outbound)>(pub F);

impl<F: FnOnce(&mut Outbound)> Encode<Framed<F>> for LengthPrefixed {
    fn encode((): (), Framed(write): Framed<F>, out: &mut Outbound) -> Result<After, EncodeError> {
        let prefix = out.reserve_prefix::<PREFIX>();
        let before = out.len();
        write(out);
        // Saturating: to count wrongly must not become a panic on the processor thread.
        out.patch(prefix, prefix_of(out.len().saturating_sub(before))?);
        Ok(After::KeepOpen)
    }
}

/// The head of a large payload; a small one is copied behind it at once.
#[inline]
fn put_prefix<'p>(payload: &'p [u8], out: &mut Outbound) -> Option<(After, &'p [u8])> {
    if !out.is_large(payload.len()) {
        return None;
    }
    let prefix = prefix_of(payload.len()).ok()?;
    out.announce(PREFIX + payload.len());
    out.put(&prefix);
    Some((After::KeepOpen, payload))
}

/// Apart, so that `decode` stays short enough to be inlined.
#[cold]
fn too_long(length: u32, payload_max: u32) -> ProtocolError {
    ProtocolError::new(format!("payload of {length} bytes is over the maximum of {payload_max}"))
}

fn prefix_of(length: usize) -> Result<[u8; PREFIX], EncodeError> {
    match u32::try_from(length) {
        Ok(length) => Ok(length.to_be_bytes()),
        Err(_) => Err(EncodeError::PayloadTooLong { length, limit: u32::MAX as usize }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// This test is here and not with the others, because no test should have to hold a payload of 4 GiB.
    #[test]
    #[cfg(target_pointer_width = "64")]
    fn a_payload_that_the_prefix_cannot_count_is_refused() {
        let limit = u32::MAX as usize;
        assert_eq!(prefix_of(limit), Ok([0xff; 4]));
        assert_eq!(prefix_of(limit + 1), Err(EncodeError::PayloadTooLong { length: limit + 1, limit }));
    }
}
