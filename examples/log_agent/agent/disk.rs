//! The seam to the operating system: what the writers need of a disk. Tests put another one there, which fails on
//! purpose.

use std::fmt::Display;
use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice, Seek, SeekFrom, Write};
#[cfg(target_os = "linux")]
use std::num::NonZeroU64;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A directory on a disk.
pub trait Disk: Send + Sync {
    /// Makes a new file. One that is there already is an error.
    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>>;
    /// Replaces a small file as a whole.
    fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()>;
    /// Deletes a file.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Calls `each` with the name and the size of every file, in whatever order they are found.
    fn files(&self, each: &mut dyn FnMut(&str, u64)) -> io::Result<()>;
    /// Makes durable what a file has that nobody writes any more.
    fn sync(&self, name: &str) -> io::Result<()>;
    /// Makes durable which files there are.
    fn sync_names(&self) -> io::Result<()>;
    /// The most bytes that a file may have at this moment, as far as it is known (`ulimit -f`).
    fn file_most(&self) -> u64 {
        u64::MAX
    }
}

/// A file that is being written at its end.
pub trait DiskFile: Send {
    /// Writes some bytes from the front of `slices`, at least one; how many. After an error it is open what was
    /// written.
    fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize>;
    /// Tells the disk that it may begin with what was written there: the next sync then waits for less. Promises
    /// nothing.
    fn begin_writeback(&mut self, range: Range<u64>) {
        let _ = range;
    }
    /// Makes durable what was written. After an error it is open what is.
    fn sync(&mut self) -> io::Result<()>;
    /// Makes the file `length` bytes long; the next write goes there.
    fn cut(&mut self, length: u64) -> io::Result<()>;
    /// True if its name was removed: what is written is lost.
    fn is_deleted(&self) -> io::Result<bool>;
}

/// The real one.
#[derive(Debug, Clone)]
pub struct RealDisk {
    directory: PathBuf,
}

impl RealDisk {
    pub fn new(directory: &Path) -> Self {
        Self { directory: directory.to_owned() }
    }

    /// Makes a file, and the directory before it if an operator has removed that, too.
    fn make<T>(&self, make: impl Fn() -> io::Result<T>) -> io::Result<T> {
        match make() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                make_directory(&self.directory).and_then(|()| make())
            }
            done => done,
        }
    }

    fn explain<T>(&self, what: &str, name: &str, done: io::Result<T>) -> io::Result<T> {
        explain(what, self.directory.join(name).display(), done)
    }
}

impl Disk for RealDisk {
    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let file = self.make(|| OpenOptions::new().write(true).create_new(true).open(self.directory.join(name)));
        Ok(Box::new(RealFile(self.explain("make", name, file)?)))
    }

    fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let [path, new] = [name.to_owned(), format!("{name}.tmp")].map(|name| self.directory.join(name));
        let replace = || {
            let mut file = self.make(|| File::create(&new))?;
            file.write_all(bytes)?;
            file.sync_data()?;
            fs::rename(&new, &path)
        };
        self.explain("replace", name, replace())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.explain("delete", name, fs::remove_file(self.directory.join(name)))
    }

    fn files(&self, each: &mut dyn FnMut(&str, u64)) -> io::Result<()> {
        each_file(&self.directory, each)
    }

    fn sync(&self, name: &str) -> io::Result<()> {
        let sync = File::open(self.directory.join(name)).and_then(|file| file.sync_data());
        self.explain("sync", name, sync)
    }

    fn sync_names(&self) -> io::Result<()> {
        let sync = File::open(&self.directory).and_then(|directory| directory.sync_all());
        self.explain("sync", "", sync)
    }

    fn file_most(&self) -> u64 {
        // Asked each time: it can be changed from outside (prlimit). Who cannot say it has none.
        rlimit::getrlimit(rlimit::Resource::FSIZE).map_or(u64::MAX, |(soft, _)| soft)
    }
}

/// Makes a directory that is not there, and those before it, so that a crash of the machine takes none of them.
pub fn make_directory(directory: &Path) -> io::Result<()> {
    make_synced(directory, |parent| File::open(parent)?.sync_all())
}

fn make_synced(directory: &Path, mut sync: impl FnMut(&Path) -> io::Result<()>) -> io::Result<()> {
    let is_missing = |path: &&Path| !path.as_os_str().is_empty() && !path.exists();
    let missing: Vec<_> = directory.ancestors().take_while(is_missing).collect();
    fs::create_dir_all(directory)?;
    for made in missing {
        let parent = made.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        // It may be a directory that only its owner may read.
        if let Err(error) = sync(parent) {
            log::warn!("a crash of the machine may take {}, which is new: {error}", made.display());
        }
    }
    Ok(())
}

