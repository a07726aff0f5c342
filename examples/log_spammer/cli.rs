//! The command line.

use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};

use crate::record::HEADER_BYTES;

/// Sends log records to a log_agent, and says how many it took.
///
/// A signal ends it as --seconds does: what was begun is sent, as long as the agent takes some of it every five
/// seconds. A second signal ends it at once. Exits with 1 if a connection failed, if with --ack the agent closed before
/// it acknowledged everything, or if --verify has found a record that is missing, twice, or out of order.
#[derive(Debug, Parser)]
#[command(name = "log_spammer", version)]
pub struct Args {
    /// Where the agent listens
    pub host: String,
    /// Its port
    pub port: u16,
    /// Threads; each has a connection of its own
    #[arg(value_parser = clap::value_parser!(u16).range(1..))]
    pub threads: u16,
    /// Records a second, all threads together; 0 is as fast as possible
    pub pps: u64,
    /// Bytes of a record: one size, or from MIN to MAX, drawn anew for each
    #[arg(long, value_name = "MIN..MAX", default_value = "100", value_parser = parse_sizes)]
    pub size: (u32, u32),
    /// End after so many records, all threads together
    #[arg(long, value_name = "N")]
    pub count: Option<u64>,
    /// End after so many seconds; without --count and --seconds a signal ends it
    #[arg(long, value_name = "N")]
    pub seconds: Option<f64>,
    /// Read acknowledgements, which the agent sends with --ack
    #[arg(long)]
    pub ack: bool,
    /// Prove that each acknowledged record (without --ack: each that was sent) is in this directory once, and in order
    #[arg(long, value_name = "DIR")]
    pub verify: Option<PathBuf>,
}

impl Args {
    /// Ends the program with code 2 if this makes no sense.
    pub fn check(self) -> Self {
        let refuse = |what: &str| Self::command().error(ErrorKind::ValueValidation, what).exit();
        if self.verify.is_some() && (self.size.0 as usize) < HEADER_BYTES {
            refuse(&format!("--verify knows a record by its first {HEADER_BYTES} bytes: raise --size to that"));
        }
        if self.seconds.is_some_and(|seconds| !(seconds > 0.0 && seconds < 1e9)) {
            refuse("--seconds: more than 0");
        }
        self
    }
}

fn parse_sizes(text: &str) -> Result<(u32, u32), String> {
    let expected = || "expected a number of bytes such as 100, or two such as 100..400".to_owned();
    let (least, most) = text.split_once("..").unwrap_or((text, text));
    let sizes = (least.parse().map_err(|_| expected())?, most.parse().map_err(|_| expected())?);
    if sizes.0 <= sizes.1 { Ok(sizes) } else { Err(format!("{} is more than {}: the smaller one first", least, most)) }
}
