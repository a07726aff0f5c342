//! A disk that fails on purpose, and folders that go when their test does.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::io::{self, IoSlice};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use parking_lot::Mutex;

use crate::agent::disk::{Disk, DiskFile, RealDisk};

/// A folder of its own, removed at the end.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, SeqCst);
        // In memory where there is such a place: the tests sync often, and no machine crashes in them.
        let memory = PathBuf::from("/dev/shm");
        let place = if memory.is_dir() { memory } else { std::env::temp_dir() };
        let path = place.join(format!("sluicegate-log-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn text(&self) -> &str {
        self.0.to_str().expect("text")
    }

    /// The files in it whose names end in `suffix`, sorted.
    pub fn files(&self, suffix: &str) -> Vec<String> {
        let files = fs::read_dir(&self.0).expect("it is there");
        let names = files.map(|file| file.expect("it can be read").file_name().into_string().expect("text"));
        let mut names: Vec<_> = names.filter(|name| name.ends_with(suffix)).collect();
        names.sort();
        names
    }

    pub fn size(&self, file: &str) -> u64 {
        fs::metadata(self.0.join(file)).expect("it is there").len()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A small disk in memory; taken away at the end.
pub struct SmallDisk(pub Folder);

impl SmallDisk {
    /// `None` where mounting is not allowed.
    pub fn mount() -> Option<Self> {
        let folder = Folder::new();
        let mounted = Self::run("mount", &["-t", "tmpfs", "-o", "size=2m", "none", folder.text()]);
        mounted.then(|| Self(folder))
    }

    pub fn grow(&self) {
        assert!(Self::run("mount", &["-o", "remount,size=64m", self.0.text()]));
    }

    fn run(program: &str, args: &[&str]) -> bool {
        let status = Command::new(program).args(args).stdout(Stdio::null()).stderr(Stdio::null()).status();
        status.is_ok_and(|status| status.success())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Also while a program still writes to it.
        Self::run("umount", &["-l", self.0.text()]);
    }
}

/// What a disk does wrong from now on.
#[derive(Debug, Clone, Default)]
pub struct Faults(Arc<Mutex<Script>>);

#[derive(Debug, Default)]
struct Script {
    /// The most bytes that one write takes.
    write_most: Option<usize>,
    /// Bytes that still find space; then writes fail.
    space: Option<u64>,
    /// What is deleted makes space.
    deleting_frees: bool,
    /// The most bytes that a file may have.
    file_most: Option<u64>,
    /// The disk does not tell that.
    file_most_is_secret: bool,
    /// Syncs from the next on, in reverse: how each fails, if it does. Behind the last, all succeed.
    syncs: Vec<Option<io::ErrorKind>>,
    /// Writes that still succeed; the one behind them takes some bytes and breaks, and all behind that succeed.
    writes_well: Option<u64>,
    /// Why it cannot be cut.
    cut_fails: Option<io::ErrorKind>,
    /// Whether files can be listed.
    listings_fail: bool,
    /// Whether names can be synced.
    names_fail: bool,
    /// Files that cannot be deleted, and why.
    kept_files: Option<(BTreeSet<String>, io::ErrorKind)>,
    /// A file that somebody deletes while the next sync is under way.
    deleted_at_sync: Option<PathBuf>,
    /// Is told of each call before it is done.
    watch: Option<Watch>,
    /// The next call of that name panics, and none behind it.
    panics: Option<&'static str>,
    writes: u64,
    synced: u64,
    listed: u64,
    /// What the disk was told to begin with, of which file.
    begun: Vec<(String, Range<u64>)>,
    /// What a crash of the machine would leave behind each sync of a file, or behind what the disk has begun with, if
    /// that is looked at.
    kept: Option<Vec<Kept>>,
    /// Files of which something was cut off that may come back with a crash of the machine.
    cut: BTreeSet<String>,
}

/// Files by name, as far as they are durable.
pub type Kept = BTreeMap<String, Vec<u8>>;

#[derive(Clone)]
struct Watch(Arc<dyn Fn(&str) + Send + Sync>);

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watch")
    }
}

impl Faults {
    /// Each write takes so many bytes at most.
    pub fn short_writes(&self, most: usize) {
        self.0.lock().write_most = Some(most);
    }

    /// There is space for so many bytes more.
    pub fn space(&self, bytes: Option<u64>) {
        self.0.lock().space = bytes;
    }

    /// Bytes that still find space.
    pub fn space_left(&self) -> Option<u64> {
        self.0.lock().space
    }

    /// Whether what is deleted makes space. It does not where there are links to it, or snapshots.
    pub fn deleting_frees(&self, frees: bool) {
        self.0.lock().deleting_frees = frees;
    }

    /// Files may have so many bytes at most; whether the disk says so, if it is asked.
    pub fn file_most(&self, bytes: Option<u64>, told: bool) {
        let mut script = self.0.lock();
        (script.file_most, script.file_most_is_secret) = (bytes, !told);
    }

