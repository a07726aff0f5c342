//! The index beside a segment: a header, then runs. A run is what one connection's records were in one go: a head of 32
//! bytes, then 8 bytes for each record.
//!
//! | bytes | of a head, little-endian |
//! |---|---|
//! | 0..4 | offset of the first payload in the segment, which is smaller than 4 GiB |
//! | 4..6 | how many records: 1 to 128; or the mark behind the last run of a finished segment ([`Head::end_mark`]) |
//! | 6..12 | serial number of the connection, from 1 with each start; 0: unknown, found again by recovery |
//! | 12..16 | the start of the agent that it was connected to: the number of the first segment since then |
//! | 16..24 | when they were received, in microseconds since 1970 |
//! | 24..28 | CRC32C of the entries behind it |
//! | 28..32 | CRC32C of the 28 bytes before it |
//!
//! | bytes | of an entry, little-endian |
//! |---|---|
//! | 0..4 | length of the payload; the highest bit says that a newline was added, which is not counted |
//! | 4..8 | CRC32C of the payload |
//!
//! A payload begins behind the one before it, and behind the newline that that one may have got. The checksums of a run
//! tell damage of the index from damage of the segment, and one flipped bit is set right by them. A run is written, and
//! forced to disk, before its payloads, so that after a crash no whole payload is without its entry. Of a run whose end
//! is missing, or that is damaged beyond that, an entry is believed if the payload where it says agrees with it.

/// Bytes of the header, and of each head.
pub const HEAD_BYTES: usize = 32;
/// Bytes of an entry.
pub const ENTRY_BYTES: usize = 8;
/// The most records of a run: what is damaged together.
pub const RUN_MAX: usize = 128;
/// No payload is longer.
pub const PAYLOAD_MAX: usize = 256 << 20;

/// What every index begins with.
pub const HEADER: [u8; HEAD_BYTES] = *b"sluicegate log index 2, LE, runs";

/// Those bytes of a head that its own checksum is of.
const CHECKED: usize = 28;
/// The count in the mark of a finished segment: no run has so many.
const FINISHED: u16 = u16::MAX;
/// In a length: a newline was added.
const NEWLINE_ADDED: u32 = 1 << 31;
/// A serial number has so many bits. At ten thousand connections a second, that is nine hundred years.
const SERIAL_BITS: u32 = 48;

/// Whose records are, since when.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Origin {
    /// Serial number since that start of the agent.
    pub connection: u64,
    pub start: u32,
    pub received_micros: u64,
}

/// One record, as the index knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    pub offset: u32,
    pub length: u32,
    /// Of the payload.
    pub crc: u32,
    pub newline_added: bool,
    pub origin: Origin,
}

impl Entry {
    /// Where its payload ends, without the newline that may have been added.
    pub fn payload_end(&self) -> u64 {
        u64::from(self.offset) + u64::from(self.length)
    }

    /// Where its line ends, and the next payload begins.
    pub fn line_end(&self) -> u64 {
        self.payload_end() + u64::from(self.newline_added)
    }

    /// The entry of a payload, as the index has it: where it lies is not said, nor whose it is.
    #[inline]
    pub fn tag(payload: &[u8], newline_added: bool) -> [u8; ENTRY_BYTES] {
        encode(payload.len() as u32, checksum(payload), newline_added)
    }

    /// Bytes of a line with that entry.
    #[inline]
    pub fn line_length(tag: &[u8; ENTRY_BYTES]) -> u64 {
        let length = u32_at(tag, 0);
        u64::from(length & !NEWLINE_ADDED) + u64::from(length >> 31)
    }

    /// True if `payload` is the one it was made of.
    pub fn agrees_with(&self, payload: &[u8]) -> bool {
        payload.len() == self.length as usize && checksum(payload) == self.crc
    }
}

/// The head of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    pub offset: u32,
    count: u16,
    origin: Origin,
    entries_crc: u32,
}

impl Head {
    /// The mark behind the last run of a segment that was finished with so many bytes and records.
    pub fn end_mark(bytes: u32, records: u64) -> Self {
        let origin = Origin { connection: records, ..Origin::default() };
        Self { offset: bytes, count: FINISHED, origin, entries_crc: 0 }
    }

