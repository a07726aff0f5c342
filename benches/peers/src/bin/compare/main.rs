//! Measures sluicegate beside bare loops and other servers, all in one run: one core for the server, one for the load.
//!
//! `benches/compare.sh` builds everything and starts this. A part of it, for who makes the server faster:
//!
//! ```text
//! benches/compare.sh --only sluicegate,bare-epoll --work pipelined --rounds 3
//! ```
//!
//! Each run has a server of its own, so that what one work leaves behind is not there for the next. For each work the
//! servers take turns, round by round, so that what the machine does meanwhile hits all of them.
//!
//! | file | what it does |
//! |---|---|
//! | `cli` | the command line |
//! | `servers`, `works` | who is measured, with what |
//! | `child`, `conformity`, `idle` | one server: its process, its answers, connections that say nothing |
//! | `run`, `syscalls`, `instructions`, `wrk` | one measurement |
//! | `campaign`, `stats` | all of them, in order; medians and spread |
//! | `tries` | what failed, and how it is told |
//! | `tables`, `charts`, `svg`, `document`, `machine` | what is written |

#![forbid(unsafe_code)]

mod campaign;
mod charts;
mod child;
mod cli;
mod conformity;
mod document;
mod idle;
mod instructions;
mod machine;
mod run;
mod servers;
mod stats;
mod svg;
mod syscalls;
mod tables;
mod tries;
mod works;
mod wrk;

use std::io;
use std::process::ExitCode;

use clap::Parser;

use cli::Args;

fn main() -> ExitCode {
    let args = Args::parse();
    let plan = args.plan();
    match campaign::run(&args, &plan) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = io::Write::write_fmt(&mut io::stderr(), format_args!("error: {error}\n"));
            ExitCode::FAILURE
        }
    }
}
