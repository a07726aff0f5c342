//! The two traits that make a wire format: [`Protocol`] reads it, [`Encode`] writes it.

use super::error::ProtocolError;
use crate::buffer::Outbound;
use crate::encode_error::EncodeError;

/// A wire format: how messages are cut out of a stream of bytes, and how the server speaks for itself in it.
///
/// The implementing value is the parse state of **one** connection; the server clones a fresh one for each. It knows no
/// socket, no thread and no clock. Everything here runs on the processor thread, except [`closing`](Protocol::closing)
/// and [`Encode::encode`], which also run on the threads that send deferred replies and unasked messages.
///
/// None of these functions should panic. A panic on one of the server's threads, also in `Clone` or in a drop, is
/// logged and counted, and costs one connection at most.
///
/// # Example
/// Lines of at most 100 bytes, and a test of them that needs no socket. `examples/custom_protocol.rs` puts a server
/// around the same protocol. A simulation (feature `sim`, module `sim`) shows what else peers and networks do to it.
///
/// ```
/// use sluicegate::{After, Decode, Encode, EncodeError, Outbound, Protocol, ProtocolError};
///
/// #[derive(Clone)]
/// struct Lines;
///
/// impl Protocol for Lines {
///     type Layout = (); // a line is all bytes of its message
///     type Exchange = (); // an answer need not know its question
///     const IN_ORDER: bool = true;
///
///     fn message_max(&self) -> usize {
///         100
///     }
///
///     fn decode(&mut self, bytes: &mut [u8]) -> Result<Decode<()>, ProtocolError> {
///         let within = bytes.len().min(self.message_max());
///         match bytes[..within].iter().position(|byte| *byte == b'\n') {
///             Some(end) => Ok(Decode::Complete { consumed: end + 1, layout: () }),
///             None if within < self.message_max() => Ok(Decode::Partial { needs: None, keep: bytes.len() }),
///             None => Err(ProtocolError::new("line of more than 100 bytes")),
///         }
///     }
///
///     fn exchange(_: &()) {}
/// }
///
/// impl Encode<&str> for Lines {
///     fn encode(_: (), line: &str, out: &mut Outbound) -> Result<After, EncodeError> {
///         out.put(line.as_bytes());
///         out.put(b"\n");
///         Ok(After::KeepOpen)
///     }
/// }
///
/// // However the stream was cut, the same lines come out.
/// let stream = b"one\ntwo\nthr";
/// for cut in 1..stream.len() {
///     let (mut lines, mut kept, mut found) = (Lines, Vec::new(), Vec::new());
///     for piece in [&stream[..cut], &stream[cut..]] {
///         kept.extend_from_slice(piece);
///         while !kept.is_empty() {
///             match lines.decode(&mut kept)? {
///                 Decode::Complete { consumed, .. } => found.extend(kept.drain(..consumed)),
///                 Decode::Partial { keep, .. } => {
///                     kept.truncate(keep);
///                     break;
///                 }
///             }
///         }
///     }
///     assert_eq!((&found[..], &kept[..]), (&b"one\ntwo\n"[..], &b"thr"[..]));
/// }
///
/// let mut out = Outbound::detached();
/// Lines::encode((), "hello", &mut out).expect("any line can be said");
/// assert_eq!(out.to_vec(), b"hello\n");
/// # Ok::<(), ProtocolError>(())
/// ```
pub trait Protocol: Clone + Send + 'static {
    /// Where the parts of one message lie, as ranges into its bytes and never as references, so that the layout stays
    /// valid when the bytes move.
    type Layout: Send + 'static;
    /// What a reply must know about its request (HTTP: whether it was HEAD, whether the connection stays open); `()` if
    /// nothing.
    ///
    /// A [`WriteProxy`](crate::WriteProxy) answers no request and therefore sends with the default exchange, so it can
    /// send only in protocols whose exchange is [`Default`]. HTTP's is not, because nothing can be sent unasked in
    /// HTTP.
    type Exchange: Copy + Send + 'static;
    /// True if answers must leave in the order of their requests. A connection is then not decoded while a deferred
    /// reply is owed to it. Unasked messages are not answers: they leave as they come, even between answers, and those
    /// that are sent on the processor's thread leave behind the answers of the same turn.
    ///
    /// False also means that a message is useful even if its answer cannot be delivered: if the socket breaks, messages
    /// that have arrived are still handed over before the connection ends. If it is true, they are not.
    const IN_ORDER: bool;

    /// The longest message that `decode` accepts, in bytes of its whole encoded form. The server refuses to start if
    /// its largest inbound block is smaller.
    fn message_max(&self) -> usize;

    /// Looks for one message at the front of `bytes`.
    ///
    /// `bytes` are all bytes of the connection that no message has consumed yet: those that the previous call kept,
    /// followed by those that have arrived since. The slice is never empty. The result must not depend on how the
    /// stream was split.
    ///
    /// # Errors
    /// The stream can't be this protocol's, or breaks one of its limits: the connection is refused and closed. The same
    /// happens if `decode` panics, or claims to have consumed nothing, or to have consumed or kept more than there is.
    fn decode(&mut self, bytes: &mut [u8]) -> Result<Decode<Self::Layout>, ProtocolError>;

    /// Returns what a reply to this message must know about it.
    fn exchange(layout: &Self::Layout) -> Self::Exchange;

    /// True if the peer has announced that this is its final message (HTTP: `Connection: close`). The connection ends
    /// all the same only if its answer returns [`After::Close`]. Then the socket is closed right after the answer,
    /// without waiting for the peer's end of stream, which is cheaper for peers that open a connection for each
    /// message. A peer that sends more anyway may lose the answer to a reset.
    fn sends_no_more(layout: &Self::Layout) -> bool {
        let _ = layout;
        false
    }

    /// Returns the same exchange, changed to say that the connection ends after this answer (HTTP: `Connection:
    /// close`).
    fn closing(exchange: Self::Exchange) -> Self::Exchange {
        exchange
    }

    /// Called after each [`Decode::Partial`]: the chance to say something before the message is whole
    /// (HTTP: `100 Continue`).
    fn interim(&mut self, out: &mut Outbound) {
        let _ = out;
    }

    /// Writes the last words to a peer whose connection is about to be closed. May write nothing. After a failed or
    /// panicking `decode`, `self` is in whatever state that left behind.
    fn refuse(&self, why: &Refusal, out: &mut Outbound) {
        let _ = (why, out);
    }
}

