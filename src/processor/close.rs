//! How connections end: owed replies, the last words, delivery of everything, half-close, linger, close.

use std::time::Duration;

use super::foreign::foreign;
use super::read::{Got, read_once};
use super::{Processor, Selector};
use crate::connection::{CloseReason, Ending, Stage};
use crate::encode_error::EncodeError;
use crate::message_processor::MessageProcessor;
use crate::outbox::Unanswered;
use crate::protocol::{Protocol, Refusal};
use crate::reason::{CloseKind, DropReason, PauseReason};

impl<S: Selector, P: Protocol, M: MessageProcessor<P>> Processor<S, P, M> {
    /// Begins the end of a connection for a reason that its peer is told in the protocol's own language. If the
    /// connection is ending already, a reply that it was owed does not come: its peer is told that, and an end in good
    /// order no longer is one.
    pub(super) fn refuse(&mut self, slot: u32, reason: CloseReason) {
        let ending = self.table.at_mut(slot).and_then(|connection| connection.ending.as_mut());
        match ending.filter(|ending| ending.stage == Stage::Owed) {
            Some(ending) if ending.reason.says_all_was_delivered() => ending.reason = reason,
            Some(ending) => {
                ending.told_as.get_or_insert(reason.kind());
            }
            None => self.begin_close(slot, reason),
        }
    }

    /// Refuses a connection whose message was handled and not answered.
    pub(super) fn refuse_unanswered(&mut self, slot: u32, why: Unanswered) {
        if let (Some(connection), Unanswered::Failed(error)) = (self.table.at(slot), &why) {
            log::error!("{}: an answer was not sent: {error}", connection.id());
        }
        let reason = match why {
            Unanswered::Failed(EncodeError::NoRoom { wanted }) => CloseReason::NoRoom { wanted, limit: None },
            why => CloseReason::Unanswered(why),
        };
        self.refuse(slot, reason);
    }

    /// Begins the end of a connection, which is not decoded from now on. The first reason counts.
    pub(super) fn begin_close(&mut self, slot: u32, reason: CloseReason) {
        let messages_before = self.messages_sent();
        let Some(connection) = self.table.at_mut(slot) else { return };
        if connection.ending.is_some() {
            return;
        }
        let dropped = dropped_because(reason.kind(), connection.flags.undecoded);
        connection.ending = Some(Box::new(Ending {
            reason,
            told_as: None,
            stage: Stage::Owed,
            gave_up_replies: false,
            final_answer_given: false,
            messages_before,
        }));
        // A peer that has sent more than it announced may do so again at any time.
        connection.flags.sends_no_more &= connection.inbound.buffered() == 0;
        self.release_inbound(slot, dropped);
        self.pause(slot, PauseReason::Closing);
        self.enqueue_ending(slot);
    }

    /// Makes sure that the end proceeds in the next write room: that of this cycle, or of one that comes without a
    /// sleep. Ends proceed nowhere else, so messages that the user has sent before come first.
    pub(super) fn enqueue_ending(&mut self, slot: u32) {
        self.queues.write.push(slot);
    }

    /// Takes the end of a connection as far as possible. Must not be called while another connection's answers are
    /// being gathered.
    pub(super) fn advance_ending(&mut self, slot: u32) {
        if self.stage(slot) == Some(Stage::Owed) && self.owes_nothing(slot) {
            if self.awaits_messages(slot) {
                self.ends_wait = true;
                return;
            }
            self.say_last_words(slot);
            self.set_stage(slot, Stage::Flushing);
        }
        if self.stage(slot) == Some(Stage::Flushing) {
            self.half_close(slot);
        }
    }

    pub(super) fn stage(&self, slot: u32) -> Option<Stage> {
        self.table.at(slot)?.ending.as_ref().map(|ending| ending.stage)
    }

    fn set_stage(&mut self, slot: u32, stage: Stage) {
        if let Some(ending) = self.table.at_mut(slot).and_then(|connection| connection.ending.as_mut()) {
            ending.stage = stage;
        }
    }

    fn owes_nothing(&self, slot: u32) -> bool {
        let Some(connection) = self.table.at(slot) else { return false };
        let gave_up = connection.ending.as_ref().is_some_and(|ending| ending.gave_up_replies);
        connection.owed.count() == 0 || gave_up || connection.flags.broken.is_some()
    }

