//! The server's own lines of an answer, while they are put together: in one piece of memory, mostly where they leave from.

use super::status;

/// What they can take: the longest status line, `Date`, `Content-Length`, `Connection`, and the empty line.
pub(super) const HEAD_MOST: usize = 192;

/// The head of an answer, and what follows it. Most pieces have a length that the compiler knows, so that copying them takes
/// no call.
pub(super) struct Head<'m> {
    bytes: &'m mut [u8],
    len: usize,
}

impl<'m> Head<'m> {
    /// An empty one, in that memory, which is as long as all that will be appended.
    #[inline]
    pub(super) fn new(bytes: &'m mut [u8]) -> Self {
        Self { bytes, len: 0 }
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub(super) fn push<const N: usize>(&mut self, piece: &[u8; N]) {
        self.bytes[self.len..self.len + N].copy_from_slice(piece);
        self.len += N;
    }

    /// Appends a piece of any length.
    #[inline]
    pub(super) fn extend(&mut self, piece: &[u8]) {
        if !piece.is_empty() {
            self.bytes[self.len..self.len + piece.len()].copy_from_slice(piece);
            self.len += piece.len();
        }
    }

    #[inline]
    pub(super) fn status(&mut self, status: u16) {
        match status {
            200 => self.push(b"HTTP/1.1 200 OK\r\n"),
            _ => self.other_status(status),
        }
    }

    fn other_status(&mut self, status: u16) {
        match status::line(status) {
            Some(line) => self.extend(line),
            None => {
                // The reason may be empty, the space before it not (RFC 9112 section 4).
                self.push(b"HTTP/1.1 ");
                self.number(usize::from(status));
                self.push(b" \r\n");
            }
        }
    }

    #[inline]
    pub(super) fn content_length(&mut self, length: usize) {
        self.push(b"Content-Length: ");
        self.number(length);
        self.push(b"\r\n");
    }

    /// The digits of `number`. By hand, because formatting machinery costs more than the rest of the head.
    #[inline]
    fn number(&mut self, number: usize) {
        let digit = |number: usize| b'0' + (number % 10) as u8;
        match number {
            0..10 => self.push(&[digit(number)]),
            10..100 => self.push(&[digit(number / 10), digit(number)]),
            100..1000 => self.push(&[digit(number / 100), digit(number / 10), digit(number)]),
            _ => self.long_number(number),
        }
    }

    fn long_number(&mut self, mut number: usize) {
        let digits = number.checked_ilog10().unwrap_or(0) as usize + 1;
        for digit in self.bytes[self.len..self.len + digits].iter_mut().rev() {
            *digit = b'0' + (number % 10) as u8;
            number /= 10;
        }
        self.len += digits;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        let mut memory = [0; 64];
        let mut head = Head::new(&mut memory);
        for number in [0, 9, 10, 99, 100, 999, 1000, 12_345, usize::MAX] {
            head.number(number);
            head.push(b",");
        }
        let (len, expected) = (head.len(), format!("0,9,10,99,100,999,1000,12345,{},", usize::MAX));
        assert_eq!(&memory[..len], expected.as_bytes());
    }

    #[test]
    fn there_is_room_for_the_longest_head() {
        let mut most = 0;
        for status in 200..600 {
            let mut memory = [0; 2 * HEAD_MOST];
            let mut head = Head::new(&mut memory);
            head.status(status);
            head.push(&[b'd'; crate::clock::DATE_LINE]);
            head.content_length(usize::MAX);
            head.extend(b"Connection: keep-alive, upgrade\r\n");
            head.push(b"\r\n");
            most = most.max(head.len());
        }
        assert!((150..=HEAD_MOST).contains(&most), "{most}");
    }
}
