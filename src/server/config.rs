//! All settings, in one place, and the conditions that must hold between them.

use std::time::Duration;

use super::units::Bytes;
use crate::admission::Admission;
use crate::buffer::{HEADROOM, TIERS, TierConfig};
use crate::config_error::ConfigError;
use crate::connection::Timeouts;
use crate::outbox::OutboxLimits;
use crate::processor::{Settings, Turn, Watermarks};

/// Counts above this are rejected as mistakes; up to it, no sum of the ceiling overflows and every place has its `u32`.
const COUNT_MAX: usize = 1 << 28;
/// Sizes in bytes above this are rejected as mistakes.
const SIZE_MAX: usize = 1 << 30;
/// The server's own words to a peer must fit into an answer.
const SMALLEST_REPLY: usize = 1 << 10;
/// A smaller scratch block saves nothing and costs a read for each little piece.
const SMALLEST_SCRATCH: usize = 512;
/// The smallest stack that suffices for a thread that also logs.
const SMALLEST_STACK: usize = 64 << 10;
/// A processor's number has 16 bits; with more processors than this, their stacks would take most of the machine's
/// memory.
const PROCESSORS_MAX: usize = 1 << 10;
/// Longer than any connection lives, and short enough to be added to any time.
pub(super) const LONGEST: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// The names of the settings of one tier.
pub(super) struct TierNames {
    pub(super) count: &'static str,
    size: &'static str,
}

pub(super) const INBOUND: [TierNames; TIERS] = [
    TierNames { count: "inbound[0].count", size: "inbound[0].size" },
    TierNames { count: "inbound[1].count", size: "inbound[1].size" },
    TierNames { count: "inbound[2].count", size: "inbound[2].size" },
];
pub(super) const OUTBOUND: [TierNames; TIERS] = [
    TierNames { count: "outbound[0].count", size: "outbound[0].size" },
    TierNames { count: "outbound[1].count", size: "outbound[1].size" },
    TierNames { count: "outbound[2].count", size: "outbound[2].size" },
];

