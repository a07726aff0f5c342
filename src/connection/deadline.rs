//! Until when a connection may go on as it is.

use std::time::{Duration, Instant};

use super::Timeouts;

/// Which time is over when a deadline has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expiry {
    /// Nothing came between messages.
    Idle,
    /// The message was not whole in time.
    Message,
    /// The peer takes none of its output.
    WriteStall,
    /// A deferred reply did not come.
    Reply,
    /// The peer did not close after its last answer.
    Linger,
}

/// The moments from which a connection's deadlines are counted.
///
/// Moving a deadline is a plain store. The timer wheel is not told: the timer comes out at the old time, finds that
/// there is time left, and is set again.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadlines {
    /// When something last happened; while the connection lingers, when that began, because dropped bytes do not move
    /// it.
    active: Instant,
    /// When the first byte of the unfinished message came, moved forward by the time that it waited for the server.
    message_since: Option<Instant>,
    /// Since when the pause set is not empty.
    paused_since: Option<Instant>,
    /// Output that the peer has not taken yet.
    output: Option<Output>,
    /// Since when it waits for the server: for a block, or for the user.
    waiting_since: Option<Instant>,
    /// Since when it is read out, moved forward by the time that it waited for the server.
    read_out_since: Option<Instant>,
    /// Bytes of the unfinished message that have arrived.
    received: u32,
    /// The kinds of deadlines that counted when the timer was set.
    armed: u8,
    /// The last answer was given.
    lingers: bool,
}

/// The kinds of deadlines, one bit each.
mod kind {
    pub(super) const IDLE: u8 = 1;
    pub(super) const MESSAGE: u8 = 2;
    pub(super) const OUTPUT: u8 = 4;
    pub(super) const REPLY: u8 = 8;
    pub(super) const LINGER: u8 = 16;
}

/// How a peer takes the output that waits for it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    /// Since when there has always been some.
    pub(crate) began: Instant,
    /// When the peer last took some; until then, when the output began.
    pub(crate) moved: Instant,
    /// How many bytes the peer has taken since the beginning.
    taken: u64,
}

impl Output {
    /// Bytes a second that the peer has taken since the beginning.
    pub(crate) fn rate(&self, now: Instant) -> u64 {
        let elapsed = now.saturating_duration_since(self.began).as_micros().max(1);
        (u128::from(self.taken) * 1_000_000 / elapsed) as u64
    }
}

/// The other facts that decide which deadlines count.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pending {
    /// Replies are owed.
    pub(crate) owes: bool,
    /// The connection has said or been told that it ends.
    pub(crate) ends: bool,
}