/// A [`Protocol`] that can write a `T` as its answer.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot write a `{T}` as an answer",
    label = "the protocol has no way to say this",
    note = "an answer is a type for which the protocol implements `Encode`: `http1::Response` for `Http1`, bytes and text \
            for `LengthPrefixed`; write `impl Encode<{T}>` for a protocol of your own"
)]
pub trait Encode<T>: Protocol {
    /// Writes `item` as the answer to `exchange`. It may write nothing at all: then the message counts as answered,
    /// also where order matters, and [`Deferred`](crate::Deferred) as settled.
    ///
    /// If something does not fit, `out` remembers that and ignores everything after it; the caller then rolls the
    /// answer back.
    ///
    /// # Errors
    /// The item can't be said in this protocol (a payload over the maximum). What was written is rolled back and the
    /// connection is refused as [`Refusal::Unanswered`].
    fn encode(exchange: Self::Exchange, item: T, out: &mut Outbound) -> Result<After, EncodeError>;

    /// Writes the same answer except for its final bytes, and returns those: the processor thread lends them to the
    /// socket where they lie, and copies only the part that the socket does not take. Worth it for a tail that
    /// [`Outbound::is_large`].
    ///
    /// Return `None`, without having written anything, to fall back to [`encode`](Self::encode) (the default). Do the
    /// same to report an error: `encode` will return it.
    fn encode_head<'i>(exchange: Self::Exchange, item: &'i T, out: &mut Outbound) -> Option<(After, &'i [u8])> {
        let _ = (exchange, item, out);
        None
    }
}

/// What [`Protocol::decode`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decode<L> {
    /// No whole message yet.
    Partial {
        /// How many bytes the whole message will take at the front of the buffer, if that is known already. Only a hint
        /// for choosing a block; a claimed length earns nothing by itself.
        needs: Option<usize>,
        /// How many bytes at the front are to be kept. The bytes behind them have been dealt with and are dropped
        /// (framing such as chunk-size lines); `decode` has moved the bytes that still count to the front. At most
        /// `bytes.len()`. Zero says that no message has begun, so none is timed or waited for: a protocol that skips a
        /// part of a message keeps at least one byte meanwhile.
        keep: usize,
    },
    /// The first `consumed` bytes (at least one) are one message.
    Complete {
        /// How many bytes the message takes, its framing included.
        consumed: usize,
        /// Where its parts lie, relative to the front of the bytes.
        layout: L,
    },
}

/// Whether the connection lives on after an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// More messages may follow.
    KeepOpen,
    /// This answer is the final one; the connection ends once it has been delivered to the peer.
    Close,
}

/// Why the server speaks for itself, for [`Protocol::refuse`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// The peer broke the protocol. HTTP: the status of the error, usually 4xx.
    Protocol(ProtocolError),
    /// The message took longer than its deadline. HTTP: 408.
    TooSlow,
    /// The server has no room, or a reply took too long. HTTP: 503.
    Overloaded {
        /// In how many seconds to try again, if that was configured. HTTP: `Retry-After` (RFC 9110 section 10.2.3).
        retry_after_seconds: Option<u64>,
    },
    /// The message was handled but not answered (a panic, an answer that can't be encoded). HTTP: 500.
    Unanswered,
}
