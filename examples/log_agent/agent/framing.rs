//! The wire: a `u32` in network order, then so many bytes; and a message is a run of such records.
//!
//! What the server does around a message costs several times what a short record does. So all whole records that lie in
//! the bytes at hand are one message, as many as there is room for: at the gate, and in one batch. How a stream is
//! split changes where runs end, and neither the records nor their order.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use sluicegate::flow::Level;
use sluicegate::{Decode, Message, Protocol, ProtocolError};

use super::tag::{RUN_HEAD, TAG_BYTES};

/// Bytes of the length before each record.
pub const PREFIX: usize = size_of::<u32>();
/// The most bytes of a run of more than one record. No more than what is read at once (`plan`): after a larger message
/// the server reads into a block, which is meant for large records. Half of that, because no other size that was
/// measured was faster (`benches/log_agent/RESULTS.md`).
const RUN_BYTES: usize = 64 << 10;

/// How much may come in, for the decoder to know: said before each message, when the collector is asked whether it is
/// ready. Only the processor thread writes and reads it.
#[derive(Debug, Default)]
pub struct Room {
    records: AtomicU64,
    bytes: AtomicU64,
}

impl Room {
    /// Says it anew. Until the next message it can only become more.
    pub fn set(&self, level: Level) {
        self.records.store(level.items, Relaxed);
        self.bytes.store(level.bytes, Relaxed);
    }
}

/// The protocol.
#[derive(Debug, Clone)]
pub struct Framing {
    /// The longest record.
    cap: u32,
    /// The most bytes of a run of more than one record, `beside` included: it finds its place in a batch.
    run_most: usize,
    /// What a record takes in a batch besides itself.
    beside: usize,
    room: Arc<Room>,
}

impl Framing {
    /// Records of up to `cap` bytes. A run of more than one is never larger than what `room` says, nor than a batch;
    /// not even with `json`, when each record may need a head of its own there, because good and bad ones are kept
    /// apart.
    pub fn new(cap: usize, batch_bytes: usize, json: bool, room: &Arc<Room>) -> Self {
        let beside = TAG_BYTES + if json { RUN_HEAD } else { 0 };
        Self { cap: cap as u32, run_most: RUN_BYTES.min(batch_bytes), beside, room: Arc::clone(room) }
    }

    /// The beginning of a record that is not whole.
    fn unfinished(&self, bytes: &[u8]) -> Result<Decode<Run>, ProtocolError> {
        let keep = bytes.len();
        let Some(prefix) = bytes.first_chunk::<PREFIX>() else {
            return Ok(Decode::Partial { needs: None, keep });
        };
        let length = u32::from_be_bytes(*prefix);
        // Before anything is kept for it: a claim of 4 GiB is refused at its fourth byte.
        if length > self.cap {
            let what = format!("record of {length} bytes is over --cap, {}", self.cap);
            return Err(ProtocolError::new(what));
        }
        Ok(Decode::Partial { needs: Some(PREFIX + length as usize), keep })
    }
}

/// How many records a message is. Where they lie, their lengths say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run(pub u32);

impl Protocol for Framing {
    type Layout = Run;
    type Exchange = ();
    const IN_ORDER: bool = false;

    fn message_max(&self) -> usize {
        (PREFIX + self.cap as usize).max(self.run_most)
    }

    fn decode(&mut self, bytes: &mut [u8]) -> Result<Decode<Run>, ProtocolError> {
        let Room { records, bytes: room } = &*self.room;
        // The first has its place whatever is said: the collector is ready for one.
        let most = u32::try_from(records.load(Relaxed)).unwrap_or(u32::MAX).max(1);
        let limit = usize::try_from(room.load(Relaxed)).unwrap_or(usize::MAX).min(self.run_most);
        let (mut rest, mut count, mut size) = (&*bytes, 0, 0);
        while count < most {
            let Some((length, behind)) = rest.split_first_chunk::<PREFIX>() else { break };
            let length = u32::from_be_bytes(*length);
            // More than its line takes in a batch with what belongs to it, and no less than it has here.
            size += PREFIX + length as usize + self.beside;
            if length > self.cap || length as usize > behind.len() || (size > limit && count > 0) {
                break;
            }
            (rest, count) = (&behind[length as usize..], count + 1);
        }
        match count {
            0 => self.unfinished(bytes),
            _ => Ok(Decode::Complete { consumed: bytes.len() - rest.len(), layout: Run(count) }),
        }
    }

    fn exchange(_: &Run) {}
}

/// The payloads of a run, one by one.
#[derive(Debug, Clone, Copy)]
pub struct Payloads<'m> {
    rest: &'m [u8],
}

impl<'m> Payloads<'m> {
    /// Those of a message.
    pub fn of(message: &'m Message<'_, Framing>) -> Self {
        Self::within(message.bytes())
    }

    /// Those in `bytes`, which are whole records.
    pub fn within(bytes: &'m [u8]) -> Self {
        Self { rest: bytes }
    }

