//! Which newcomers are refused: the limits, and what they count.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::connection::CrowdScope;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicUsize, Ordering::SeqCst};

/// Which newcomers are refused. None by default: at `connections_max` they wait in the kernel's backlog.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Admission {
    /// Connections of one IP address at once, over all processors; any further one is refused (HTTP: 503). Zero: no
    /// limit. All clients behind one proxy or translated address count together. Refused connections do not count.
    pub per_address_max: usize,
    /// With this many connections, over all processors, newcomers are refused at once (HTTP: 503) instead of being
    /// served. Refused connections do not count. Less than `connections_max`. Zero: none is refused; at
    /// `connections_max` they wait in the backlog.
    pub refuse_above: usize,
    /// How long a peer that is refused with 503, for whatever reason, is told to wait (HTTP: `Retry-After`). `None`: it
    /// is not told.
    pub retry_after: Option<Duration>,
}

/// The connections that [`Admission`] counts. Its limits are those of the server, not of each processor: a limit that
/// grew with the number of processors would not bind a peer. So all processors share this table, and use it when a
/// connection comes and when it goes. A limit that is switched off is not counted, and then nothing is shared.
#[derive(Debug)]
pub(crate) struct Crowd {
    counts: Mutex<HashMap<IpAddr, u32>>,
    per_address_max: usize,
    open: AtomicUsize,
    refuse_above: usize,
}

impl Crowd {
    /// Counts up to `connections_max` addresses, if they have a limit.
    pub(crate) fn new(admission: &Admission, connections_max: usize) -> Arc<Self> {
        let Admission { per_address_max, refuse_above, .. } = *admission;
        // Twice as large as necessary: so the table is cleaned up in place when too many places have been used, and
        // never grows.
        let counts = HashMap::with_capacity(if per_address_max == 0 { 0 } else { 2 * connections_max });
        Arc::new(Self { counts: Mutex::new(counts), per_address_max, open: AtomicUsize::new(0), refuse_above })
    }

    /// Bytes that the table takes, for the memory ceiling.
    pub(crate) fn memory(admission: &Admission, connections_max: usize) -> u64 {
        /// The standard library's table is a power of two of places, at most seven eighths full, with a byte for each.
        const PLACE: usize = size_of::<(IpAddr, u32)>() + 1;
        let places = (2 * connections_max * 8 / 7 + 1).next_power_of_two() * PLACE;
        if admission.per_address_max == 0 { 0 } else { places as u64 }
    }

    /// How many addresses are counted.
    #[cfg(feature = "sim")]
    pub(crate) fn len(&self) -> usize {
        self.counts.lock().len()
    }

    /// Counts a connection, if there is room for one more. A refused connection is not counted, although it stays open
    /// until its peer has been told: otherwise peers that try again and again could keep a server refusing that has
    /// nobody left to serve.
    pub(super) fn add(&self, address: IpAddr) -> Result<(), CrowdScope> {
        if !self.add_address(address) {
            return Err(CrowdScope::Address);
        }
        let one_more = |open| (open < self.refuse_above).then_some(open + 1);
        if self.refuse_above > 0 && self.open.fetch_update(SeqCst, SeqCst, one_more).is_err() {
            self.remove_address(address);
            return Err(CrowdScope::Server);
        }
        Ok(())
    }

    fn add_address(&self, address: IpAddr) -> bool {
        if self.per_address_max == 0 {
            return true;
        }
        let mut counts = self.counts.lock();
        let count = counts.entry(address.to_canonical()).or_insert(0);
        let has_room = (*count as usize) < self.per_address_max;
        *count += u32::from(has_room);
        has_room
    }

    /// Stops counting a connection that was counted.
    pub(super) fn remove(&self, address: IpAddr) {
        if self.refuse_above > 0 {
            self.open.fetch_sub(1, SeqCst);
        }
        self.remove_address(address);
    }

    fn remove_address(&self, address: IpAddr) {
        if self.per_address_max == 0 {
            return;
        }
        if let Entry::Occupied(mut entry) = self.counts.lock().entry(address.to_canonical()) {
            *entry.get_mut() -= 1;
            if *entry.get() == 0 {
                entry.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crowd(per_address_max: usize, refuse_above: usize) -> Arc<Crowd> {
        Crowd::new(&Admission { per_address_max, refuse_above, retry_after: None }, 16)
    }

    #[test]
    fn an_address_has_its_limit_however_it_is_written() {
        let crowd = crowd(2, 0);
        let (v4, mapped): (IpAddr, IpAddr) = ([127, 0, 0, 1].into(), [0, 0, 0, 0, 0, 0xffff, 0x7f00, 1].into());
        assert!(crowd.add(v4).is_ok() && crowd.add(mapped).is_ok());
        assert_eq!(crowd.add(v4), Err(CrowdScope::Address), "the third");
        assert_eq!(crowd.add([127, 0, 0, 2].into()), Ok(()));
        crowd.remove(v4);
        assert_eq!(crowd.add(mapped), Ok(()));
        crowd.remove(v4);
        crowd.remove(v4);
        assert_eq!(crowd.counts.lock().len(), 1, "who has no connection is forgotten");
    }

    #[test]
    fn all_together_have_theirs() {
        let crowd = crowd(0, 2);
        let address = |last| IpAddr::from([127, 0, 0, last]);
        assert!(crowd.add(address(1)).is_ok() && crowd.add(address(2)).is_ok());
        // These are still open, because their peers have not been told yet that they are refused.
        (3..10).for_each(|last| assert_eq!(crowd.add(address(last)), Err(CrowdScope::Server)));
        crowd.remove(address(1));
        assert_eq!(crowd.add(address(4)), Ok(()));
    }

    #[test]
    fn who_is_refused_counts_nowhere() {
        let crowd = crowd(2, 3);
        let (greedy, other) = (IpAddr::from([127, 0, 0, 1]), IpAddr::from([127, 0, 0, 2]));
        (0..2).for_each(|_| assert_eq!(crowd.add(greedy), Ok(())));
        (0..10).for_each(|_| assert_eq!(crowd.add(greedy), Err(CrowdScope::Address)));
        assert_eq!(crowd.add(other), Ok(()));
        (0..10).for_each(|_| assert_eq!(crowd.add(other), Err(CrowdScope::Server)));
        crowd.remove(greedy);
        assert_eq!(crowd.add(other), Ok(()), "it has one of its own so far, and all together have two");
    }

    #[test]
    fn the_table_does_not_grow_however_many_come_and_go() {
        let crowd = crowd(1, 0);
        let made = crowd.counts.lock().capacity();
        let address = |number: u32| IpAddr::from(number.to_be_bytes());
        for number in 0..10_000 {
            assert_eq!(crowd.add(address(number)), Ok(()));
            if number >= 15 {
                crowd.remove(address(number - 15));
            }
        }
        assert_eq!(crowd.counts.lock().capacity(), made);
    }

    #[test]
    fn without_a_limit_nothing_is_counted() {
        let crowd = crowd(0, 0);
        assert!((0..100).all(|_| crowd.add([127, 0, 0, 1].into()).is_ok()));
        assert!(crowd.counts.lock().is_empty() && crowd.open.load(SeqCst) == 0);
        assert_eq!(Crowd::memory(&Admission::default(), 16), 0);
    }
}
