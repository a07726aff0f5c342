//! Proves that records are in a directory: each once, in order, byte for byte.

use std::io;
use std::path::Path;

use crate::record::Name;
use crate::store::listing::segments;
use crate::store::name::Kind;
use crate::store::reader::{SegmentReader, Step};

/// What was found of one run, by thread: its records from the first on, without a gap.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Found {
    pub records: Vec<u64>,
    /// What is wrong, the first few of it.
    pub faults: Vec<String>,
    pub faults_total: u64,
}

impl Found {
    fn fault(&mut self, what: impl FnOnce() -> String) {
        self.faults_total += 1;
        if self.faults.len() < 10 {
            self.faults.push(what());
        }
    }
}

/// Looks for all records of `run`, which `threads` threads have sent with sizes of `sizes`.
pub fn look(directory: &Path, run: u32, threads: u16, sizes: (u32, u32)) -> io::Result<Found> {
    let mut found = Found { records: vec![0; usize::from(threads)], ..Found::default() };
    let mut expected = Vec::new();
    // An agent with --json sets aside what is no JSON, and none of these is.
    let [good, bad] = [segments(directory, Kind::Log)?, segments(directory, Kind::Bad)?];
    for segment in good.into_iter().chain(bad) {
        let mut reader = match SegmentReader::open(directory, segment) {
            Ok(reader) => reader,
            // It was deleted, or is being made: what was in it is missing, or still comes.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => {
                found.fault(|| format!("{}: {error}", segment.name));
                continue;
            }
        };
        loop {
            let (payload, intact) = match reader.step() {
                Ok(Step::Record { payload, intact, .. }) => (payload, intact),
                Ok(Step::Damaged { .. }) => {
                    found.fault(|| format!("{}: its index is damaged", segment.name));
                    continue;
                }
                Ok(Step::NoMore | Step::Finished) => break,
                Err(error) => {
                    found.fault(|| format!("{}: {error}", segment.name));
                    break;
                }
            };
            if !intact {
                found.fault(|| format!("{}: a record does not agree with its checksum", segment.name));
            }
            let Some(name) = Name::parse(payload).filter(|name| name.run == run) else { continue };
            expected.clear();
            name.write(name.size(sizes), &mut expected);
            if payload != expected {
                found.fault(|| format!("{}: {name:?} is not what was sent", segment.name));
            }
            let Some(next) = found.records.get_mut(usize::from(name.thread)) else {
                found.fault(|| format!("{}: {name:?}: there was no such thread", segment.name));
                continue;
            };
            let awaited = std::mem::replace(next, name.number + 1);
            if name.number != awaited {
                found.fault(|| format!("{}: {name:?}, where number {awaited} should be", segment.name));
            }
        }
    }
    Ok(found)
}
