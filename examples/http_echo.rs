//! Says back what it is asked: an HTTP server to try things on, and to load.
//!
//! ```text
//! cargo run --release --example http_echo
//! curl -i http://127.0.0.1:8080/plaintext         # Hello, World!
//! curl -i http://127.0.0.1:8080/any?thing=else    # the head of this request
//! curl -i -d 'a body' http://127.0.0.1:8080/      # the body of this request
//! ```

#[path = "common/bytes.rs"]
mod bytes;
mod common;
#[path = "common/signals.rs"]
mod signals;

use std::io;
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use clap::Parser;
use sluicegate::http1::{Body, Http1, Response};
use sluicegate::{Config, Message, Meter, Reply, Server, Workers};

/// Answers GET /plaintext with "Hello, World!", a request that has a body with its body, and any other with its head.
#[derive(Parser)]
#[command(name = "http_echo", version, after_help = signals::HELP)]
struct Args {
    /// Where to listen; port 0 takes any free one
    #[arg(default_value = "127.0.0.1:8080")]
    addr: String,
    /// Processor threads, each with its own connections and memory
    #[arg(long, value_name = "N", default_value_t = 1)]
    processors: usize,
    /// Answer on so many worker threads for each processor; 0 answers on the processor thread
    #[arg(long, value_name = "N", default_value_t = 0)]
    workers: usize,
    /// Requests that may wait for a worker; with so many waiting, connections wait
    #[arg(long, value_name = "N", default_value_t = 256, requires = "workers")]
    worker_queue: usize,
    /// Connections at once; further peers wait in the kernel's backlog
    #[arg(long, value_name = "N", default_value_t = 16384)]
    connections_max: usize,
    /// Blocks of 4 KiB, 128 KiB and 1 MiB for requests (inbound), and as many for answers (outbound): most of the
    /// memory
    #[arg(long, value_name = "S,M,L", default_value = "1024,128,16", value_parser = parse_blocks)]
    blocks: [usize; 3],
    /// Refuse to start if the memory ceiling is over this, such as 128M or 1G
    #[arg(long, value_name = "BYTES", value_parser = bytes::parse_bytes)]
    memory_max: Option<u64>,
    /// Seconds that a connection may say nothing between two requests; 0 is for ever
    #[arg(long, value_name = "SECS", default_value_t = 60)]
    idle_timeout: u64,
    /// Seconds that connections have to finish when the server shuts down
    #[arg(long, value_name = "SECS", default_value_t = signals::GRACE.as_secs())]
    grace: u64,
    /// Answer GET /metrics with the server's numbers for Prometheus; for whoever can connect to see
    #[arg(long)]
    metrics: bool,
}

/// The memory ceiling in bytes, and the server's numbers: set once it runs, if they are to be seen.
type Numbers = Arc<OnceLock<(u64, Meter)>>;

fn main() -> ExitCode {
    let args = Args::parse();
    common::run("info", || serve(&args))
}

fn serve(args: &Args) -> io::Result<()> {
    let server = Server::builder(Http1::default()).configure(|config| configure(config, args)).bind(&*args.addr)?;
    let numbers = Numbers::default();
    let shown = Arc::clone(&numbers);
    let running = match args.workers {
        // The request is lent for the call, and the answer goes straight into the processor's buffer.
        0 => server.start_with(|_| {
            let shown = Arc::clone(&shown);
            move |request: Message<'_, Http1>, reply: Reply<'_, Http1>| reply.send(answer(&request, &shown))
        })?,
        // A worker owns its request, and might take its time. This is all that changes.
        threads => {
            let workers = Workers::new(threads, args.worker_queue);
            server.start_on(workers, move |request, reply| reply.send(answer(&request, &shown)))?
        }
    };
    if args.metrics {
        numbers.get_or_init(|| (running.memory_ceiling().total(), running.meter()));
    }
    signals::serve_until_signal(running, Duration::from_secs(args.grace))
}

fn configure(config: &mut Config, args: &Args) {
    config.processors = args.processors;
    config.connections_max = args.connections_max;
    config.memory_max = args.memory_max;
    config.timeouts.idle = Duration::from_secs(args.idle_timeout);
    for pool in [&mut config.inbound, &mut config.outbound] {
        pool.iter_mut().zip(args.blocks).for_each(|(tier, count)| tier.count = count);
    }
}

/// The answer borrows from the request: what it echoes is copied once, into the block it leaves from.
fn answer<'a>(request: &'a Message<'_, Http1>, numbers: &Numbers) -> Response<'a> {
    let body = request.body();
    if !body.is_empty() {
        let answer = Response::ok(body);
        return match request.header("Content-Type") {
            Some(value) => answer.header("Content-Type", value).unwrap_or_else(|_| Response::ok(body)),
            None => answer,
        };
    }
    let body = match (request.path(), request.method()) {
        ("/plaintext", "GET" | "HEAD") => Body::from_static("Hello, World!"),
        ("/metrics", "GET") => match numbers.get() {
            Some((ceiling, meter)) => return page(*ceiling, meter),
            None => Body::from(request.head()),
        },
        _ => Body::from(request.head()),
    };
    Response::ok(body).content_type("text/plain")
}

/// The memory ceiling and the server's numbers, as Prometheus reads them.
fn page(ceiling: u64, meter: &Meter) -> Response<'static> {
    const CEILING: &str = "sluicegate_memory_ceiling_bytes";
    let page = format!(
        "# HELP {CEILING} The most memory that the server takes.\n# TYPE {CEILING} gauge\n{CEILING} {ceiling}\n{}",
        meter.snapshot().to_prometheus()
    );
    Response::ok(page).content_type("text/plain; version=0.0.4")
}

fn parse_blocks(text: &str) -> Result<[usize; 3], String> {
    let counts: Result<Vec<usize>, _> = text.split(',').map(str::parse).collect();
    counts
        .ok()
        .and_then(|counts| counts.try_into().ok())
        .ok_or_else(|| "expected three numbers such as 256,32,4".into())
}
