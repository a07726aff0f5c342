//! What a batch knows of each record besides its bytes.

use sluicegate::ConnectionId;
use sluicegate::flow::{Batch, BatchPool};

/// Bytes of an encoded [`Tag`].
pub const TAG_BYTES: usize = 21;

/// A batch of records on their way to a writer.
pub type LogBatch = Batch<TAG_BYTES>;
/// Where their blocks come from.
pub type LogPool = BatchPool<TAG_BYTES>;

/// Whose a record is, since when, and what was done with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tag {
    pub slot: u32,
    pub generation: u64,
    pub received_micros: u64,
    /// A newline was added, which is not a part of the payload.
    pub newline_added: bool,
    /// It is to be set aside.
    pub bad: bool,
}

impl Tag {
    /// The connection that it came from.
    pub fn connection(&self) -> ConnectionId {
        ConnectionId::new(0, self.slot, self.generation)
    }

    pub fn encode(&self) -> [u8; TAG_BYTES] {
        let mut bytes = [0; TAG_BYTES];
        bytes[..4].copy_from_slice(&self.slot.to_le_bytes());
        bytes[4..12].copy_from_slice(&self.generation.to_le_bytes());
        bytes[12..20].copy_from_slice(&self.received_micros.to_le_bytes());
        bytes[20] = u8::from(self.newline_added) | u8::from(self.bad) << 1;
        bytes
    }

    pub fn decode(bytes: &[u8; TAG_BYTES]) -> Self {
        let u64_at = |at: usize| u64::from_le_bytes(std::array::from_fn(|index| bytes[at + index]));
        Self {
            slot: u32::from_le_bytes(std::array::from_fn(|index| bytes[index])),
            generation: u64_at(4),
            received_micros: u64_at(12),
            newline_added: bytes[20] & 1 != 0,
            bad: bytes[20] & 2 != 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_comes_back() {
        for (newline_added, bad) in [(false, false), (true, false), (false, true), (true, true)] {
            let tag = Tag { slot: 7, generation: u64::MAX - 1, received_micros: 1 << 50, newline_added, bad };
            assert_eq!(Tag::decode(&tag.encode()), tag);
        }
    }
}
