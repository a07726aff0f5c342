//! The command line.

use std::fmt::Display;
use std::path::PathBuf;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, ValueEnum};

use crate::agent::fsync::Fsync;
use crate::agent::plan::{Packer, Plan, WhenFull};
use crate::bytes::parse_bytes;
use crate::signals;
use crate::store::index::PAYLOAD_MAX;

/// A segment is smaller than this, so that an offset in it fits the index.
const ROTATE_MB_MAX: u64 = 4095;
/// A year: nobody means a longer time, and no clock overflows with it.
const SECS_MAX: u64 = 366 * 24 * 60 * 60;
/// More is taken for a mistake.
const QCAP_BYTES_MAX: u64 = 64 << 30;
/// No record is larger.
const CAP_MAX: u64 = PAYLOAD_MAX as u64;

/// Collects log records over TCP and keeps them in files. A record is a u32 big-endian length and so many bytes.
///
/// What was acknowledged is on disk, memory never exceeds the ceiling that is printed at start, and a full disk makes
/// senders wait and loses nothing.
#[derive(Debug, Parser)]
#[command(name = "log_agent", version, after_help = signals::HELP)]
pub struct Args {
    /// Where to listen
    pub host: String,
    /// On which port; 0 takes any free one
    pub port: u16,
    /// The directory of the segments; made if it is missing
    #[arg(long, value_name = "DIR", default_value = "./logs")]
    dir: PathBuf,
    /// A segment is finished before it would be larger than so many MiB, or than a file may be (ulimit -f)
    #[arg(long, value_name = "MB", default_value_t = 128, value_parser = clap::value_parser!(u64).range(1..=ROTATE_MB_MAX))]
    rotate_mb: u64,
    /// A segment is finished when it is so many seconds old; 0 is never
    #[arg(long, value_name = "SECS", default_value_t = 0, value_parser = clap::value_parser!(u64).range(..=SECS_MAX))]
    rotate_secs: u64,
    /// The longest record that is accepted; a longer one closes its connection
    #[arg(long, value_name = "BYTES", default_value = "1048576", value_parser = parse_bytes)]
    cap: u64,
    /// Records that may wait for the disk; with so many waiting, senders wait
    #[arg(long, value_name = "RECORDS", default_value_t = 65536, value_parser = clap::value_parser!(u64).range(1..=1 << 32))]
    qcap: u64,
    /// With at most so many records left, senders go on [default: 16384, or a quarter of --qcap where that is less]
    #[arg(long, value_name = "RECORDS")]
    low: Option<u64>,
    /// Bytes that may wait for the disk, such as 64M; most of the memory
    #[arg(long, value_name = "BYTES", default_value = "64M", value_parser = parse_bytes)]
    qcap_bytes: u64,
    /// Threads that write; all records of a connection are written by one of them
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=64))]
    writers: u64,
    /// Tell each sender, as a u64 big-endian, how many of its records are safe on disk
    #[arg(long)]
    ack: bool,
    /// When to force records to disk: never, interval:MS, or batch (after each write) [default: interval:500, with
    /// --ack batch]. With interval, the exit code is 1 if the last time has failed
    #[arg(long, value_name = "WHEN", value_parser = Fsync::parse)]
    fsync: Option<Fsync>,
    /// The most bytes that the segments and their indexes may take together, such as 10G. Segments are finished early
    /// enough that all open ones take half of it. With --compress, a segment that is being packed is there twice
    /// meanwhile
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes)]
    disk_max: Option<u64>,
    /// What happens then, and when the disk is full: senders wait, or the oldest segments are deleted
    #[arg(long, value_name = "WHAT", value_enum, default_value_t = WhenFull::Pause)]
    when_disk_full: WhenFull,
    /// How finished segments are packed
    #[arg(long, value_name = "HOW", value_enum, default_value_t = Compress::None)]
    compress: Compress,
    /// Check that each record is JSON, in UTF-8; those that are not are counted, and set aside in segments of their
    /// own, bad_*. With --ack they count for their sender as all others do, and as late: when they are safe there
    #[arg(long)]
    json: bool,
    /// Seconds that a connection may say nothing between two records; 0 is for ever
    #[arg(long, value_name = "SECS", default_value_t = 0, value_parser = clap::value_parser!(u64).range(..=SECS_MAX))]
    idle_timeout: u64,
    /// Connections at once, or as many as the limit of open descriptors leaves room for beside the files; further
    /// senders wait in the kernel's backlog
    #[arg(long, value_name = "N", default_value_t = 16384, value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
    connections_max: u64,
    /// Refuse to start if the memory ceiling is over this, such as 256M
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes)]
    memory_max: Option<u64>,
    /// Seconds that the agent has to read what was sent, and to write it, when it shuts down
    #[arg(long, value_name = "SECS", default_value_t = signals::GRACE.as_secs(), value_parser = clap::value_parser!(u64).range(..=SECS_MAX))]
    grace: u64,
    /// Serve numbers for Prometheus at http://ADDR/metrics, such as 127.0.0.1:9101; for whoever can connect to see. A
    /// connection has a second to send its request, and is closed after the answer
    #[arg(long, value_name = "ADDR", value_parser = host_and_port)]
    metrics: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Compress {
    None,
    Gzip,
    Zstd,
}

