//! One simulated connection: both directions, both ends, as the kernel between them would see it.
//!
//! Pure state: time and chance come from the caller. Modelled on Linux, down to the traps: an end of stream that hides
//! behind a short read, a reset that is reported once and then looks like an end, a socket whose closing with unread
//! bytes destroys what it wrote last.

use std::io::{self, ErrorKind, IoSlice};
use std::net::SocketAddr;

use super::pipe::Pipe;
use super::{End, NetworkCounts, Random, Reading, Weather};
use crate::processor::Readiness;

/// How far the peer's end of stream has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fin {
    NotSent,
    Sent,
    Arrived,
}

/// How far the end of a broken connection has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Broken {
    No,
    /// It has arrived; the next call of the server's reports it, with this kind.
    Unreported(ErrorKind),
    /// It was reported: reads now see the end of the stream, writes a broken pipe.
    Reported,
}

/// What the server has registered, and what the next select will tell it.
#[derive(Debug, Default)]
struct Interest {
    slot: Option<u32>,
    /// The number of the selector.
    selector: usize,
    write: bool,
    /// Something that can be read has come, or the end of the stream.
    read_edge: bool,
    /// There may be room to write again.
    write_edge: bool,
}

#[derive(Debug)]
pub(super) struct Link {
    pub(super) address: SocketAddr,
    pub(super) weather: Weather,
    pub(super) reading: Reading,
    /// The schedule has an event for the next arrival.
    pub(super) arrival_arranged: bool,
    /// The schedule has an event for the peer's next read.
    pub(super) drain_arranged: bool,
    /// The number of the processor to which it was dealt.
    pub(super) dealt_to: usize,
    interest: Interest,
    in_flight: Pipe,
    arrived: Pipe,
    fin: Fin,
    broken: Broken,
    outgoing: Pipe,
    received: Pipe,
    received_total: usize,
    /// A write found too little room; the next room raises an edge.
    wants_room: bool,
    server_finished: bool,
    server_gone: bool,
    /// The peer has closed both directions: anything that reaches it is answered by a reset.
    hung_up: bool,
    end: Option<End>,
    /// The selector and the slot in which the peer's end of stream arrived, until [`take_new_end`](Self::take_new_end)
    /// is called.
    new_end: Option<(usize, u32)>,
}

/// The peer's actions.
impl Link {
    pub(super) fn new(address: SocketAddr, weather: Weather) -> Self {
        Self {
            address,
            weather,
            reading: Reading::Free,
            arrival_arranged: false,
            drain_arranged: false,
            dealt_to: 0,
            interest: Interest::default(),
            in_flight: Pipe::default(),
            arrived: Pipe::default(),
            fin: Fin::NotSent,
            broken: Broken::No,
            outgoing: Pipe::default(),
            received: Pipe::default(),
            received_total: 0,
            wants_room: false,
            server_finished: false,
            server_gone: false,
            hung_up: false,
            end: None,
            new_end: None,
        }
    }

    /// Sends; false if the connection can take nothing more from this peer.
    pub(super) fn send(&mut self, bytes: &[u8]) -> bool {
        let open = self.fin == Fin::NotSent && self.broken == Broken::No && self.end != Some(End::Reset);
        if open {
            self.in_flight.push(bytes);
        }
        open
    }

    pub(super) fn finish(&mut self) {
        if self.fin == Fin::NotSent {
            self.fin = Fin::Sent;
        }
    }

    pub(super) fn hang_up(&mut self) {
        self.finish();
        self.hung_up = true;
    }

    pub(super) fn end(&self) -> Option<End> {
        self.end
    }

    pub(super) fn received_total(&self) -> usize {
        self.received_total
    }

    pub(super) fn take_received(&mut self) -> Vec<u8> {
        let mut taken = Vec::new();
        self.received.pour(usize::MAX, |bytes| taken.extend_from_slice(bytes));
        taken
    }

    /// Bytes that the peer sent and the server has not read yet.
    pub(super) fn unread(&self) -> usize {
        self.in_flight.len() + self.arrived.len()
    }

    /// Bytes among them that have arrived.
    pub(super) fn arrived(&self) -> usize {
        self.arrived.len()
    }

    /// Bytes that the server wrote and the peer has not read yet.
    pub(super) fn untaken(&self) -> usize {
        self.outgoing.len()
    }
}

/// Events in the network between the two.
impl Link {
    /// True if something is still on its way to the server and would get in.
    pub(super) fn can_arrive(&self) -> bool {
        let room = self.server_gone || self.arrived.len() < self.weather.receive_buffer;
        let coming = !self.in_flight.is_empty() || self.fin == Fin::Sent;
        self.broken == Broken::No && coming && (room || self.in_flight.is_empty())
    }

