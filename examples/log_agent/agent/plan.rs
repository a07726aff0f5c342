//! What was asked for, and what it takes: settings of the server, batches, rows of the memory ceiling.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::ValueEnum;
use sluicegate::flow::{Gate, GateLimits, Level};
use sluicegate::{Config, Server, TierConfig};

use super::acks::Acks;
use super::compress;
use super::directory::Rotation;
use super::framing::{Framing, Room};
use super::fsync::Fsync;
use super::lane::INDEX_BYTES;
use super::link::Link;
use super::oldest;
use super::segment::alone_bytes;
use super::tag::{LogBatch, LogPool};
use super::writers;

/// Bytes of a batch beyond the longest record: so many small ones at least leave together.
const BATCH_EXTRA: usize = 64 << 10;
/// Batches for each writer: one is being filled, one waits, one is being written, and one is spare.
const BATCHES_LEAST: usize = 4;
/// With so many records left senders go on, unless a flag says otherwise.
const LOW: u64 = 16384;

/// What is read at once, at most: no more than a block of the middle size holds, so that what is not decoded yet finds
/// its place. With a small `--cap` that is less.
const SCRATCH: usize = 128 << 10;

/// What happens when there is no space.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum WhenFull {
    Pause,
    DropOldestSegment,
}

/// How finished segments are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packer {
    Gzip,
    Zstd,
}

/// Everything that was asked for, checked.
#[derive(Debug, Clone)]
pub struct Plan {
    pub address: (String, u16),
    pub directory: PathBuf,
    pub rotate_bytes: u64,
    pub rotate_age: Option<Duration>,
    pub cap: usize,
    pub records_high: u64,
    pub records_low: u64,
    pub bytes_high: u64,
    pub writers: usize,
    pub ack: bool,
    pub fsync: Fsync,
    pub disk_max: Option<u64>,
    pub when_full: WhenFull,
    pub packer: Option<Packer>,
    pub json: bool,
    pub idle: Duration,
    pub connections_max: usize,
    pub memory_max: Option<u64>,
    pub grace: Duration,
    pub metrics: Option<String>,
}

impl Plan {
    /// Bytes of a batch.
    fn batch_bytes(&self) -> usize {
        self.cap + BATCH_EXTRA
    }

    /// How many batches there are.
    pub fn batches(&self) -> usize {
        let fit = self.bytes_high / self.batch_bytes() as u64;
        (fit as usize).max(BATCHES_LEAST * self.writers)
    }

    /// What `--disk-max` has to be at least: each segment that can be open at once holds the longest record.
    pub fn disk_least(cap: u64, writers: u64, json: bool) -> u64 {
        alone_bytes(cap) * writers * if json { 2 } else { 1 }
    }

    /// With how many records left senders go on, if no flag says so: fewer than may wait, and none only if that is one.
    pub fn usual_low(qcap: u64) -> u64 {
        (qcap / 4).clamp(1, LOW).min(qcap - 1)
    }

    /// When a segment is finished. Those that are open leave half of `--disk-max` to others: only finished ones can be
    /// deleted, or packed.
    pub fn rotation(&self) -> Rotation {
        let open = self.writers as u64 * if self.json { 2 } else { 1 };
        let share = self.disk_max.map_or(u64::MAX, |most| most / (2 * open));
        Rotation { bytes: self.rotate_bytes.min(share), share, age: self.rotate_age }
    }

    pub fn pool(&self) -> LogPool {
        LogPool::new(self.batch_bytes(), self.batches())
    }

    pub fn gate(&self) -> Gate {
        // In 128 bits: a product of two sizes that people may choose.
        let low = u128::from(self.bytes_high) * u128::from(self.records_low) / u128::from(self.records_high);
        Gate::new(GateLimits {
            high: Level { items: self.records_high, bytes: self.bytes_high },
            low: Level { items: self.records_low, bytes: low as u64 },
            // With the newline that it may get.
            largest: self.cap as u64 + 1,
        })
    }

