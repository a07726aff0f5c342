//! The server's end of a simulated connection.

use std::io::{self, ErrorKind, IoSlice, Read, Write};

use super::Network;
use super::network::State;

/// The server's end of a simulated connection: what a `TcpStream` would be. Dropping it closes it.
#[derive(Debug)]
pub struct SimSocket {
    network: Network,
    index: usize,
}

impl SimSocket {
    pub(super) fn new(network: Network, index: usize) -> Self {
        Self { network, index }
    }

    /// The address of the peer.
    pub fn peer_address(&self) -> std::net::SocketAddr {
        self.network.lock().links[self.index].address
    }

    /// Says which processor reads and writes it.
    pub(super) fn deal_to(&self, processor: usize) {
        self.network.lock().links[self.index].dealt_to = processor;
    }

    pub(super) fn index(&self) -> usize {
        self.index
    }

    /// Lets the time of the call pass; fails if chance interrupts it.
    fn enter(&self) -> io::Result<()> {
        self.network.pass_call(self.index);
        let mut state = self.network.lock();
        let per_mille = state.links[self.index].weather.interruptions;
        if per_mille > 0 && state.random.chance(per_mille) {
            state.counts.interruptions += 1;
            state.happened += 1;
            return Err(ErrorKind::Interrupted.into());
        }
        Ok(())
    }

    /// Books a call that moved `count` bytes, and arranges what it makes possible.
    fn leave(&self, state: &mut State, count: usize) {
        state.happened += count as u64;
        state.arrange(self.index);
    }
}

impl Read for SimSocket {
    fn read(&mut self, place: &mut [u8]) -> io::Result<usize> {
        self.enter()?;
        let mut state = self.network.lock();
        let count = state.links[self.index].read(place)?;
        state.book(self.index, count, 0);
        self.leave(&mut state, count);
        Ok(count)
    }
}

impl Write for SimSocket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.enter()?;
        let mut state = self.network.lock();
        let State { links, random, counts, .. } = &mut *state;
        let count = links[self.index].write(slices, random, counts)?;
        state.book(self.index, 0, count);
        self.leave(&mut state, count);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for SimSocket {
    fn drop(&mut self) {
        let mut state = self.network.lock();
        let State { links, counts, misuse, happened, .. } = &mut *state;
        let link = &mut links[self.index];
        if let Some(slot) = link.slot() {
            *misuse = Some(format!("the socket in slot {slot} was dropped while it was registered"));
        }
        link.close(counts);
        *happened += 1;
        state.arrange(self.index);
    }
}
