//! How many connections each address has.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;

/// The connections of each IP address, counted only if there is a limit.
#[derive(Debug)]
pub(super) struct Addresses {
    counts: HashMap<IpAddr, u32>,
    limit: usize,
}

impl Addresses {
    /// Counts up to `connections_max` addresses; `limit` zero counts nothing.
    pub(super) fn new(limit: usize, connections_max: usize) -> Self {
        // Made in full: the table never grows while the server runs.
        Self { counts: HashMap::with_capacity(if limit == 0 { 0 } else { connections_max }), limit }
    }

    /// Bytes that the table takes, for the memory ceiling.
    pub(super) fn memory(limit: usize, connections_max: usize) -> u64 {
        /// The standard library's table is a power of two of places, at most seven eighths full, with a byte for each.
        const PLACE: usize = size_of::<(IpAddr, u32)>() + 1;
        let places = (connections_max * 8 / 7 + 1).next_power_of_two() * PLACE;
        if limit == 0 { 0 } else { places as u64 }
    }

    /// How many addresses are counted.
    #[cfg(feature = "sim")]
    pub(super) fn len(&self) -> usize {
        self.counts.len()
    }

    /// Counts a connection; false if its address has more than the limit with it.
    pub(super) fn add(&mut self, address: IpAddr) -> bool {
        if self.limit == 0 {
            return true;
        }
        let count = self.counts.entry(address.to_canonical()).or_insert(0);
        *count += 1;
        *count as usize <= self.limit
    }

    /// Counts a connection off that was counted.
    pub(super) fn remove(&mut self, address: IpAddr) {
        if let Entry::Occupied(mut entry) = self.counts.entry(address.to_canonical()) {
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

    #[test]
    fn an_address_has_its_limit_however_it_is_written() {
        let mut addresses = Addresses::new(2, 16);
        let (v4, mapped): (IpAddr, IpAddr) = ([127, 0, 0, 1].into(), [0, 0, 0, 0, 0, 0xffff, 0x7f00, 1].into());
        assert!(addresses.add(v4) && addresses.add(mapped));
        assert!(!addresses.add(v4), "the third counts, too, until it is closed");
        assert!(addresses.add([127, 0, 0, 2].into()));
        addresses.remove(v4);
        addresses.remove(v4);
        assert!(addresses.add(mapped));
        addresses.remove(v4);
        addresses.remove(v4);
        assert_eq!(addresses.counts.len(), 1, "who has no connection is forgotten");
    }

    #[test]
    fn without_a_limit_nothing_is_counted() {
        let mut addresses = Addresses::new(0, 16);
        assert!((0..100).all(|_| addresses.add([127, 0, 0, 1].into())) && addresses.counts.is_empty());
        assert_eq!(Addresses::memory(0, 16), 0);
    }
}
