//! Sends records to a `log_agent`, as many and as fast as wanted, and proves that they have arrived.
//!
//! ```text
//! cargo run --release --example log_spammer -- 127.0.0.1 9100 4 0 --seconds 5
//! cargo run --release --example log_spammer -- 127.0.0.1 9100 8 20000 --size 100..400 --count 100000 --ack \
//!     --verify ./logs
//! ```

mod cli;
#[path = "../common/mod.rs"]
mod common;
#[path = "../common/interrupt.rs"]
mod interrupt;
mod pace;
mod progress;
mod record;
mod sender;
#[allow(dead_code, reason = "shared with log_agent, which writes what this one reads")]
#[path = "../log_agent/store/mod.rs"]
mod store;
mod tally;
mod verify;

use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clap::Parser;

use cli::Args;
use interrupt::interrupted;
use pace::Pace;
use progress::{Progress, summary};
use sender::Orders;
use tally::{Sum, Tally};

/// Between two looks at the numbers.
const LOOK: Duration = Duration::from_millis(100);
/// How long records that were read and not acknowledged may take to the disk.
const ON_THE_WAY: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    let args = Args::parse().check();
    common::run("info", || spam(&args))
}

fn spam(args: &Args) -> io::Result<()> {
    let stop = interrupted()?;
    // No two runs at the same microsecond.
    let run = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u32);
    let began = Instant::now();
    let mut tallies = Vec::new();
    tallies.resize_with(usize::from(args.threads), Tally::default);
    let mut progress = Progress::new(args.count, args.seconds, args.ack)?;
    let ended = send(args, run, began, &tallies, &stop, &mut progress);
    progress.finish();
    let ended = ended?;
    let sum = Sum::of(&tallies);
    common::say(summary(&sum, args.threads, began.elapsed(), args.ack));
    let failed: Vec<_> = ended.into_iter().filter_map(Result::err).collect();
    let verified = args.verify.as_deref().map_or(Ok(()), |directory| verify(directory, args, run, &tallies));
    match failed.first() {
        None => verified,
        Some(error) => {
            let verified = verified.map_or_else(|error| format!("; {error}"), |()| String::new());
            Err(io::Error::other(format!("{} connections failed: {error}{verified}", failed.len())))
        }
    }
}

/// Sends from all threads, and says how each has ended. An error if not all of them could be started: then none has
/// sent.
fn send(
    args: &Args,
    run: u32,
    began: Instant,
    tallies: &[Tally],
    stop: &AtomicBool,
    progress: &mut Progress,
) -> io::Result<Vec<io::Result<()>>> {
    let all_there = OnceLock::new();
    let all_there = &all_there;
    thread::scope(|scope| {
        let started = tallies.iter().zip(0..).map(|(tally, thread)| {
            let orders = orders(args, run, thread, began);
            let send = move || {
                let done = if *all_there.wait() { sender::run(&orders, tally, stop) } else { Ok(()) };
                tally.ended.store(true, Relaxed);
                done
            };
            thread::Builder::new().spawn_scoped(scope, send).map_err(|error| {
                let what = format!("cannot start thread {} of {}: {error}", thread + 1, args.threads);
                io::Error::new(error.kind(), what)
            })
        });
        let started: io::Result<Vec<_>> = started.collect();
        all_there.get_or_init(|| started.is_ok());
        let senders = started?;
        while Sum::of(tallies).ended < tallies.len() {
            progress.show(&Sum::of(tallies));
            thread::sleep(LOOK);
        }
        let joined = senders.into_iter().map(|sender| sender.join());
        Ok(joined.map(|done| done.unwrap_or_else(|_| Err(io::Error::other("a sender has panicked")))).collect())
    })
}

fn orders(args: &Args, run: u32, thread: u16, began: Instant) -> Orders {
    let threads = u64::from(args.threads);
    Orders {
        address: (args.host.clone(), args.port),
        run,
        thread,
        sizes: args.size,
        pace: (args.pps > 0).then(|| Pace::new(args.pps, thread, args.threads)),
        // The first threads send what can't be shared out.
        count: args.count.map(|count| count / threads + u64::from(u64::from(thread) < count % threads)),
        until: args.seconds.map(|seconds| began + Duration::from_secs_f64(seconds)),
        ack: args.ack,
    }
}

/// Each acknowledged record has to be there; without acknowledgements each that was sent, in a while.
fn verify(directory: &Path, args: &Args, run: u32, tallies: &[Tally]) -> io::Result<()> {
    let promised = |tally: &Tally| if args.ack { tally.acked.load(Relaxed) } else { tally.sent.load(Relaxed) };
    let began = Instant::now();
    loop {
        let mut found = verify::look(directory, run, args.threads, args.size)?;
        let missing: u64 =
            found.records.iter().zip(tallies).map(|(found, tally)| promised(tally).saturating_sub(*found)).sum();
        if missing > 0 && found.faults_total == 0 && !args.ack && began.elapsed() < ON_THE_WAY {
            thread::sleep(LOOK);
            continue;
        }
        let there: u64 = found.records.iter().sum();
        if missing > 0 {
            found.faults_total += missing;
            found.faults.push(format!("{missing} records are missing"));
        }
        if found.faults_total == 0 {
            let of = if args.ack { "acknowledged" } else { "sent" };
            let promised: u64 = tallies.iter().map(promised).sum();
            common::say(format_args!(
                "verified: all {promised} {of} records are in {} once and in order, of {there} that are there",
                directory.display()
            ));
            return Ok(());
        }
        return Err(io::Error::other(format!(
            "{} faults in {}: {}",
            found.faults_total,
            directory.display(),
            found.faults.join("; ")
        )));
    }
}