impl Args {
    /// What is asked for. Ends the program with code 2, naming the flag, if that makes no sense.
    pub fn plan(self) -> Plan {
        let fsync = match (self.ack, self.fsync) {
            (true, None | Some(Fsync::Batch)) => Fsync::Batch,
            (true, Some(other)) => {
                usage_error("--fsync", other, "--ack promises what only --fsync batch keeps: leave out one of the two")
            }
            (false, fsync) => fsync.unwrap_or(Fsync::Interval(Duration::from_millis(500))),
        };
        if !(1..=CAP_MAX).contains(&self.cap) {
            usage_error("--cap", self.cap, &format!("from 1 to {CAP_MAX} bytes"));
        }
        let low = self.low.unwrap_or(Plan::usual_low(self.qcap));
        if low >= self.qcap {
            usage_error("--low", low, &format!("lower it below --qcap, which is {}", self.qcap));
        }
        if self.qcap_bytes < self.cap {
            usage_error("--qcap-bytes", self.qcap_bytes, &format!("raise it to --cap, {}, at least", self.cap));
        }
        if self.qcap_bytes > QCAP_BYTES_MAX {
            usage_error("--qcap-bytes", self.qcap_bytes, &format!("lower it to {QCAP_BYTES_MAX} at most"));
        }
        let disk_least = Plan::disk_least(self.cap, self.writers, self.json);
        if self.disk_max.is_some_and(|most| most < disk_least) {
            let least = format!("raise it to {disk_least} at least: --cap, with its index, for each writer");
            usage_error("--disk-max", self.disk_max.unwrap_or(0), &least);
        }
        Plan {
            address: (self.host, self.port),
            directory: self.dir,
            rotate_bytes: self.rotate_mb << 20,
            rotate_age: (self.rotate_secs > 0).then(|| Duration::from_secs(self.rotate_secs)),
            cap: self.cap as usize,
            records_high: self.qcap,
            records_low: low,
            bytes_high: self.qcap_bytes,
            writers: self.writers as usize,
            ack: self.ack,
            fsync,
            disk_max: self.disk_max,
            when_full: self.when_disk_full,
            packer: match self.compress {
                Compress::None => None,
                Compress::Gzip => Some(Packer::Gzip),
                Compress::Zstd => Some(Packer::Zstd),
            },
            json: self.json,
            idle: Duration::from_secs(self.idle_timeout),
            connections_max: self.connections_max as usize,
            memory_max: self.memory_max,
            grace: Duration::from_secs(self.grace),
            metrics: self.metrics,
        }
    }
}

/// An address as it has to look. Whether there is such a host is seen when it is bound.
fn host_and_port(text: &str) -> Result<String, String> {
    match text.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => Ok(text.to_owned()),
        _ => Err("a host and a port, such as 127.0.0.1:9101".into()),
    }
}

fn usage_error(flag: &str, value: impl Display, what: &str) -> ! {
    let text = format!("invalid value '{value}' for '{flag}': {what}");
    Args::command().error(ErrorKind::ValueValidation, text).exit()
}