    /// What becomes of the next syncs: true fails.
    pub fn fail_syncs(&self, script: &[bool]) {
        self.0.lock().syncs = script.iter().rev().map(|fails| fails.then_some(io::ErrorKind::Other)).collect();
    }

    /// The next `count` syncs find no space, as on a disk that only then looks for it (NFS).
    pub fn fail_syncs_for_want_of_space(&self, count: usize) {
        self.0.lock().syncs = vec![Some(io::ErrorKind::StorageFull); count];
    }

    /// After `well` writes one breaks in its middle, and not for want of space.
    pub fn break_write(&self, well: u64) {
        self.0.lock().writes_well = Some(well);
    }

    pub fn fail_cuts(&self, fails: bool) {
        self.0.lock().cut_fails = fails.then_some(io::ErrorKind::Other);
    }

    /// Cuts find no space, as on a disk that copies what it changes.
    pub fn fail_cuts_for_want_of_space(&self) {
        self.0.lock().cut_fails = Some(io::ErrorKind::StorageFull);
    }

    /// Whether files can be listed.
    pub fn fail_listings(&self, fails: bool) {
        self.0.lock().listings_fail = fails;
    }

    /// Whether it can be made durable which files there are.
    pub fn fail_names(&self, fails: bool) {
        self.0.lock().names_fail = fails;
    }

    /// These files cannot be deleted, as long as nothing else is said, because of an error of that kind.
    pub fn keep_files(&self, files: &[String], kind: io::ErrorKind) {
        self.0.lock().kept_files = Some((files.iter().cloned().collect(), kind));
    }

    /// Somebody deletes `file` during the next sync.
    pub fn delete_at_sync(&self, file: PathBuf) {
        self.0.lock().deleted_at_sync = Some(file);
    }

    /// The next `create`, `write` or `sync` panics, and none behind it.
    pub fn panic_in(&self, call: &'static str) {
        self.0.lock().panics = Some(call);
    }

    /// Calls `watch` with the name of each `create`, `remove`, `write`, `sync` and `files`, before it is done. It may
    /// take its time.
    pub fn watch(&self, watch: impl Fn(&str) + Send + Sync + 'static) {
        self.0.lock().watch = Some(Watch(Arc::new(watch)));
    }

    fn called(&self, call: &str) {
        let watch = self.0.lock().watch.clone();
        watch.inspect(|Watch(watch)| watch(call));
        if self.0.lock().panics.take_if(|panics| *panics == call).is_some() {
            panic!("the {call} has panicked on purpose");
        }
    }

    fn sync(&self, sync: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        self.called("sync");
        let mut script = self.0.lock();
        script.synced += 1;
        if let Some(file) = script.deleted_at_sync.take() {
            fs::remove_file(file)?;
        }
        match script.syncs.pop() {
            Some(Some(kind)) => Err(io::Error::new(kind, "the sync has failed on purpose")),
            _ => sync(),
        }
    }

    /// Files of which something was cut off that may come back with a crash of the machine.
    pub fn cut(&self) -> Vec<String> {
        self.0.lock().cut.iter().cloned().collect()
    }

    /// Times that a write was tried.
    pub fn writes(&self) -> u64 {
        self.0.lock().writes
    }

    /// What the disk was told to begin with, of which file.
    pub fn begun(&self) -> Vec<(String, Range<u64>)> {
        self.0.lock().begun.clone()
    }

    /// The same of one file.
    pub fn begun_of(&self, file: &str) -> Vec<Range<u64>> {
        self.begun().into_iter().filter(|(name, _)| name == file).map(|(_, range)| range).collect()
    }

    /// From now on it is looked at what is durable.
    pub fn look_what_is_kept(&self) {
        self.0.lock().kept = Some(Vec::new());
    }

    /// What a crash of the machine would have left behind each sync since then, and wherever the disk was told to
    /// begin: of each file what it had when that was last the case.
    pub fn kept(&self) -> Vec<Kept> {
        self.0.lock().kept.clone().expect("it was looked at")
    }

    fn keep(&self, folder: &Path, name: &str) {
        self.keep_with(folder, name, |_| &[]);
    }

    /// With what `rest` leaves of the bytes that it had behind those that it has now.
    fn keep_with(&self, folder: &Path, name: &str, rest: impl FnOnce(&[u8]) -> &[u8]) {
        let mut script = self.0.lock();
        let Some(history) = &mut script.kept else { return };
        let mut kept = history.last().cloned().unwrap_or_default();
        // Somebody may have deleted it.
        if let Ok(mut bytes) = fs::read(folder.join(name)) {
            let before = kept.get(name).and_then(|before| before.get(bytes.len()..)).unwrap_or_default();
            bytes.extend_from_slice(rest(before));
            kept.insert(name.to_owned(), bytes);
            history.push(kept);
        }
    }

    /// Times that all files were listed.
    pub fn listings(&self) -> u64 {
        self.0.lock().listed
    }

    /// Times that a file was synced.
    pub fn syncs(&self) -> u64 {
        self.0.lock().synced
    }
}

