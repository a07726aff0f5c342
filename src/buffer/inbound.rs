//! The unfinished bytes of one connection.

use super::Block;

/// Bytes that arrived and that no message has consumed yet; empty, and without a block, between messages.
#[derive(Debug, Default)]
pub struct Inbound {
    block: Option<Block>,
    /// Where the live bytes begin in the block; what lies before is consumed.
    start: usize,
}

impl Inbound {
    /// How many bytes no message has consumed yet.
    pub fn buffered(&self) -> usize {
        self.block.as_ref().map_or(0, |block| block.len() - self.start)
    }

    /// The tier of the block it holds.
    pub fn tier(&self) -> Option<usize> {
        self.block.as_ref().map(Block::tier)
    }

    /// How many bytes its block can hold.
    pub fn capacity(&self) -> usize {
        self.block.as_ref().map_or(0, Block::capacity)
    }

    /// The live bytes.
    pub fn live(&self) -> &[u8] {
        self.block.as_ref().map_or(&[], |block| &block.filled()[self.start..])
    }

    /// The live bytes, for a decoder that compacts them in place.
    pub fn live_mut(&mut self) -> &mut [u8] {
        let start = self.start;
        self.block.as_mut().map_or(&mut [], |block| &mut block.filled_mut()[start..])
    }

    /// Takes `block`, which holds the rest of what was read elsewhere.
    pub fn adopt(&mut self, block: Block) {
        debug_assert!(self.block.is_none(), "one connection, one block");
        self.start = 0;
        self.block = Some(block);
    }

    /// Consumes the first `count` live bytes. Returns the block when nothing is left in it.
    pub fn consume(&mut self, count: usize) -> Option<Block> {
        self.start += count;
        match self.buffered() {
            0 => self.release(),
            _ => None,
        }
    }

    /// Forgets what lies behind the first `keep` live bytes.
    pub fn keep(&mut self, keep: usize) {
        if let Some(block) = &mut self.block {
            block.truncate(self.start + keep);
        }
    }

    /// Gives the block up, with whatever it holds.
    pub fn release(&mut self) -> Option<Block> {
        self.start = 0;
        self.block.take()
    }

    /// The block, if the first `count` bytes are all it holds: the message has it to itself.
    pub fn is_whole(&self, count: usize) -> bool {
        self.start == 0 && self.buffered() == count
    }

    /// Room to read into. Moves the live bytes to the front first if that is the only room there is, or if a message of
    /// `needs` bytes would not fit behind `start` otherwise.
    pub fn room_mut(&mut self, needs: usize) -> &mut [u8] {
        let start = self.start;
        let Some(block) = &mut self.block else { return &mut [] };
        if start > 0 && (block.room() == 0 || start + needs > block.capacity()) {
            block.drop_front(start);
            self.start = 0;
        }
        block.room_mut()
    }

    /// Says that `count` bytes were read into the room.
    pub fn fill(&mut self, count: usize) {
        if let Some(block) = &mut self.block {
            block.fill(count);
        }
    }

    /// Moves the live bytes into `larger` and returns the block that held them.
    pub fn promote(&mut self, mut larger: Block) -> Option<Block> {
        let copied = larger.push(self.live());
        debug_assert_eq!(copied, self.buffered(), "a promotion keeps every byte");
        let smaller = self.release();
        self.adopt(larger);
        smaller
    }
}
