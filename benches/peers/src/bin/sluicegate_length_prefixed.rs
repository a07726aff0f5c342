//! sluicegate with length-prefixed messages, with its defaults.

use std::io;

use sluicegate::{LengthPrefixed, Server};

use sluicegate_bench_peers::start::{Args, announce};

fn main() -> io::Result<()> {
    let args = Args::parse();
    let server = Server::bind(args.address, LengthPrefixed::default())?;
    announce(server.local_addr())?;
    server.serve(|message, reply| reply.send(message.payload()))
}
