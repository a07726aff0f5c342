//! The head of an answer while it is put together: on the stack as long as it is small, which it usually is.

use super::status;
use crate::buffer::Outbound;

/// What the usual head needs, so that it needs no allocation.
const INLINE: usize = 192;

/// Header lines, each with its CR LF.
#[derive(Debug, Clone)]
pub(super) struct Lines {
    inline: [u8; INLINE],
    used: usize,
    /// What did not fit; everything after the first such piece, so that the order stays.
    spilled: Vec<u8>,
}

impl Default for Lines {
    fn default() -> Self {
        Self { inline: [0; INLINE], used: 0, spilled: Vec::new() }
    }
}

impl Lines {
    pub(super) fn len(&self) -> usize {
        self.used + self.spilled.len()
    }

    /// Appends `name: value`. Both were checked by the caller: what stands here goes out as it is.
    pub(super) fn push(&mut self, name: &[u8], value: &[u8]) {
        self.put(name);
        self.put(b": ");
        self.put(value);
        self.put(b"\r\n");
    }

    pub(super) fn status(&mut self, status: u16) {
        match status::line(status) {
            Some(line) => self.put(line),
            None => {
                // The reason may be empty, the space before it not (RFC 9112 section 4).
                self.put(b"HTTP/1.1 ");
                self.number(usize::from(status));
                self.put(b" \r\n");
            }
        }
    }

    pub(super) fn content_length(&mut self, length: usize) {
        self.put(b"Content-Length: ");
        self.number(length);
        self.put(b"\r\n");
    }

    /// One piece for the usual head: each costs the outbound a look for room.
    pub(super) fn write(&self, out: &mut Outbound) {
        out.put(&self.inline[..self.used]);
        if !self.spilled.is_empty() {
            out.put(&self.spilled);
        }
    }

    /// With the empty line behind.
    pub(super) fn write_with_end(mut self, out: &mut Outbound) {
        self.put(b"\r\n");
        self.write(out);
    }

    fn put(&mut self, bytes: &[u8]) {
        let end = self.used + bytes.len();
        if end <= INLINE && self.spilled.is_empty() {
            self.inline[self.used..end].copy_from_slice(bytes);
            self.used = end;
        } else {
            self.spilled.extend_from_slice(bytes);
        }
    }

    fn number(&mut self, mut number: usize) {
        // By hand, because formatting machinery costs more than the rest of the head. As many digits as a 64-bit number
        // can have.
        let mut digits = [0; 20];
        let mut start = digits.len();
        loop {
            start -= 1;
            digits[start] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                break;
            }
        }
        self.put(&digits[start..]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spilling_keeps_the_order() {
        let mut lines = Lines::default();
        let mut expected = Vec::new();
        for length in [100, 100, 1, 100] {
            let value = vec![b'a'; length];
            lines.push(b"X", &value);
            expected.extend_from_slice(&[b"X: ", value.as_slice(), b"\r\n"].concat());
        }
        assert_eq!(lines.len(), expected.len());
        let mut out = Outbound::detached();
        lines.write_with_end(&mut out);
        assert_eq!(out.to_vec(), [expected.as_slice(), b"\r\n"].concat());
    }

    #[test]
    fn numbers() {
        let mut lines = Lines::default();
        for number in [0, 9, 10, usize::MAX] {
            lines.number(number);
        }
        let mut out = Outbound::detached();
        lines.write(&mut out);
        assert_eq!(out.to_vec(), format!("0910{}", usize::MAX).into_bytes());
    }
}