    /// True if there are no more.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }
}

impl<'m> Iterator for Payloads<'m> {
    type Item = &'m [u8];

    #[inline]
    fn next(&mut self) -> Option<&'m [u8]> {
        let (length, behind) = self.rest.split_first_chunk::<PREFIX>()?;
        let (payload, rest) = behind.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        self.rest = rest;
        Some(payload)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAP: usize = 100;

    fn framing(batch_bytes: usize, items: u64, bytes: u64) -> Framing {
        let room = Arc::new(Room::default());
        room.set(Level { items, bytes });
        Framing::new(CAP, batch_bytes, false, &room)
    }

    fn frames(records: &[&[u8]]) -> Vec<u8> {
        records.iter().flat_map(|record| [&(record.len() as u32).to_be_bytes()[..], record].concat()).collect()
    }

    /// Everything that comes out of `pieces`, one behind the other, and how the last look ended.
    fn run(framing: &mut Framing, pieces: &[&[u8]]) -> (Vec<Vec<u8>>, Vec<u32>, Option<Decode<Run>>) {
        let (mut held, mut records, mut runs, mut last) = (Vec::new(), Vec::new(), Vec::new(), None);
        for piece in pieces {
            held.extend_from_slice(piece);
            while !held.is_empty() {
                match framing.decode(&mut held).expect("sound") {
                    Decode::Complete { consumed, layout } => {
                        records.extend(Payloads::within(&held[..consumed]).map(<[u8]>::to_vec));
                        runs.push(layout.0);
                        held.drain(..consumed);
                        last = None;
                    }
                    partial @ Decode::Partial { keep, .. } => {
                        assert_eq!(keep, held.len(), "every byte is somebody's");
                        last = Some(partial);
                        break;
                    }
                }
            }
        }
        assert_eq!(runs.iter().sum::<u32>() as usize, records.len(), "a run says how many records it has");
        (records, runs, last)
    }

    #[test]
    fn all_whole_records_at_hand_are_one_message() {
        let records: [&[u8]; 4] = [b"one", b"", b"three\n", &[b'x'; CAP]];
        let bytes = [&frames(&records)[..], &[0, 0]].concat();
        let (found, runs, last) = run(&mut framing(1 << 20, 100, 1 << 20), &[&bytes]);
        assert_eq!((found, runs), (records.map(<[u8]>::to_vec).to_vec(), vec![4]));
        assert_eq!(last, Some(Decode::Partial { needs: None, keep: 2 }));
    }

    #[test]
    fn wherever_the_stream_is_split_the_records_are_the_same() {
        let records: [&[u8]; 5] = [b"one", b"", b"three\n", b"\0\0\0\x01", b"x"];
        let bytes = frames(&records);
        for (items, room) in [(100, 1 << 20), (2, 1 << 20), (100, 20), (0, 0)] {
            let mut framing = framing(1 << 20, items, room);
            for cut in 0..=bytes.len() {
                let (found, runs, last) = run(&mut framing, &[&bytes[..cut], &bytes[cut..]]);
                assert_eq!((found, last), (records.map(<[u8]>::to_vec).to_vec(), None), "cut at {cut}");
                assert!(items > 0 || runs.len() == 5, "without room, one by one");
            }
            let (found, _, _) = run(&mut framing, &bytes.chunks(1).collect::<Vec<_>>());
            assert_eq!(found, records.map(<[u8]>::to_vec), "byte by byte");
        }
    }

    #[test]
    fn a_run_has_no_more_than_there_is_room_for() {
        let records = [[b'x'; 18].as_slice(); 10];
        let each = (PREFIX + 18 + TAG_BYTES) as u64;
        for (batch_bytes, items, bytes, most) in [
            (1 << 20, 3, 1 << 20, 3),
            (1 << 20, 100, 4 * each, 4),
            (1 << 20, 100, 4 * each - 1, 3),
            (5 * each as usize, 100, 1 << 20, 5),
            (1, 0, 0, 1),
        ] {
            let (found, runs, _) = run(&mut framing(batch_bytes, items, bytes), &[&frames(&records)]);
            assert_eq!(found.len(), 10);
            assert!(runs.iter().rev().skip(1).all(|run| *run == most), "{runs:?}, at most {most}");
        }
    }

    #[test]
    fn what_is_over_the_cap_is_refused_behind_what_came_before_it() {
        for length in [CAP as u32 + 1, u32::MAX] {
            let mut framing = framing(1 << 20, 100, 1 << 20);
            let mut bytes = [&frames(&[b"before"])[..], &length.to_be_bytes()].concat();
            let Ok(Decode::Complete { consumed, layout: Run(1) }) = framing.decode(&mut bytes) else {
                panic!("one is whole");
            };
            let error = framing.decode(&mut bytes[consumed..]).expect_err("too long");
            assert!(error.to_string().contains("over --cap, 100"), "{error}");
        }
    }
}