    /// The next piece arrives.
    pub(super) fn arrive(&mut self, random: &mut Random, counts: &mut NetworkCounts) {
        if self.broken != Broken::No {
            return;
        }
        if self.server_gone && !self.in_flight.is_empty() {
            // Nobody is left to read it: the kernel answers with a reset.
            return self.reset_peer(counts);
        }
        let piece = random.between(1, self.weather.piece_max.clamp(1, 1 << 20));
        let count = piece.min(self.in_flight.len()).min(self.weather.receive_buffer - self.arrived.len());
        let Self { in_flight, arrived, .. } = self;
        in_flight.pour(count, |bytes| arrived.push(bytes));
        if count > 0 && !self.in_flight.is_empty() && self.arrived.len() == self.weather.receive_buffer {
            counts.windows_closed += 1;
        }
        // The end may come in one packet with the last bytes, and then has no edge of its own.
        if self.fin == Fin::Sent && self.in_flight.is_empty() && (count == 0 || random.chance(500)) {
            counts.hidden_ends += u64::from(count > 0);
            self.fin = Fin::Arrived;
            self.new_end = self.interest.slot.map(|slot| (self.interest.selector, slot));
        }
        self.interest.read_edge = true;
    }

    /// The connection breaks, for `why`: the peer resets it, or the server's kernel has waited for the peer in vain.
    pub(super) fn break_off(&mut self, why: ErrorKind, random: &mut Random, counts: &mut NetworkCounts) {
        if self.broken != Broken::No || self.end == Some(End::Reset) {
            return;
        }
        counts.resets += 1;
        // As on Linux: after the peer has finished, its reset shows as a broken pipe.
        let finished = why == ErrorKind::ConnectionReset && self.fin == Fin::Arrived;
        self.broken = Broken::Unreported(if finished { ErrorKind::BrokenPipe } else { why });
        self.in_flight.clear();
        self.outgoing.clear();
        // Linux still delivers what had arrived, others do not.
        if random.chance(500) {
            self.arrived.clear();
        }
        self.end = Some(End::Reset);
        (self.interest.read_edge, self.interest.write_edge) = (true, true);
    }

    /// True if the peer has something to take and is willing to take it.
    pub(super) fn can_drain(&self) -> bool {
        let coming = !self.outgoing.is_empty() || self.server_gone || self.server_finished;
        let willing = self.hung_up || self.reading != Reading::Stalled;
        coming && willing && self.end.is_none()
    }

    /// The peer takes some of what was written to it; true if that broke the connection.
    pub(super) fn drain(&mut self, random: &mut Random) -> bool {
        if self.end.is_some() || (self.reading == Reading::Stalled && !self.hung_up) {
            return false;
        }
        if self.hung_up && !self.outgoing.is_empty() {
            return true;
        }
        let most = match self.reading {
            Reading::Slow { bytes, .. } => bytes.max(1),
            _ => self.weather.piece_max.clamp(1, 1 << 20),
        };
        let count = random.between(1, most).min(self.outgoing.len());
        let Self { outgoing, received, .. } = self;
        outgoing.pour(count, |bytes| received.push(bytes));
        self.received_total += count;
        if self.wants_room && self.is_writable() {
            self.wants_room = false;
            self.interest.write_edge = true;
        }
        if self.outgoing.is_empty() && (self.server_finished || self.server_gone) {
            self.end = Some(End::Finished);
        }
        false
    }

    /// The server's kernel breaks the connection: what the peer has not read yet is lost.
    fn reset_peer(&mut self, counts: &mut NetworkCounts) {
        counts.lost_by_close += self.outgoing.clear() as u64;
        self.in_flight.clear();
        if self.end.is_none() {
            self.end = Some(End::Reset);
        }
    }
}

/// The server's actions.
impl Link {
    pub(super) fn read(&mut self, place: &mut [u8]) -> io::Result<usize> {
        match (self.arrived.is_empty(), self.broken) {
            (false, _) => Ok(self.arrived.read(place)),
            // The end of the stream was there first.
            (true, Broken::Unreported(_)) if self.fin == Fin::Arrived => Ok(0),
            (true, Broken::Unreported(why)) => {
                self.broken = Broken::Reported;
                Err(why.into())
            }
            (true, Broken::Reported) => Ok(0),
            (true, Broken::No) if self.fin == Fin::Arrived || place.is_empty() => Ok(0),
            (true, Broken::No) => Err(ErrorKind::WouldBlock.into()),
        }
    }

