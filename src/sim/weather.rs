//! How the network treats a connection.

use std::time::Duration;

use super::Random;

/// How the network treats a connection: how bytes are cut, how long they take, and how many wait at either side.
///
/// Chances are given per mille.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Weather {
    /// The bytes of a peer arrive in pieces of at most this many. At least 1.
    pub piece_max: usize,
    /// A piece takes at most this long, in either direction.
    pub delay_max: Duration,
    /// Bytes that wait at the server until it reads them; more stay with the peer. At least 1.
    pub receive_buffer: usize,
    /// Bytes that the server can write before the peer reads; then writes are short. At least 1.
    pub send_buffer: usize,
    /// How often a write takes fewer bytes than there is room for.
    pub short_writes: usize,
    /// How often a call is interrupted and has to be repeated.
    pub interruptions: usize,
    /// How often a socket is reported readable for nothing.
    pub spurious: usize,
    /// How often a call of the selector fails because the kernel lacks memory.
    pub selector_failures: usize,
    /// How long one call of the server takes at most. Events that are due meanwhile happen during the call.
    pub call_max: Duration,
}

impl Weather {
    /// Everything arrives whole and soon, and there is room for it.
    pub fn calm() -> Self {
        Self {
            piece_max: usize::MAX,
            delay_max: Duration::from_micros(50),
            receive_buffer: 128 << 10,
            send_buffer: 128 << 10,
            short_writes: 0,
            interruptions: 0,
            spurious: 0,
            selector_failures: 0,
            call_max: Duration::ZERO,
        }
    }

    /// A weather drawn from `random`: anything from calm to bytes that come one by one and buffers that hold next to
    /// nothing. No connection ends because of it: calls of the selector, which a server can't do without, do not fail.
    /// Set [`selector_failures`](Self::selector_failures) for that.
    pub fn drawn(random: &mut Random) -> Self {
        let sizes = [1, 2, 7, 64, 500, 4096, 64 << 10];
        Self {
            piece_max: random.pick(&sizes),
            delay_max: Duration::from_micros(random.pick(&[0, 10, 500, 20_000])),
            receive_buffer: random.pick(&sizes[2..]),
            send_buffer: random.pick(&sizes[2..]),
            short_writes: random.pick(&[0, 0, 50, 500]),
            interruptions: random.pick(&[0, 0, 0, 20]),
            spurious: random.pick(&[0, 0, 10, 200]),
            selector_failures: 0,
            call_max: Duration::from_micros(random.pick(&[0, 5, 100])),
        }
    }
}

impl Default for Weather {
    /// [`calm`](Self::calm).
    fn default() -> Self {
        Self::calm()
    }
}
