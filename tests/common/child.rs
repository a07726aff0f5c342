//! Examples as their users run them: programs of their own, with arguments, two streams, signals and an exit code.
//!
//! Nothing here sleeps or asks again and again. A test waits for a line or for the end of a stream; [`LONG`] bounds how
//! long a broken example can hold it up, and whatever ends a test ends its programs as well.

#![allow(dead_code, reason = "each test file uses its part")]

use std::env;
use std::io::{self, BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::thread;

use parking_lot::{Condvar, Mutex};

use super::net::LONG;

/// An example that runs. Killed when it is dropped.
pub struct Example {
    name: &'static str,
    process: Child,
    stdout: Arc<Lines>,
    stderr: Arc<Lines>,
}

/// An example that has ended.
#[derive(Debug)]
pub struct Ended {
    status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Example {
    /// Starts the example `name`.
    pub fn start(name: &'static str, args: &[&str]) -> Self {
        let mut command = Command::new(path(name));
        command.args(args);
        Self::spawn(name, command)
    }

    fn spawn(name: &'static str, mut command: Command) -> Self {
        let process = Self::piped(&mut command);
        Self::of(name, process)
    }

    fn piped(command: &mut Command) -> Child {
        command.env_remove("RUST_LOG").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().expect("it starts")
    }

    fn of(name: &'static str, mut process: Child) -> Self {
        let stdout = Lines::of(process.stdout.take().expect("piped"));
        let stderr = process.stderr.take().map_or_else(|| Lines::of(io::empty()), Lines::of);
        Self { name, process, stdout, stderr }
    }

    /// Starts a server on any free port, and waits until peers can connect to it.
    pub fn serve(name: &'static str, flags: &[&str]) -> (Self, SocketAddr) {
        Self::serve_at(name, &["127.0.0.1:0"], flags)
    }

    /// The same for a server that is told otherwise where to listen.
    pub fn serve_at(name: &'static str, place: &[&str], flags: &[&str]) -> (Self, SocketAddr) {
        Self::start(name, &[place, flags].concat()).listens()
    }

    /// The same for a server that a shell becomes, once it has done `first`: set a limit.
    pub fn serve_after(first: &str, name: &'static str, place: &[&str], flags: &[&str]) -> (Self, SocketAddr) {
        let mut command = Command::new("sh");
        command.arg("-c").arg(format!("{first} && exec \"$0\" \"$@\"")).arg(path(name)).args(place).args(flags);
        Self::spawn(name, command).listens()
    }

    /// The same for a server whose log nobody reads: the other end of its stderr is closed.
    pub fn serve_unread(name: &'static str, place: &[&str], flags: &[&str]) -> (Self, SocketAddr) {
        let mut command = Command::new(path(name));
        command.args(place).args(flags);
        let mut process = Self::piped(&mut command);
        drop(process.stderr.take());
        Self::of(name, process).listens()
    }

    fn listens(self) -> (Self, SocketAddr) {
        let example = self;
        let line = example.wait_for(&example.stdout, "listening on ");
        let address = line.trim_start_matches("listening on ").parse().expect("an address");
        (example, address)
    }

    /// Runs the example to its own end.
    pub fn run(name: &'static str, args: &[&str]) -> Ended {
        Self::start(name, args).ends()
    }

    /// The number of its process.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Waits for a line with `part` in its log.
    pub fn logs(&self, part: &str) -> String {
        self.wait_for(&self.stderr, part)
    }

    /// Waits for a line with `part` in it on its stdout.
    pub fn says(&self, part: &str) -> String {
        self.wait_for(&self.stdout, part)
    }

    /// True if its log has a line with `part` in it already.
    pub fn has_logged(&self, part: &str) -> bool {
        self.stderr.read.lock().line_with(part).is_some()
    }

    /// Sends it a signal: `TERM`, `INT`.
    pub fn signal(&self, signal: &str) {
        self.signals(&[signal]);
    }

    /// Sends it several, as fast as a shell can.
    pub fn signals(&self, signals: &[&str]) {
        let kills: Vec<_> = signals.iter().map(|signal| format!("kill -{signal} {}", self.process.id())).collect();
        let kill = Command::new("sh").args(["-c", &kills.join(" && ")]).status();
        assert!(kill.expect("there is a shell").success(), "{} has ended before", self.name);
    }

    /// True unless it has ended.
    pub fn runs(&mut self) -> bool {
        self.process.try_wait().expect("it is ours").is_none()
    }

    /// Sends it a signal, and waits until it has begun to shut down.
    pub fn shuts_down(&self, signal: &str) {
        self.signal(signal);
        self.logs("shutting down: ");
    }

    /// Waits until its stdout is closed.
    pub fn closes(&self) {
        self.stdout.to_end(self.name);
    }

    /// Waits until it has ended.
    pub fn ends(mut self) -> Ended {
        let [stdout, stderr] = [&self.stdout, &self.stderr].map(|stream| stream.to_end(self.name));
        let status = self.process.wait().expect("it is ours");
        Ended { status, stdout, stderr }
    }

    fn wait_for(&self, stream: &Lines, part: &str) -> String {
        let (found, read) = stream.wait(|read| read.line_with(part).is_some());
        let line = read.line_with(part).filter(|_| found).cloned();
        line.unwrap_or_else(|| panic!("{} never said {part:?}: {read:#?}", self.name))
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        // Both fail if it has ended, and that is as good.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Ended {
    /// It ended by itself with this code.
    #[track_caller]
    pub fn with_code(self, code: i32) -> Self {
        assert_eq!(self.status.code(), Some(code), "{self:#?}");
        self
    }

    /// It was ended by this signal.
    #[track_caller]
    pub fn by_signal(self, signal: i32) {
        assert_eq!(self.status.signal(), Some(signal), "{self:#?}");
    }

    /// It failed with code 1, and the last line of its log says why.
    #[track_caller]
    pub fn failed_with(self, why: &str) {
        let ended = self.with_code(1);
        let last = ended.stderr.lines().last().unwrap_or_default();
        assert!(last.contains(why), "not {why:?}, but {last:?}");
        assert!(!ended.stderr.contains("panicked"), "{ended:#?}");
    }

    /// It was started with arguments that make no sense: code 2, and `named` is the one.
    #[track_caller]
    pub fn misused(self, named: &str) {
        let ended = self.with_code(2);
        assert!(ended.stderr.contains(named), "{named} is not named: {ended:#?}");
    }

    /// It was asked to end and did, in order: code 0, nothing on stdout but where it listened, a farewell in the log,
    /// and no panic.
    #[track_caller]
    pub fn in_order(self, farewell: &str) {
        let ended = self.with_code(0);
        assert_eq!(ended.stdout.lines().count(), 1, "{ended:#?}");
        let last = ended.stderr.lines().last().unwrap_or_default();
        assert!(last.ends_with(farewell), "not {farewell:?}, but {last:?}");
        assert!(!ended.stderr.contains("panicked"), "{ended:#?}");
    }
}

/// What a stream has said so far; a thread reads it.
#[derive(Default)]
struct Lines {
    read: Mutex<Said>,
    more: Condvar,
}

#[derive(Debug, Default)]
struct Said {
    lines: Vec<String>,
    ended: bool,
}

impl Said {
    fn line_with(&self, part: &str) -> Option<&String> {
        self.lines.iter().find(|line| line.contains(part))
    }
}

impl Lines {
    fn of(stream: impl Read + Send + 'static) -> Arc<Self> {
        let lines = Arc::new(Self::default());
        let reader = Arc::clone(&lines);
        thread::spawn(move || {
            for line in BufReader::new(stream).lines() {
                reader.read.lock().lines.push(line.expect("text"));
                reader.more.notify_all();
            }
            reader.read.lock().ended = true;
            reader.more.notify_all();
        });
        lines
    }

    /// Waits until `come`, or until the stream has ended; false if it was neither for long, or only the latter.
    fn wait(&self, come: impl Fn(&Said) -> bool) -> (bool, parking_lot::MutexGuard<'_, Said>) {
        let mut read = self.read.lock();
        self.more.wait_while_for(&mut read, |read| !come(read) && !read.ended, LONG);
        (come(&read), read)
    }

    fn to_end(&self, name: &str) -> String {
        let (ended, read) = self.wait(|read| read.ended);
        assert!(ended, "{name} does not end: {read:#?}");
        read.lines.iter().map(|line| format!("{line}\n")).collect()
    }
}

/// Where cargo has put the example: `cargo test` builds them all.
fn path(name: &str) -> PathBuf {
    let test = env::current_exe().expect("known");
    // target/debug/deps/examples-0123456789abcdef
    let path = test.ancestors().nth(2).expect("its folder").join("examples").join(name);
    assert!(path.is_file(), "{} is missing: `cargo test` makes it, `cargo test --test` does not", path.display());
    path
}
