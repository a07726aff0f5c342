//! The name of one connection.

use std::fmt;

/// Names one connection for the whole life of the server.
///
/// A slot of the connection table is used again after its connection has closed; the generation is not. An id that
/// outlives its connection therefore names no connection, and a late reply reaches no other peer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId {
    generation: u64,
    slot: u32,
    processor: u16,
}

impl ConnectionId {
    /// Puts an id together from the processor's number, the slot in its table and the generation of the connection.
    pub const fn new(processor: u16, slot: u32, generation: u64) -> Self {
        Self { generation, slot, processor }
    }

    /// The number of the processor thread that owns the connection.
    pub const fn processor(self) -> u16 {
        self.processor
    }

    /// The place in the processor's connection table; used again by later connections.
    pub const fn slot(self) -> u32 {
        self.slot
    }

    /// The generation: counts the connections of its processor, in whatever slot, from 1; never used twice.
    pub const fn generation(self) -> u64 {
        self.generation
    }
}

/// `#42`: the generation alone, or `2#42` on a processor other than the first.
impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.processor {
            0 => write!(f, "#{}", self.generation),
            other => write!(f, "{other}#{}", self.generation),
        }
    }
}

impl fmt::Debug for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ConnectionId({self} slot {})", self.slot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reused_slot_is_another_connection() {
        assert_ne!(ConnectionId::new(0, 7, 1), ConnectionId::new(0, 7, 2));
        assert_eq!(ConnectionId::new(0, 7, 42).to_string(), "#42");
        assert_eq!(ConnectionId::new(3, 7, 42).to_string(), "3#42");
    }
}
