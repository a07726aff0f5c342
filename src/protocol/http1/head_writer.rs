//! The head of an answer, and what follows it, while it is put together: in one piece of memory, usually the one from
//! which it leaves.

use super::status;
use crate::clock::DATE_LINE;

/// The most bytes that the server's own lines can take: the longest status line, `Date`, `Content-Length`,
/// `Connection`, and the empty line.
pub(super) const HEAD_MOST: usize = 192;

/// The name of the only user field that most answers have.
pub(super) const CONTENT_TYPE: &[u8; 14] = b"Content-Type: ";

/// The head of an answer, and what follows it, appended piece by piece. Most pieces have a length that the compiler
/// knows, so that copying them takes no call. The writer is nothing but the memory that is left, handed from piece to
/// piece, so that the compiler can keep it in registers.
pub(super) struct HeadWriter<'m>(&'m mut [u8]);

impl<'m> HeadWriter<'m> {
    /// An empty writer in that memory, which is at least as long as everything that will be appended.
    #[inline]
    pub(super) fn new(memory: &'m mut [u8]) -> Self {
        Self(memory)
    }

    /// How much of the memory is left.
    #[inline]
    pub(super) fn left(&self) -> usize {
        self.0.len()
    }

    #[inline]
    pub(super) fn push<const N: usize>(self, piece: &[u8; N]) -> Self {
        let Some((place, left)) = self.0.split_first_chunk_mut() else { too_small() };
        *place = *piece;
        Self(left)
    }

    /// Appends a piece of any length.
    #[inline]
    pub(super) fn extend(self, piece: &[u8]) -> Self {
        if piece.is_empty() {
            return self;
        }
        let Some((place, left)) = self.0.split_at_mut_checked(piece.len()) else { too_small() };
        place.copy_from_slice(piece);
        Self(left)
    }

    /// Appends two pieces that follow each other, checking only once what is left.
    #[inline]
    fn push_both<const M: usize, const N: usize>(self, one: &[u8; M], other: &[u8; N]) -> Self {
        let Some((place, left)) = self.0.split_at_mut_checked(M + N) else { too_small() };
        place[..M].copy_from_slice(one);
        place[M..].copy_from_slice(other);
        Self(left)
    }

    #[inline]
    pub(super) fn status_and_date(self, status: u16, date_line: &[u8; DATE_LINE]) -> Self {
        match status {
            200 => self.push_both(b"HTTP/1.1 200 OK\r\n", date_line),
            _ => self.other_status(status).push(date_line),
        }
    }

    #[inline(never)]
    fn other_status(self, status: u16) -> Self {
        match status::line(status) {
            Some(line) => self.extend(line),
            // The reason may be empty, the space before it not (RFC 9112 section 4).
            None => self.push(b"HTTP/1.1 ").long_number(usize::from(status)).push(b" \r\n"),
        }
    }

    #[inline]
    pub(super) fn content_type(self, value: &str) -> Self {
        match value {
            "" => self,
            value => self.push(CONTENT_TYPE).extend(value.as_bytes()).push(b"\r\n"),
        }
    }

    /// The name of Content-Length; its value follows.
    #[inline]
    pub(super) fn length_name(self) -> Self {
        self.push(b"Content-Length: ")
    }

    /// Appends a number and the end of its line. The digits are made by hand, because formatting machinery costs more
    /// than the rest of the head.
    #[inline]
    pub(super) fn number<const N: usize>(self, number: usize, end: &[u8; N]) -> Self {
        let digit = |number: usize| b'0' + (number % 10) as u8;
        match number {
            0..10 => self.push_both(&[digit(number)], end),
            10..100 => self.push_both(&[digit(number / 10), digit(number)], end),
            100..1000 => self.push_both(&[digit(number / 100), digit(number / 10), digit(number)], end),
            _ => self.long_number(number).push(end),
        }
    }

    /// A number that is not zero.
    #[inline(never)]
    fn long_number(self, mut number: usize) -> Self {
        debug_assert_ne!(number, 0, "it would have no digit");
        const MOST: usize = usize::MAX.ilog10() as usize + 1;
        let (mut digits, mut at) = ([0; MOST], MOST);
        while number > 0 {
            at -= 1;
            digits[at] = b'0' + (number % 10) as u8;
            number /= 10;
        }
        self.extend(&digits[at..])
    }
}

#[cold]
fn too_small() -> ! {
    panic!("the memory is as long as all that is appended")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths() {
        for length in [0, 9, 10, 99, 100, 999, 1000, 12_345, usize::MAX] {
            let mut memory = [0; 64];
            let left = HeadWriter::new(&mut memory).length_name().number(length, b"\r\n").left();
            assert_eq!(&memory[..64 - left], format!("Content-Length: {length}\r\n").as_bytes());
        }
    }

    #[test]
    fn there_is_room_for_the_longest_head() {
        let mut most = 0;
        for status in 200..600 {
            let mut memory = [0; 2 * HEAD_MOST];
            let head = HeadWriter::new(&mut memory).status_and_date(status, &[b'd'; DATE_LINE]);
            let head = head
                .length_name()
                .number(usize::MAX, b"\r\n")
                .extend(b"Connection: keep-alive, upgrade\r\n")
                .push(b"\r\n");
            most = most.max(2 * HEAD_MOST - head.left());
        }
        assert!((150..=HEAD_MOST).contains(&most), "{most}");
    }
}
