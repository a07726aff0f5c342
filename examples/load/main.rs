//! Loads a server with requests, and tells how fast it answers.
//!
//! ```text
//! cargo run --release --example load -- 127.0.0.1:8080                       # as fast as it goes, 64 connections
//! cargo run --release --example load -- 127.0.0.1:8080 --rate 5000           # 5,000 a second, whatever comes back
//! cargo run --release --example load -- 127.0.0.1:8080 --size 16K --depth 4  # POST, four requests under way on each
//! cargo run --release --example load -- 127.0.0.1:9000 --protocol length-prefixed --size 100
//! ```
//!
//! In a closed loop (no `--rate`) a request is sent when an answer has come: what is measured is how much the server
//! can do. In an open loop each request has its time, and its latency counts from then on, also if it had to wait for
//! the answers before it; a stall is seen by every request that it held up (no coordinated omission).
//!
//! One thread, one poll. Requests are formatted once, read and written by the batch, and answers whose head is that of
//! the answer before are not parsed again, so that this program is not the limit; the last line says so if it was.
//! In an open loop it was if many requests left after their time, though no other was in their way.
//!
//! | file | what it does |
//! |---|---|
//! | `cli` | the command line |
//! | `request`, `answers` | the bytes that are sent; finds and checks the answers |
//! | `schedule` | when requests are due in an open loop |
//! | `client`, `dial` | one connection; how it is made |
//! | `crowd` | all of them, and the loop |
//! | `tally`, `trouble` | what is counted; what can go wrong |
//! | `process` | CPU time and memory of the server, from `/proc` |
//! | `progress`, `report` | the bar, and the last lines or the JSON |

mod answers;
#[path = "../common/bytes.rs"]
mod bytes;
mod cli;
mod client;
#[path = "../common/mod.rs"]
mod common;
mod crowd;
mod dial;
#[path = "../common/interrupt.rs"]
mod interrupt;
mod process;
mod progress;
mod report;
mod request;
mod schedule;
mod tally;
mod trouble;

use std::io;
use std::process::ExitCode;

use clap::Parser;

use cli::Args;
use crowd::Crowd;
use progress::Progress;

fn main() -> ExitCode {
    let args = Args::parse();
    let plan = args.plan();
    common::run("warn", || {
        rlimit::increase_nofile_limit(u64::MAX)?;
        let progress = Progress::new(plan.warm_up + plan.time)?;
        let mut crowd = Crowd::connect(&plan, &progress)?;
        let outcome = crowd.run(&progress)?;
        progress.finish();
        common::say(if args.json { report::json(&plan, &outcome) } else { report::text(&plan, &outcome) });
        match outcome.tally.failed() {
            0 if outcome.answers == 0 => {
                Err(io::Error::other("nothing was measured: no request was answered in that time"))
            }
            0 => match outcome.server {
                Some(Err(error)) => Err(error),
                _ => Ok(()),
            },
            failed => Err(io::Error::other(format!("{failed} things went wrong, as listed above by kind"))),
        }
    })
}
