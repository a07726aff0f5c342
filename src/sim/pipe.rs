//! A line of bytes between two places.

/// Bytes that leave in the order in which they came. The bound is kept by the code that fills it.
#[derive(Debug, Default)]
pub(super) struct Pipe {
    bytes: Vec<u8>,
    /// Bytes at the front that have left already.
    taken: usize,
}

impl Pipe {
    pub(super) fn len(&self) -> usize {
        self.bytes.len() - self.taken
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Moves as many bytes as there are, and as fit, into `place`.
    pub(super) fn read(&mut self, place: &mut [u8]) -> usize {
        let count = self.len().min(place.len());
        place[..count].copy_from_slice(&self.bytes[self.taken..self.taken + count]);
        self.skip(count);
        count
    }

    /// Takes the first `count` bytes out and hands them to `take`.
    pub(super) fn pour(&mut self, count: usize, take: impl FnOnce(&[u8])) {
        let count = count.min(self.len());
        take(&self.bytes[self.taken..self.taken + count]);
        self.skip(count);
    }

    /// Loses everything; returns how many bytes were lost.
    pub(super) fn clear(&mut self) -> usize {
        let lost = self.len();
        self.bytes.clear();
        self.taken = 0;
        lost
    }

    fn skip(&mut self, count: usize) {
        self.taken += count;
        // Moving the rest down only when it is the smaller half keeps the cost per byte constant.
        if self.taken * 2 >= self.bytes.len() {
            self.bytes.drain(..self.taken);
            self.taken = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_leave_in_the_order_in_which_they_came() {
        let mut pipe = Pipe::default();
        pipe.push(b"abcdef");
        let mut place = [0; 2];
        assert_eq!((pipe.read(&mut place), &place), (2, b"ab"));
        pipe.push(b"gh");
        pipe.pour(3, |bytes| assert_eq!(bytes, b"cde"));
        let mut rest = [0; 9];
        assert_eq!(pipe.read(&mut rest), 3);
        assert_eq!(&rest[..3], b"fgh");
        assert!(pipe.is_empty());
    }
}
