//! Records onto stdout.

use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::thread;

use crate::follow::Follower;
use crate::look::{LOOK, Look};
use crate::store::index::Origin;
use crate::store::listing::segments;
use crate::store::name::Kind;

/// Which records are wanted.
pub struct Filter {
    pub since: Option<u64>,
    pub until: Option<u64>,
    pub connection: Option<Connection>,
}

/// A connection: by its serial number, of any start of the agent, or of one.
#[derive(Debug, Clone, Copy)]
pub struct Connection {
    start: Option<u32>,
    serial: u64,
}

impl Filter {
    pub fn wants(&self, origin: &Origin) -> bool {
        let seconds = origin.received_micros / 1_000_000;
        self.since.is_none_or(|since| seconds >= since)
            && self.until.is_none_or(|until| seconds < until)
            && self.connection.is_none_or(|connection| connection.is_that_of(origin))
    }
}

impl Connection {
    /// Reads `7`, or `12.7` for the seventh since the start that began with segment 12.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (start, serial) = match text.split_once('.') {
            Some((start, serial)) => (Some(start), serial),
            None => (None, text),
        };
        let wrong =
            |_| format!("expected a number such as 7, or 12.7 for the start that began with segment 12: {text}");
        let start = start.map(str::parse).transpose().map_err(wrong)?;
        Ok(Self { start, serial: serial.parse().map_err(wrong)? })
    }

    fn is_that_of(self, origin: &Origin) -> bool {
        self.serial == origin.connection && self.start.is_none_or(|start| start == origin.start)
    }
}

/// What is wrong in all segments together.
#[derive(Debug, Default)]
pub struct Faults {
    pub damaged: u64,
    /// Segments that are not as they should be as a whole.
    pub segments: u64,
}

impl Faults {
    /// Counts what is wrong with a segment.
    pub fn count(&mut self, look: &Look) {
        self.damaged += look.damaged;
        self.segments += u64::from(look.fault.is_some());
    }

    /// An error if anything was wrong.
    pub fn result(&self) -> io::Result<()> {
        let Self { damaged, segments } = self;
        match (damaged, segments) {
            (0, 0) => Ok(()),
            (_, 0) => Err(io::Error::other(format!("{damaged} records are not those that were received"))),
            _ => Err(io::Error::other(format!(
                "{damaged} records are not those that were received, or missing; {segments} segments are at fault"
            ))),
        }
    }

    /// Counts what is wrong with a segment, and says it.
    pub fn tell(&mut self, look: &Look) {
        self.count(look);
        let (name, damaged) = (look.name(), look.damaged);
        match &look.fault {
            Some(fault) => log::warn!("{name}: {fault}; {damaged} records of it are damaged or missing"),
            None if damaged > 0 => log::warn!("{name}: {damaged} records are damaged"),
            None => {}
        }
    }
}

/// Prints what is there of one kind; with `follow` also what comes.
pub fn cat(directory: &Path, kind: Kind, filter: &Filter, follow: bool) -> io::Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    let printed =
        if follow { print_on(directory, kind, filter, &mut out) } else { print_all(directory, kind, filter, &mut out) };
    match printed {
        // Whoever reads has enough: `| head`.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        printed => printed,
    }
}

/// Not a fault: nothing may have been received yet. But it may be the wrong directory, too.
pub fn say_empty(directory: &Path) {
    log::warn!("{} has no segments of log_agent's", directory.display());
}

fn print_all(directory: &Path, kind: Kind, filter: &Filter, out: &mut impl Write) -> io::Result<()> {
    let mut faults = Faults::default();
    let segments = segments(directory, kind)?;
    if segments.is_empty() {
        say_empty(directory);
    }
    for segment in segments {
        let Some(mut look) = Look::open(directory, segment) else { continue };
        if !print(&mut look, filter, out)? {
            look.end_for_good(directory);
        }
        // What is said about it comes behind what was printed of it.
        out.flush()?;
        faults.tell(&look);
    }
    faults.result()
}

fn print_on(directory: &Path, kind: Kind, filter: &Filter, out: &mut impl Write) -> io::Result<()> {
    let mut follower = Follower::default();
    loop {
        follower.look(directory, kind, filter, out)?;
        thread::sleep(LOOK);
    }
}

/// Prints what can be read of a segment; true if nothing more will come.
pub fn print(look: &mut Look, filter: &Filter, out: &mut impl Write) -> io::Result<bool> {
    look.read(|entry, payload, _| {
        if !filter.wants(&entry.origin) {
            return Ok(());
        }
        out.write_all(payload)?;
        match payload.last() {
            Some(b'\n') => Ok(()),
            _ => out.write_all(b"\n"),
        }
    })
}