impl Deadlines {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            active: now,
            message_since: None,
            paused_since: None,
            output: None,
            waiting_since: None,
            read_out_since: None,
            received: 0,
            armed: 0,
            lingers: false,
        }
    }

    /// Something happened: the idle time begins anew.
    #[inline]
    pub(crate) fn touch(&mut self, now: Instant) {
        debug_assert!(!self.lingers);
        self.active = now;
    }

    /// When something last happened; while the connection lingers, when that began, because dropped bytes do not move
    /// it.
    pub(crate) fn active(&self) -> Instant {
        self.active
    }

    /// `count` bytes arrived of a message that is not whole yet.
    pub(crate) fn message_grows(&mut self, now: Instant, count: usize) {
        if self.message_since.is_none() {
            self.message_since = Some(now);
            // A short message may have an earlier deadline than the long one before it.
            self.armed &= !kind::MESSAGE;
        }
        self.received = self.received.saturating_add(u32::try_from(count).unwrap_or(u32::MAX));
    }

    /// The message is whole, or given up.
    #[inline]
    pub(crate) fn message_ends(&mut self) {
        self.message_since = None;
        self.received = 0;
    }

    /// LAW clocks: the message's time stands still from now on.
    #[inline]
    pub(crate) fn pause(&mut self, now: Instant) {
        self.paused_since.get_or_insert(now);
    }

    /// The message's time goes on; the time that it waited does not count.
    #[inline]
    pub(crate) fn resume(&mut self, now: Instant) {
        debug_assert!(!self.lingers);
        if let Some(paused) = self.paused_since.take() {
            let waited = now.saturating_duration_since(paused);
            self.message_since = self.message_since.map(|began| began + waited);
            self.active = now;
        }
    }

    /// While the server shuts down: since when the connection is read out, not counting the time that it waited for the
    /// server. The first call sets this to now.
    pub(crate) fn begin_read_out(&mut self, now: Instant) -> Instant {
        *self.read_out_since.get_or_insert(now)
    }

    /// Since when it is read out, if it is.
    pub(crate) fn read_out_since(&self) -> Option<Instant> {
        self.read_out_since
    }

    /// From now on the connection waits for the server, and not for its turn, a reply or the peer.
    #[inline]
    pub(crate) fn begin_wait(&mut self, now: Instant) {
        self.waiting_since.get_or_insert(now);
    }

    /// That wait is over, and does not count as time in which the connection is read out.
    #[inline]
    pub(crate) fn end_wait(&mut self, now: Instant) {
        let Some(waits) = self.waiting_since.take() else { return };
        self.read_out_since = self.read_out_since.map(|since| since + now.saturating_duration_since(waits.max(since)));
    }

    /// Since when the connection is paused.
    #[cfg(feature = "sim")]
    pub(crate) fn paused_since(&self) -> Option<Instant> {
        self.paused_since
    }

    /// Output waits for the peer.
    #[inline]
    pub(crate) fn output_waits(&mut self, now: Instant) {
        self.output.get_or_insert(Output { began: now, moved: now, taken: 0 });
    }

    /// The peer took `bytes` of what waits for it.
    pub(crate) fn output_moves(&mut self, now: Instant, bytes: usize) {
        if let Some(output) = &mut self.output {
            output.moved = now;
            output.taken += bytes as u64;
        }
    }

    /// Nothing waits for the peer any more.
    #[inline]
    pub(crate) fn output_ends(&mut self, now: Instant) {
        // When an end has come so far, the delivery behind it looks at the connection once more, in the same cycle.
        debug_assert!(!self.lingers || self.active == now);
        self.output = None;
        self.active = now;
    }

    /// What waits for the peer.
    #[inline]
    pub(crate) fn output(&self) -> Option<&Output> {
        self.output.as_ref()
    }

    /// The last answer was given; the peer has the linger time left to close.
    pub(crate) fn linger(&mut self, now: Instant) {
        if !self.lingers {
            (self.active, self.lingers) = (now, true);
        }
    }

    /// How long the unfinished message has taken, not counting waits for the server.
    pub(crate) fn message_elapsed(&self, now: Instant) -> Duration {
        self.message_since.map_or(Duration::ZERO, |began| now.saturating_duration_since(began))
    }

    /// Bytes of the unfinished message that have arrived.
    pub(crate) fn received(&self) -> usize {
        self.received as usize
    }

    /// True if a deadline may have come nearer since [`note_armed`](Self::note_armed), because a kind of deadline
    /// counts now that did not count then. All others have only moved later.
    #[inline]
    pub(crate) fn needs_arming(&self, pending: Pending) -> bool {
        self.kinds(pending) & !self.armed != 0
    }

    /// The timer was set for the next deadline, or there is none.
    pub(crate) fn note_armed(&mut self, pending: Pending) {
        self.armed = self.kinds(pending);
    }

    /// The timer is not set any more.
    pub(crate) fn disarmed(&mut self) {
        self.armed = 0;
    }

    /// Which kinds of deadlines there are: the one place that says when each runs.
    #[inline]
    fn kinds(&self, Pending { owes, ends }: Pending) -> u8 {
        let bit = |is: bool, kind: u8| if is { kind } else { 0 };
        let runs = self.paused_since.is_none() && !ends;
        let (reads, writes) = (self.message_since.is_some(), self.output.is_some());
        bit(runs && reads, kind::MESSAGE)
            | bit(runs && !reads && !writes && !owes, kind::IDLE)
            | bit(writes, kind::OUTPUT)
            | bit(owes, kind::REPLY)
            | bit(self.lingers, kind::LINGER)
    }

    /// The next deadline, and which time is over then. `owed_since`: since when the oldest reply is owed.
    pub(crate) fn next(
        &self,
        timeouts: &Timeouts,
        owed_since: Option<Instant>,
        ends: bool,
    ) -> Option<(Instant, Expiry)> {
        let kinds = self.kinds(Pending { owes: owed_since.is_some(), ends });
        let due = |kind: u8, since: Option<Instant>, limit: Duration, expiry| {
            since.filter(|_| kinds & kind != 0).map(|since| (since + limit, expiry))
        };
        // A limit of zero means no limit, except for lingering.
        let on = |kind, since, limit: Duration, expiry| due(kind, since, limit, expiry).filter(|_| !limit.is_zero());
        let linger = due(kind::LINGER, Some(self.active), timeouts.linger, Expiry::Linger);
        let moved = self.output.map(|output| output.moved);
        let write = on(kind::OUTPUT, moved, timeouts.write_stall, Expiry::WriteStall);
        let reply = on(kind::REPLY, owed_since, timeouts.reply, Expiry::Reply);
        let message = on(kind::MESSAGE, self.message_since, self.message_limit(timeouts), Expiry::Message);
        let idle = on(kind::IDLE, Some(self.active), timeouts.idle, Expiry::Idle);
        [linger, write, reply, message, idle].into_iter().flatten().min_by_key(|(due, _)| *due)
    }

    /// How long the unfinished message may take; zero means without limit. The earlier of two limits counts: a base
    /// plus a second for each `message_rate` bytes, and the time that a peer of that rate would have needed for the
    /// bytes that came.
    fn message_limit(&self, timeouts: &Timeouts) -> Duration {
        let earned = Duration::from_secs(self.received().checked_div(timeouts.message_rate).unwrap_or(0) as u64);
        let asks_for_rate = timeouts.message_rate > 0 && !timeouts.rate_grace.is_zero();
        let by_rate = asks_for_rate.then(|| timeouts.rate_grace.max(earned));
        let by_base = (!timeouts.message.is_zero()).then(|| timeouts.message + earned);
        by_rate.into_iter().chain(by_base).min().unwrap_or(Duration::ZERO)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn bytes_earn_a_message_time() {
        let (now, timeouts) = (Instant::now(), Timeouts { rate_grace: Duration::ZERO, ..Timeouts::default() });
        let mut deadlines = Deadlines::new(now);
        assert_eq!(deadlines.next(&timeouts, None, false), Some((now + 60 * SECOND, Expiry::Idle)));
        deadlines.message_grows(now, 499);
        assert_eq!(deadlines.next(&timeouts, None, false), Some((now + 30 * SECOND, Expiry::Message)));
        deadlines.message_grows(now + SECOND, 1);
        assert_eq!(deadlines.next(&timeouts, None, false), Some((now + 31 * SECOND, Expiry::Message)));
    }

    #[test]
    fn a_message_must_keep_its_rate_once_the_grace_is_over() {
        let (now, timeouts) = (Instant::now(), Timeouts::default());
        let mut deadlines = Deadlines::new(now);
        deadlines.message_grows(now, 1);
        assert_eq!(deadlines.next(&timeouts, None, false), Some((now + 5 * SECOND, Expiry::Message)));
        deadlines.message_grows(now, 4_999);
        assert_eq!(deadlines.next(&timeouts, None, false), Some((now + 10 * SECOND, Expiry::Message)));
        let off = Timeouts { message: Duration::ZERO, rate_grace: Duration::ZERO, ..timeouts };
        assert_eq!(deadlines.next(&off, None, false), None);
    }

    #[test]
    fn a_message_does_not_age_while_the_server_is_the_one_who_waits() {
        let (now, timeouts) = (Instant::now(), Timeouts { rate_grace: Duration::ZERO, ..Timeouts::default() });
        let mut deadlines = Deadlines::new(now);
        deadlines.message_grows(now, 1);
        deadlines.pause(now + 10 * SECOND);
        assert_eq!(deadlines.next(&timeouts, None, false), None);
        deadlines.resume(now + 100 * SECOND);
        assert_eq!(deadlines.next(&timeouts, None, false), Some((now + 120 * SECOND, Expiry::Message)));
    }

    #[test]
    fn what_it_waits_for_the_server_is_no_time_to_be_read_out() {
        let now = Instant::now();
        let mut deadlines = Deadlines::new(now);
        deadlines.pause(now);
        deadlines.begin_wait(now);
        assert_eq!(deadlines.begin_read_out(now + SECOND), now + SECOND);
        deadlines.end_wait(now + 3 * SECOND);
        assert_eq!(
            deadlines.begin_read_out(now + 3 * SECOND),
            now + 3 * SECOND,
            "what it waited before counts neither"
        );
        deadlines.begin_wait(now + 4 * SECOND);
        deadlines.end_wait(now + 9 * SECOND);
        assert_eq!(deadlines.begin_read_out(now + 9 * SECOND), now + 8 * SECOND, "each wait once, in whatever pause");
        deadlines.end_wait(now + 10 * SECOND);
        deadlines.resume(now + 20 * SECOND);
        assert_eq!(deadlines.begin_read_out(now + 20 * SECOND), now + 8 * SECOND, "the rest is not the server's");
    }

    #[test]
    fn who_lingers_has_the_time_from_its_last_answer_on() {
        let (now, timeouts) = (Instant::now(), Timeouts::default());
        let mut deadlines = Deadlines::new(now);
        deadlines.touch(now + SECOND);
        deadlines.linger(now + 3 * SECOND);
        deadlines.pause(now + 4 * SECOND);
        deadlines.linger(now + 4 * SECOND);
        assert_eq!(deadlines.active(), now + 3 * SECOND);
        assert_eq!(deadlines.next(&timeouts, None, true), Some((now + 5 * SECOND, Expiry::Linger)));
    }

    #[test]
    fn the_earliest_deadline_counts_and_zero_is_off() {
        let now = Instant::now();
        let mut timeouts = Timeouts { idle: Duration::ZERO, ..Timeouts::default() };
        let mut deadlines = Deadlines::new(now);
        assert_eq!(deadlines.next(&timeouts, None, false), None);
        deadlines.output_waits(now);
        let owed_since = Some(now);
        assert_eq!(deadlines.next(&timeouts, owed_since, false), Some((now + 30 * SECOND, Expiry::WriteStall)));
        timeouts.write_stall = Duration::ZERO;
        assert_eq!(deadlines.next(&timeouts, owed_since, false), Some((now + 60 * SECOND, Expiry::Reply)));
        deadlines.linger(now);
        assert_eq!(deadlines.next(&timeouts, owed_since, false), Some((now + 2 * SECOND, Expiry::Linger)));
    }
}