    /// Bytes and records of the segment, if it is the mark behind its last run.
    pub fn as_end_mark(&self) -> Option<(u64, u64)> {
        (self.count == FINISHED).then(|| (u64::from(self.offset), self.origin.connection))
    }

    /// Bytes of the entries behind it.
    pub fn entries_bytes(&self) -> usize {
        if self.count == FINISHED { 0 } else { usize::from(self.count) * ENTRY_BYTES }
    }

    /// How many records its run has.
    pub fn records(&self) -> u64 {
        (self.entries_bytes() / ENTRY_BYTES) as u64
    }

    pub fn encode(&self) -> [u8; HEAD_BYTES] {
        let Origin { connection, start, received_micros } = self.origin;
        let mut bytes = [0; HEAD_BYTES];
        bytes[0..4].copy_from_slice(&self.offset.to_le_bytes());
        bytes[4..6].copy_from_slice(&self.count.to_le_bytes());
        bytes[6..12].copy_from_slice(&connection.to_le_bytes()[..6]);
        bytes[12..16].copy_from_slice(&start.to_le_bytes());
        bytes[16..24].copy_from_slice(&received_micros.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.entries_crc.to_le_bytes());
        let check = checksum(&bytes[..CHECKED]);
        bytes[CHECKED..].copy_from_slice(&check.to_le_bytes());
        bytes
    }

    /// `None` if these bytes were damaged.
    pub fn decode(bytes: &[u8; HEAD_BYTES]) -> Option<Self> {
        let count = u16::from_le_bytes([bytes[4], bytes[5]]);
        let possible = (1..=RUN_MAX as u16).contains(&count) || count == FINISHED;
        if !possible || checksum(&bytes[..CHECKED]) != u32_at(bytes, CHECKED) {
            return None;
        }
        let origin = Origin {
            connection: u64_at(bytes, 6) & ((1 << SERIAL_BITS) - 1),
            start: u32_at(bytes, 12),
            received_micros: u64_at(bytes, 16),
        };
        Some(Self { offset: u32_at(bytes, 0), count, origin, entries_crc: u32_at(bytes, 24) })
    }

    /// The same, where a head is expected: one flipped bit is set right.
    pub fn decode_repaired(bytes: &[u8; HEAD_BYTES]) -> Option<Self> {
        let mut bytes = *bytes;
        Self::decode(&bytes).or_else(|| repair(&mut bytes, |bytes| Self::decode(bytes.first_chunk()?)))
    }

    /// True if `entries` are those it was written with. One flipped bit in them is set right.
    pub fn check(&self, entries: &mut [u8]) -> bool {
        let agrees = |entries: &[u8]| checksum(entries) == self.entries_crc;
        entries.len() == self.entries_bytes()
            && (agrees(entries) || repair(entries, |entries| agrees(entries).then_some(())).is_some())
    }

    /// The entry in `bytes` of a payload that begins at `offset`. `None` if there is no such payload.
    pub fn entry(&self, offset: u64, bytes: &[u8; ENTRY_BYTES]) -> Option<Entry> {
        let length = u32_at(bytes, 0);
        let entry = Entry {
            offset: u32::try_from(offset).ok()?,
            length: length & !NEWLINE_ADDED,
            crc: u32_at(bytes, 4),
            newline_added: length & NEWLINE_ADDED != 0,
            origin: self.origin,
        };
        (entry.length as usize <= PAYLOAD_MAX).then_some(entry)
    }
}

/// CRC32C of `bytes`.
#[inline]
pub fn checksum(bytes: &[u8]) -> u32 {
    crc_fast::crc32_iscsi(bytes)
}

/// Gathers entries of records that lie one behind the other, and makes runs of them.
#[derive(Debug, Default)]
pub struct Runs {
    bytes: Vec<u8>,
    /// The run that grows, and where its head has its place.
    open: Option<(Head, usize)>,
    /// Where the next payload begins, if it belongs to that run.
    next: u64,
}

impl Runs {
    /// The most bytes that one more record takes.
    pub const RECORD_MOST: usize = HEAD_BYTES + ENTRY_BYTES;

