//! What can go wrong with a request, by kind.

use std::fmt;
use std::io;

/// One kind of trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trouble {
    /// No connection, and what the system says.
    Connect(&'static str),
    /// The server ended the connection while answers were missing.
    Closed,
    /// A read or a write failed.
    Socket(&'static str),
    /// No answer in time.
    TimedOut,
    /// Due, and not answered when the run was over.
    Unanswered,
    /// The server should have ended the connection behind its answer.
    NotClosed,
    /// The server ended a connection that was idle.
    IdleClosed,
    /// An answer that is no success.
    Status(u16),
    /// An answer that can't be read.
    Malformed(&'static str),
    /// An echo of another length than what was sent.
    EchoLength,
    /// An echo with other bytes than what was sent.
    EchoBytes,
    /// More answers than requests.
    Unasked,
}

impl Trouble {
    pub fn connect(error: &io::Error) -> Self {
        Self::Connect(name(error))
    }

    pub fn socket(error: &io::Error) -> Self {
        Self::Socket(name(error))
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(why) => write!(out, "no connection: {why}"),
            Self::Closed => write!(out, "closed before the answer"),
            Self::Socket(why) => write!(out, "connection broke: {why}"),
            Self::TimedOut => write!(out, "no answer in time"),
            Self::Unanswered => write!(out, "due but unanswered at the end"),
            Self::NotClosed => write!(out, "not closed behind the answer"),
            Self::IdleClosed => write!(out, "idle connection closed"),
            Self::Status(status) => write!(out, "status {status}"),
            Self::Malformed(what) => write!(out, "answer can't be read: {what}"),
            Self::EchoLength => write!(out, "echo of another length"),
            Self::EchoBytes => write!(out, "echo of other bytes"),
            Self::Unasked => write!(out, "answer nobody asked for"),
        }
    }
}

fn name(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "refused",
        io::ErrorKind::ConnectionReset => "reset",
        io::ErrorKind::ConnectionAborted => "aborted",
        io::ErrorKind::BrokenPipe => "broken pipe",
        io::ErrorKind::TimedOut => "timed out",
        io::ErrorKind::AddrNotAvailable => "no free local port",
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => "unreachable",
        _ => "other error",
    }
}