/// All settings of a server. `Config::default()` is a server of at most 128 MiB for 16,384 connections.
///
/// More fields will be added, so code elsewhere cannot write all of them out: change a default `Config` instead, with
/// [`Builder::configure`](crate::Builder::configure) or field by field.
///
/// Settings say how much of something there is; the [`MemoryCeiling`](crate::MemoryCeiling) says what it costs.
///
/// With more than one processor, each has as many blocks and queues of its own as said here. Only `connections_max`,
/// `backlog`, `admission` and `memory_max` apply to all processors together.
///
/// [`validate`](Self::validate) checks all bounds that are named here. A count without a bound of its own is 1 to 2^28.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Config {
    /// Threads that read, process and write: each with its own connections, memory and message processor. With more
    /// than one, start the server with [`Server::start_with`](crate::Server::start_with) or a similar method, which
    /// makes a message processor for each. 1 to 1,024, and at most `connections_max`. Default 1.
    pub processors: usize,
    /// Connections at once, over all processors, from `accept` until their socket is closed. At the limit peers wait in
    /// the kernel's backlog. Default 16,384.
    pub connections_max: usize,
    /// Accepted connections that may wait for a processor thread. Default 1024.
    pub handover_max: usize,
    /// Peers that may wait in the kernel before they are accepted. The kernel may lower it (`net.core.somaxconn`).
    /// A listener that was made elsewhere keeps its own; for such a one, this becomes at least 65,536, the number of
    /// peers that are still accepted when the server ends. Default 4096.
    pub backlog: usize,
    /// The blocks for messages that have not arrived completely, smallest tier first. The largest must hold the
    /// protocol's longest message. Default 1024 of 4 KiB, 128 of 128 KiB, 16 of 1 MiB.
    pub inbound: [TierConfig; TIERS],
    /// The blocks for answers that have not been delivered yet, smallest tier first. Default as
    /// [`inbound`](Self::inbound).
    pub outbound: [TierConfig; TIERS],
    /// Bytes of one answer that are copied; shared and static bodies have no limit. 1 KiB to 1 GiB. Default 1 MiB +
    /// 64 KiB.
    pub reply_max: usize,
    /// Bytes of the one block that small messages are read into and decoded in. No more of it is used than a
    /// block of the medium inbound tier holds. 512 B to 1 GiB. Default 65 KiB: a message of 64 KiB and its framing, in
    /// one read.
    pub scratch: usize,
    /// How much one connection may do before the others have their turn. Default 64 messages, 256 KiB.
    pub turn: Turn,
    /// At how many undelivered bytes a connection is no longer decoded, and at how many it goes on. Default 256 KiB and
    /// 64 KiB.
    pub watermarks: Watermarks,
    /// How long anything may take. [`Timeouts`] describes each limit, [`Timeouts::default`] the defaults. At most 366
    /// days each; the same goes for [`Admission::retry_after`].
    pub timeouts: Timeouts,
    /// Which newcomers are refused, and what they are told. Off by default.
    pub admission: Admission,
    /// Deferred replies that may be owed to one connection at once (always 1 if the protocol answers in order). With as
    /// many, no message of the connection is handled, not even one that would cancel another: if its peer may send such
    /// messages, make this larger than what it may ask for, and refuse the excess yourself. At most `owed_total_max`.
    /// Default 64.
    pub owed_max: usize,
    /// Deferred replies that may be owed at once, over all connections of a processor. With as many, no message of any
    /// of its connections is handled. A reply counts until its [`Deferred`](crate::Deferred) is sent or dropped, also
    /// if its connection has ended meanwhile. Default 16,384.
    pub owed_total_max: usize,
    /// Messages of a [`WriteProxy`](crate::WriteProxy) that may wait for a processor thread; a broadcast is one for
    /// each receiver. While the processor's own thread sends, none is taken out: what all calls of `process` in a cycle
    /// send together, or its `cycle_end`, has to find room here. Usually `outbound` is full before: each message of
    /// [`send`](crate::WriteProxy::send) holds a block of it, each broadcast one for all of its receivers. Default
    /// 4096.
    pub unasked_max: usize,
    /// Pieces of undelivered answers, over all connections of a processor; a piece is a block, or a shared or static
    /// body. At least 17, because messages are handed over only while there is room for another answer of 16 pieces.
    /// Default 32,768.
    pub segments_max: usize,
    /// The server refuses to start if its memory ceiling is over this many bytes. Default: no limit.
    pub memory_max: Option<u64>,
    /// Bytes of stack of each processor thread, on which the user's message processor runs. 64 KiB to 1 GiB. Default 2
    /// MiB.
    pub processor_stack: usize,
    /// Bytes of stack of the accepter thread. 64 KiB to 1 GiB. Default 256 KiB.
    pub accepter_stack: usize,
}

impl Default for Config {
    fn default() -> Self {
        let tiers = [
            TierConfig { size: 4 << 10, count: 1024 },
            TierConfig { size: 128 << 10, count: 128 },
            TierConfig { size: 1 << 20, count: 16 },
        ];
        Self {
            processors: 1,
            connections_max: 16 << 10,
            handover_max: 1024,
            backlog: 4096,
            inbound: tiers,
            outbound: tiers,
            reply_max: (1 << 20) + (64 << 10),
            scratch: 65 << 10,
            turn: Turn::default(),
            watermarks: Watermarks::default(),
            timeouts: Timeouts::default(),
            admission: Admission::default(),
            owed_max: 64,
            owed_total_max: 16 << 10,
            unasked_max: 4096,
            segments_max: 32 << 10,
            memory_max: None,
            processor_stack: 2 << 20,
            accepter_stack: 256 << 10,
        }
    }
}