    /// None yet, and room for so many bytes.
    pub fn with_capacity(bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes), open: None, next: 0 }
    }

    /// Begins anew, with the same room.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.open = None;
    }

    /// True if one more record finds room without an allocation.
    #[inline]
    pub fn has_room(&self) -> bool {
        self.bytes.len() + Self::RECORD_MOST <= self.bytes.capacity()
    }

    /// True if `count` more records of one origin find room, whatever was before them.
    #[inline]
    pub fn has_room_for(&self, count: usize) -> bool {
        let heads = count.div_ceil(RUN_MAX) + 1;
        self.bytes.len() + heads * HEAD_BYTES + count * ENTRY_BYTES <= self.bytes.capacity()
    }

    /// Appends the entry of a record.
    pub fn push(&mut self, entry: &Entry) {
        let tag = encode(entry.length, entry.crc, entry.newline_added);
        self.extend(entry.offset, entry.origin, [&tag].into_iter());
    }

    /// Appends the entries of records that lie one behind the other, the first at `offset`.
    pub fn extend<'t, T>(&mut self, offset: u32, origin: Origin, tags: T)
    where
        T: ExactSizeIterator<Item = &'t [u8; ENTRY_BYTES]>,
    {
        let (mut tags, mut next) = (tags, u64::from(offset));
        while tags.len() > 0 {
            let count = self.run_at(next, origin).min(tags.len());
            let begins = self.bytes.len();
            self.bytes.resize(begins + count * ENTRY_BYTES, 0);
            let (places, _) = self.bytes[begins..].as_chunks_mut();
            // Two loops, each over as little as possible.
            places.iter_mut().zip(tags.by_ref()).for_each(|(place, tag)| *place = *tag);
            // In 32 bits, as a segment is smaller than 4 GiB: so four are added at once.
            let lines = places.iter().map(|place| Entry::line_length(place) as u32);
            next += u64::from(lines.fold(0, u32::wrapping_add));
            if let Some((head, _)) = &mut self.open {
                head.count += count as u16;
            }
            self.next = next;
        }
    }

    /// Makes sure that the run which grows is one for a record of `origin` that lies at `offset`. Returns how many more
    /// it takes.
    fn run_at(&mut self, offset: u64, origin: Origin) -> usize {
        if let Some((head, _)) = &self.open
            && head.origin == origin
            && self.next == offset
            && usize::from(head.count) < RUN_MAX
        {
            return RUN_MAX - usize::from(head.count);
        }
        self.close();
        let head = Head { offset: offset as u32, count: 0, origin, entries_crc: 0 };
        self.open = Some((head, self.bytes.len()));
        self.bytes.extend_from_slice(&[0; HEAD_BYTES]);
        RUN_MAX
    }

    /// Ends the run that grows: what comes belongs to another.
    pub fn close(&mut self) {
        if let Some((mut head, at)) = self.open.take() {
            head.entries_crc = checksum(&self.bytes[at + HEAD_BYTES..]);
            self.bytes[at..at + HEAD_BYTES].copy_from_slice(&head.encode());
        }
    }

    /// All runs, ended.
    pub fn bytes(&mut self) -> &[u8] {
        self.close();
        &self.bytes
    }
}

