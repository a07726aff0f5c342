//! Everybody hears everybody: each message goes to all who are connected, written by a thread of its own.
//!
//! Messages are length-prefixed: four bytes of length, big-endian, then the payload.

mod common;
#[path = "common/signals.rs"]
mod signals;

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;

use clap::Parser;
use parking_lot::{Condvar, Mutex};
use sluicegate::{
    CloseReason, ConnectionId, LengthPrefixed, Message, MessageProcessor, Peer, Reply, Server, WriteProxy,
};

/// Messages that may wait for the broadcaster. Each is at most 1 MiB.
const WAITING_MAX: usize = 64;

/// Sends every length-prefixed message to all connected peers, its sender included. A peer that takes them more slowly
/// than they come misses some, each of them whole, and the log says so. There is room for one message to each of 4096
/// peers.
#[derive(Parser)]
#[command(name = "broadcast", version, after_help = signals::HELP)]
struct Args {
    /// Where to listen; port 0 takes any free one
    #[arg(default_value = "127.0.0.1:9001")]
    addr: String,
}

/// What the processor thread and the broadcaster share.
#[derive(Default)]
struct Hall {
    state: Mutex<State>,
    arrived: Condvar,
}

#[derive(Default)]
struct State {
    peers: BTreeSet<ConnectionId>,
    waiting: VecDeque<(ConnectionId, Arc<[u8]>)>,
}

/// The processor's side of the hall. It holds the lock for a moment only, so it does not block.
struct Entrance(Arc<Hall>);

impl MessageProcessor<LengthPrefixed> for Entrance {
    fn process(&mut self, message: Message<'_, LengthPrefixed>, reply: Reply<'_, LengthPrefixed>) {
        // One copy for all, also of what is long.
        self.0.state.lock().waiting.push_back((message.peer().connection, Arc::from(message.payload())));
        self.0.arrived.notify_one();
        // What comes back is not an answer but a message like all others.
        reply.none();
    }

    fn opened(&mut self, peer: &Peer, _: &WriteProxy<LengthPrefixed>) {
        self.0.state.lock().peers.insert(peer.connection);
    }

    fn closed(&mut self, peer: &Peer, reason: &CloseReason) {
        self.0.state.lock().peers.remove(&peer.connection);
        log::info!("{} has left: {reason}", peer.address);
    }

    /// A queue needs a bound and an answer to "what if it is full". Here: no message is decoded until there is room,
    /// the sockets fill, and TCP slows down those who send.
    fn ready(&mut self) -> bool {
        self.0.state.lock().waiting.len() < WAITING_MAX
    }
}

impl Hall {
    /// The next message, and who is here to get it.
    fn next(&self, peers: &mut Vec<ConnectionId>) -> (ConnectionId, Arc<[u8]>) {
        let mut state = self.state.lock();
        loop {
            if let Some(message) = state.waiting.pop_front() {
                peers.clear();
                peers.extend(&state.peers);
                return message;
            }
            self.arrived.wait(&mut state);
        }
    }
}

/// The broadcaster's life: takes message after message and writes it to everybody.
fn broadcast(hall: &Hall, proxy: &WriteProxy<LengthPrefixed>) {
    let (mut peers, mut dropped) = (Vec::new(), 0u64);
    loop {
        let (sender, payload) = hall.next(&mut peers);
        // There is room for one more; costs nothing while nobody waits for that.
        proxy.resume();
        let refused = match proxy.broadcast(peers.iter().copied(), payload) {
            Ok(refused) => refused,
            // Only if messages may be longer on their way in than on their way out.
            Err(error) => {
                log::error!("a message of {sender} was not sent: {error}");
                continue;
            }
        };
        // A peer that takes its messages too slowly fills its own outbox, and misses messages when that is full; each
        // that it gets is whole. To wait for it instead would make everybody wait.
        for (peer, why) in refused {
            dropped += 1;
            // Twice as many for each further line: a slow peer must not flood the log either.
            if dropped.is_power_of_two() {
                log::warn!("a message of {sender} was dropped for {peer}: {why}; that makes {dropped} so far");
            }
        }
    }
}

fn main() -> ExitCode {
    let Args { addr } = Args::parse();
    common::run("info", || serve(&addr))
}

fn serve(addr: &str) -> io::Result<()> {
    let hall = Arc::new(Hall::default());
    // A message to everybody needs a place in the queue for each.
    let server =
        Server::builder(LengthPrefixed::default()).configure(|config| config.connections_max = config.unasked_max);
    let running = server.bind(addr)?.start(Entrance(Arc::clone(&hall)))?;
    let proxy = running.proxy();
    thread::Builder::new().name("broadcaster".into()).spawn(move || broadcast(&hall, &proxy))?;
    signals::serve_until_signal(running, signals::GRACE)
}