    /// True if the outbox may hold a message that was sent to it before its end began: it found no segment.
    pub(super) fn awaits_messages(&self, slot: u32) -> bool {
        let Some(connection) = self.table.at(slot).filter(|connection| connection.takes_unasked()) else {
            return false;
        };
        let left = connection.ending.as_ref().is_some_and(|ending| self.messages_taken < ending.messages_before);
        left && self.has_more_on_its_way(slot)
    }

    /// True if something was sent to the connection that does not lie in its queue yet.
    pub(super) fn has_more_on_its_way(&self, slot: u32) -> bool {
        let Some(connection) = self.table.at(slot) else { return false };
        self.links.outbox.undelivered_of(connection.id()) > connection.undelivered.bytes() as u64
    }

    fn say_last_words(&mut self, slot: u32) {
        let retry_after = self.settings.admission.retry_after;
        let Some(connection) = self.table.at_mut(slot) else { return };
        let Some(ending) = &connection.ending else { return };
        let told_as = || refusal_as(ending.told_as?, retry_after);
        let Some(refusal) = refusal_for(&ending.reason, retry_after).or_else(told_as) else { return };
        // Without room for last words, or after a panic, the connection ends without them.
        let _ = self.speak(slot, "refuse", |protocol, out| protocol.refuse(&refusal, out));
        self.flush(slot);
    }

    /// Everything was delivered: closes the sending side, and waits for the peer to close.
    fn half_close(&mut self, slot: u32) {
        let Some(connection) = self.table.at_mut(slot) else { return };
        if !connection.undelivered.is_empty() {
            return;
        }
        // Nothing can arrive any more, so no reset can destroy the answer.
        if connection.has_heard_all() || self.selector.shutdown_write(&mut connection.socket).is_err() {
            return self.close_ended(slot);
        }
        connection.deadlines.linger(self.now);
        self.set_stage(slot, Stage::Lingering { dropped: 0 });
        self.enqueue_read(slot);
        self.rearm(slot);
    }

    /// A turn of a connection that lingers: reads and drops, so that the peer can read its final answer. Closing a
    /// socket with unread bytes would reset the connection, and the reset destroys what the peer has not read yet (RFC
    /// 9112 section 9.6). LAW one peer: it reads no more than `budget` bytes, and the rest comes again after the
    /// others. Returns how many bytes it read.
    pub(super) fn linger_turn(&mut self, slot: u32, budget: usize) -> usize {
        let mut read = 0;
        while let Some(Stage::Lingering { dropped }) = self.stage(slot) {
            let readable = self.table.at(slot).is_some_and(|connection| connection.flags.readable);
            if !readable || read >= budget {
                // Only if there is more.
                self.enqueue_read(slot);
                break;
            }
            read += self.read_and_drop(slot, budget - read, dropped);
        }
        read
    }

    /// One `read` of at most `most` bytes of a connection that lingers, with `dropped` bytes before it. Who sends as
    /// much as may be dropped is closed: that is no peer that is about to close.
    fn read_and_drop(&mut self, slot: u32, most: usize, dropped: usize) -> usize {
        let Some(connection) = self.table.at_mut(slot) else { return 0 };
        let limit = self.settings.timeouts.linger_bytes;
        let window = self.scratch.len().min(most).min(limit - dropped);
        match read_once(&mut connection.socket, &mut connection.flags, &mut self.scratch[..window]) {
            Got::End => self.close_ended(slot),
            Got::Bytes(count) => {
                let dropped = dropped + count;
                self.links.metrics.bytes_in.add(count);
                self.drop_inbound(DropReason::AfterClose, count);
                self.set_stage(slot, Stage::Lingering { dropped });
                if dropped == limit {
                    self.close_ended(slot);
                }
                return count;
            }
            Got::Nothing => {}
            Got::Failed(kind) => self.socket_failed(slot, kind),
        }
        0
    }

    /// Closes a connection whose end is complete, for the reason for which the end began.
    pub(super) fn close_ended(&mut self, slot: u32) {
        self.close_now(slot, CloseReason::Finished);
    }

