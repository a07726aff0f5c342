//! The server's own lines of an answer, while they are put together: on the stack, in one piece.

use super::status;

/// What they can take: the longest status line, `Date`, `Content-Length` and `Connection`.
const MOST: usize = 192;

/// The beginning of a head. Most pieces have a length that the compiler knows, so that copying them takes no call.
pub(super) struct Head {
    bytes: [u8; MOST],
    len: usize,
}

impl Default for Head {
    #[inline]
    fn default() -> Self {
        Self { bytes: [0; MOST], len: 0 }
    }
}

impl Head {
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
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
    fn number(&mut self, mut number: usize) {
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
        let mut head = Head::default();
        for number in [0, 9, 10, 100, 12_345, usize::MAX] {
            head.number(number);
            head.push(b",");
        }
        assert_eq!(head.bytes(), format!("0,9,10,100,12345,{},", usize::MAX).as_bytes());
    }

    #[test]
    fn there_is_room_for_the_longest_head() {
        let mut most = 0;
        for status in 200..600 {
            let mut head = Head::default();
            head.status(status);
            head.push(&[b'd'; crate::clock::DATE_LINE]);
            head.content_length(usize::MAX);
            head.extend(b"Connection: keep-alive, upgrade\r\n");
            head.push(b"\r\n");
            most = most.max(head.len());
        }
        assert!((150..=MOST).contains(&most), "{most}");
    }
}
