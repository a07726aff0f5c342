//! A protocol of your own: lines that end in LF, written against the public traits alone.
//!
//! ```text
//! cargo run --example custom_protocol
//! nc 127.0.0.1 9002      # and type PING, ECHO some words, QUIT
//! ```
//!
//! A protocol knows no socket and no thread. It cuts messages out of bytes (`Protocol::decode`) and writes answers into
//! bytes (`Encode::encode`); where the bytes come from and go to is the server's concern. That makes it easy to test:
//! call `decode` with any bytes, and `encode` with an `Outbound::detached()`.

mod common;
#[path = "common/signals.rs"]
mod signals;

use std::io;
use std::process::ExitCode;

use clap::Parser;
use sluicegate::{
    After, Decode, Encode, EncodeError, Message, Outbound, Protocol, ProtocolError, Refusal, Reply, Server,
};

/// The longest line, its LF included.
const LINE_MAX: usize = 8 * 1024;

/// Answers lines: PING, ECHO <text>, QUIT.
#[derive(Parser)]
#[command(name = "custom_protocol", version, after_help = signals::HELP)]
struct Args {
    /// Where to listen; port 0 takes any free one
    #[arg(default_value = "127.0.0.1:9002")]
    addr: String,
}

/// The protocol; each connection has a clone of its own. So what lies in it is the state between two calls of `decode`.
#[derive(Debug, Clone, Default)]
struct Lines {
    /// How far the unfinished line was searched for its end. Without this, a peer that sends a line byte by byte would
    /// have it searched 8,192 times.
    searched: usize,
}

/// Where the text lies in the bytes of its message: from their front to here. A number and no slice, because the bytes
/// can move, to another block or to another thread.
struct Line {
    text_end: usize,
}

impl Protocol for Lines {
    type Layout = Line;
    /// What an answer has to know of its question: nothing.
    type Exchange = ();
    /// A client tells answers apart by their order alone, so they have to keep it.
    const IN_ORDER: bool = true;

    /// The server compares this with its blocks at start: a message that is accepted always finds room.
    fn message_max(&self) -> usize {
        LINE_MAX
    }

    /// `bytes` are all that have arrived and that no line has taken yet. It must not matter how they were cut into
    /// pieces on their way: a line that is too long is too long whether its end is already here or not.
    fn decode(&mut self, bytes: &mut [u8]) -> Result<Decode<Line>, ProtocolError> {
        let within = &bytes[..bytes.len().min(LINE_MAX)];
        let Some(found) = within[self.searched..].iter().position(|&byte| byte == b'\n') else {
            if within.len() == LINE_MAX {
                return Err(ProtocolError::new(format!("line is over the maximum of {LINE_MAX} bytes")));
            }
            self.searched = within.len();
            // How long the line will be is unknown. All of its bytes are needed still.
            return Ok(Decode::Partial { needs: None, keep: bytes.len() });
        };
        let line_end = self.searched + found;
        self.searched = 0;
        let text_end = if bytes[..line_end].ends_with(b"\r") { line_end - 1 } else { line_end };
        Ok(Decode::Complete { consumed: line_end + 1, layout: Line { text_end } })
    }

    fn exchange(_: &Line) {}

    /// The server's own last words, in a form that clients of this protocol understand.
    fn refuse(&self, why: &Refusal, out: &mut Outbound) {
        out.put_static(match why {
            Refusal::Protocol(_) => b"ERROR the line is too long\n",
            Refusal::TooSlow => b"ERROR the line took too long\n",
            _ => b"ERROR no answer\n",
        });
    }
}

/// All that can be said in this protocol. Text that a peer has sent has no LF in it, so an answer is always one line.
enum Answer<'a> {
    Line(&'a [u8]),
    /// The last line; the connection ends once it was delivered.
    Bye,
}

/// A protocol can have several kinds of answers: one `Encode` for each.
impl Encode<Answer<'_>> for Lines {
    /// No error handling: `out` remembers what found no room, and the server takes the whole answer back.
    fn encode((): (), answer: Answer<'_>, out: &mut Outbound) -> Result<After, EncodeError> {
        let (text, after) = match answer {
            Answer::Line(text) => (text, After::KeepOpen),
            Answer::Bye => (b"BYE".as_slice(), After::Close),
        };
        out.put(text);
        out.put(b"\n");
        Ok(after)
    }
}

fn process(message: Message<'_, Lines>, reply: Reply<'_, Lines>) {
    let text = &message.bytes()[..message.layout().text_end];
    reply.send(match text {
        b"PING" => Answer::Line(b"PONG"),
        b"QUIT" => Answer::Bye,
        _ => Answer::Line(text.strip_prefix(b"ECHO ").unwrap_or(b"ERROR expected PING, ECHO <text> or QUIT")),
    });
}

fn main() -> ExitCode {
    let Args { addr } = Args::parse();
    common::run("info", || signals::serve_until_signal(bind(&addr)?, signals::GRACE))
}

fn bind(addr: &str) -> io::Result<sluicegate::Running<Lines>> {
    Server::bind(addr, Lines::default())?.start(process)
}