impl Config {
    /// Checks that the settings can be used, with each other and with a protocol whose longest message has
    /// `message_max` bytes ([`Protocol::message_max`](crate::Protocol::message_max)). The server does this by itself.
    ///
    /// # Errors
    /// A setting can't be used; the error names the first one, what is wrong with it, and what to do.
    pub fn validate(&self, message_max: usize) -> Result<(), ConfigError> {
        self.check_counts()?;
        check_tiers(&INBOUND, &self.inbound)?;
        check_tiers(&OUTBOUND, &self.outbound)?;
        self.check_sizes(message_max)?;
        self.check_times()
    }

    fn check_counts(&self) -> Result<(), ConfigError> {
        check_range("processors", self.processors, 1, PROCESSORS_MAX)?;
        check_range("connections_max", self.connections_max, 1, COUNT_MAX)?;
        if self.processors > self.connections_max {
            let Self { processors, connections_max, .. } = self;
            let what =
                format!("is {processors}, but there are {connections_max} connections at most: lower it to that");
            return Err(ConfigError::new("processors", what));
        }
        if self.admission.refuse_above >= self.connections_max {
            let (refuse_above, connections_max) = (self.admission.refuse_above, self.connections_max);
            let what = format!(
                "is {refuse_above}, and refuses nobody: connections_max = {connections_max} leaves newcomers in the \
                 backlog before; take less, or zero"
            );
            return Err(ConfigError::new("admission.refuse_above", what));
        }
        check_range("handover_max", self.handover_max, 1, COUNT_MAX)?;
        check_range("backlog", self.backlog, 1, COUNT_MAX)?;
        check_range("turn.messages", self.turn.messages, 1, usize::MAX)?;
        check_range("owed_max", self.owed_max, 1, COUNT_MAX)?;
        check_range("owed_total_max", self.owed_total_max, 1, COUNT_MAX)?;
        check_range("unasked_max", self.unasked_max, 1, COUNT_MAX)?;
        check_range("segments_max", self.segments_max, Settings::SEGMENTS_LEAST, COUNT_MAX)?;
        if self.owed_max > self.owed_total_max {
            let what = format!(
                "is {}, more than all connections together ({}): lower it to that, or raise owed_total_max",
                self.owed_max, self.owed_total_max
            );
            return Err(ConfigError::new("owed_max", what));
        }
        Ok(())
    }

    fn check_sizes(&self, message_max: usize) -> Result<(), ConfigError> {
        check_range("reply_max", self.reply_max, SMALLEST_REPLY, SIZE_MAX)?;
        check_range("turn.bytes", self.turn.bytes, 1, usize::MAX)?;
        check_range("processor_stack", self.processor_stack, SMALLEST_STACK, SIZE_MAX)?;
        check_range("accepter_stack", self.accepter_stack, SMALLEST_STACK, SIZE_MAX)?;
        let largest = self.inbound[TIERS - 1].size + HEADROOM;
        if largest < message_max {
            let what = format!(
                "the largest block holds {largest} bytes, but the protocol's longest message has {message_max}: \
                 raise its size to at least {}, or lower the protocol's limit",
                message_max - HEADROOM
            );
            return Err(ConfigError::new("inbound[2].size", what));
        }
        check_range("scratch", self.scratch, SMALLEST_SCRATCH, SIZE_MAX)?;
        check_range("watermarks.high", self.watermarks.high, 1, usize::MAX)?;
        if self.watermarks.low >= self.watermarks.high {
            let Watermarks { high, low } = self.watermarks;
            let what = format!("is {low}, which is not below watermarks.high = {high}: a quarter of that works well");
            return Err(ConfigError::new("watermarks.low", what));
        }
        Ok(())
    }

