//! Collects log records over TCP: safe on disk, in bounded memory.
//!
//! ```text
//! cargo run --release --example log_agent -- 127.0.0.1 9100 --dir ./logs --ack --metrics 127.0.0.1:9101
//! cargo run --release --example log_spammer -- 127.0.0.1 9100 4 0 --seconds 5 --ack --verify ./logs
//! cargo run --release --example log_cat -- ./logs --verify
//! ```
//!
//! A record is a `u32` big-endian length and so many bytes. Each becomes a line of a segment, and an entry of the index
//! beside it, by which it comes back exactly. `agent/` is what does that, `store/` what lies in the directory.

mod agent;
#[path = "../common/bytes.rs"]
mod bytes;
mod cli;
#[path = "../common/mod.rs"]
mod common;
#[allow(dead_code, reason = "shared with other examples, which end by answering and not by reading out")]
#[path = "../common/signals.rs"]
mod signals;
#[allow(dead_code, reason = "shared with log_cat and log_spammer, which read what this one writes")]
mod store;

use std::io;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use signal_hook::consts::SIGXFSZ;

use agent::run::Agent;
use cli::Args;

fn main() -> ExitCode {
    let plan = Args::parse().plan();
    common::run("info", || {
        let_large_files_fail()?;
        let agent = Agent::start(&plan, |ender| signals::on_signal(move || ender.end()))?;
        if let Some(address) = agent.metrics_address() {
            common::say(format_args!("metrics on http://{address}/metrics"));
        }
        common::say(format_args!("listening on {}", agent.server().local_addr()));
        agent.join()
    })
}

/// A write beyond the limit of file sizes (`ulimit -f`) ends a program that does not say otherwise. With any handler of
/// that signal the write fails, and the writers know what to do about it.
fn let_large_files_fail() -> io::Result<()> {
    signal_hook::flag::register(SIGXFSZ, Arc::default()).map(drop)
}
