//! Finished segments, packed: on a thread of its own, one at a time, oldest first.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{self, JoinHandle};

use sluicegate::flow::{Queue, Taken};

use super::directory::Directory;
use super::disk::{is_full, is_too_large};
use super::plan::Packer;
use super::recovery::is_marked;
use crate::store::listing::Listed;
use crate::store::name::Packing;

/// What packing takes, in bytes: a stack, buffers, and what zstd needs at its usual level.
pub const MEMORY: u64 = 12 << 20;
const STACK: usize = 512 << 10;
const CHUNK: usize = 64 << 10;
/// What is unpacked looks back this far at most: 8 MiB.
const WINDOW_LOG_MAX: u32 = 23;
/// What it writes has this behind its name until it is whole.
pub const UNFINISHED: &str = ".tmp";

/// Packs what is finished.
pub struct Compressor {
    thread: JoinHandle<()>,
    bell: Arc<Queue<()>>,
    stop: Arc<AtomicBool>,
}

impl Compressor {
    pub fn start(directory: Arc<Directory>, packer: Packer) -> io::Result<Self> {
        let bell = directory.bell();
        let rings = Arc::clone(&bell);
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let work = move || {
            let mut unpackable = Unpackable::default();
            loop {
                pack_all(&directory, packer, &stopped, &mut unpackable);
                if rings.take(None) == Taken::Closed {
                    return;
                }
            }
        };
        let thread = thread::Builder::new().name("compressor".into()).stack_size(STACK).spawn(work)?;
        Ok(Self { thread, bell, stop })
    }

    /// Leaves what is not packed for the next start. Does not wait until it has noticed that.
    pub fn begin_stop(&self) {
        self.stop.store(true, Relaxed);
        self.bell.close();
    }

    /// The same, and waits until it has ended.
    pub fn stop(self) {
        self.begin_stop();
        if self.thread.join().is_err() {
            log::error!("the compressor has panicked");
        }
    }
}

/// Segments that could not be packed. They stay as they are until the next start: tried again and again, they would
/// keep all behind them from being packed. And after a failed sync the next may succeed without what it was to make
/// durable.
#[derive(Default)]
struct Unpackable {
    numbers: BTreeSet<u64>,
    /// All with smaller numbers are left alone, too.
    from: u64,
}

impl Unpackable {
    /// Numbers that are remembered. Of more, the smallest stands for all before it: a segment that has been written
    /// while so many others could not be packed waits for the next start.
    const MOST: usize = 1024;

    fn add(&mut self, number: u64) {
        self.numbers.insert(number);
        if self.numbers.len() > Self::MOST
            && let Some(smallest) = self.numbers.pop_first()
        {
            self.from = self.from.max(smallest.saturating_add(1));
        }
    }

    fn has(&self, number: u64) -> bool {
        number < self.from || self.numbers.contains(&number)
    }
}

fn pack_all(directory: &Directory, packer: Packer, stop: &AtomicBool, unpackable: &mut Unpackable) {
    while !stop.load(Relaxed) {
        let oldest = directory.oldest_finished(|segment| {
            let is_next = segment.packing == Packing::Plain && !unpackable.has(segment.name.number);
            // Another is left for the next start, which sets it right, but only as long as it is not packed.
            is_next && is_marked(&directory.path, segment.name).unwrap_or(false)
        });
        let oldest = match oldest {
            Ok(Some(oldest)) => oldest,
            Ok(None) => return,
            Err(error) => return log::error!("cannot look for segments to pack: {error}"),
        };
        match pack(directory, oldest, packer, stop) {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) if is_too_large(&error) => {
                unpackable.add(oldest.name.number);
                let most = directory.disk.file_most();
                log::warn!(
                    "{} stays unpacked until the next start: packed, it is larger than the {most} bytes that a file may have \
                     here (ulimit -f)",
                    oldest.name
                );
            }
            // That is about all of them: the next finished segment is reason enough to try again.
            Err(error) if is_full(&error) => return log::error!("{} is not packed: {error}", oldest.name),
            Err(error) => {
                unpackable.add(oldest.name.number);
                log::error!("{} stays unpacked until the next start: {error}", oldest.name);
            }
        }
    }
}

fn has_index(directory: &Directory, segment: Listed) -> bool {
    directory.path.join(segment.name.index()).exists()
}

/// Packs one segment; false if it was stopped before the end. Whatever happens, one whole copy of it is there, unless
/// it is deleted meanwhile: then nothing is packed, and the next may be.
pub fn pack(directory: &Directory, segment: Listed, packer: Packer, stop: &AtomicBool) -> io::Result<bool> {
    let packing = match packer {
        Packer::Gzip => Packing::Gzip,
        Packer::Zstd => Packing::Zstd,
    };
    let [plain, packed] = [segment.name.data(Packing::Plain), segment.name.data(packing)];
    let [plain, packed] = [plain, packed].map(|name| directory.path.join(name));
    let new = packed.with_file_name(format!("{}{UNFINISHED}", segment.name.data(packing)));
    let from = match File::open(&plain) {
        // A name that is still there would be found again and again.
        Err(error) if error.kind() == io::ErrorKind::NotFound && fs::symlink_metadata(&plain).is_err() => {
            log::debug!("{} was deleted before it was packed", segment.name);
            return Ok(true);
        }
        opened => opened?,
    };
    let done = write_packed(directory, segment, from, &new, packer, stop).and_then(|whole| {
        if whole { take_over(directory, segment, [&plain, &new, &packed]).map(|()| true) } else { Ok(false) }
    });
    // Unless it has got its name. It would take room until the next start.
    let _ = fs::remove_file(&new);
    done
}

