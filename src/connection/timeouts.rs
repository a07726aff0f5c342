//! How long anything may take.

use std::time::Duration;

/// The limits of time of a connection, at most 366 days each. `Duration::ZERO` switches a limit off, where that is
/// said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// How long nothing may come between messages, with nothing owed and nothing undelivered. Zero: off.
    pub idle: Duration,
    /// For a whole message from its first byte on, plus a second for each [`message_rate`](Self::message_rate) bytes
    /// that arrived. The clock stands still while the connection is paused, for whatever reason. Zero: off.
    pub message: Duration,
    /// Bytes that earn a message one more second; and the rate, in bytes a second, that it must have on average from
    /// [`rate_grace`](Self::rate_grace) on. Zero: no bytes earn time, and no rate is asked for.
    pub message_rate: usize,
    /// How long a message may be slower than [`message_rate`](Self::message_rate), from its first byte on. Zero: for as
    /// long as [`message`](Self::message) allows.
    pub rate_grace: Duration,
    /// How long the peer may take no byte of what waits for it. Zero: off.
    pub write_stall: Duration,
    /// For a deferred reply. Zero: off.
    pub reply: Duration,
    /// After the last answer, until the peer closes too; what arrives is dropped. Must not be zero: the answer of a
    /// refused request would be lost.
    pub linger: Duration,
    /// Bytes that are dropped while lingering, at most. Must not be zero, for the same reason.
    pub linger_bytes: usize,
    /// How long a shortage of memory may last. Inbound: how long a connection waits for a block before another one is
    /// evicted from its own, which is the one that received least in that time; but not one that would fill its block
    /// within twelve times as long, at its rate, nor one that has got it within the last quarter of this time.
    /// Outbound: how long answers may stand still once three quarters of the memory for them are in use. Must not be
    /// zero.
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
