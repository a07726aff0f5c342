//! The accepter of the simulation.

use std::fmt;
use std::sync::Arc;

use super::{Network, SimPeer, SimSocket, Weather};
use crate::handover::{Accepted, Handover};
use crate::metrics::Metrics;

/// Connects peers to a [`Simulation`](super::Simulation)'s server, from wherever it is called: what the accepter thread
/// does in a real server. A clone is another handle.
#[derive(Clone)]
pub struct SimListener {
    network: Network,
    handover: Arc<Handover<SimSocket>>,
    metrics: Arc<Metrics>,
}

impl SimListener {
    pub(super) fn new(network: Network, handover: Arc<Handover<SimSocket>>, metrics: Arc<Metrics>) -> Self {
        Self { network, handover, metrics }
    }

    /// Connects a peer. `None` while the server has as many as it may, or is going down: in life the peer would wait in
    /// the kernel's backlog.
    pub fn connect(&self, weather: Weather) -> Option<SimPeer> {
        if !self.handover.has_room() || self.handover.is_finished() {
            return None;
        }
        let (peer, socket) = self.network.connect(weather);
        let address = peer.address();
        self.metrics.accepted.add(1);
        self.handover.put(Accepted { socket, address }).ok().map(|()| peer)
    }
}

impl fmt::Debug for SimListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimListener").finish_non_exhaustive()
    }
}
