//! The parts of the load generator, with the tests that stand in their files. (`cargo test` builds examples, but does
//! not test them, unless it is told to; then it does not build them.)

#![cfg(target_os = "linux")]
#![allow(dead_code, reason = "main is missing, which uses it")]

#[path = "../examples/load/answers.rs"]
mod answers;
#[path = "../examples/common/bytes.rs"]
mod bytes;
#[path = "../examples/load/cli.rs"]
mod cli;
#[path = "../examples/load/client.rs"]
mod client;
#[path = "../examples/load/crowd.rs"]
mod crowd;
#[path = "../examples/load/dial.rs"]
mod dial;
#[path = "../examples/common/interrupt.rs"]
mod interrupt;
#[path = "../examples/load/process.rs"]
mod process;
#[path = "../examples/load/progress.rs"]
mod progress;
#[path = "../examples/load/report.rs"]
mod report;
#[path = "../examples/load/request.rs"]
mod request;
#[path = "../examples/load/schedule.rs"]
mod schedule;
#[path = "../examples/load/tally.rs"]
mod tally;
#[path = "../examples/load/trouble.rs"]
mod trouble;