    fn check_times(&self) -> Result<(), ConfigError> {
        let Timeouts { idle, message, rate_grace, write_stall, reply, linger, linger_bytes, famine, .. } =
            self.timeouts;
        let at_most = |setting, time: Duration| {
            if time > LONGEST {
                Err(ConfigError::new(setting, format!("is {time:?}; the longest is {LONGEST:?}")))
            } else {
                Ok(())
            }
        };
        at_most("timeouts.idle", idle)?;
        at_most("timeouts.message", message)?;
        at_most("timeouts.rate_grace", rate_grace)?;
        at_most("timeouts.write_stall", write_stall)?;
        at_most("timeouts.reply", reply)?;
        at_most("timeouts.linger", linger)?;
        at_most("timeouts.famine", famine)?;
        at_most("admission.retry_after", self.admission.retry_after.unwrap_or_default())?;
        let not_zero = |setting, zero: bool, why: &str| {
            if zero {
                Err(ConfigError::new(setting, format!("is zero, and can't be switched off: {why}")))
            } else {
                Ok(())
            }
        };
        let reset = "a connection that is closed while its peer still sends is reset, and its last answer is lost";
        not_zero("timeouts.linger", linger.is_zero(), reset)?;
        not_zero("timeouts.linger_bytes", linger_bytes == 0, reset)?;
        not_zero("timeouts.famine", famine.is_zero(), "whoever waits for a block would evict the others at once")
    }

    /// The inbound tiers as the processor needs them: each with one block more, the spare. If the user keeps a message
    /// that shares its memory with others, the message is copied into a spare.
    pub(crate) fn inbound_with_spares(&self) -> [TierConfig; TIERS] {
        self.inbound.map(|TierConfig { size, count }| TierConfig { size, count: count + 1 })
    }

    /// Checks that one message processor is enough.
    pub(crate) fn check_single(&self) -> Result<(), ConfigError> {
        match self.processors {
            1 => Ok(()),
            many => {
                let what = format!(
                    "is {many}, and each needs a message processor of its own: start the server with what makes them \
                     (`serve_with`, `run_with`, `start_with`)"
                );
                Err(ConfigError::new("processors", what))
            }
        }
    }

    /// The most connections that one processor gets: the accepter deals them to the one that has the fewest, and as
    /// long as all together are fewer than `connections_max`, one of them has fewer than this.
    pub(crate) fn connections_each(&self) -> usize {
        self.connections_max.div_ceil(self.processors.max(1))
    }

    /// What the processor thread with this number is told.
    pub(crate) fn settings(&self, number: u16) -> Settings {
        Settings {
            number,
            name: format!("processor {number}"),
            connections_each: self.connections_each(),
            turn: self.turn,
            watermarks: self.watermarks,
            timeouts: self.timeouts,
            admission: self.admission,
            scratch: self.scratch,
            owed_max: self.owed_max,
            owed_total_max: self.owed_total_max,
            reply_max: self.reply_max,
            segments_max: self.segments_max,
        }
    }

    /// The bounds of the queues between the user's threads and one processor.
    pub(crate) fn outbox_limits(&self) -> OutboxLimits {
        OutboxLimits {
            connections_each: self.connections_each(),
            owed_total_max: self.owed_total_max,
            unasked_max: self.unasked_max,
            reply_max: self.reply_max,
            outbound_high: self.watermarks.high,
        }
    }
}

fn check_range(setting: &'static str, value: usize, least: usize, most: usize) -> Result<(), ConfigError> {
    if value < least {
        return Err(ConfigError::new(setting, format!("is {value}: raise it to at least {least}")));
    }
    if value > most {
        return Err(ConfigError::new(setting, format!("is {value}: lower it to at most {most}")));
    }
    Ok(())
}

