//! A processor with state, and an answer that is given later.
//!
//! ```text
//! cargo run --example http_counter
//! curl http://127.0.0.1:8081/apples    # /apples: 1
//! curl http://127.0.0.1:8081/slow      # the same, half a second later; meanwhile others are answered
//! ```

mod common;
#[path = "common/signals.rs"]
mod signals;

use std::collections::HashMap;
use std::io;
use std::process::ExitCode;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use sluicegate::http1::{Http1, Response};
use sluicegate::{Deferred, Message, MessageProcessor, Reply, Server};

/// How long an answer to /slow takes.
const LATER: Duration = Duration::from_millis(500);
/// Targets that are counted one by one. State is bounded too: peers choose their targets, and have time.
const TARGETS_MAX: usize = 10_000;

/// Counts how often each target was asked for. GET /slow is answered half a second later.
#[derive(Parser)]
#[command(name = "http_counter", version, after_help = signals::HELP)]
struct Args {
    /// Where to listen; port 0 takes any free one
    #[arg(default_value = "127.0.0.1:8081")]
    addr: String,
}

/// All methods run on one thread, so the counts need no lock.
struct Counter {
    counts: HashMap<String, u64>,
    slow: Sender<(Instant, Deferred<Http1>, String)>,
}

impl MessageProcessor<Http1> for Counter {
    fn process(&mut self, request: Message<'_, Http1>, reply: Reply<'_, Http1>) {
        let text = self.count(request.target());
        match request.path() {
            // The connection waits for its answer; nobody else does. A deferred reply that is lost on its way is
            // settled as well: its client gets 500. The channel can't grow beyond the server's `owed_total_max`.
            "/slow" => drop(self.slow.send((Instant::now() + LATER, reply.defer(), text))),
            _ => reply.send(Response::ok(text).content_type("text/plain")),
        }
    }
}

impl Counter {
    fn count(&mut self, target: &str) -> String {
        let known = self.counts.contains_key(target) || self.counts.len() < TARGETS_MAX;
        let target = if known { target } else { "(another target)" };
        let count = self.counts.entry(target.to_owned()).or_default();
        *count += 1;
        format!("{target}: {count}\n")
    }
}

/// Gives the slow answers, each at its time; they come in the order in which they are due.
fn answer_later(slow: &Receiver<(Instant, Deferred<Http1>, String)>) {
    for (due, reply, text) in slow {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        reply.send(Response::ok(text).content_type("text/plain"));
    }
}

fn main() -> ExitCode {
    let Args { addr } = Args::parse();
    common::run("info", || serve(&addr))
}

fn serve(addr: &str) -> io::Result<()> {
    let (slow, due) = mpsc::channel();
    thread::Builder::new().name("later".into()).spawn(move || answer_later(&due))?;
    let running = Server::bind(addr, Http1::default())?.start(Counter { counts: HashMap::new(), slow })?;
    signals::serve_until_signal(running, signals::GRACE)
}
