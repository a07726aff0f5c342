//! The command line, and what it asks for.

use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, ValueEnum};

use crate::bytes::parse_bytes;

/// The most bytes that a request may carry: more would be a test of memory.
const SIZE_MAX: u64 = 1 << 30;
/// One thread sends no more requests per second than this by far.
const RATE_MAX: f64 = 1e7;
/// The longest time that makes sense, in seconds.
const SECONDS_MAX: f64 = 1e6;

const AFTER: &str = "\
Closed loop (no --rate): a connection sends its next request when an answer has come. Open loop (--rate): requests have \
their times, and latency counts from then on, also if the request had to wait for others.

Answers are checked: their status, and of an echo its length and bytes at both ends of each piece. Those to a GET may have any \
length. SIGINT (Ctrl-C) ends the run with its summary, a second one at once.

Exits with 0 if all went well, with 1 if an answer was wrong or missing, if there was none, or if something failed, with 2 if \
asked for what makes no sense.";

/// Loads a server with requests over many connections, and tells how fast it answers.
#[derive(Debug, Parser)]
#[command(name = "load", version, after_help = AFTER)]
pub struct Args {
    /// The server, such as 127.0.0.1:8080
    addr: String,
    /// How requests and answers are framed
    #[arg(long, value_enum, default_value_t = Protocol::Http)]
    protocol: Protocol,
    /// Connections that requests are sent on
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    connections: u32,
    /// Requests that may be unanswered on one connection (pipelining)
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    depth: u32,
    /// Bytes of a POST's body or of a payload, such as 100 or 16K, which the server has to send back; 0 is a GET
    #[arg(long, value_name = "BYTES", default_value = "0", value_parser = parse_bytes)]
    size: u64,
    /// What HTTP requests ask for
    #[arg(long, default_value = "/")]
    path: String,
    /// Requests per second over all connections (open loop); 0 sends when answers come (closed loop)
    #[arg(long, value_name = "R", default_value_t = 0.0)]
    rate: f64,
    /// How long to measure
    #[arg(long, value_name = "SECS", default_value_t = 10.0)]
    seconds: f64,
    /// How long to send before measuring
    #[arg(long, value_name = "SECS", default_value_t = 1.0)]
    warm_up: f64,
    /// A connection for each request
    #[arg(long, conflicts_with_all = ["rate", "depth"])]
    reconnect: bool,
    /// Further connections that stay open and say nothing
    #[arg(long, value_name = "N", default_value_t = 0)]
    idle: u32,
    /// An answer that takes longer is missing
    #[arg(long, value_name = "SECS", default_value_t = 10.0)]
    timeout: f64,
    /// The server's process, if it is on this machine: tells its CPU time for each request and its memory (Linux)
    #[arg(long, value_name = "PID")]
    pid: Option<u32>,
    /// Print the summary as one line of JSON
    #[arg(long)]
    pub json: bool,
}

/// How requests and answers are framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Protocol {
    /// HTTP/1.1
    Http,
    /// A length of four bytes, big-endian, and a payload
    LengthPrefixed,
}

/// What is to be done.
#[derive(Debug, Clone)]
pub struct Plan {
    pub server: SocketAddr,
    pub protocol: Protocol,
    pub connections: usize,
    pub depth: usize,
    pub size: usize,
    pub path: String,
    /// Requests per second; `None` in a closed loop.
    pub rate: Option<f64>,
    pub time: Duration,
    pub warm_up: Duration,
    pub reconnect: bool,
    pub idle: usize,
    pub timeout: Duration,
    pub pid: Option<u32>,
}

impl Args {
    /// What is asked for. Ends the program with code 2 if that makes no sense.
    pub fn plan(&self) -> Plan {
        let no_spaces = |letter: char| letter.is_ascii_graphic();
        if !self.path.starts_with('/') || !self.path.chars().all(no_spaces) {
            usage_error(&format!("--path {:?} is not a path: it begins with / and has no spaces", self.path));
        }
        if self.size > SIZE_MAX {
            usage_error(&format!("--size {} is more than {SIZE_MAX} bytes", self.size));
        }
        if !(0.0..=RATE_MAX).contains(&self.rate) {
            usage_error(&format!("--rate {} is not a rate: 0, or up to {RATE_MAX} requests per second", self.rate));
        }
        if self.seconds == 0.0 {
            usage_error("--seconds 0 measures nothing");
        }
        if self.timeout == 0.0 {
            usage_error("--timeout 0 leaves no time for an answer");
        }
        Plan {
            server: address(&self.addr),
            protocol: self.protocol,
            connections: self.connections as usize,
            depth: self.depth as usize,
            size: self.size as usize,
            path: self.path.clone(),
            rate: Some(self.rate).filter(|rate| *rate > 0.0),
            time: seconds("--seconds", self.seconds),
            warm_up: seconds("--warm-up", self.warm_up),
            reconnect: self.reconnect,
            idle: self.idle as usize,
            timeout: seconds("--timeout", self.timeout),
            pid: self.pid,
        }
    }
}

fn address(text: &str) -> SocketAddr {
    match text.to_socket_addrs().map(|mut addresses| addresses.next()) {
        Ok(Some(address)) => address,
        Ok(None) => usage_error(&format!("{text} has no address")),
        Err(error) => usage_error(&format!("{text} is no address such as 127.0.0.1:8080: {error}")),
    }
}

fn seconds(name: &str, seconds: f64) -> Duration {
    if (0.0..=SECONDS_MAX).contains(&seconds) {
        Duration::from_secs_f64(seconds)
    } else {
        usage_error(&format!("{name} {seconds} is no time: from 0 to {SECONDS_MAX} seconds"))
    }
}

fn usage_error(what: &str) -> ! {
    Args::command().error(ErrorKind::ValueValidation, what).exit()
}