/// The real disk, with faults.
pub struct FaultyDisk {
    real: RealDisk,
    path: PathBuf,
    faults: Faults,
}

impl FaultyDisk {
    pub fn new(folder: &Path, faults: &Faults) -> Self {
        Self { real: RealDisk::new(folder), path: folder.to_owned(), faults: faults.clone() }
    }
}

impl Disk for FaultyDisk {
    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        self.faults.called("create");
        let file = self.real.create(name)?;
        Ok(Box::new(FaultyFile {
            file,
            faults: self.faults.clone(),
            bytes: 0,
            name: name.to_owned(),
            folder: self.path.clone(),
        }))
    }

    fn file_most(&self) -> u64 {
        let script = self.faults.0.lock();
        script.file_most.filter(|_| !script.file_most_is_secret).unwrap_or(u64::MAX)
    }

    fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.real.replace(name, bytes)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.faults.called("remove");
        let bytes = fs::metadata(self.path.join(name)).map_or(0, |metadata| metadata.len());
        let mut script = self.faults.0.lock();
        if let Some((_, kind)) = script.kept_files.as_ref().filter(|(files, _)| files.contains(name)) {
            let path = self.path.join(name);
            return Err(io::Error::new(*kind, format!("cannot delete {}: it is kept on purpose", path.display())));
        }
        self.real.remove(name)?;
        script.space = script.space.map(|space| space + if script.deleting_frees { bytes } else { 0 });
        Ok(())
    }

    fn files(&self, each: &mut dyn FnMut(&str, u64)) -> io::Result<()> {
        self.faults.called("files");
        let mut script = self.faults.0.lock();
        script.listed += 1;
        if script.listings_fail {
            return Err(io::Error::other("the listing has failed on purpose"));
        }
        drop(script);
        self.real.files(each)
    }

    fn sync(&self, name: &str) -> io::Result<()> {
        self.faults.sync(|| self.real.sync(name))
    }

    fn sync_names(&self) -> io::Result<()> {
        if self.faults.0.lock().names_fail {
            return Err(io::Error::other("the sync of names has failed on purpose"));
        }
        self.real.sync_names()
    }
}

struct FaultyFile {
    file: Box<dyn DiskFile>,
    faults: Faults,
    bytes: u64,
    name: String,
    folder: PathBuf,
}

impl DiskFile for FaultyFile {
    fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.faults.called("write");
        let mut script = self.faults.0.lock();
        script.writes += 1;
        if script.writes_well == Some(0) {
            script.writes_well = None;
            let first = slices.iter().find(|slice| !slice.is_empty()).map_or(&[][..], |slice| slice);
            self.bytes += self.file.write(&[IoSlice::new(&first[..first.len().div_ceil(2)])])? as u64;
            return Err(io::Error::other("the write has failed on purpose"));
        }
        script.writes_well = script.writes_well.map(|well| well - 1);
        let all: usize = slices.iter().map(|slice| slice.len()).sum();
        let most = all.min(script.write_most.unwrap_or(all));
        let count = script.space.map_or(most, |space| most.min(space as usize));
        if count == 0 && all > 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let room = script.file_most.map_or(u64::MAX, |most| most.saturating_sub(self.bytes));
        if room == 0 && all > 0 {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let count = count.min(room as usize);
        script.space = script.space.map(|space| space - count as u64);
        // One slice, or a part of one: as short as writes come.
        let first = slices.iter().find(|slice| !slice.is_empty()).map_or(&[][..], |slice| slice);
        let taken = if count == all {
            self.file.write(slices)?
        } else {
            self.file.write(&[IoSlice::new(&first[..count.min(first.len())])])?
        };
        script.space = script.space.map(|space| space + (count - taken) as u64);
        self.bytes += taken as u64;
        Ok(taken)
    }

    fn begin_writeback(&mut self, range: Range<u64>) {
        self.faults.0.lock().begun.push((self.name.clone(), range.clone()));
        self.file.begin_writeback(range);
        // It may do so at once, and need not do anything about what was cut off.
        self.faults.keep_with(&self.folder, &self.name, |before| before);
    }

    fn sync(&mut self) -> io::Result<()> {
        let Self { file, faults, name, folder, .. } = self;
        let synced = faults.sync(|| file.sync());
        // Also by a sync that says it has failed, for all that anybody knows.
        faults.keep(folder, name);
        synced?;
        faults.0.lock().cut.remove(name);
        Ok(())
    }

    fn cut(&mut self, length: u64) -> io::Result<()> {
        let mut script = self.faults.0.lock();
        if let Some(kind) = script.cut_fails {
            return Err(io::Error::new(kind, "the cut has failed on purpose"));
        }
        script.cut.insert(self.name.clone());
        let bytes = std::mem::replace(&mut self.bytes, length);
        script.space = script.space.map(|space| space + bytes.saturating_sub(length));
        self.file.cut(length)
    }

    fn is_deleted(&self) -> io::Result<bool> {
        self.file.is_deleted()
    }
}
