//! The laws, checked after every cycle.
//!
//! For each check, a bug was planted to see that the check fails.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::SimSocket;
use super::network::State;
use crate::admission::Crowd;
use crate::buffer::{SharedPool, TIERS, Tier};
use crate::connection::Stage;
use crate::id::ConnectionId;
use crate::metrics::Snapshot;
use crate::outbox::Outbox;
use crate::processor::{Inspected, Overview};
use crate::reason::{PauseReason, Paused};
use crate::server::{Config, Station};

/// A law of the server that did not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// The law's name, as ARCHITECTURE.md has it.
    pub law: &'static str,
    /// What was found.
    pub what: String,
    /// The seed of the simulation, with which the same happens again.
    pub seed: u64,
    /// When it was found, since the start.
    pub at: Duration,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { law, what, seed, at } = self;
        write!(f, "LAW {law} is broken at {at:?} of seed {seed}: {what}")
    }
}

impl std::error::Error for Broken {}

/// A law and how it was broken.
pub(super) type Breach = (&'static str, String);

/// From so many selects in a row on between which nothing happened, the server is considered to spin, if they also came
/// in quick succession.
const IDLE_SELECTS_MAX: u32 = 200;
const IDLE_SELECT_LEAST: Duration = Duration::from_millis(2);
/// How late a connection may be looked at after its deadline: a tick of the timer wheel, and a little more.
const OVERDUE_MAX: Duration = Duration::from_millis(50);

/// What the checks remember from one cycle to the next.
#[derive(Debug, Default)]
pub(super) struct Laws {
    /// There was work left: the next select must not sleep.
    busy: bool,
    /// A connection waited for memory: the next select must not sleep longer than a famine may last.
    hungry: bool,
    last: Option<Instant>,
    clocks: Vec<Clock>,
    /// Connections that, at the end of the previous cycle, were held up by something that each cycle reads before it
    /// ends.
    held_up: Vec<ConnectionId>,
}

/// What is remembered about the clocks of one connection.
#[derive(Debug, Clone, Copy)]
struct Clock {
    id: ConnectionId,
    /// How old its unfinished message was.
    age: Duration,
    /// It was paused, so nothing ages.
    stood_still: bool,
    /// For how long its deadline has been over without any reason to wait.
    overdue: Option<Duration>,
}

/// Everything at which the checks look.
pub(super) struct Scene<'a> {
    pub(super) config: &'a Config,
    /// The number of the processor.
    pub(super) number: usize,
    pub(super) overview: &'a Overview,
    pub(super) metrics: &'a Snapshot,
    pub(super) outbox: &'a Outbox,
    pub(super) inbound: &'a Arc<SharedPool>,
    /// The processor's reserve.
    pub(super) reserve: &'a Arc<Tier>,
    pub(super) network: &'a State,
    /// Accepted connections that wait for the processor.
    pub(super) waiting: usize,
    /// Connections between accept and close.
    pub(super) live: usize,
    /// All messages that the user has been given.
    pub(super) given: u64,
    /// The connections whose messages were handled in this cycle.
    pub(super) spoke: &'a [ConnectionId],
}

impl Laws {
    /// Checks everything that holds between two cycles.
    pub(super) fn check(&mut self, scene: &Scene<'_>) -> Result<(), Breach> {
        self.check_liveness(scene)?;
        self.check_clocks(scene)?;
        self.check_pauses(scene)?;
        scene.check_memory()?;
        scene.check_books()?;
        scene.overview.connections.iter().try_for_each(|connection| scene.check_connection(connection))
    }