/// Packs a segment into a new file, and makes that durable; false if it was stopped before the end.
fn write_packed(
    directory: &Directory,
    segment: Listed,
    from: File,
    new: &Path,
    packer: Packer,
    stop: &AtomicBool,
) -> io::Result<bool> {
    let to = BufWriter::with_capacity(CHUNK, File::create(new)?);
    let (whole, to) = match packer {
        Packer::Gzip => {
            let mut to = flate2::write::GzEncoder::new(to, flate2::Compression::default());
            (copy(from, &mut to, stop)?, to.finish()?)
        }
        Packer::Zstd => {
            let mut to = zstd::Encoder::new(to, 0)?;
            (copy(from, &mut to, stop)?, to.finish()?)
        }
    };
    if !whole {
        return Ok(false);
    }
    let file = to.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.sync_all()?;
    // The mark at its end is newer than its last sync, and nobody sets a packed segment right.
    match directory.disk.sync(&segment.name.index()) {
        // It was deleted meanwhile, which is looked at before the packed one gets its name.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        synced => synced?,
    }
    Ok(true)
}

/// Gives the packed file its name, and deletes the plain one.
fn take_over(directory: &Directory, segment: Listed, [plain, new, packed]: [&Path; 3]) -> io::Result<()> {
    let packed_bytes = fs::metadata(new)?.len();
    let plain_bytes = fs::metadata(plain).map_or(0, |metadata| metadata.len());
    let _deleting = directory.deletes();
    if !plain.exists() || !has_index(directory, segment) {
        // It was deleted to make room meanwhile, and does not come back.
        return Ok(());
    }
    // By a try that ended right behind this.
    let replaced = fs::symlink_metadata(packed).map_or(0, |metadata| metadata.len());
    fs::rename(new, packed)?;
    directory.space.give_back(replaced);
    directory.space.add(packed_bytes);
    remove_plain(directory, plain)?;
    directory.numbers.segments_compressed.add(1);
    log::debug!("{}: packed, {plain_bytes} bytes became {packed_bytes}", segment.name);
    Ok(())
}

/// Only when the packed one has its name for good; recovery knows what both together mean.
fn remove_plain(directory: &Directory, plain: &Path) -> io::Result<()> {
    directory.disk.sync_names()?;
    // Of the name itself, as it was counted: it may be a link.
    let counted = fs::symlink_metadata(plain)?.len();
    fs::remove_file(plain)?;
    directory.space.give_back(counted);
    Ok(())
}

/// What a segment has, packed or not.
pub fn unpack(data: &Path, packing: Packing) -> io::Result<Box<dyn Read>> {
    let packed = BufReader::with_capacity(CHUNK, File::open(data)?);
    Ok(match packing {
        Packing::Plain => Box::new(packed),
        Packing::Gzip => Box::new(BufReader::new(flate2::read::GzDecoder::new(packed))),
        Packing::Zstd => {
            let mut decoder = zstd::Decoder::with_buffer(packed)?;
            // More than is packed with here. Whatever lies there, it does not get more memory.
            decoder.window_log_max(WINDOW_LOG_MAX)?;
            Box::new(BufReader::new(decoder))
        }
    })
}

/// Copies everything; false if it was stopped before the end.
fn copy(from: File, to: &mut impl Write, stop: &AtomicBool) -> io::Result<bool> {
    let mut from = BufReader::with_capacity(CHUNK, from);
    let mut chunk = vec![0; CHUNK];
    loop {
        if stop.load(Relaxed) {
            return Ok(false);
        }
        match from.read(&mut chunk)? {
            0 => return Ok(true),
            count => to.write_all(&chunk[..count])?,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_packed_is_remembered_within_bounds() {
        let mut unpackable = Unpackable::default();
        assert!(!unpackable.has(1));
        let most = Unpackable::MOST as u64;
        (1..=most).for_each(|number| unpackable.add(number * 2));
        assert!(unpackable.has(2) && unpackable.has(2 * most) && !unpackable.has(1) && !unpackable.has(3));
        // The last that comes is the smallest of all.
        unpackable.add(1);
        assert!(unpackable.has(1) && unpackable.has(2) && !unpackable.has(3));
        unpackable.add(u64::MAX);
        assert!(unpackable.has(2) && !unpackable.has(3) && unpackable.has(4) && unpackable.has(u64::MAX));
        assert_eq!(unpackable.numbers.len(), Unpackable::MOST);
    }
}
