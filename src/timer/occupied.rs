//! Which buckets of the wheel are not empty.

use super::BUCKETS;

const WORDS: usize = BUCKETS / 64;
const _: () = assert!(WORDS == u16::BITS as usize, "a bit for each word");

/// A bit for each bucket, and one for each word of those that is not zero: so the next is found in two steps.
#[derive(Debug, Default)]
pub(super) struct Occupied {
    words: [u64; WORDS],
    filled: u16,
}

impl Occupied {
    pub(super) fn set(&mut self, bucket: usize) {
        self.words[bucket / 64] |= 1 << (bucket % 64);
        self.filled |= 1 << (bucket / 64);
    }

    pub(super) fn clear(&mut self, bucket: usize) {
        let word = &mut self.words[bucket / 64];
        *word &= !(1 << (bucket % 64));
        if *word == 0 {
            self.filled &= !(1 << (bucket / 64));
        }
    }

    /// How many buckets the first that is not empty lies behind `from`, round the wheel.
    pub(super) fn first_from(&self, from: usize) -> Option<usize> {
        let (word, bit) = (from / 64, from % 64);
        // In the word of `from` the upper bits are the nearest; the lower ones are the farthest, behind those of all
        // other words.
        let nearest = self.words[word] & (!0 << bit);
        if nearest != 0 {
            return Some(nearest.trailing_zeros() as usize - bit);
        }
        let others = self.filled.rotate_right(word as u32 + 1);
        let found = (word + 1 + others.trailing_zeros() as usize) % WORDS;
        let bucket = found * 64 + self.words[found].trailing_zeros() as usize;
        (others != 0).then(|| bucket.wrapping_sub(from) % BUCKETS)
    }
}
