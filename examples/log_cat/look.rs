//! One segment, read to its end, and what is wrong with it.
//!
//! A bad segment costs its own records and no others: what can't be read is counted, and said with its name.
//!
//! After a failed append the agent cuts both files and writes on, with other runs than before. A reader that had read
//! what was cut off then finds something else in the middle of what it goes on with. So before anything is called
//! damaged, the segment is opened once more, and what was seen of it is passed over.

use std::env;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process;
use std::thread;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};

use crate::store::LOCK_FILE;
use crate::store::index::Entry;
use crate::store::listing::Listed;
use crate::store::name::Packing;
use crate::store::reader::{End, SegmentReader, Step};

/// Between two looks at what changes.
pub const LOOK: Duration = Duration::from_millis(100);

/// What is said of a segment that was read without its index. It stays a fault: nothing says whether those are the
/// records that were received.
const BY_LINES: &str =
    "its index is missing: its lines were read as records, as the next log_agent that starts here does";

/// A segment that is being read.
pub struct Look {
    directory: PathBuf,
    segment: Listed,
    /// `None` if it could not be opened.
    reader: Option<SegmentReader>,
    /// Its index was made to read it, and lies nowhere.
    by_lines: bool,
    /// Steps of the readers so far: records that were handed over, and damaged entries that were counted.
    seen: u64,
    /// Those of them that this reader has not come to yet.
    to_pass: u64,
    /// Where the last record ends that this reader has come to.
    line_end: u64,
    /// Records that are not those that were received, and those that are known to be missing.
    pub damaged: u64,
    /// What is wrong with the segment as a whole.
    pub fault: Option<String>,
    pub finished: bool,
}

impl Look {
    /// Opens a segment. `None` if it was deleted since it was listed, or has nothing in it yet.
    pub fn open(directory: &Path, segment: Listed) -> Option<Self> {
        let open = || SegmentReader::open(directory, segment);
        let is_gone = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
        let opened = open().or_else(|error| {
            if is_gone(&error) {
                return Err(error);
            }
            // One that is deleted while it is being packed is there for a moment without its index.
            thread::sleep(LOOK);
            open()
        });
        let (reader, fault) = match opened {
            Ok(reader) => (Some(reader), None),
            Err(error) if is_gone(&error) => return None,
            Err(_) if has_no_index(directory, segment) && !agent_runs(directory) => {
                match scratch().and_then(|scratch| SegmentReader::open_by_lines(directory, segment, scratch)) {
                    Ok(reader) => (Some(reader), Some(BY_LINES.to_owned())),
                    Err(error) => {
                        (None, Some(format!("its index is missing, and it can't be read without one: {error}")))
                    }
                }
            }
            Err(error) => (None, Some(error.to_string())),
        };
        let by_lines = fault.as_deref() == Some(BY_LINES);
        let (directory, damaged, finished) = (directory.to_owned(), 0, false);
        let (seen, to_pass, line_end) = (0, 0, 0);
        Some(Self { directory, segment, reader, by_lines, seen, to_pass, line_end, damaged, fault, finished })
    }

    /// The name of its file.
    pub fn name(&self) -> String {
        let packing = self.reader.as_ref().map_or(self.segment.packing, SegmentReader::packing);
        self.segment.name.data(packing)
    }

