//! Says back every message: four bytes of length, big-endian, then so many bytes of payload.
//!
//! ```text
//! cargo run --release --example length_prefixed_echo
//! printf '\0\0\0\5hello' | nc -N 127.0.0.1 9000 | xxd
//! ```

#[path = "common/bytes.rs"]
mod bytes;
mod common;
#[path = "common/signals.rs"]
mod signals;

use std::io;
use std::process::ExitCode;

use clap::Parser;
use sluicegate::{Config, LengthPrefixed, Message, Protocol, Reply, Server, Workers};

/// Echoes length-prefixed messages: a u32 in network order, then the payload.
#[derive(Parser)]
#[command(name = "length_prefixed_echo", version, after_help = signals::HELP)]
struct Args {
    /// Where to listen; port 0 takes any free one
    #[arg(default_value = "127.0.0.1:9000")]
    addr: String,
    /// Answer on so many worker threads; 0 answers on the processor thread
    #[arg(long, value_name = "N", default_value_t = 0)]
    workers: usize,
    /// The longest payload that is accepted, such as 64K or 4M; a longer one closes its connection
    #[arg(long, value_name = "BYTES", default_value = "1M", value_parser = bytes::parse_bytes)]
    payload_max: u64,
}

fn main() -> ExitCode {
    let args = Args::parse();
    common::run("info", || serve(&args))
}

fn serve(args: &Args) -> io::Result<()> {
    let protocol = LengthPrefixed::new(usize::try_from(args.payload_max).unwrap_or(usize::MAX));
    let longest = protocol.message_max();
    let server = Server::builder(protocol).configure(|config| make_room(config, longest)).bind(&*args.addr)?;
    let running = match args.workers {
        0 => server.start(|message: Message<'_, LengthPrefixed>, reply: Reply<'_, LengthPrefixed>| {
            // The payload is lent for this call. It is copied once, into the block that it leaves from.
            reply.send(message.payload());
        })?,
        // Messages of one connection are then answered side by side, in any order: this protocol does not promise one.
        threads => server.start_on(Workers { threads, ..Workers::default() }, |message, reply| {
            reply.send(message.payload());
        })?,
    };
    signals::serve_until_signal(running, signals::GRACE)
}

/// A message has to fit a block, and its answer what one answer may copy. The server checks that at start; here the
/// settings follow the flag.
fn make_room(config: &mut Config, longest: usize) {
    for pool in [&mut config.inbound, &mut config.outbound] {
        pool[2].size = pool[2].size.max(longest);
    }
    config.reply_max = config.reply_max.max(longest);
}
