//! How many connections each address has, and how many there are in all.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::Arc;

use super::Admission;
use crate::connection::CloseReason;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicUsize, Ordering::SeqCst};

/// Which limit a newcomer is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Excess {
    /// Its address has `per_address_max` connections.
    OfAddress,
    /// All together are `refuse_above`.
    OfAll,
}

impl Excess {
    /// That for which a connection was refused which ends for this reason.
    pub(super) fn of(reason: &CloseReason) -> Option<Self> {
        match reason {
            CloseReason::Crowded { one_address: true, .. } => Some(Self::OfAddress),
            CloseReason::Crowded { one_address: false, .. } => Some(Self::OfAll),
            _ => None,
        }
    }
}

/// The connections that [`Admission`] counts. Its limits are those of the server, not of each processor: a limit that
/// grew with the number of processors would be none that a peer has to keep. So all processors share this, and touch it
/// when a connection comes and when it goes. What is switched off is not counted, and then nothing is shared.
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
        // Twice as large as it needs: so it is cleaned where it is when too many places were used once, and never
        // grows.
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

    /// Counts a connection, even one that is too many: it counts until it is closed. But one that is too many for its
    /// address counts only there, or one address could have all others refused.
    pub(super) fn add(&self, address: IpAddr) -> Result<(), Excess> {
        if !self.add_address(address) {
            return Err(Excess::OfAddress);
        }
        let within_all = self.refuse_above == 0 || self.open.fetch_add(1, SeqCst) < self.refuse_above;
        if within_all { Ok(()) } else { Err(Excess::OfAll) }
    }

    fn add_address(&self, address: IpAddr) -> bool {
        if self.per_address_max == 0 {
            return true;
        }
        let mut counts = self.counts.lock();
        let count = counts.entry(address.to_canonical()).or_insert(0);
        *count += 1;
        *count as usize <= self.per_address_max
    }

    /// Counts a connection off that was counted, and that had been refused for this reason if it had.
    pub(super) fn remove(&self, address: IpAddr, refused: Option<Excess>) {
        if self.refuse_above > 0 && refused != Some(Excess::OfAddress) {
            self.open.fetch_sub(1, SeqCst);
        }
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
        assert_eq!(crowd.add(v4), Err(Excess::OfAddress), "the third counts, too, until it is closed");
        assert_eq!(crowd.add([127, 0, 0, 2].into()), Ok(()));
        crowd.remove(v4, Some(Excess::OfAddress));
        crowd.remove(v4, None);
        assert_eq!(crowd.add(mapped), Ok(()));
        crowd.remove(v4, None);
        crowd.remove(v4, None);
        assert_eq!(crowd.counts.lock().len(), 1, "who has no connection is forgotten");
    }

    #[test]
    fn all_together_have_theirs() {
        let crowd = crowd(0, 2);
        let address = |last| IpAddr::from([127, 0, 0, last]);
        assert!(crowd.add(address(1)).is_ok() && crowd.add(address(2)).is_ok());
        assert_eq!(crowd.add(address(3)), Err(Excess::OfAll));
        crowd.remove(address(3), Some(Excess::OfAll));
        crowd.remove(address(1), None);
        assert_eq!(crowd.add(address(4)), Ok(()));
    }

    #[test]
    fn what_is_too_much_of_one_address_does_not_count_for_the_others() {
        let crowd = crowd(1, 3);
        let (greedy, other) = (IpAddr::from([127, 0, 0, 1]), IpAddr::from([127, 0, 0, 2]));
        assert_eq!(crowd.add(greedy), Ok(()));
        (0..10).for_each(|_| assert_eq!(crowd.add(greedy), Err(Excess::OfAddress)));
        assert_eq!(crowd.add(other), Ok(()));
        (0..10).for_each(|_| crowd.remove(greedy, Some(Excess::OfAddress)));
        assert_eq!(crowd.open.load(SeqCst), 2);
    }

    #[test]
    fn the_table_does_not_grow_however_many_come_and_go() {
        let crowd = crowd(1, 0);
        let made = crowd.counts.lock().capacity();
        let address = |number: u32| IpAddr::from(number.to_be_bytes());
        for number in 0..10_000 {
            assert_eq!(crowd.add(address(number)), Ok(()));
            if number >= 15 {
                crowd.remove(address(number - 15), None);
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
