//! The fields that the user gives an answer: on the stack as long as they are few, which they usually are.

/// What the usual answer needs, so that it needs no allocation.
const INLINE: usize = 192;

/// Header lines, each with its CR LF.
#[derive(Debug, Clone)]
pub(super) struct UserFields {
    inline: [u8; INLINE],
    used: usize,
    /// What did not fit; everything after the first such piece, so that the order stays.
    spilled: Vec<u8>,
}

impl Default for UserFields {
    fn default() -> Self {
        Self { inline: [0; INLINE], used: 0, spilled: Vec::new() }
    }
}

impl UserFields {
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

    /// All lines, in two pieces.
    pub(super) fn pieces(&self) -> [&[u8]; 2] {
        [&self.inline[..self.used], &self.spilled]
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spilling_keeps_the_order() {
        let mut lines = UserFields::default();
        let mut expected = Vec::new();
        for length in [100, 100, 1, 100] {
            let value = vec![b'a'; length];
            lines.push(b"X", &value);
            expected.extend_from_slice(&[b"X: ", value.as_slice(), b"\r\n"].concat());
        }
        assert_eq!(lines.len(), expected.len());
        assert_eq!(lines.pieces().concat(), expected);
    }
}
