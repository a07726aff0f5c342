//! The two ways to shut down, each tried on a server with a client; prints what happens and ends by itself.
//!
//! - `Finish::Answer`, for those who are asked: what has begun is finished and answered, and nothing new begins.
//! - `Finish::ReadOut`, for those who are told: what peers have sent already is read to its end, so that nothing of it
//!   is lost.
//!
//! In both, the grace is a bound: connections that have not finished when it is over are closed as they are.

mod common;

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::ExitCode;
use std::sync::mpsc;
use std::time::Duration;

use clap::Parser;
use sluicegate::http1::{Http1, Response};
use sluicegate::{Finish, LengthPrefixed, Message, Reply, Server};

use common::say;

const GRACE: Duration = Duration::from_secs(10);

/// Shows what a server still does after it was told to shut down. Needs no client and ends by itself.
#[derive(Parser)]
#[command(name = "graceful_shutdown", version)]
struct Args {}

fn main() -> ExitCode {
    let Args {} = Args::parse();
    common::run("warn", || answer().and_then(|()| read_out()))
}

/// A slow answer is owed when the server is told to shut down.
fn answer() -> io::Result<()> {
    say("Finish::Answer: what has begun is answered, nothing new begins");
    // The processor hands each reply over to this thread, which will answer in its own time.
    let (slow, owed) = mpsc::channel();
    let running = Server::bind("127.0.0.1:0", Http1::default())?
        .start(move |_: Message<'_, Http1>, reply: Reply<'_, Http1>| drop(slow.send(reply.defer())))?;
    let address = running.local_addr();
    say(format_args!("listening on {address}"));

    let idle = TcpStream::connect(address)?;
    let mut asking = TcpStream::connect(address)?;
    asking.write_all(b"GET /slow HTTP/1.1\r\nHost: example\r\n\r\n")?;
    let reply = owed.recv().map_err(io::Error::other)?;
    say("- a client has asked; its answer takes a while");

    // Asks and returns at once. `Running::shutdown` asks and waits; it would wait for the answer that is owed below.
    running.stopper().shutdown(GRACE, Finish::Answer);
    say("- the server was told to shut down");
    say(format_args!("- a connection that had asked nothing: {}", what_comes(idle)?));
    say(format_args!("- a new connection: {}", knock(address)?));

    reply.send(Response::ok("worth the wait").content_type("text/plain"));
    say("- the answer is ready, and still arrives; it says that it is the last:");
    say(what_comes(asking)?.lines().map(|line| format!("    {line}\n")).collect::<String>().trim_end());

    let numbers = running.join()?;
    say(format_args!("- the server has ended: {} request, {} answer", numbers.messages_in, numbers.messages_out));
    Ok(())
}

/// A peer has sent records that nobody has read yet when the server is told to shut down.
fn read_out() -> io::Result<()> {
    say("Finish::ReadOut: what was sent is read");
    let running = Server::bind("127.0.0.1:0", LengthPrefixed::default())?
        .start(|_: Message<'_, LengthPrefixed>, reply: Reply<'_, LengthPrefixed>| reply.none())?;
    say(format_args!("listening on {}", running.local_addr()));
    let mut peer = TcpStream::connect(running.local_addr())?;
    peer.write_all(&b"\0\0\0\x06record".repeat(1000))?;
    peer.write_all(b"\0\0\0\x06rec")?;
    say("- a peer has sent 1000 records and half of one more");

    // The peer may not even be accepted yet, and it keeps its connection open; but nobody waits for it to say more.
    running.stopper().shutdown(GRACE, Finish::ReadOut);
    say(format_args!("- its connection: {}", what_comes(peer)?));
    let numbers = running.join()?;
    say(format_args!("- the server has ended: {} records were read", numbers.messages_in));
    Ok(())
}

/// All that the server still says on this connection, until it ends.
fn what_comes(mut peer: TcpStream) -> io::Result<String> {
    let mut text = String::new();
    peer.read_to_string(&mut text)?;
    Ok(if text.is_empty() { "closed".into() } else { text })
}

/// Connects until nobody listens any more: the two threads hear of the shutdown at the same time, and the accepter may
/// take a moment longer to close its door. Who gets in meanwhile is shown out.
fn knock(address: SocketAddr) -> io::Result<&'static str> {
    loop {
        match TcpStream::connect(address) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => return Ok("refused"),
            met => drop(met?),
        }
    }
}