    /// LAW liveness: the processor never sleeps while work is left, and does not look again and again at work that it
    /// does not do.
    fn check_liveness(&mut self, scene: &Scene<'_>) -> Result<(), Breach> {
        let sleep = scene.network.beds[scene.number].sleep;
        if self.busy && sleep.slept {
            return Err(("liveness", "the processor slept although it had left work undone".into()));
        }
        let too_long = sleep.leave.is_none_or(|leave| leave > scene.config.timeouts.famine);
        if self.hungry && sleep.slept && too_long {
            let what = format!("a connection waits for memory, and the processor would sleep for {:?}", sleep.leave);
            return Err(("liveness", what));
        }
        let hungry = |paused: Paused| paused.has(PauseReason::NoBlocks) && !paused.has(PauseReason::Closing);
        self.hungry = scene.overview.connections.iter().any(|connection| hungry(connection.paused));
        if sleep.idle > IDLE_SELECTS_MAX && scene.network.now - sleep.idle_since < IDLE_SELECT_LEAST * sleep.idle {
            return Err(("liveness", format!("the processor spins: {} cycles without any effect", sleep.idle)));
        }
        let in_outbox = scene.outbox.has_work() && scene.overview.takes_outbound;
        let left = scene.waiting > 0 || in_outbox || scene.outbox.is_close_asked();
        // A connection that waits for a reply although none is owed to any connection must be looked at in the next
        // cycle.
        let waits_for_nothing = |connection: &Inspected| {
            let waits = connection.stage.is_none() && connection.paused.has(PauseReason::Owed);
            waits && scene.overview.owed == 0
        };
        let idle_waiter = scene.overview.connections.iter().any(waits_for_nothing);
        self.busy = left || idle_waiter || scene.overview.queues != [0; 4];
        match (&scene.network.misuse, &scene.network.broken) {
            (Some(misuse), _) => Err(("selector", misuse.clone())),
            (None, Some(broken)) => Err(broken.clone()),
            (None, None) => Ok(()),
        }
    }

    /// LAW memory: a connection that is paused because too much output waits for its peer is not decoded; nor is one
    /// that ends. If its way out has broken in between, no output waits for the peer any more.
    fn check_pauses(&mut self, scene: &Scene<'_>) -> Result<(), Breach> {
        let is_whole = |id: &&ConnectionId| {
            let mut connections = scene.overview.connections.iter();
            connections.any(|connection| connection.id == **id && (!connection.broken || connection.stage.is_some()))
        };
        if let Some(id) = self.held_up.iter().filter(is_whole).find(|id| scene.spoke.contains(id)) {
            return Err(("memory", format!("{id} was paused and was decoded all the same")));
        }
        let held_up = |paused: Paused| paused.has(PauseReason::OutboundHigh) || paused.has(PauseReason::Closing);
        let connections = scene.overview.connections.iter().filter(|connection| held_up(connection.paused));
        self.held_up.clear();
        self.held_up.extend(connections.map(|connection| connection.id));
        Ok(())
    }

    /// LAW clocks: a message does not age while the pause set is not empty, and never faster than the clock.
    fn check_clocks(&mut self, scene: &Scene<'_>) -> Result<(), Breach> {
        let now = scene.overview.now.unwrap_or(scene.network.start);
        let passed = now.saturating_duration_since(self.last.replace(now).unwrap_or(now));
        let mut clocks = Vec::with_capacity(scene.overview.connections.len());
        for connection in &scene.overview.connections {
            let before = self.clocks.iter().find(|clock| clock.id == connection.id);
            let clock = Clock::after(before, connection, passed).map_err(|what| ("clocks", what))?;
            if clock.overdue.is_some_and(|overdue| overdue > OVERDUE_MAX + scene.network.oversleep_max) {
                let what = format!("{}: its deadline has passed {:?} ago", connection.id, connection.overdue);
                return Err(("liveness", what));
            }
            clocks.push(clock);
        }
        self.clocks = clocks;
        Ok(())
    }
}

