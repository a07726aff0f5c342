//! How long anything may take.

use std::time::Duration;

/// The time limits of a connection, at most 366 days each. `Duration::ZERO` switches a limit off if its description
/// says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// How long a connection may stay silent between messages, in both directions, with nothing owed and nothing
    /// undelivered: what is sent to it counts as well. Zero: off.
    pub idle: Duration,
    /// How long a message may take from its first byte until it is whole, plus a second for each
    /// [`message_rate`](Self::message_rate) bytes that have arrived. The clock stands still while the connection is
    /// paused, for whatever reason. Zero: off.
    ///
    /// This is the limit if `message_rate` or [`rate_grace`](Self::rate_grace) is zero, or the latter is longer than
    /// this. Otherwise, as by default, these two end a message sooner.
    pub message: Duration,
    /// The minimum average rate of an incoming message, in bytes per second, once it has taken
    /// [`rate_grace`](Self::rate_grace); each such amount also extends [`message`](Self::message) by a second. Zero: no
    /// bytes extend it, and no rate is required.
    pub message_rate: usize,
    /// How long a message may be slower than [`message_rate`](Self::message_rate), counted from its first byte. A
    /// message with fewer bytes than that rate asks for in this time (by default 2,500) has this time and no more.
    /// Zero: for as long as [`message`](Self::message) allows.
    pub rate_grace: Duration,
    /// How long the peer may take no byte of the output that waits for it. Zero: off.
    pub write_stall: Duration,
    /// How long a deferred reply may be owed, also one that [`Workers`](crate::Workers) make, from the moment in which
    /// the message joined their queue. Then the connection is refused (HTTP: 503), and all replies that it is owed are
    /// given up; the code that makes them is not stopped. Zero: off.
    pub reply: Duration,
    /// How long the server waits, after the final answer, for the peer to close too; bytes that arrive meanwhile are
    /// dropped. A server that shuts down waits as long for clients that keep their sockets open. Must not be zero: the
    /// answer to a refused request would be lost.
    pub linger: Duration,
    /// The most bytes that are dropped while lingering. Must not be zero, for the same reason.
    pub linger_bytes: usize,
    /// How long a shortage of memory may last. Must not be zero.
    ///
    /// Inbound: when a connection has waited this long for a medium or large block, the holder that received least in
    /// that time is evicted: it loses its block and is closed. Holders that would fill their block within twelve times
    /// this long, at their present rate, are passed over. If the holder that was found got its block only a moment ago
    /// (a quarter to a half of this time), nobody is evicted yet. Nobody waits for a small block: its holder that
    /// received least is evicted at once.
    ///
    /// Outbound: how long answers may stand still once three quarters of the memory for them are in use; less, the less
    /// is left, down to a sixteenth while anything waits for room. Output that shares its blocks with other peers, as a
    /// broadcast does, may stand still twice as long, because giving it up frees none.
    pub famine: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(60),
            message: Duration::from_secs(30),
            message_rate: 500,
            rate_grace: Duration::from_secs(5),
            write_stall: Duration::from_secs(30),
            reply: Duration::from_secs(60),
            linger: Duration::from_secs(2),
            linger_bytes: 256 << 10,
            famine: Duration::from_secs(1),
        }
    }
}
