//! A bare loop on mio, edge-triggered; with `--accepter`, connections come from a thread that does nothing else.

use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread;

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Registry, Token, Waker};

use sluicegate_bench_peers::connection::{Connection, Scratch, Wants};
use sluicegate_bench_peers::start::Args;
use sluicegate_bench_peers::wire::Wire;

const EVENTS: usize = 1024;
/// Connections on their way from the accepter.
const HANDOVER: usize = 1024;
const LISTENER: Token = Token(usize::MAX);
const WAKER: Token = Token(usize::MAX - 1);

/// All connections, by their tokens.
#[derive(Default)]
struct Table {
    connections: Vec<Option<Connection<TcpStream>>>,
    free: Vec<usize>,
}

impl Table {
    fn add(&mut self, mut socket: TcpStream, registry: &Registry) -> io::Result<()> {
        let place = self.free.pop().unwrap_or(self.connections.len());
        registry.register(&mut socket, Token(place), Interest::READABLE | Interest::WRITABLE)?;
        if place == self.connections.len() {
            self.connections.push(None);
        }
        self.connections[place] = Some(Connection::new(socket));
        Ok(())
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    match serve(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(args: &Args) -> io::Result<()> {
    let wire = if args.length_prefixed { Wire::LengthPrefixed } else { Wire::Http };
    let mut poll = Poll::new()?;
    let mut listener = None;
    let mut handed = None;
    if args.accepter {
        handed = Some(accept_elsewhere(args, Waker::new(poll.registry(), WAKER)?)?);
    } else {
        let mut socket = TcpListener::from_std(args.listen()?);
        poll.registry().register(&mut socket, LISTENER, Interest::READABLE)?;
        listener = Some(socket);
    }
    let mut events = Events::with_capacity(EVENTS);
    let (mut scratch, mut table) = (Scratch::default(), Table::default());
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        for event in &events {
            match (event.token(), &listener, &handed) {
                (LISTENER, Some(listener), _) => {
                    while let Ok((socket, _)) = listener.accept() {
                        table.add(socket, poll.registry())?;
                    }
                }
                (WAKER, _, Some(handed)) => {
                    while let Ok(socket) = handed.try_recv() {
                        table.add(socket, poll.registry())?;
                    }
                }
                (Token(place), ..) => {
                    let Some(connection) = table.connections.get_mut(place).and_then(Option::as_mut) else { continue };
                    let closed = event.is_read_closed() || event.is_error();
                    // The first event of a connection may be that it can be written to, and nothing else.
                    if !event.is_readable() && !closed && !connection.waits_to_write() {
                        continue;
                    }
                    if connection.turn_until_dry(&mut scratch, wire, closed) == Wants::Nothing {
                        table.connections[place] = None;
                        table.free.push(place);
                    }
                }
            }
        }
    }
}

/// Starts the accepter, which waits in `accept` and wakes the loop for each connection.
fn accept_elsewhere(args: &Args, waker: Waker) -> io::Result<Receiver<TcpStream>> {
    let listener = args.listen_blocking()?;
    let waker = Arc::new(waker);
    let (sender, handed): (SyncSender<TcpStream>, _) = mpsc::sync_channel(HANDOVER);
    thread::Builder::new().name("accepter".into()).spawn(move || {
        while let Ok((socket, _)) = listener.accept() {
            let handed = socket.set_nonblocking(true).map(|()| sender.send(TcpStream::from_std(socket)).is_ok());
            if !handed.unwrap_or(false) || waker.wake().is_err() {
                return;
            }
        }
    })?;
    Ok(handed)
}
