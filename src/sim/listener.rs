//! The accepter of the simulation.

use std::fmt;

use super::laws::Breach;
use super::{Network, SimPeer, SimSocket, Weather};
use crate::handover::Accepted;
use crate::metrics::Snapshot;
use crate::server::Shared;

/// Connects peers to the server of a [`Simulation`](super::Simulation), as the accepter thread does in a real server.
/// It may be called from anywhere. A clone is another handle.
#[derive(Clone)]
pub struct SimListener {
    network: Network,
    shared: Shared<SimSocket>,
}

impl SimListener {
    pub(super) fn new(network: Network, shared: Shared<SimSocket>) -> Self {
        Self { network, shared }
    }

    /// Connects a peer. `None` while the server has all the connections that it may have, or is shutting down: with a
    /// real server the peer would wait in the kernel's backlog.
    pub fn connect(&self, weather: Weather) -> Option<SimPeer> {
        let Shared { dealer, stations, .. } = &self.shared;
        let chosen = dealer.choose()?;
        if dealer.handovers()[chosen].is_finished() {
            return None;
        }
        self.report(self.check_choice(chosen));
        let (peer, socket) = self.network.connect(weather);
        socket.deal_to(chosen);
        let address = peer.address();
        stations[chosen].metrics.accepted.add(1);
        let put = dealer.put(chosen, Accepted { socket, address });
        self.report(self.check_whole());
        stations.iter().for_each(|station| {
            self.report(check_books(&station.snapshot(), station.handover.live()));
        });
        put.ok().map(|()| peer)
    }

    /// Checks that connections go to the processor with the fewest, among those that have room.
    fn check_choice(&self, chosen: usize) -> Result<(), Breach> {
        let handovers = self.shared.dealer.handovers();
        let loads: Vec<_> =
            handovers.iter().filter(|handover| handover.has_room()).map(|handover| handover.live()).collect();
        let load = handovers[chosen].live();
        if loads.iter().min() == Some(&load) && handovers[chosen].has_room() {
            Ok(())
        } else {
            Err(("dealing", format!("processor {chosen} has {load} connections and gets one more: {loads:?}")))
        }
    }

    /// Checks what holds after each turn of an accepter, also in the middle of a cycle: LAW memory for all connections.
    fn check_whole(&self) -> Result<(), Breach> {
        let live = self.shared.dealer.live();
        if live > self.shared.dealer.connections_max() {
            Err(("memory", format!("the accepter has let in {live} connections")))
        } else {
            Ok(())
        }
    }

    fn report(&self, checked: Result<(), Breach>) {
        if let Err(broken) = checked {
            self.network.lock().broken.get_or_insert(broken);
        }
    }
}

/// The same for one processor: LAW ledger for connections.
fn check_books(metrics: &Snapshot, live: usize) -> Result<(), Breach> {
    let Snapshot { accepted, open, accepted_unserved, handover_queue: waiting, .. } = *metrics;
    let accounted = metrics.closed_total() + accepted_unserved + open + waiting;
    if accepted == accounted && live as u64 == open + waiting {
        return Ok(());
    }
    let here = format!("{open} are open, {waiting} wait, {live} are counted");
    Err(("ledger", format!("after accepting: {accepted} were accepted, {accounted} are accounted for; {here}")))
}

impl fmt::Debug for SimListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimListener").finish_non_exhaustive()
    }
}
