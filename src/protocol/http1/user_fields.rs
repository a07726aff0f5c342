//! The user's fields of an answer: on the stack as long as they are few, which is the usual case.

/// Enough for the usual answer, so that it needs no allocation.
const INLINE: usize = 192;

/// Header lines, each with its CR LF.
#[derive(Debug, Clone)]
pub(super) struct UserFields {
    inline: [u8; INLINE],
    used: usize,
    /// The pieces that did not fit: the first such piece and everything after it, so that the order stays.
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

    /// Appends `name: value`. The caller has checked both: they are sent exactly as they are.
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
