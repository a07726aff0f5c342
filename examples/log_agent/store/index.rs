//! The index beside a segment: a header, then one entry of 32 bytes for each record, in their order.
//!
//! | bytes | of an entry, little-endian |
//! |---|---|
//! | 0..4 | offset of the payload in the segment, which is smaller than 4 GiB |
//! | 4..8 | length of the payload, without the newline that was added |
//! | 8..16 | serial number of the connection, from 1 with each start; 0: unknown, found again by recovery |
//! | 16..24 | when it was received, in microseconds since 1970 |
//! | 24..28 | CRC32C of the payload |
//! | 28..32 | CRC32C of the 28 bytes before it |
//!
//! The two checksums tell damage of the index from damage of the segment. An entry is written before its payload, so that
//! after a crash no whole payload is without its entry. The last entry of a finished segment is a mark ([`Entry::END`]).

/// Bytes of the header, and of each entry.
pub const ENTRY_BYTES: usize = 32;

/// Those that its own checksum is of.
const CHECKED: usize = 28;

/// What every index begins with.
pub const HEADER: [u8; ENTRY_BYTES] = *b"sluicegate log index 1, LE, 32\n\0";

/// The length in the mark of a finished segment: no record is that long.
const FINISHED: u32 = u32::MAX;

/// One record, as the index knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    pub offset: u32,
    pub length: u32,
    /// Of the payload.
    pub crc: u32,
    pub connection: u64,
    pub received_micros: u64,
}

impl Entry {
    /// What an index says of a `payload` at `offset`.
    pub fn of(offset: u32, payload: &[u8], connection: u64, received_micros: u64) -> Self {
        Self { offset, length: payload.len() as u32, crc: crc32c::crc32c(payload), connection, received_micros }
    }

    /// The mark behind the last entry of a segment that was finished with so many bytes.
    pub fn end_mark(bytes: u32) -> Self {
        Self { offset: bytes, length: FINISHED, crc: 0, connection: 0, received_micros: 0 }
    }

    /// True if it is the mark behind the last entry, and no record.
    pub fn is_end_mark(&self) -> bool {
        self.length == FINISHED
    }

    pub fn encode(&self) -> [u8; ENTRY_BYTES] {
        let mut bytes = [0; ENTRY_BYTES];
        bytes[0..4].copy_from_slice(&self.offset.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.length.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.connection.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.received_micros.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.crc.to_le_bytes());
        let check = crc32c::crc32c(&bytes[..CHECKED]);
        bytes[CHECKED..].copy_from_slice(&check.to_le_bytes());
        bytes
    }

    /// `None` if these bytes were damaged.
    pub fn decode(bytes: &[u8; ENTRY_BYTES]) -> Option<Self> {
        if crc32c::crc32c(&bytes[..CHECKED]) != u32_at(bytes, CHECKED) {
            return None;
        }
        Some(Self {
            offset: u32_at(bytes, 0),
            length: u32_at(bytes, 4),
            connection: u64_at(bytes, 8),
            received_micros: u64_at(bytes, 16),
            crc: u32_at(bytes, 24),
        })
    }

    /// Where its payload ends, without the newline that may have been added.
    pub fn payload_end(&self) -> u64 {
        u64::from(self.offset) + u64::from(self.length)
    }

    /// True if `payload` is the one it was made of.
    pub fn agrees_with(&self, payload: &[u8]) -> bool {
        payload.len() == self.length as usize && crc32c::crc32c(payload) == self.crc
    }
}

/// Where the next payload begins behind one that ends at `end`: a payload without a newline at its end has got one.
pub fn behind(end: u64, payload: &[u8]) -> u64 {
    end + u64::from(payload.last() != Some(&b'\n'))
}

fn u32_at(bytes: &[u8; ENTRY_BYTES], at: usize) -> u32 {
    u32::from_le_bytes(std::array::from_fn(|index| bytes[at + index]))
}

fn u64_at(bytes: &[u8; ENTRY_BYTES], at: usize) -> u64 {
    u64::from_le_bytes(std::array::from_fn(|index| bytes[at + index]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_comes_back() {
        let entry = Entry::of(17, b"payload", 3, 1_700_000_000_000_000);
        assert_eq!(Entry::decode(&entry.encode()), Some(entry));
        assert!(entry.agrees_with(b"payload") && !entry.agrees_with(b"paYload") && !entry.agrees_with(b"payloads"));
        assert_eq!((entry.payload_end(), entry.is_end_mark(), Entry::end_mark(24).is_end_mark()), (24, false, true));
    }

    #[test]
    fn no_bit_of_an_entry_can_flip_unseen() {
        let bytes = Entry::of(17, b"payload", 3, 1_700_000_000_000_000).encode();
        for bit in 0..ENTRY_BYTES * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Entry::decode(&flipped), None, "bit {bit}");
        }
        assert_eq!(Entry::decode(&[0; ENTRY_BYTES]), None, "a block that a crash has left empty");
    }

    #[test]
    fn a_newline_is_added_only_where_it_is_missing() {
        assert_eq!([behind(5, b"a"), behind(5, b"a\n"), behind(5, b"")], [6, 5, 6]);
    }
}
