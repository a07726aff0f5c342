//! Which processor gets the next connection: the one that has the fewest.

use std::sync::Arc;
// Only says where the next round begins: no thread waits for it.
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::{Accepted, Handover};

/// The hand-over queues of all processors, as the accepter sees them, and the bound of all connections together.
///
/// Each connection goes to the processor with the fewest connections, those in its queue included; equals take turns. A
/// processor that does not keep up, so that its queue is full, is passed over.
///
/// The processors share nothing here: each counts its own connections, and the accepter adds them up. Meanwhile their
/// number can only fall, because no other thread lets any in. So the sum is never too small, and the bound is kept.
#[derive(Debug)]
pub struct Dealer<K> {
    handovers: Box<[Arc<Handover<K>>]>,
    connections_max: usize,
    /// The processor that got the last one.
    last: AtomicUsize,
}

impl<K> Dealer<K> {
    /// Deals at most `connections_max` connections to these.
    pub fn new(handovers: impl IntoIterator<Item = Arc<Handover<K>>>, connections_max: usize) -> Arc<Self> {
        let handovers: Box<[_]> = handovers.into_iter().collect();
        // The first comes after the last.
        let last = AtomicUsize::new(handovers.len().saturating_sub(1));
        Arc::new(Self { handovers, connections_max, last })
    }

    /// Which processor gets the next connection; `None` while there is no room. Room that was found stays until it is
    /// used.
    /// Accepter only.
    pub fn choose(&self) -> Option<usize> {
        if self.live() >= self.connections_max {
            return None;
        }
        let count = self.handovers.len();
        let first = self.last.load(Relaxed) + 1;
        let in_turn = (0..count).map(|step| (first + step) % count);
        // Among equals, the first one.
        in_turn.filter(|number| self.handovers[*number].has_room()).min_by_key(|number| self.handovers[*number].live())
    }

    /// True if one more connection may be accepted. Accepter only.
    pub fn has_room(&self) -> bool {
        self.choose().is_some()
    }

    /// Asks to be woken when there may be room again, with any of them. [`has_room`](Self::has_room) must be asked once
    /// more after this. Accepter only.
    pub fn wait_for_room(&self) {
        self.handovers.iter().for_each(|handover| handover.wait_for_room());
    }

    /// Hands a connection over to the one that was [chosen](Self::choose). Accepter only.
    ///
    /// # Errors
    /// Its queue was full after all: the socket comes back.
    pub fn put(&self, chosen: usize, accepted: Accepted<K>) -> Result<(), Accepted<K>> {
        self.last.store(chosen, Relaxed);
        self.handovers[chosen].put(accepted)
    }

    /// Says to all that nothing more will be put. Accepter only.
    pub fn finish(&self) {
        self.handovers.iter().for_each(|handover| handover.finish());
    }

    /// Connections between `accept` and close, over all processors.
    pub fn live(&self) -> usize {
        self.handovers.iter().map(|handover| handover.live()).sum()
    }

    /// The queues, by the number of their processor.
    #[cfg(feature = "sim")]
    pub fn handovers(&self) -> &[Arc<Handover<K>>] {
        &self.handovers
    }

    /// How many connections there may be.
    pub fn connections_max(&self) -> usize {
        self.connections_max
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wake::WakeFlag;
    use std::net::SocketAddr;

    fn dealer(capacity: usize, each: usize, connections_max: usize) -> (Arc<Dealer<usize>>, [Arc<Handover<usize>>; 3]) {
        let awake = || Arc::new(WakeFlag::never_asleep());
        let handovers = [(); 3].map(|()| Handover::new(capacity, each, awake(), awake()));
        (Dealer::new(handovers.clone(), connections_max), handovers)
    }

    /// The one that gets the next connection.
    fn deal(dealer: &Dealer<usize>) -> Option<usize> {
        let chosen = dealer.choose()?;
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        assert!(dealer.put(chosen, Accepted { socket: 0, address }).is_ok(), "there was room");
        Some(chosen)
    }

    fn end(handover: &Handover<usize>) {
        assert!(handover.take().is_some());
        handover.ended();
    }

    #[test]
    fn equals_take_turns_and_who_has_fewest_comes_first() {
        let (dealer, handovers) = dealer(9, 9, 99);
        assert_eq!([(); 6].map(|()| deal(&dealer)), [0, 1, 2, 0, 1, 2].map(Some));
        assert!(handovers[2].take().is_some());
        assert_eq!(deal(&dealer), Some(0), "out of the queue, it still counts");
        handovers[2].ended();
        end(&handovers[1]);
        assert_eq!([(); 3].map(|()| deal(&dealer)), [1, 2, 1].map(Some));
    }

    #[test]
    fn choosing_alone_changes_nothing() {
        let (dealer, _) = dealer(9, 9, 99);
        assert!((0..9).all(|_| dealer.choose() == Some(0) && dealer.has_room()));
    }

    #[test]
    fn a_full_queue_is_passed_over() {
        let (dealer, handovers) = dealer(1, 9, 99);
        assert_eq!([(); 4].map(|()| deal(&dealer)), [Some(0), Some(1), Some(2), None]);
        assert!((0..5).all(|_| {
            end(&handovers[1]);
            deal(&dealer) == Some(1)
        }));
    }

    #[test]
    fn each_processor_has_its_own_bound() {
        let (dealer, handovers) = dealer(9, 2, 99);
        assert_eq!((0..99).map_while(|_| deal(&dealer)).count(), 6);
        end(&handovers[1]);
        assert_eq!([(); 2].map(|()| deal(&dealer)), [Some(1), None]);
    }

    #[test]
    fn the_bound_is_that_of_all_together() {
        let (dealer, handovers) = dealer(9, 3, 7);
        assert_eq!((0..99).map_while(|_| deal(&dealer)).count(), 7);
        assert_eq!((dealer.live(), dealer.has_room()), (7, false));
        // Wherever one ends, there is room for one more, in a table of a third of them.
        for number in [0, 0, 1, 2, 2, 1] {
            end(&handovers[number]);
            assert!(deal(&dealer).is_some());
            assert_eq!(dealer.live(), 7);
        }
    }
}
