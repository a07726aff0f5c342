//! Stands between the processor and the user's message processor, and records what it sees.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Network;
use crate::connection::{CloseReason, WhenFull};
use crate::id::ConnectionId;
use crate::message_processor::MessageProcessor;
use crate::outbox::{Reply, WriteProxy};
use crate::protocol::{Message, Peer, Protocol};
use crate::reason::CloseKind;
use crate::sync::Mutex;

/// A connection that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closed {
    /// The connection.
    pub connection: ConnectionId,
    /// Its peer's address, as [`SimPeer::address`](super::SimPeer::address) says it.
    pub address: SocketAddr,
    /// Why it ended.
    pub kind: CloseKind,
    /// The same with its details, as the log would show it.
    pub reason: String,
    /// When it ended, since the start.
    pub at: Duration,
}

/// Everything that was seen so far.
#[derive(Debug, Default)]
pub(super) struct Sightings {
    open: BTreeMap<ConnectionId, SocketAddr>,
    newest: u64,
    pub(super) opened: u64,
    pub(super) closed: Vec<Closed>,
    /// Messages that the user was given.
    pub(super) given: u64,
    /// The law that was broken, and how.
    pub(super) broken: Option<(&'static str, String)>,
    /// Which connections have sent messages in this cycle, and how many.
    turns: Vec<(ConnectionId, usize)>,
    /// Which connections have sent messages in the previous cycle.
    pub(super) spoke: Vec<ConnectionId>,
}

impl Sightings {
    fn opens(&mut self, peer: &Peer) {
        let id = peer.connection;
        if id.generation() <= self.newest {
            self.broken = Some(("ends once", format!("{id:?} was opened after #{}", self.newest)));
        }
        self.newest = id.generation();
        self.opened += 1;
        self.open.insert(id, peer.address);
    }

    fn closes(&mut self, connection: ConnectionId, reason: &CloseReason, at: Duration) {
        match self.open.remove(&connection) {
            None => {
                let what = format!("{connection:?} was closed and was not open: {reason}");
                self.broken = Some(("ends once", what));
            }
            Some(address) => {
                let (kind, reason) = (reason.kind(), reason.to_string());
                self.closed.push(Closed { connection, address, kind, reason, at });
            }
        }
    }

    fn speaks(&mut self, peer: &Peer, turn_max: usize) {
        let id = peer.connection;
        self.given += 1;
        if self.open.get(&id) != Some(&peer.address) {
            self.broken = Some(("ends once", format!("a message came from {id:?}, which is not open")));
        }
        if !self.turns.iter().any(|(speaker, _)| *speaker == id) {
            self.turns.push((id, 0));
        }
        for (_, spoken) in self.turns.iter_mut().filter(|(speaker, _)| *speaker == id) {
            *spoken += 1;
            if *spoken > turn_max {
                let what = format!("{id:?} has sent {spoken} messages in one turn of {turn_max}");
                self.broken = Some(("one peer", what));
            }
        }
    }

    fn cycle_ends(&mut self) {
        self.spoke.clear();
        self.spoke.extend(self.turns.drain(..).map(|(id, _)| id));
    }

    /// How many are open.
    pub(super) fn open(&self) -> usize {
        self.open.len()
    }
}

/// The user's message processor, watched.
pub(super) struct Watched<M> {
    user: M,
    network: Network,
    sightings: Arc<Mutex<Sightings>>,
    /// Messages that one connection may send in one cycle.
    turn_max: usize,
}

impl<M> Watched<M> {
    pub(super) fn new(user: M, network: Network, sightings: Arc<Mutex<Sightings>>, turn_max: usize) -> Self {
        Self { user, network, sightings, turn_max }
    }
}

/// Everything is recorded before the user's code is called, because that may panic.
impl<P: Protocol, M: MessageProcessor<P>> MessageProcessor<P> for Watched<M> {
    fn process(&mut self, message: Message<'_, P>, reply: Reply<'_, P>) {
        self.sightings.lock().speaks(message.peer(), self.turn_max);
        self.user.process(message, reply);
    }

    fn started(&mut self, proxy: &WriteProxy<P>) {
        self.user.started(proxy);
    }

    fn opened(&mut self, peer: &Peer, proxy: &WriteProxy<P>) {
        self.sightings.lock().opens(peer);
        self.user.opened(peer, proxy);
    }

    fn when_full(&mut self, peer: &Peer) -> WhenFull {
        self.user.when_full(peer)
    }

    fn closed(&mut self, peer: &Peer, reason: &CloseReason) {
        let at = self.network.elapsed();
        self.sightings.lock().closes(peer.connection, reason, at);
        self.user.closed(peer, reason);
    }

    fn ready(&mut self) -> bool {
        self.user.ready()
    }

    fn cycle_end(&mut self, now: Instant) -> Option<Instant> {
        self.sightings.lock().cycle_ends();
        self.user.cycle_end(now)
    }
}
