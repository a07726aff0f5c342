//! One piece of pooled memory, owned by the code that holds it.

use std::fmt;
use std::mem;
use std::sync::Arc;

use super::Tier;

/// A block of a pool: bytes, how many of them are filled, and the way home.
///
/// An owned value without lifetimes: a message moves to another thread by moving its block. `Drop` brings it home from
/// any thread, also out of a panic.
pub struct Block {
    bytes: Box<[u8]>,
    len: usize,
    home: Arc<Tier>,
    held: Held,
}

/// What holds a block.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Held {
    InUse,
    /// In use, by a message of the user's.
    ForUser,
    /// Free, in the processor's own list.
    AtRest,
}

impl Block {
    pub(super) fn new(bytes: Box<[u8]>, home: Arc<Tier>) -> Self {
        Self { bytes, len: 0, home, held: Held::InUse }
    }

    /// Filled bytes.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// How many bytes it can hold, the headroom included.
    #[inline]
    pub fn capacity(&self) -> usize {
        self.bytes.len()
    }

    /// How many more bytes fit.
    #[inline]
    pub fn room(&self) -> usize {
        self.bytes.len() - self.len
    }

    /// The tier it belongs to: 0 is the smallest.
    #[inline]
    pub fn tier(&self) -> usize {
        self.home.index()
    }

    /// The filled bytes.
    #[inline]
    pub fn filled(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// The filled bytes, to be changed in place.
    pub fn filled_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[..self.len]
    }

    /// The bytes behind the filled ones, to be read into; then [`fill`](Self::fill).
    #[inline]
    pub fn room_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.len..]
    }

    /// The same, with the number of filled bytes, to be raised by as many as were written behind them.
    #[inline]
    pub(super) fn room_and_len(&mut self) -> (&mut [u8], &mut usize) {
        (&mut self.bytes[self.len..], &mut self.len)
    }

    /// The bytes behind the filled ones.
    #[inline]
    pub(crate) fn behind(&self) -> &[u8] {
        &self.bytes[self.len..]
    }

    /// Says that `count` more bytes are filled.
    ///
    /// # Panics
    /// When there was no room for them.
    #[inline]
    pub fn fill(&mut self, count: usize) {
        assert!(count <= self.room(), "filled {count} bytes into room for {}", self.room());
        self.len += count;
    }

    /// Copies as much of `bytes` as fits and returns how much that was.
    #[inline]
    pub fn push(&mut self, bytes: &[u8]) -> usize {
        let count = bytes.len().min(self.room());
        self.bytes[self.len..self.len + count].copy_from_slice(&bytes[..count]);
        self.len += count;
        count
    }

    /// Forgets everything behind the first `len` bytes.
    #[inline]
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Forgets the first `count` bytes and moves the rest to the front.
    pub fn drop_front(&mut self, count: usize) {
        let count = count.min(self.len);
        self.bytes.copy_within(count..self.len, 0);
        self.len -= count;
    }

    /// Counts it as held by a message of the user until it comes home.
    pub(crate) fn keep_for_user(&mut self) {
        if self.held == Held::InUse {
            self.held = Held::ForUser;
            self.home.count_kept();
        }
    }

    /// Books it out of use, for the processor's own list of free blocks.
    pub(super) fn at_rest(mut self) -> Self {
        self.home.came_back(self.held == Held::ForUser);
        self.held = Held::AtRest;
        self
    }

    /// The same block, in use again, and empty.
    pub(super) fn lent_again(mut self) -> Self {
        self.home.count_lent();
        self.held = Held::InUse;
        self.len = 0;
        self
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        if self.held != Held::AtRest {
            self.home.came_back(self.held == Held::ForUser);
        }
        self.home.put_free(mem::take(&mut self.bytes));
    }
}

impl fmt::Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Block({} of {})", self.len, self.capacity())
    }
}