impl Clock {
    /// The clock of `connection` after `passed` has passed since `before`.
    fn after(before: Option<&Self>, connection: &Inspected, passed: Duration) -> Result<Self, String> {
        let &Inspected { id, message_age: age, .. } = connection;
        let stood_still = !connection.paused.is_empty();
        let (most, overdue) = match before {
            None => (Duration::ZERO, Duration::ZERO),
            Some(before) => {
                let most = before.age + if before.stood_still { Duration::ZERO } else { passed };
                (most, before.overdue.map_or(Duration::ZERO, |overdue| overdue + passed))
            }
        };
        if age > most {
            return Err(format!("the message of {id} is {age:?} old and can't be more than {most:?}"));
        }
        Ok(Self { id, age, stood_still, overdue: (connection.overdue > Duration::ZERO).then_some(overdue) })
    }
}

impl Scene<'_> {
    /// LAW memory: nothing takes more than was counted at start.
    fn check_memory(&self) -> Result<(), Breach> {
        let Self { config, overview, .. } = self;
        let connections_each = config.connections_each();
        let bounds = [
            ("connections from accept to close", self.live, connections_each),
            ("accepted connections", self.waiting, config.handover_max),
            ("settled replies", self.outbox.settled.len(), config.owed_total_max),
            ("unasked messages", self.outbox.unasked.len(), config.unasked_max),
            ("connections", overview.connections.len(), connections_each),
            ("connections in the run queue", overview.queues[0], connections_each),
            ("connections in the queue of those who go on", overview.queues[1], connections_each),
            ("connections in the write queue", overview.queues[2], connections_each),
            ("connections in the queue of those who are written on", overview.queues[3], connections_each),
            ("places in a line", overview.longest_line, connections_each),
            ("replies owed", overview.owed, config.owed_total_max),
            ("segments", overview.segments, config.segments_max),
        ];
        // Also checks how many may be made: surplus blocks might exist without ever being needed.
        let most = |tier: &Arc<Tier>| tier.in_use().max(tier.high_water()).max(tier.made()).max(tier.count());
        let reserves = [self.reserve, self.outbox.workers_reserve()].map(|tier| ("reserve", most(tier), 1));
        let spared = config.inbound_with_spares().map(|tier| tier.count);
        let counts =
            [("inbound", self.inbound, spared), ("outbound", &self.outbox.pool, config.outbound.map(|t| t.count))];
        let blocks = counts.iter().flat_map(|(name, pool, counts)| {
            pool.tiers().iter().zip(counts).map(move |(tier, count)| (*name, most(tier), *count))
        });
        let counted = bounds.into_iter().chain(reserves).chain(blocks);
        let counted = counted.map(|(what, count, max)| (what, count as u64, max as u64));
        match counted.chain(overview.memory_rows.iter().copied()).find(|(_, count, max)| count > max) {
            Some((what, count, max)) => Err(("memory", format!("{what}: {count}, and the bound is {max}"))),
            None => Ok(()),
        }
    }

    /// LAW ledger, beyond the sums of bytes: connections, blocks, pauses and undelivered bytes are where the counters
    /// say.
    fn check_books(&self) -> Result<(), Breach> {
        let Self { overview, metrics, .. } = self;
        let bed = &self.network.beds[self.number];
        let truth = (bed.bytes_read, bed.bytes_written);
        if (metrics.bytes_in, metrics.bytes_out) != truth {
            let what = format!(
                "{} bytes came in and {} went out, the sockets saw {truth:?}",
                metrics.bytes_in, metrics.bytes_out
            );
            return Err(("ledger", what));
        }
        let ended = metrics.closed_total() + metrics.accepted_unserved;
        let accounted = metrics.open + ended + self.waiting as u64;
        if metrics.accepted != accounted {
            let what = format!("{} connections were accepted, {accounted} are accounted for", metrics.accepted);
            return Err(("ledger", what));
        }
        let here = metrics.open + self.waiting as u64;
        if self.live as u64 != here {
            return Err(("ledger", format!("{here} connections are here, {} are counted", self.live)));
        }
        if metrics.messages_in != self.given {
            let what = format!("{} messages were handed over, {} are counted", self.given, metrics.messages_in);
            return Err(("ledger", what));
        }
        self.check_outbound_blocks()?;
        for (tier, home) in self.inbound.tiers().iter().enumerate() {
            let held = overview.connections.iter().filter(|connection| connection.tier == Some(tier)).count();
            let accounted = held + overview.set_aside[tier] + home.kept();
            if home.in_use() != accounted {
                let what = format!("{} inbound blocks of tier {tier} are in use, {accounted} are held", home.in_use());
                return Err(("ledger", what));
            }
        }
        for reason in PauseReason::ALL {
            let paused = overview.connections.iter().filter(|connection| connection.paused.has(*reason)).count();
            let counted = metrics.paused[*reason as usize];
            if counted != paused as u64 {
                return Err(("ledger", format!("{paused} connections are paused for {reason}, {counted} are counted")));
            }
        }
        let owed: usize = overview.connections.iter().map(|connection| connection.owed).sum();
        if owed > overview.owed {
            return Err(("ledger", format!("{owed} replies are owed, {} are counted", overview.owed)));
        }
        Ok(())
    }

    /// LAW ledger: every outbound block that is in use lies in a queue of the processor's, or in the outbox.
    fn check_outbound_blocks(&self) -> Result<(), Breach> {
        let pool = self.outbox.pool.tiers().iter().map(|tier| tier.in_use());
        let reserves = self.reserve.in_use() + self.outbox.workers_reserve().in_use();
        let in_outbox = self.outbox.has_work();
        for (tier, in_use) in pool.chain([reserves]).enumerate() {
            let held = self.overview.outbound_blocks[tier];
            if in_use < held || (in_use > held && !in_outbox) {
                let what = format!("{in_use} outbound blocks of tier {tier} are in use, {held} are held");
                return Err(("ledger", what));
            }
        }
        Ok(())
    }

    /// What holds for each connection.
    fn check_connection(&self, connection: &Inspected) -> Result<(), Breach> {
        let breach = |law, what: &str| Err((law, format!("{}: {what}", connection.id)));
        let reads = connection.stage.is_none() || matches!(connection.stage, Some(Stage::Lingering { .. }));
        let runs = connection.paused.is_empty() || connection.paused.has(PauseReason::Turn);
        let has_input = connection.readable || connection.undecoded;
        let link = self.network.links.iter().find(|link| link.is_at(self.number, connection.id.slot()));
        if link.is_none() && !connection.to_read {
            return breach("liveness", "no selector watches it, and it is not in the run queue");
        }
        let forgotten = link.is_some_and(|link| link.is_silent_and_readable());
        if forgotten && !connection.readable && !connection.end_read {
            return breach("liveness", "its socket has something to read and nobody will look any more");
        }
        if connection.stage.is_none() && runs && has_input && !connection.to_read {
            return breach("liveness", "it may run, it has something to do, and is not in the run queue");
        }
        if reads && connection.stage.is_some() && connection.readable && !connection.to_read {
            return breach("liveness", "it lingers with something to read and is not in the run queue");
        }
        // It waits for a reply, for its peer to take the output that comes first, or for messages that find no room.
        let awaits_messages = connection.awaits_messages && !self.outbox.unasked.is_empty();
        let waits = (connection.owed > 0 && !connection.gave_up_replies) || connection.queued > 0 || awaits_messages;
        if connection.stage == Some(Stage::Owed) && !waits && !connection.to_write {
            return breach("liveness", "it ends, it waits for nothing, and nobody will take its end further");
        }
        let room = link.is_some_and(|link| link.is_silent_and_writable());
        if connection.queued > 0 && !connection.to_write && (!connection.write_interest || room) {
            return breach("liveness", "it has something to deliver and nobody will try any more");
        }
        if connection.owed > self.config.owed_max {
            return breach("memory", &format!("{} replies are owed to it", connection.owed));
        }
        self.check_output(connection)
    }

    /// LAW memory: the output that waits for one peer is bounded, and the shared gauge agrees with its queue.
    fn check_output(&self, connection: &Inspected) -> Result<(), Breach> {
        let undelivered = self.outbox.undelivered(connection.id.slot()) as usize;
        let on_its_way = !self.outbox.unasked.is_empty();
        if undelivered < connection.queued || (undelivered != connection.queued && !on_its_way) {
            let what = format!("{}: {} bytes are queued, {undelivered} are counted", connection.id, connection.queued);
            return Err(("ledger", what));
        }
        let waits = connection.queued > 0;
        if connection.output_waits != waits && !connection.to_write {
            let what = if waits { "output waits for its peer and no time runs" } else { "a time runs for no output" };
            return Err(("clocks", format!("{}: {what}", connection.id)));
        }
        let high = connection.queued >= self.config.watermarks.high && connection.stage.is_none();
        if high && !connection.to_write && !connection.paused.has(PauseReason::OutboundHigh) {
            let what = format!("{}: {} bytes wait for it and nothing holds it up", connection.id, connection.queued);
            return Err(("memory", what));
        }
        // On top of the mark: one answer, the last words, and the replies that were already owed when the mark was
        // reached.
        let answers = 2 + self.config.owed_max;
        let most = self.config.watermarks.high + answers * self.config.reply_max;
        if undelivered > most {
            let what = format!("{}: {undelivered} bytes wait for it, the bound is {most}", connection.id);
            return Err(("memory", what));
        }
        Ok(())
    }
}