/// An entry, as it lies in an index.
#[inline]
fn encode(length: u32, crc: u32, newline_added: bool) -> [u8; ENTRY_BYTES] {
    let newline = if newline_added { NEWLINE_ADDED } else { 0 };
    let mut bytes = [0; ENTRY_BYTES];
    bytes[..4].copy_from_slice(&(length | newline).to_le_bytes());
    bytes[4..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// Flips one bit after the other, until `good` says something, and leaves it at that. Otherwise nothing is changed.
fn repair<T>(bytes: &mut [u8], good: impl Fn(&[u8]) -> Option<T>) -> Option<T> {
    (0..bytes.len() * 8).find_map(|bit| {
        bytes[bit / 8] ^= 1 << (bit % 8);
        let found = good(bytes);
        if found.is_none() {
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        found
    })
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(std::array::from_fn(|index| bytes[at + index]))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(std::array::from_fn(|index| bytes[at + index]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORIGIN: Origin =
        Origin { connection: (1 << SERIAL_BITS) - 2, start: 9, received_micros: 1_700_000_000_000_000 };

    fn entry(offset: u32, payload: &[u8], origin: Origin) -> Entry {
        let newline_added = payload.last() != Some(&b'\n');
        Entry { offset, length: payload.len() as u32, crc: checksum(payload), newline_added, origin }
    }

    #[test]
    fn entries_come_back_with_where_their_payloads_are() {
        let mut runs = Runs::with_capacity(1000);
        let other = Origin { connection: 3, ..ORIGIN };
        let entries = [entry(17, b"payload", ORIGIN), entry(25, b"\n", ORIGIN), entry(26, b"", other)];
        entries.iter().for_each(|entry| runs.push(entry));
        let mut bytes = runs.bytes().to_vec();
        assert_eq!(bytes.len(), 2 * HEAD_BYTES + 3 * ENTRY_BYTES, "two connections, three records");
        let (first, rest) = bytes.split_first_chunk_mut().expect("a head");
        let head = Head::decode(first).expect("sound");
        assert_eq!((head.offset, head.entries_bytes(), head.as_end_mark()), (17, 16, None));
        assert!(head.check(&mut rest[..16]) && !head.check(&mut rest[..8]));
        assert_eq!(head.entry(17, rest[..8].first_chunk().expect("eight")), Some(entries[0]));
        assert_eq!(head.entry(25, rest[8..16].first_chunk().expect("eight")), Some(entries[1]));
        assert_eq!((entries[0].line_end(), entries[1].line_end()), (25, 26));
        assert!(entries[0].agrees_with(b"payload") && !entries[0].agrees_with(b"paYload"));
        assert!(!entries[0].agrees_with(b"payloads"));
    }

    #[test]
    fn a_run_ends_where_a_gap_is_and_when_it_is_long() {
        let mut runs = Runs::with_capacity(4000);
        for number in 0..RUN_MAX as u32 + 1 {
            runs.push(&entry(number * 2, b"x", ORIGIN));
        }
        assert_eq!(runs.bytes().len(), 2 * HEAD_BYTES + (RUN_MAX + 1) * ENTRY_BYTES);
        runs.clear();
        runs.push(&entry(0, b"x", ORIGIN));
        runs.push(&entry(3, b"x", ORIGIN));
        assert_eq!(runs.bytes().len(), 2 * Runs::RECORD_MOST);
    }

    #[test]
    fn one_flipped_bit_is_set_right_and_more_are_seen() {
        let mut runs = Runs::with_capacity(100);
        runs.push(&entry(17, b"payload", ORIGIN));
        runs.push(&entry(25, b"another", ORIGIN));
        let bytes = runs.bytes().to_vec();
        let (head, entries) = bytes.split_first_chunk::<HEAD_BYTES>().expect("a head");
        let sound = Head::decode(head).expect("sound");
        for bit in 0..HEAD_BYTES * 8 {
            let mut flipped = *head;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!((Head::decode(&flipped), Head::decode_repaired(&flipped)), (None, Some(sound)), "bit {bit}");
            flipped[(bit / 8 + 9) % HEAD_BYTES] ^= 3;
            assert_eq!(Head::decode_repaired(&flipped), None, "bit {bit} and two others");
        }
        for bit in 0..entries.len() * 8 {
            let mut flipped = entries.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(sound.check(&mut flipped) && flipped == entries, "bit {bit}");
            flipped[bit / 8] ^= 1 << (bit % 8);
            flipped[(bit / 8 + 5) % entries.len()] ^= 3;
            assert!(!sound.check(&mut flipped), "bit {bit} and two others");
        }
        assert_eq!(Head::decode_repaired(&[0; HEAD_BYTES]), None, "a block that a crash has left empty");
    }

    #[test]
    fn the_mark_says_how_much_there_is() {
        let mark = Head::decode(&Head::end_mark(24, 3).encode()).expect("sound");
        assert_eq!((mark.as_end_mark(), mark.entries_bytes()), (Some((24, 3)), 0));
    }
}