    /// Hands what can be read to `each`; true if nothing more will come. An error is one of `each`.
    pub fn read(&mut self, mut each: impl FnMut(&Entry, &[u8], bool) -> io::Result<()>) -> io::Result<bool> {
        // Once: what is found again then is so, and no segment is read again and again because it is damaged.
        let mut looks_again = !self.by_lines;
        loop {
            let Some(reader) = &mut self.reader else { return Ok(true) };
            // A packed one does not grow, nor is it cut.
            let grows = reader.packing() == Packing::Plain;
            let step = reader.step();
            let is_seen = self.to_pass > 0 && matches!(step, Ok(Step::Record { .. } | Step::Damaged { .. }));
            if looks_again && grows && !is_seen && is_doubtful(&step, self.line_end) {
                looks_again = false;
                // If it can't be opened, it is gone, and what was opened before is all there is.
                if let Ok(again) = SegmentReader::open(&self.directory, self.segment) {
                    self.go_on_with(again);
                    continue;
                }
            }
            match step {
                Ok(Step::Record { entry, .. }) if is_seen => {
                    self.line_end = entry.line_end();
                    self.to_pass -= 1;
                }
                Ok(Step::Damaged { .. }) if is_seen => self.to_pass -= 1,
                Ok(Step::Record { entry, payload, intact }) => {
                    self.damaged += u64::from(!intact);
                    self.line_end = entry.line_end();
                    self.seen += 1;
                    each(&entry, payload, intact)?;
                }
                Ok(Step::Damaged { records }) => {
                    self.damaged += records;
                    self.seen += 1;
                }
                Ok(Step::NoMore) if grows => {
                    // What is written next would lie before the place where this reader goes on.
                    if !looks_again || !reader.was_cut() {
                        return Ok(false);
                    }
                    looks_again = false;
                    let Ok(again) = SegmentReader::open(&self.directory, self.segment) else { return Ok(false) };
                    self.go_on_with(again);
                }
                Ok(Step::NoMore | Step::Finished) => {
                    self.end();
                    return Ok(true);
                }
                Err(error) => {
                    self.damaged += reader.lost();
                    self.add_fault(&error.to_string());
                    return Ok(true);
                }
            }
        }
    }

    /// Reads on with another reader, which passes over what was seen.
    fn go_on_with(&mut self, reader: SegmentReader) {
        self.reader = Some(reader);
        (self.to_pass, self.line_end) = (self.seen, 0);
    }

    /// Looks at how the segment ends, of which nothing more is read.
    pub fn end(&mut self) {
        let Some(reader) = &mut self.reader else { return };
        match reader.end() {
            Ok(End::Whole) => self.finished = true,
            Ok(End::Open) => {}
            Ok(End::Fault { what, records }) => {
                self.damaged += records;
                self.add_fault(what);
            }
            Err(error) => {
                self.damaged += reader.lost();
                self.add_fault(&error.to_string());
            }
        }
    }

    fn add_fault(&mut self, what: &str) {
        let before = self.fault.take().map_or(String::new(), |before| before + "; ");
        self.fault = Some(before + what);
    }

    /// The same for one that is not read on: only an agent that runs has segments that are not finished.
    pub fn end_for_good(&mut self, directory: &Path) {
        self.end();
        if self.finished || self.fault.is_some() || agent_runs(directory) {
            return;
        }
        // The agent may have finished it before it ended. Then it is not asked for more than that.
        let Some(mut again) = Self::open(directory, self.segment) else { return };
        if !matches!(again.read(|_, _, _| Ok(())), Ok(true)) {
            self.fault = Some("it was not finished, and no log_agent runs here: the next one recovers it".to_owned());
        }
    }
}

/// True if what a reader has come to may be no more than what was cut off meanwhile: also a record that lies before the
/// end of the one before it.
fn is_doubtful(step: &io::Result<Step<'_>>, line_end: u64) -> bool {
    match step {
        Ok(Step::Record { entry, intact, .. }) => !intact || u64::from(entry.offset) < line_end,
        Ok(Step::Damaged { .. }) => true,
        Ok(Step::NoMore | Step::Finished) | Err(_) => false,
    }
}

fn has_no_index(directory: &Path, segment: Listed) -> bool {
    segment.packing == Packing::Plain && !directory.join(segment.name.index()).exists()
}

/// A file without a name, and elsewhere: the directory is somebody else's, and an index may be large.
fn scratch() -> io::Result<File> {
    let path = env::temp_dir().join(format!("log_cat-{}.idx", process::id()));
    let explain = |error: io::Error| io::Error::new(error.kind(), format!("cannot make {}: {error}", path.display()));
    let file = File::options().read(true).write(true).create_new(true).open(&path).map_err(explain)?;
    fs::remove_file(&path).map_err(explain)?;
    Ok(file)
}

/// True unless it is certain that no agent writes to this directory.
fn agent_runs(directory: &Path) -> bool {
    match File::open(directory.join(LOCK_FILE)) {
        // Closing it gives the lock back.
        Ok(file) => flock(&file, FlockOperation::NonBlockingLockShared).is_err(),
        Err(error) => error.kind() != io::ErrorKind::NotFound,
    }
}
