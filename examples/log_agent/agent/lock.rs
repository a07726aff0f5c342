//! The lock on a directory: two agents in one would recover each other's segments.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use rustix::fs::{FlockOperation, flock};

use super::disk::make_directory;
use crate::store::LOCK_FILE;

/// How often it may be deleted while it is taken.
const TRIES: usize = 5;
/// How often whoever only looks for the lock may be in the way, and how long that is at most.
const LOOKS: usize = 5;
const LOOK: Duration = Duration::from_millis(10);

/// Held by the one agent that writes to a directory.
#[derive(Debug)]
pub struct Lock {
    directory: PathBuf,
    /// `None` while another agent was faster to take it anew.
    file: Mutex<Option<File>>,
}

impl Lock {
    /// Takes the lock on `directory`, which is made if it is not there.
    pub fn take(directory: &Path) -> io::Result<Self> {
        let file = Mutex::new(Some(take(directory)?));
        Ok(Self { directory: directory.to_owned(), file })
    }

    /// Makes sure that it is held. Operators empty the directory of an agent that runs, or remove it, and the lock goes
    /// with the rest: then it is made and taken anew.
    ///
    /// # Errors
    /// Another agent has taken it since then, or it cannot be made.
    pub fn keep(&self) -> io::Result<()> {
        let mut held = self.file.lock();
        if let Some(file) = &*held
            && is_named(file, &self.directory)?
        {
            return Ok(());
        }
        // Nobody can find it any more.
        *held = None;
        *held = Some(take(&self.directory)?);
        log::warn!("{} was deleted, and is locked anew", self.directory.join(LOCK_FILE).display());
        Ok(())
    }
}

impl Drop for Lock {
    /// Gives it back, also if a process that was just begun still has a copy of the descriptor.
    fn drop(&mut self) {
        if let Some(file) = self.file.get_mut() {
            let _ = flock(file, FlockOperation::Unlock);
        }
    }
}

fn take(directory: &Path) -> io::Result<File> {
    take_after(directory, || thread::sleep(LOOK))
}

/// The same, with a `pause` between two tries.
fn take_after(directory: &Path, mut pause: impl FnMut()) -> io::Result<File> {
    make_directory(directory).map_err(|error| explain("make", directory, &error))?;
    let path = directory.join(LOCK_FILE);
    for _ in 0..TRIES {
        let file = File::create(&path).map_err(|error| explain("write to", directory, &error))?;
        lock(&file, &mut pause).map_err(|error| match error {
            rustix::io::Errno::WOULDBLOCK => {
                let directory = directory.display();
                let what = format!("{directory} is in use by another log_agent: give each a --dir of its own");
                io::Error::new(io::ErrorKind::WouldBlock, what)
            }
            error => explain("lock", &path, &error.into()),
        })?;
        // Else it was deleted in between, and somebody may have locked the next one of that name.
        if is_named(&file, directory)? {
            return Ok(file);
        }
    }
    Err(explain("lock", &path, &io::Error::other("it is deleted again and again")))
}

/// Whoever reads here locks it, too, for a moment, to see whether an agent runs. Another agent keeps it.
fn lock(file: &File, mut pause: impl FnMut()) -> rustix::io::Result<()> {
    for _ in 0..LOOKS {
        match flock(file, FlockOperation::NonBlockingLockExclusive) {
            Err(rustix::io::Errno::WOULDBLOCK) => pause(),
            done => return done,
        }
    }
    flock(file, FlockOperation::NonBlockingLockExclusive)
}

/// True if that file is the one that others find in `directory`.
fn is_named(file: &File, directory: &Path) -> io::Result<bool> {
    let path = directory.join(LOCK_FILE);
    let place = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
    match fs::metadata(&path) {
        Ok(found) => Ok(place(found) == place(file.metadata()?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(explain("look at", &path, &error)),
    }
}

fn explain(what: &str, path: &Path, error: &io::Error) -> io::Error {
    let text = format!("cannot {what} {}: {error}; is it writable, and --dir what you mean?", path.display());
    io::Error::new(error.kind(), text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_of_its_descriptor_does_not_keep_it() {
        let directory = std::env::temp_dir().join(format!("log-agent-lock-{}", std::process::id()));
        let lock = Lock::take(&directory).expect("nobody else is here");
        // As a process has it between its fork and what it becomes.
        let copy = lock.file.lock().as_ref().expect("it is taken").try_clone().expect("copied");
        Lock::take(&directory).expect_err("it is held");
        drop(lock);
        Lock::take(&directory).expect("the next agent");
        drop(copy);
        fs::remove_dir_all(&directory).expect("removed");
    }

    #[test]
    fn who_only_looks_whether_an_agent_runs_keeps_none_away() {
        let directory = std::env::temp_dir().join(format!("log-agent-looks-{}", std::process::id()));
        fs::create_dir_all(&directory).expect("made");
        let looks = File::create(directory.join(LOCK_FILE)).expect("made");
        flock(&looks, FlockOperation::NonBlockingLockShared).expect("nobody else is here");
        let mut pauses = 0;
        let look = || {
            pauses += 1;
            if pauses == 2 {
                flock(&looks, FlockOperation::Unlock).expect("it has seen that nobody is here");
            }
        };
        let _held = take_after(&directory, look).expect("it is free now");
        let mut others = 0;
        let error = take_after(&directory, || others += 1).expect_err("it is held");
        assert_eq!((error.kind(), pauses, others), (io::ErrorKind::WouldBlock, 2, LOOKS));
        fs::remove_dir_all(&directory).expect("removed");
    }
}
