//! The accepter of the simulation.

use std::fmt;
use std::sync::Arc;

use super::{Network, SimPeer, SimSocket, Weather};
use crate::handover::{Accepted, Handover};
use crate::metrics::{Metrics, Snapshot};

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
        let put = self.handover.put(Accepted { socket, address });
        self.check();
        put.ok().map(|()| peer)
    }

    /// What holds after each turn of an accepter, also in the middle of a cycle: LAW memory, LAW ledger of connections.
    fn check(&self) {
        let Snapshot { accepted, open, accepted_unserved, .. } = self.metrics.snapshot();
        let (live, waiting) = (self.handover.live(), self.handover.waiting());
        let accounted = self.metrics.snapshot().closed_total() + accepted_unserved + open + waiting as u64;
        let broken = if live > self.handover.connections_max() {
            ("memory", format!("the accepter has let in {live} connections"))
        } else if accepted != accounted || live as u64 != open + waiting as u64 {
            let here = format!("{open} are open, {waiting} wait, {live} are counted");
            ("ledger", format!("after accepting: {accepted} were accepted, {accounted} are accounted for; {here}"))
        } else {
            return;
        };
        self.network.lock().broken.get_or_insert(broken);
    }
}

impl fmt::Debug for SimListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimListener").finish_non_exhaustive()
    }
}