    pub fn protocol(&self, room: &Arc<Room>) -> Framing {
        Framing::new(self.cap, self.batch_bytes(), self.json, room)
    }

    /// The settings of the server.
    pub fn configure(&self, config: &mut Config) {
        config.connections_max = self.connections_max;
        config.inbound = inbound(self.cap);
        // Acknowledgements have eight bytes; a sender that takes none of them has one waiting.
        config.outbound = [
            TierConfig { size: 4 << 10, count: 256 },
            TierConfig { size: 8 << 10, count: 1 },
            TierConfig { size: 16 << 10, count: 1 },
        ];
        config.reply_max = 4 << 10;
        // Each read brings many records and half a one, whose rest costs a read of its own: so few and long ones.
        config.scratch = SCRATCH;
        config.segments_max = config.connections_max.max(1024);
        config.owed_total_max = config.connections_max.max(config.owed_max);
        config.timeouts.idle = self.idle;
        // A full disk is waited for as long as it takes.
        config.timeouts.reply = Duration::ZERO;
    }

    /// Adds what the agent takes beside its server to the ceiling.
    pub fn count_in(&self, server: &mut Server<Framing>) -> Result<(), sluicegate::ConfigError> {
        let (batches, bytes, writers) = (self.batches(), self.batch_bytes(), self.writers);
        let memory = LogPool::memory(bytes, batches);
        server.count_in("batches", memory, format!("{batches} x {bytes} B: --qcap-bytes, 4 a writer at least"))?;
        let lanes = 1 + usize::from(self.json);
        let run = lanes * (INDEX_BYTES + (16 << 10));
        let queues = 2 * batches * size_of::<LogBatch>();
        let each = writers::STACK + run + queues;
        server.count_in("writers", (writers * each) as u64, format!("{writers} x {each} B: stack, index, queue"))?;
        if self.ack {
            let bytes = Acks::memory(self.connections_max) + Link::memory(self.connections_max);
            server.count_in("acknowledgements", bytes, format!("of {} connections", self.connections_max))?;
        }
        if self.json {
            // One byte a level, in memory that doubles: the old, and the new.
            let bytes = 3 * self.cap as u64;
            server.count_in("JSON", bytes, "how deep a record is nested: 3 x --cap")?;
        }
        if self.packer.is_some() {
            server.count_in("compressor", compress::MEMORY, "its stack, buffers and window")?;
        }
        if self.when_full == WhenFull::DropOldestSegment {
            server.count_in("oldest segments", oldest::MEMORY, "their names, to make room")?;
        }
        Ok(())
    }

    /// Refuses a ceiling that is over the limit.
    pub fn check_memory(&self, total: u64) -> Result<(), String> {
        match self.memory_max {
            Some(most) if total > most => Err(format!(
                "--memory-max is {most}, but the memory ceiling is {total}: lower --qcap-bytes ({}), --connections-max \
                 ({}) or --cap ({}), or raise it",
                self.bytes_high, self.connections_max, self.cap
            )),
            _ => Ok(()),
        }
    }
}

/// Blocks for records that are not whole. The largest holds the longest record.
fn inbound(cap: usize) -> [TierConfig; 3] {
    let sizes = if cap <= 128 << 10 { [4 << 10, 32 << 10, 128 << 10] } else { [4 << 10, 128 << 10, cap] };
    // Many senders may stop in the middle of a record, and few of them in a large one.
    std::array::from_fn(|tier| TierConfig { size: sizes[tier], count: [4096, 128, 16][tier] })
}

#[cfg(test)]
mod tests {
    use super::Plan;

    #[test]
    fn senders_go_on_with_a_quarter_of_what_may_wait_or_sooner() {
        let usual = [1, 2, 3, 8, 100, 65535, 65536, 1 << 32].map(Plan::usual_low);
        assert_eq!(usual, [0, 1, 1, 2, 25, 16383, 16384, 16384]);
    }
}
