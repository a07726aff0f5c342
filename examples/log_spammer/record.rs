//! Records that say by themselves which they are: any of them can be made again, to be compared.

/// Bytes of a record that name it; a shorter record has only some of them.
pub const HEADER_BYTES: usize = 26;
/// What every letter of a record is taken from.
const LETTERS: &[u8; 26] = b"abcdefghijklmnopqrstuvwxyz";
const HEX: &[u8; 16] = b"0123456789abcdef";

/// What a record is named by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Name {
    /// Of all records that one run of the program has sent.
    pub run: u32,
    pub thread: u16,
    /// From 0, one by one.
    pub number: u64,
}

impl Name {
    /// How long this record is, with sizes from `least` to `most`.
    pub fn size(self, (least, most): (u32, u32)) -> usize {
        // SplitMix64, of which one step is enough.
        let mut mixed = (u64::from(self.run) << 16 | u64::from(self.thread)).wrapping_add(self.number << 20);
        mixed = mixed.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        least as usize + ((mixed ^ mixed >> 31) % (u64::from(most - least) + 1)) as usize
    }

    /// Appends the record, `size` bytes long.
    pub fn write(self, size: usize, out: &mut Vec<u8>) {
        let mut header = *b"s00000000 0000 0000000000 ";
        hex(u64::from(self.run), &mut header[1..9]);
        hex(u64::from(self.thread), &mut header[10..14]);
        hex(self.number, &mut header[15..25]);
        let end = out.len() + size;
        out.extend_from_slice(&header[..size.min(HEADER_BYTES)]);
        let first = (self.number % 26) as usize;
        let head = &LETTERS[first..][..(end - out.len()).min(26 - first)];
        out.extend_from_slice(head);
        while out.len() < end {
            out.extend_from_slice(&LETTERS[..(end - out.len()).min(26)]);
        }
    }

    /// The name of a record; `None` if it is not one of these.
    pub fn parse(record: &[u8]) -> Option<Self> {
        let header = std::str::from_utf8(record.get(..HEADER_BYTES)?).ok()?;
        let mut words = header.strip_prefix('s')?.split(' ');
        let mut number = || u64::from_str_radix(words.next()?, 16).ok();
        let [run, thread, number] = [number()?, number()?, number()?];
        Some(Self { run: run.try_into().ok()?, thread: thread.try_into().ok()?, number })
    }
}

fn hex(mut number: u64, out: &mut [u8]) {
    for digit in out.iter_mut().rev() {
        *digit = HEX[(number & 15) as usize];
        number >>= 4;
    }
}