/// Calls `each` with the name and the size of every file of `directory`.
pub fn each_file(directory: &Path, each: &mut dyn FnMut(&str, u64)) -> io::Result<()> {
    for file in fs::read_dir(directory)? {
        let file = file?;
        if let Some(name) = file.file_name().to_str() {
            // It may be deleted while it is looked at.
            each(name, file.metadata().map_or(0, |metadata| metadata.len()));
        }
    }
    Ok(())
}

struct RealFile(File);

impl DiskFile for RealFile {
    fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.write_vectored(slices)
    }

    /// Linux begins to write what it is told that nobody needs in memory any more (posix_fadvise(2)). It may also
    /// forget pages that are on disk already, which nobody misses: segments are read later, if at all.
    #[cfg(target_os = "linux")]
    fn begin_writeback(&mut self, range: Range<u64>) {
        let length = NonZeroU64::new(range.end - range.start);
        // No more than advice: what it fails to do, the sync does.
        let _ = rustix::fs::fadvise(&self.0, range.start, length, rustix::fs::Advice::DontNeed);
    }

    fn sync(&mut self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn cut(&mut self, length: u64) -> io::Result<()> {
        self.0.set_len(length)?;
        self.0.seek(SeekFrom::Start(length)).map(drop)
    }

    fn is_deleted(&self) -> io::Result<bool> {
        Ok(self.0.metadata()?.nlink() == 0)
    }
}

/// A file of any disk that says in each error what has failed, and where.
pub struct NamedFile {
    file: Box<dyn DiskFile>,
    name: String,
}

impl NamedFile {
    /// Makes a new one.
    pub fn create(disk: &dyn Disk, name: String) -> io::Result<Self> {
        Ok(Self { file: disk.create(&name)?, name })
    }

    /// Writes all of `slices`, however many times it takes.
    pub fn write_all(&mut self, mut slices: &mut [IoSlice<'_>]) -> io::Result<()> {
        IoSlice::advance_slices(&mut slices, 0);
        while !slices.is_empty() {
            match self.file.write(slices) {
                Ok(0) => return self.explain("write", Err(io::ErrorKind::WriteZero.into())),
                Ok(count) => IoSlice::advance_slices(&mut slices, count),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return self.explain("write", Err(error)),
            }
        }
        Ok(())
    }

    pub fn begin_writeback(&mut self, range: Range<u64>) {
        self.file.begin_writeback(range);
    }

    pub fn sync(&mut self) -> io::Result<()> {
        let done = self.file.sync();
        self.explain("sync", done)
    }

    pub fn cut(&mut self, length: u64) -> io::Result<()> {
        let done = self.file.cut(length);
        self.explain("cut", done)
    }

    pub fn is_deleted(&self) -> io::Result<bool> {
        self.explain("look at", self.file.is_deleted())
    }

    fn explain<T>(&self, what: &str, done: io::Result<T>) -> io::Result<T> {
        explain(what, &self.name, done)
    }
}

/// The kind of an error stays: it decides what is done about it.
fn explain<T>(what: &str, name: impl Display, done: io::Result<T>) -> io::Result<T> {
    done.map_err(|error| io::Error::new(error.kind(), format!("cannot {what} {name}: {error}")))
}

/// True if this error says that a file would be larger than one may be here, and not that something is broken.
pub fn is_too_large(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::FileTooLarge
}

/// True if this error says that there is no space, and not that something is broken.
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_directory_is_new_its_name_is_made_durable() {
        let there = std::env::temp_dir();
        let [one, two, three] = [1, 2, 3].map(|levels| {
            let name = format!("log-agent-new-{}", std::process::id());
            (1..levels).fold(there.join(name), |path, level| path.join(level.to_string()))
        });
        let synced = |path: &Path| {
            let mut synced = Vec::new();
            make_synced(path, |parent| {
                synced.push(parent.to_owned());
                Err(io::Error::other("it must not be read"))
            })
            .expect("it is made all the same");
            assert!(path.is_dir());
            synced
        };
        assert_eq!(synced(&two), [one.clone(), there]);
        assert_eq!(synced(&three), vec![two]);
        assert_eq!(synced(&three), Vec::<PathBuf>::new());
        fs::remove_dir_all(one).expect("removed");
    }
}
