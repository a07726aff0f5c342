//! One connection of a bare loop: its socket, and what is left of a read or a write.

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::mem;

use crate::wire::{Answered, Wire};

/// Of what all connections read into.
const SCRATCH: usize = 64 << 10;
/// What a buffer for a message of unknown length has at first.
const SMALLEST: usize = 4 << 10;

/// One connection. Idle, it has two empty buffers.
pub struct Connection<S> {
    pub socket: S,
    /// As long as it was ever needed, with `filled` bytes of a request that is not whole.
    input: Vec<u8>,
    filled: usize,
    /// Answers that the socket has not taken, from `written` on.
    output: Vec<u8>,
    written: usize,
    closing: bool,
}

/// What all connections share.
pub struct Scratch {
    input: Vec<u8>,
    output: Vec<u8>,
}

/// What a connection waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wants {
    Read,
    Write,
    /// It is over.
    Nothing,
}

impl Default for Scratch {
    fn default() -> Self {
        Self { input: vec![0; SCRATCH], output: Vec::new() }
    }
}

impl<S: Read + Write> Connection<S> {
    pub fn new(socket: S) -> Self {
        Self { socket, input: Vec::new(), filled: 0, output: Vec::new(), written: 0, closing: false }
    }

    /// True if the socket has not taken all of its answers.
    pub fn waits_to_write(&self) -> bool {
        !self.output.is_empty()
    }

    /// For a selector that goes on telling: one read, and one write of the answers.
    pub fn turn(&mut self, scratch: &mut Scratch, wire: Wire) -> Wants {
        self.ends(|this| {
            if !this.output.is_empty() {
                return this.drain();
            }
            this.read(scratch, wire).map(|(wants, _)| wants)
        })
    }

    /// For a selector that tells once: until a read is short, or a write. `closed`: the end has come, too.
    pub fn turn_until_dry(&mut self, scratch: &mut Scratch, wire: Wire, closed: bool) -> Wants {
        self.ends(|this| {
            if !this.output.is_empty() && this.drain()? != Wants::Read {
                return Ok(Wants::Write);
            }
            loop {
                let (wants, is_dry) = this.read(scratch, wire)?;
                if wants != Wants::Read || (is_dry && !closed) {
                    return Ok(wants);
                }
            }
        })
    }

    fn ends(&mut self, turn: impl FnOnce(&mut Self) -> io::Result<Wants>) -> Wants {
        match turn(self) {
            Ok(wants) => wants,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                if self.output.is_empty() { Wants::Read } else { Wants::Write }
            }
            Err(_) => Wants::Nothing,
        }
    }

    /// Reads once and answers what is whole. Tells whether the read was short.
    fn read(&mut self, scratch: &mut Scratch, wire: Wire) -> io::Result<(Wants, bool)> {
        let Scratch { input, output } = scratch;
        output.clear();
        let read = match self.input.is_empty() {
            true => self.read_shared(input, output, wire),
            false => self.read_own(output, wire),
        };
        let Some(is_dry) = read? else { return Ok((Wants::Nothing, true)) };
        let wants = if output.is_empty() { self.wants_when_dry() } else { self.write(output)? };
        Ok((wants, is_dry))
    }

    /// Into the memory that all share. What is not whole gets a buffer of the connection's own.
    fn read_shared(&mut self, input: &mut [u8], output: &mut Vec<u8>, wire: Wire) -> io::Result<Option<bool>> {
        let end = self.socket.read(input)?;
        if end == 0 {
            return Ok(None);
        }
        let answered = answer(&mut self.socket, &input[..end], output, wire)?;
        self.closing = answered.close;
        let rest = &input[answered.consumed..end];
        if !rest.is_empty() {
            self.input.resize(answered.needs.max(SMALLEST).max(rest.len() * 2), 0);
            self.input[..rest.len()].copy_from_slice(rest);
            self.filled = rest.len();
        }
        Ok(Some(end < input.len()))
    }

    /// Into the connection's own buffer, which it keeps: who had a large message will have another.
    fn read_own(&mut self, output: &mut Vec<u8>, wire: Wire) -> io::Result<Option<bool>> {
        let count = self.socket.read(&mut self.input[self.filled..])?;
        if count == 0 {
            return Ok(None);
        }
        let (end, length) = (self.filled + count, self.input.len());
        let answered = answer(&mut self.socket, &self.input[..end], output, wire)?;
        self.closing = answered.close;
        self.input.copy_within(answered.consumed..end, 0);
        self.filled = end - answered.consumed;
        let needed = if self.filled == length { length * 2 } else { answered.needs };
        if needed > length {
            self.input.resize(needed, 0);
        }
        Ok(Some(end < length))
    }

    fn write(&mut self, output: &mut Vec<u8>) -> io::Result<Wants> {
        let count = match self.socket.write(output) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            done => done?,
        };
        if count == output.len() {
            return Ok(self.wants_when_dry());
        }
        // The buffers change places: what is left is not copied.
        mem::swap(output, &mut self.output);
        self.written = count;
        Ok(Wants::Write)
    }

    fn drain(&mut self) -> io::Result<Wants> {
        self.written += self.socket.write(&self.output[self.written..])?;
        if self.written < self.output.len() {
            return Ok(Wants::Write);
        }
        self.output.clear();
        self.written = 0;
        Ok(self.wants_when_dry())
    }

    fn wants_when_dry(&self) -> Wants {
        if self.closing { Wants::Nothing } else { Wants::Read }
    }
}

/// Answers the requests that are whole. Large ones are written from where they lie; what is left is in `output`.
fn answer(socket: &mut impl Write, bytes: &[u8], output: &mut Vec<u8>, wire: Wire) -> io::Result<Answered> {
    let mut answered = wire.answer(bytes, output);
    while !answered.tail.is_empty() {
        let tail = &bytes[answered.tail.clone()];
        let written = match socket.write_vectored(&[IoSlice::new(output), IoSlice::new(tail)]) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            done => done?,
        };
        let copied = output.len().min(written);
        output.drain(..copied);
        output.extend_from_slice(&tail[written - copied..]);
        if answered.close {
            break;
        }
        let next = wire.answer(&bytes[answered.consumed..], output);
        let tail = answered.consumed + next.tail.start..answered.consumed + next.tail.end;
        answered = Answered { consumed: answered.consumed + next.consumed, tail, ..next };
    }
    Ok(answered)
}