fn check_tiers(names: &[TierNames; TIERS], tiers: &[TierConfig; TIERS]) -> Result<(), ConfigError> {
    for (names, tier) in names.iter().zip(tiers) {
        check_range(names.count, tier.count, 1, COUNT_MAX)?;
        check_range(names.size, tier.size, 1, SIZE_MAX)?;
    }
    for (names, pair) in names[1..].iter().zip(tiers.windows(2)) {
        if pair[1].size <= pair[0].size {
            let [smaller, larger] = [pair[0].size, pair[1].size].map(|size| Bytes(size as u64));
            let what = format!("is {larger}: make it larger than the tier before it, which has {smaller}");
            return Err(ConfigError::new(names.size, what));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is wrong with the defaults after `change`.
    fn wrong(change: impl FnOnce(&mut Config)) -> ConfigError {
        let mut config = Config::default();
        change(&mut config);
        config.validate(1 << 20).expect_err("refused")
    }

    #[test]
    fn the_defaults_hold_together() {
        assert_eq!(Config::default().validate((1 << 20) + HEADROOM), Ok(()));
    }

    #[test]
    fn the_largest_block_must_hold_the_longest_message() {
        let error = Config::default().validate((2 << 20) + HEADROOM).expect_err("too long");
        assert_eq!(error.setting(), "inbound[2].size");
        assert!(error.to_string().contains("at least 2097152"), "{error}");
    }

    #[test]
    fn each_processor_has_its_share_of_the_connections() {
        let each = |connections_max, processors| {
            Config { connections_max, processors, ..Config::default() }.connections_each()
        };
        assert_eq!([each(10, 1), each(10, 2), each(10, 3), each(10, 10)], [10, 5, 4, 1]);
    }

    #[test]
    fn there_must_be_segments_for_an_answer() {
        let least = Config { segments_max: 17, ..Config::default() };
        assert_eq!(least.validate(1 << 20), Ok(()));
        let error = wrong(|config| config.segments_max = 16).to_string();
        assert_eq!(error, "segments_max: is 16: raise it to at least 17");
    }

    #[test]
    fn every_error_names_its_setting() {
        let errors = [
            (wrong(|config| config.processors = 0), "processors"),
            (wrong(|config| (config.processors, config.connections_max) = (3, 2)), "processors"),
            (wrong(|config| config.connections_max = 0), "connections_max"),
            (wrong(|config| config.handover_max = 0), "handover_max"),
            (wrong(|config| config.backlog = usize::MAX), "backlog"),
            (wrong(|config| config.inbound[1].count = 0), "inbound[1].count"),
            (wrong(|config| config.inbound[1].size = 4 << 10), "inbound[1].size"),
            (wrong(|config| config.outbound[2].size = usize::MAX), "outbound[2].size"),
            (wrong(|config| config.reply_max = 10), "reply_max"),
            (wrong(|config| config.scratch = 0), "scratch"),
            (wrong(|config| config.turn.bytes = 0), "turn.bytes"),
            (wrong(|config| config.admission.retry_after = Some(Duration::MAX)), "admission.retry_after"),
            (wrong(|config| config.admission.refuse_above = config.connections_max), "admission.refuse_above"),
            (wrong(|config| config.turn.messages = 0), "turn.messages"),
            (wrong(|config| config.watermarks.low = config.watermarks.high), "watermarks.low"),
            (wrong(|config| config.owed_max = 1 << 20), "owed_max"),
            (wrong(|config| config.owed_total_max = 0), "owed_total_max"),
            (wrong(|config| config.unasked_max = 0), "unasked_max"),
            (wrong(|config| config.segments_max = 16), "segments_max"),
            (wrong(|config| config.timeouts.idle = Duration::MAX), "timeouts.idle"),
            (wrong(|config| config.timeouts.linger = Duration::ZERO), "timeouts.linger"),
            (wrong(|config| config.timeouts.linger_bytes = 0), "timeouts.linger_bytes"),
            (wrong(|config| config.timeouts.famine = Duration::ZERO), "timeouts.famine"),
            (wrong(|config| config.accepter_stack = 0), "accepter_stack"),
        ];
        for (error, setting) in errors {
            assert_eq!(error.setting(), setting, "{error}");
            assert!(error.to_string().starts_with(setting), "{error}");
        }
    }
}