/// Everything that is checked for all processors together.
pub(super) struct Whole<'a> {
    pub(super) config: &'a Config,
    /// The sum of their numbers.
    pub(super) metrics: &'a Snapshot,
    pub(super) crowd: &'a Crowd,
    /// Connections between accept and close.
    pub(super) live: usize,
    /// Bytes that were read from sockets and written to them.
    pub(super) bytes: (u64, u64),
}

impl Whole<'_> {
    /// LAW memory and LAW ledger, for the sums.
    pub(super) fn check(&self) -> Result<(), Breach> {
        let Self { config, metrics, crowd, live, bytes } = self;
        metrics.check_ledger().map_err(|what| ("ledger", format!("in the sum: {what}")))?;
        let counted = (metrics.bytes_in, metrics.bytes_out);
        if counted != *bytes {
            return Err((
                "ledger",
                format!("{counted:?} bytes came in and went out in the sum, the sockets saw {bytes:?}"),
            ));
        }
        let here = metrics.open + metrics.handover_queue;
        if *live as u64 != here {
            return Err(("ledger", format!("{here} connections are here in the sum, {live} are counted")));
        }
        if *live > config.connections_max {
            let most = config.connections_max;
            return Err(("memory", format!("{live} connections of all processors, and the bound is {most}")));
        }
        // An address without a connection is not remembered.
        if crowd.len() as u64 > metrics.open {
            let what = format!("{} addresses are counted, of {} connections", crowd.len(), metrics.open);
            return Err(("memory", what));
        }
        Ok(())
    }
}

/// LAW home: nothing is in use any more once all connections are gone.
pub(super) fn check_home(station: &Station<SimSocket>) -> Result<(), Breach> {
    let Station { inbound, outbox, reserve, .. } = station;
    let away = |pool: &SharedPool| pool.tiers().iter().map(|tier| tier.in_use()).collect::<Vec<_>>();
    let reserves = reserve.in_use() + usize::from(!outbox.workers_reserve_whole());
    if inbound.all_home() && outbox.pool.all_home() && reserves == 0 {
        return Ok(());
    }
    let (inbound, outbound) = (away(inbound), away(&outbox.pool));
    debug_assert_eq!(inbound.len(), TIERS);
    Err(("home", format!("blocks still in use: inbound {inbound:?}, outbound {outbound:?}, reserve {reserves}")))
}
