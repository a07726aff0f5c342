//! What a batch knows of its records besides their bytes.

use sluicegate::ConnectionId;
use sluicegate::flow::{Batch, BatchPool, BatchRun};

use crate::store::index::{ENTRY_BYTES, Entry};

/// Bytes of an encoded [`Head`].
const HEAD_BYTES: usize = 21;
/// Bytes of a record's tag: it is its entry in the index, made where the record is copied and its bytes are in the
/// cache.
pub const TAG_BYTES: usize = ENTRY_BYTES;

/// Bytes of a batch that each run takes besides its records and their tags.
pub const RUN_HEAD: usize = LogBatch::RUN;

/// A batch of records on their way to a writer.
pub type LogBatch = Batch<HEAD_BYTES, TAG_BYTES>;
/// Where their blocks come from.
pub type LogPool = BatchPool<HEAD_BYTES, TAG_BYTES>;
/// Records that one connection sent in one go.
pub type LogRun<'b> = BatchRun<'b, HEAD_BYTES, TAG_BYTES>;

/// Whose the records of a run are, since when, and what was done with them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    pub slot: u32,
    pub generation: u64,
    pub received_micros: u64,
    /// They are to be set aside.
    pub bad: bool,
}

impl Head {
    /// The connection that they came from.
    pub fn connection(&self) -> ConnectionId {
        ConnectionId::new(0, self.slot, self.generation)
    }

    pub fn encode(&self) -> [u8; HEAD_BYTES] {
        let mut bytes = [0; HEAD_BYTES];
        bytes[..4].copy_from_slice(&self.slot.to_le_bytes());
        bytes[4..12].copy_from_slice(&self.generation.to_le_bytes());
        bytes[12..20].copy_from_slice(&self.received_micros.to_le_bytes());
        bytes[20] = u8::from(self.bad);
        bytes
    }

    pub fn decode(bytes: &[u8; HEAD_BYTES]) -> Self {
        let u64_at = |at: usize| u64::from_le_bytes(std::array::from_fn(|index| bytes[at + index]));
        Self {
            slot: u32::from_le_bytes(std::array::from_fn(|index| bytes[index])),
            generation: u64_at(4),
            received_micros: u64_at(12),
            bad: bytes[20] != 0,
        }
    }
}

/// Appends records under `head`, as many as find room; what is left of `payloads` is what does not. Returns how many
/// records and how many bytes, with the newlines that are added, have gone in.
pub fn append<'p, I>(batch: &mut LogBatch, head: &Head, payloads: &mut I) -> (usize, usize)
where
    I: Iterator<Item = &'p [u8]> + Clone,
{
    batch.append(head.encode(), |run| {
        loop {
            let mut behind = payloads.clone();
            let Some(payload) = behind.next() else { break };
            let newline: &[u8] = if payload.last() == Some(&b'\n') { b"" } else { b"\n" };
            if !run.push(&[payload, newline], Entry::tag(payload, !newline.is_empty())) {
                break;
            }
            *payloads = behind;
        }
        (run.records(), run.bytes())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_comes_back() {
        for bad in [false, true] {
            let head = Head { slot: 7, generation: u64::MAX - 1, received_micros: 1 << 50, bad };
            assert_eq!(Head::decode(&head.encode()), head);
        }
    }

    #[test]
    fn what_finds_no_room_is_left() {
        let pool = LogPool::new(100, 1);
        let mut batch = pool.take().expect("none is in use");
        let head = Head { slot: 0, generation: 1, received_micros: 2, bad: false };
        let records = [[b'x'; 30].as_slice(), b"line\n"].repeat(20);
        let mut left = records.iter().copied();
        let (count, bytes) = append(&mut batch, &head, &mut left);
        assert!(count > 10 && left.len() == records.len() - count, "{count} of them found room");
        assert_eq!((batch.len(), batch.bytes().len()), (count, bytes));
        assert_eq!(append(&mut batch, &head, &mut left), (0, 0));
        assert_eq!(left.len(), records.len() - count);
    }
}
