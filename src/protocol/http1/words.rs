//! Looking at many bytes at once: eight with one question, and more for whether they are the same as others.
//!
//! The bytes are one number, the first of them its lowest eight bits. A question answers with a number, too, in which
//! the high bit of a byte is set where the answer is yes. These questions subtract, and a borrow goes from one byte
//! into the next: so their answer is right up to the first yes, and that is all that is asked.

const EACH: u64 = u64::from_ne_bytes([1; 8]);
const HIGH: u64 = EACH << 7;
const WORD: usize = size_of::<u64>();
/// Bytes that are compared at once.
const BLOCK: usize = 4 * WORD;

/// Where the first `byte` is.
#[inline]
pub(super) fn find(byte: u8, bytes: &[u8]) -> Option<usize> {
    let at = first(bytes, |word| below(word ^ (EACH * u64::from(byte)), 1));
    (at < bytes.len()).then_some(at)
}

/// How many bytes at the front are no control characters, that is neither below the space nor DEL. The tab is one, too.
#[inline]
pub(super) fn leading_text(bytes: &[u8]) -> usize {
    first(bytes, |word| below(word, b' ') | below(word ^ (EACH * 0x7f), 1)).min(bytes.len())
}

/// How many bytes at the front may stand in a request target, as [`Class::Target`](super::grammar::Class) says.
#[inline]
pub(super) fn leading_target(bytes: &[u8]) -> usize {
    // In ASCII the high bit is set by what goes below zero, or over 127; what is not ASCII has it already.
    let is = |word: u64, byte: u8| (word ^ (EACH * u64::from(byte))).wrapping_sub(EACH);
    let not_target = |word: u64| {
        let blank_or_control = word.wrapping_sub(EACH * u64::from(b'!')) | word.wrapping_add(EACH);
        // Two at a time, which differ by one bit: `"` and `#`, `<` and `>`.
        let delimiter = is(word | EACH, b'#') | is(word | EACH << 1, b'>') | is(word, b'\\');
        (word | blank_or_control | delimiter) & HIGH
    };
    first(bytes, not_target).min(bytes.len())
}

/// True if both are the same. How long that takes depends on their lengths alone: there is no end at the first
/// difference.
///
/// For the head of a usual request a call alone would take half as many instructions again.
#[inline(always)]
pub(super) fn are_same(one: &[u8], other: &[u8]) -> bool {
    let ((blocks, _), (other_blocks, _)) = (one.as_chunks(), other.as_chunks());
    let (Some(last), Some(other_last)) = (one.last_chunk(), other.last_chunk()) else {
        return are_same_short(one, other);
    };
    // The last bytes with those before them, which are then looked at twice.
    let differs = differ([0; 4], last, other_last);
    let whole = blocks.iter().zip(other_blocks).fold(differs, |differs, (one, other)| differ(differs, one, other));
    let [a, b, c, d] = whole;
    one.len() == other.len() && a | b | c | d == 0
}

/// The same for less than a block.
#[inline(never)]
fn are_same_short(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.iter().zip(other).fold(0, |differs, (one, other)| differs | one ^ other) == 0
}

/// The bits in which the words of two blocks differ, besides those in which others did.
#[inline]
fn differ(others: [u64; 4], one: &[u8; BLOCK], other: &[u8; BLOCK]) -> [u64; 4] {
    let word = |bytes: &[u8; BLOCK], at| u64::from_ne_bytes(bytes.as_chunks().0[at]);
    [0, 1, 2, 3].map(|at| others[at] | word(one, at) ^ word(other, at))
}

/// Is it less than `bound`, which is at most 128?
#[inline]
fn below(word: u64, bound: u8) -> u64 {
    word.wrapping_sub(EACH * u64::from(bound)) & !word & HIGH
}

/// Where the first yes is; not before the end if there is none.
#[inline]
fn first(bytes: &[u8], question: impl Fn(u64) -> u64) -> usize {
    let mut at = 0;
    for eight in bytes.chunks_exact(WORD) {
        let answer = question(u64::from_le_bytes(eight.try_into().unwrap_or_default()));
        if answer != 0 {
            return at + answer.trailing_zeros() as usize / 8;
        }
        at += WORD;
    }
    at + question(last_word(bytes, bytes.len() - at)).trailing_zeros() as usize / 8
}

/// The last `count` bytes, fewer than eight, with zeros behind them.
#[inline]
fn last_word(bytes: &[u8], count: usize) -> u64 {
    match bytes.last_chunk() {
        Some(eight) => u64::from_le_bytes(*eight).checked_shr(u64::BITS - 8 * count as u32).unwrap_or(0),
        None => bytes.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::grammar::{self, Class};
    use super::*;

    #[test]
    fn the_same_are_the_same_and_one_other_byte_is_seen_anywhere() {
        for length in 0..=3 * BLOCK as u8 + 1 {
            let one: Vec<u8> = (0..length).collect();
            assert!(are_same(&one, &one.clone()));
            for at in 0..one.len() {
                let mut other = one.clone();
                other[at] ^= 0x80;
                assert!(!are_same(&one, &other), "{length} {at}");
                assert!(!are_same(&one, &one[..at]), "{length} {at}");
            }
        }
    }

    /// Each byte, at each place, behind bytes that could borrow from it.
    #[test]
    fn each_byte_is_found_at_its_first_place() {
        for length in 0..=20 {
            for at in 0..length {
                for byte in 0..=u8::MAX {
                    let mut bytes = vec![b'a'; length];
                    bytes[at..].fill(byte.wrapping_add(1));
                    bytes[at] = byte;
                    let text = bytes.iter().position(|&byte| byte < b' ' || byte == 0x7f).unwrap_or(length);
                    assert_eq!(leading_text(&bytes), text, "{bytes:?}");
                    assert_eq!(leading_target(&bytes), grammar::leading(Class::Target, &bytes), "{bytes:?}");
                    for wanted in [byte, b':', 0, 1, 0xff] {
                        let place = bytes.iter().position(|&seen| seen == wanted);
                        assert!(find(wanted, &bytes) == place, "{wanted} in {bytes:?}");
                    }
                }
            }
        }
    }
}
