//! The other end of a simulated connection.

use std::fmt;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use super::network::State;
use super::{Network, Random, Weather};

/// How a peer takes what the server writes to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// As it comes.
    Free,
    /// At most this many bytes, at regular times.
    Slow {
        /// Bytes at once, at most.
        bytes: usize,
        /// The time between two reads.
        every: Duration,
    },
    /// Not at all, until told otherwise.
    Stalled,
}

impl Reading {
    /// When the next read comes.
    pub(super) fn delay(self, weather: &Weather, random: &mut Random) -> Duration {
        match self {
            Self::Slow { every, .. } => every,
            _ => random.duration(weather.delay_max),
        }
    }
}

/// How the server ended a connection, as its peer saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The end of the stream, after everything that was written.
    Finished,
    /// It broke. Something that was written may have been lost.
    Reset,
}

/// The other end of a simulated connection: the client. A clone is another handle to the same end.
///
/// Nothing that it does takes effect at once. Bytes travel through the [`Weather`] and arrive while the server runs.
#[derive(Clone)]
pub struct SimPeer {
    network: Network,
    index: usize,
}

impl SimPeer {
    pub(super) fn new(network: Network, index: usize) -> Self {
        Self { network, index }
    }

    /// The address that the server sees.
    pub fn address(&self) -> SocketAddr {
        self.network.lock().links[self.index].address
    }

    /// Sends `bytes`. Returns false, and sends nothing, if the connection was finished or broken before.
    pub fn send(&self, bytes: &[u8]) -> bool {
        let mut state = self.network.lock();
        let sent = state.links[self.index].send(bytes);
        state.arrange(self.index);
        sent
    }

    /// The same, but as many bytes as there is room for arrive at once, as if they had been sent a while ago.
    pub fn send_ahead(&self, bytes: &[u8]) -> bool {
        let mut state = self.network.lock();
        let State { links, random, counts, .. } = &mut *state;
        let link = &mut links[self.index];
        let sent = link.send(bytes);
        while link.can_arrive() {
            link.arrive(random, counts);
        }
        state.arrange(self.index);
        sent
    }

    /// Says that nothing more will be sent; it still reads.
    pub fn finish(&self) {
        let mut state = self.network.lock();
        state.links[self.index].finish();
        state.arrange(self.index);
    }

    /// Closes both directions: nothing more is sent, and anything that the server still writes breaks the connection.
    pub fn hang_up(&self) {
        let mut state = self.network.lock();
        state.links[self.index].hang_up();
        state.arrange(self.index);
    }

    /// Breaks the connection: bytes that are on their way, in either direction, may be lost.
    pub fn reset(&self) {
        self.network.lock().arrange_break(self.index, ErrorKind::ConnectionReset);
    }

    /// Vanishes without a word: the server's kernel waits in vain for its acknowledgements, and gives up.
    pub fn time_out(&self) {
        self.network.lock().arrange_break(self.index, ErrorKind::TimedOut);
    }

    /// Changes how the peer reads from now on.
    pub fn set_reading(&self, reading: Reading) {
        let mut state = self.network.lock();
        state.links[self.index].reading = reading;
        state.arrange(self.index);
    }

    /// Reads nothing from now on, until [`set_reading`](Self::set_reading).
    pub fn stall(&self) {
        self.set_reading(Reading::Stalled);
    }

    /// How many bytes it has received in all.
    pub fn received(&self) -> usize {
        self.network.lock().links[self.index].received_total()
    }

    /// The bytes that it has received since the previous call.
    pub fn take_received(&self) -> Vec<u8> {
        self.network.lock().links[self.index].take_received()
    }

    /// How the server ended the connection, once the peer has seen it. Before a [`Finished`](End::Finished) the peer
    /// has read everything that the server wrote.
    pub fn end(&self) -> Option<End> {
        self.network.lock().links[self.index].end()
    }

    /// Bytes that it sent and the server has not read yet.
    pub fn unread(&self) -> usize {
        self.network.lock().links[self.index].unread()
    }

    /// Bytes that the server wrote and it has not read yet.
    pub fn untaken(&self) -> usize {
        self.network.lock().links[self.index].untaken()
    }
}

impl fmt::Debug for SimPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimPeer").field("address", &self.address()).finish_non_exhaustive()
    }
}