    /// Closes at once, whatever is left undone. If the end had already begun, its first reason stands, unless that
    /// reason says that nothing is left undone.
    pub(super) fn close_now(&mut self, slot: u32, reason: CloseReason) {
        let undecoded = self.table.at(slot).is_some_and(|connection| connection.flags.undecoded);
        self.release_inbound(slot, dropped_because(reason.kind(), undecoded));
        self.wheel.clear(slot);
        let awaits_messages = self.awaits_messages(slot);
        let Some(mut connection) = self.table.remove(slot) else { return };
        let undelivered = self.segments.clear(&mut connection.undelivered);
        // If anything is staged, it belongs to the connection that is having its turn, which is then this one.
        let is_owed = awaits_messages || connection.owed.count() > 0;
        let cut_short = undelivered > 0 || is_owed || !self.desk.out.is_empty();
        let first = connection.ending.take().map(|ending| ending.reason);
        let reason = first.filter(|first| !(cut_short && first.says_all_was_delivered())).unwrap_or(reason);
        let reason = match connection.flags.broken {
            Some(kind) if reason.says_all_was_delivered() => CloseReason::Socket(kind),
            _ => reason,
        };
        self.links.outbox.closed(slot);
        let metrics = &self.links.metrics;
        metrics.count_undelivered(undelivered);
        connection.paused.iter().for_each(|reason| metrics.paused[reason as usize].sub(1));
        metrics.open.sub(1);
        metrics.closed[reason.kind() as usize].add(1);
        // The socket may be broken already; it is dropped next in any case.
        if connection.flags.watched {
            let _ = self.selector.deregister(&mut connection.socket);
        }
        let peer = connection.peer;
        // This drops its parse state as well, which is foreign code.
        let _ = foreign(metrics, "the drop of a protocol", || drop(connection));
        if !matches!(reason, CloseReason::Crowded { .. }) {
            self.links.crowd.remove(peer.address.ip());
        }
        self.links.handover.ended();
        log::debug!("{} closed: {}: {reason}", peer.connection, peer.address);
        let user = &mut self.user;
        let _ = foreign(&self.links.metrics, "closed", || user.closed(&peer, &reason));
    }
}

/// The refusal that is sent to the peer of a connection that ends for that reason, if any.
fn refusal_for(reason: &CloseReason, retry_after: Option<Duration>) -> Option<Refusal> {
    match reason {
        CloseReason::Protocol(error) => Some(Refusal::Protocol(error.clone())),
        other => refusal_as(other.kind(), retry_after),
    }
}

/// The same by the kind of the reason, which says all that a refusal needs but the protocol's own error.
fn refusal_as(kind: CloseKind, retry_after: Option<Duration>) -> Option<Refusal> {
    // Whole seconds, rounded up, so that no peer comes back too early.
    let seconds = |wait: Duration| wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0));
    Some(match kind {
        CloseKind::TooSlow => Refusal::TooSlow,
        CloseKind::Unanswered => Refusal::Unanswered,
        CloseKind::Crowded | CloseKind::NoRoom | CloseKind::EvictedInbound | CloseKind::ReplyTimeout => {
            Refusal::Overloaded { retry_after_seconds: retry_after.map(seconds) }
        }
        CloseKind::PeerClosed
        | CloseKind::PeerIncomplete
        | CloseKind::Socket
        | CloseKind::Finished
        | CloseKind::User
        | CloseKind::Protocol
        | CloseKind::Idle
        | CloseKind::WriteStalled
        | CloseKind::EvictedOutbound
        | CloseKind::OutboundFull
        | CloseKind::Shutdown => return None,
    })
}

/// How the bytes in a connection's block are counted when it ends for that reason: as messages that may be whole but
/// that `decode` has not seen, or as a part of one.
fn dropped_because(kind: CloseKind, undecoded: bool) -> DropReason {
    match kind {
        CloseKind::Protocol | CloseKind::NoRoom => DropReason::Refused,
        CloseKind::Finished | CloseKind::User => DropReason::AfterClose,
        _ if undecoded => DropReason::Undecoded,
        _ => DropReason::Incomplete,
    }
}
