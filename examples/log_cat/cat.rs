//! Records onto stdout.

use std::collections::BTreeMap;
use std::io::{self, BufWriter, StdoutLock, Write};
use std::path::Path;
use std::thread;
use std::time::Duration;

use crate::store::index::Origin;
use crate::store::listing::segments;
use crate::store::name::Kind;
use crate::store::reader::{SegmentReader, Step};

/// Between two looks for more.
const LOOK: Duration = Duration::from_millis(100);

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

/// Prints what is there; with `follow` also what comes.
pub fn cat(directory: &Path, filter: &Filter, follow: bool) -> io::Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    let printed = print_all(directory, filter, follow, &mut out).and_then(|damaged| out.flush().map(|()| damaged));
    match printed {
        Ok(0) => Ok(()),
        Ok(damaged) => Err(io::Error::other(format!("{damaged} records are damaged; --verify says where"))),
        // Whoever reads has enough: `| head`.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(error),
    }
}

fn print_all(directory: &Path, filter: &Filter, follow: bool, out: &mut BufWriter<StdoutLock<'_>>) -> io::Result<u64> {
    let mut damaged = 0;
    let mut seen = 0;
    // Those that are being written, by number.
    let mut growing: BTreeMap<u64, SegmentReader> = BTreeMap::new();
    loop {
        let known = seen;
        for segment in segments(directory, Kind::Log)?.into_iter().filter(|segment| segment.name.number > known) {
            match SegmentReader::open(directory, segment) {
                Ok(reader) => drop(growing.insert(segment.name.number, reader)),
                // Deleted or packed since it was listed; a packed one is found by the next look.
                Err(error) if error.kind() == io::ErrorKind::NotFound && follow => break,
                Err(error) => return Err(error),
            }
            let reader = growing.get_mut(&segment.name.number).into_iter();
            let ended =
                reader.map(|reader| print(reader, filter, out, &mut damaged)).collect::<io::Result<Vec<_>>>()?;
            if !follow || ended.contains(&true) {
                growing.remove(&segment.name.number);
            }
            seen = segment.name.number;
        }
        if !follow {
            return Ok(damaged);
        }
        let mut ended = Vec::new();
        for (number, reader) in &mut growing {
            if print(reader, filter, out, &mut damaged)? {
                ended.push(*number);
            }
        }
        ended.iter().for_each(|number| drop(growing.remove(number)));
        out.flush()?;
        thread::sleep(LOOK);
    }
}

/// Prints what can be read of a segment; true if it was finished.
fn print(reader: &mut SegmentReader, filter: &Filter, out: &mut impl Write, damaged: &mut u64) -> io::Result<bool> {
    loop {
        match reader.step()? {
            Step::Record { entry, payload, intact } => {
                *damaged += u64::from(!intact);
                if filter.wants(&entry.origin) {
                    out.write_all(payload)?;
                    if payload.last() != Some(&b'\n') {
                        out.write_all(b"\n")?;
                    }
                }
            }
            Step::Damaged { records } => *damaged += records,
            Step::NoMore => return Ok(false),
            Step::Finished => return Ok(true),
        }
    }
}