    pub(super) fn write(
        &mut self,
        slices: &[IoSlice<'_>],
        random: &mut Random,
        counts: &mut NetworkCounts,
    ) -> io::Result<usize> {
        if let Some(why) = self.take_error() {
            return Err(why.into());
        }
        if self.broken == Broken::Reported || self.server_finished {
            return Err(ErrorKind::BrokenPipe.into());
        }
        let wanted: usize = slices.iter().map(|slice| slice.len()).sum();
        let room = self.weather.send_buffer.saturating_sub(self.outgoing.len());
        if wanted == 0 {
            return Ok(0);
        }
        if room == 0 {
            counts.full_writes += 1;
            self.wants_room = true;
            return Err(ErrorKind::WouldBlock.into());
        }
        let mut count = wanted.min(room);
        if random.chance(self.weather.short_writes) {
            count = random.between(1, count);
        }
        self.take_written(slices, count);
        if count < wanted {
            counts.short_writes += 1;
            // As in the kernel: after a write that was cut short, the server is told about room, even if that room is
            // there already.
            self.interest.write_edge |= self.is_writable();
            self.wants_room = !self.is_writable();
        }
        Ok(count)
    }

    /// Why it is broken, unless that was reported before.
    pub(super) fn take_error(&mut self) -> Option<ErrorKind> {
        let Broken::Unreported(why) = self.broken else { return None };
        self.broken = Broken::Reported;
        Some(why)
    }

    fn take_written(&mut self, slices: &[IoSlice<'_>], mut count: usize) {
        for slice in slices {
            let step = slice.len().min(count);
            self.outgoing.push(&slice[..step]);
            count -= step;
        }
    }

    pub(super) fn shutdown_write(&mut self) -> io::Result<()> {
        match self.broken {
            Broken::No => {
                self.server_finished = true;
                Ok(())
            }
            _ => Err(ErrorKind::NotConnected.into()),
        }
    }

    /// The server drops its socket. With unread bytes in it, the kernel answers with a reset instead of an end.
    pub(super) fn close(&mut self, counts: &mut NetworkCounts) {
        self.server_gone = true;
        self.interest = Interest::default();
        if self.arrived.clear() > 0 {
            self.reset_peer(counts);
        }
    }

    pub(super) fn register(&mut self, selector: usize, slot: u32) {
        (self.interest.selector, self.interest.slot) = (selector, Some(slot));
        self.interest.read_edge = self.is_readable();
    }

    pub(super) fn set_write(&mut self, on: bool) {
        self.interest.write = on;
        self.interest.write_edge = on && self.is_writable();
        self.wants_room |= on && !self.is_writable();
    }

    pub(super) fn deregister(&mut self) {
        self.interest = Interest::default();
    }

    /// The selector and the slot in which the peer's end of stream has arrived since the last call.
    pub(super) fn take_new_end(&mut self) -> Option<(usize, u32)> {
        self.new_end.take()
    }

    pub(super) fn slot(&self) -> Option<u32> {
        self.interest.slot
    }

    /// The number of the selector that it is registered with.
    pub(super) fn selector(&self) -> Option<usize> {
        self.interest.slot.map(|_| self.interest.selector)
    }

    /// True if it is registered with that selector, for that slot.
    pub(super) fn is_at(&self, selector: usize, slot: u32) -> bool {
        self.interest.selector == selector && self.interest.slot == Some(slot)
    }

    /// True if the server would find something by reading that no edge will tell it about any more.
    pub(super) fn is_silent_and_readable(&self) -> bool {
        self.is_readable() && !self.interest.read_edge
    }

    /// True if the server could write and no edge will tell it so any more.
    pub(super) fn is_silent_and_writable(&self) -> bool {
        self.is_writable() && !self.interest.write_edge
    }

    fn is_readable(&self) -> bool {
        !self.arrived.is_empty() || self.fin == Fin::Arrived || self.broken != Broken::No
    }

    /// As on Linux: true only while a third of the buffer is free, so that a writer is not woken for each byte.
    fn is_writable(&self) -> bool {
        let free = self.weather.send_buffer.saturating_sub(self.outgoing.len());
        free * 3 >= self.weather.send_buffer || self.broken != Broken::No || self.server_finished
    }

    /// True if the next select has something to say.
    pub(super) fn has_edge(&self) -> bool {
        let Interest { slot, write, read_edge, write_edge, .. } = self.interest;
        slot.is_some() && (read_edge || (write && write_edge))
    }

    /// What select reports, once per edge. Readiness without an edge of its own may be reported along with it, or not.
    pub(super) fn report(&mut self, random: &mut Random) -> Option<Readiness> {
        let slot = self.interest.slot?;
        let along = random.chance(500);
        let readable = self.is_readable() && (self.interest.read_edge || along);
        let writable = self.interest.write && self.is_writable() && (self.interest.write_edge || along);
        let error = matches!(self.broken, Broken::Unreported(_));
        let read_closed = self.fin == Fin::Arrived || self.broken != Broken::No;
        self.interest.read_edge = false;
        self.interest.write_edge &= !self.interest.write;
        (readable || writable).then_some(Readiness { slot, readable, writable, read_closed, error })
    }

    /// What select reports for nothing.
    pub(super) fn report_spurious(&mut self, random: &mut Random) -> Option<Readiness> {
        let slot = self.interest.slot.filter(|_| random.chance(self.weather.spurious))?;
        let writable = self.interest.write && random.chance(500);
        Some(Readiness { slot, readable: true, writable, ..Readiness::default() })
    }
}
