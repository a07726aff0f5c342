//! One case: a system is started, loaded until everything is on disk, and counted.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use crate::system::System;
use crate::{ceiling, interrupt, load, process};

/// The longest that a case may take.
const LIMIT: Duration = Duration::from_secs(180);
/// Between two looks at the disk.
const LOOK: Duration = Duration::from_millis(2);
/// How long a system may take to start.
const START: Duration = Duration::from_secs(20);
/// With as many ports, until one is not taken by others.
const TRIES: usize = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Case {
    pub system: System,
    pub size: usize,
    pub connections: usize,
    pub records: u64,
}

/// What was seen of a case once.
#[derive(Debug, Clone, Copy)]
pub struct Measured {
    /// Records per second.
    pub rate: f64,
    /// Microseconds of processor time for a record.
    pub cpu: f64,
    /// Share of one core that the sender used.
    pub load: f64,
    pub peak_mib: f64,
    /// What it has printed that its peak will never exceed, if it is one that does.
    pub ceiling_mib: Option<f64>,
}

/// Why nothing was measured.
#[derive(Debug)]
pub enum Failure {
    /// Somebody else had the port that was free before, so it never came to listen: that is not the system's fault.
    PortTaken(String),
    Other(io::Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Other(error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PortTaken(said) => write!(out, "its port was taken: {said}"),
            Self::Other(error) => error.fmt(out),
        }
    }
}

/// Measures `once`, and again where the port was taken; how often it was stays in `ports_taken`. Nothing else is tried
/// again: what goes wrong once in a while goes wrong.
pub fn again<T>(ports_taken: &mut usize, mut once: impl FnMut() -> Result<T, Failure>) -> Result<T, Failure> {
    for _ in 1..TRIES {
        match once() {
            Err(Failure::PortTaken(_)) => *ports_taken += 1,
            done => return done,
        }
    }
    once()
}

/// Ends what it started, also after an error.
struct Running {
    child: Child,
    directory: PathBuf,
}

impl Running {
    fn await_listener(&mut self, port: u16) -> Result<(), Failure> {
        let began = Instant::now();
        while !process::listens(self.child.id(), port) {
            let ended = self.child.try_wait()?;
            if ended.is_some() || began.elapsed() > START {
                return Err(not_listening(ended, &said(&self.directory)));
            }
            thread::sleep(LOOK);
        }
        Ok(())
    }
}

/// Why it did not come to listen, from what it said.
fn not_listening(ended: Option<ExitStatus>, said: &str) -> Failure {
    // All of them show the error as the system names it.
    if said.to_ascii_lowercase().contains("address already in use") {
        return Failure::PortTaken(said.to_owned());
    }
    let what = ended.map_or(format!("it does not listen after {START:?}"), |status| format!("it has ended, {status}"));
    Failure::Other(io::Error::other(format!("{what}: {said}")))
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// Measures a case once, in a folder of its own within `folder`.
pub fn run(case: &Case, agent: &Path, peers: &Path, folder: &Path) -> Result<Measured, Failure> {
    let Case { system, size, connections, records } = *case;
    // What the case before has left to be written would be written during this one.
    process::flush_disks()?;
    let directory = folder.join(format!("log-agent-bench-{}", std::process::id()));
    fs::create_dir_all(&directory)?;
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let child = system.start(agent, peers, port, &directory)?;
    let mut running = Running { child, directory };
    let pid = running.child.id();
    running.await_listener(port)?;
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let [cpu_before, load_before] = [pid, std::process::id()].map(process::cpu_seconds);
    let began = Instant::now();
    let acked = load::run(address, connections, records, &system.frame(size), system.acknowledges(), LIMIT)?;
    let expected = records * (size as u64 + 1);
    if !system.acknowledges() {
        wait_until("everything is on disk", LIMIT, || bytes_in(&running.directory) >= expected).map_err(|error| {
            io::Error::other(format!("{error}: {} records are", count(&running.directory).unwrap_or(0)))
        })?;
    }
    let seconds = began.elapsed().as_secs_f64();
    let [cpu, load_cpu] = [pid, std::process::id()].map(process::cpu_seconds);
    let found = count(&running.directory)?;
    if found != records || (system.acknowledges() && acked != records) {
        let what = format!("{found} of {records} records are on disk, {acked} were acknowledged");
        return Err(io::Error::other(what).into());
    }
    let said = said(&running.directory);
    let peak_mib = process::peak_mib(pid).ok_or_else(|| io::Error::other(format!("it has ended by itself: {said}")))?;
    let ceiling_mib = ceiling::printed(&said);
    if system.is_ours() && ceiling_mib.is_none() {
        return Err(io::Error::other(format!("it has not printed its memory ceiling: {said}")).into());
    }
    Ok(Measured {
        rate: records as f64 / seconds,
        cpu: (cpu - cpu_before) * 1e6 / records as f64,
        load: (load_cpu - load_before) / seconds * 100.0,
        peak_mib,
        ceiling_mib,
    })
}

fn wait_until(what: &str, limit: Duration, come: impl Fn() -> bool) -> io::Result<()> {
    let began = Instant::now();
    while !come() {
        interrupt::check()?;
        if began.elapsed() > limit {
            return Err(io::Error::other(format!("it never came that {what}")));
        }
        thread::sleep(LOOK);
    }
    Ok(())
}

fn logs(directory: &Path) -> impl Iterator<Item = PathBuf> {
    let files = fs::read_dir(directory).into_iter().flatten().flatten().map(|file| file.path());
    files.filter(|path| path.extension().is_some_and(|extension| extension == "log"))
}

fn bytes_in(directory: &Path) -> u64 {
    logs(directory).filter_map(|path| Some(fs::metadata(path).ok()?.len())).sum()
}

/// Records on disk: lines.
fn count(directory: &Path) -> io::Result<u64> {
    let mut lines = 0;
    let mut bytes = vec![0; 1 << 20];
    for path in logs(directory) {
        let mut file = File::open(path)?;
        loop {
            let read = file.read(&mut bytes)?;
            if read == 0 {
                break;
            }
            lines += bytes[..read].iter().filter(|byte| **byte == b'\n').count() as u64;
        }
    }
    Ok(lines)
}

/// What it has said, for whoever wants to know why it does not run.
fn said(directory: &Path) -> String {
    fs::read_to_string(directory.join("stderr")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_taken_port_is_tried_again() {
        let mut taken = 0;
        let mut results = [Err(Failure::PortTaken("in use".into())), Ok(7)].into_iter();
        assert_eq!(again(&mut taken, || results.next().expect("two")).ok(), Some(7));
        assert_eq!(taken, 1);
        let mut tries = 0;
        let lost = again(&mut taken, || -> Result<(), _> {
            tries += 1;
            Err(io::Error::other("7 of 8 records are on disk, 0 were acknowledged").into())
        });
        assert!(matches!(lost, Err(Failure::Other(_))), "{lost:?}");
        assert_eq!((tries, taken), (1, 1), "a lost record is not tried again");
        tries = 0;
        let never = again(&mut taken, || -> Result<(), _> {
            tries += 1;
            Err(Failure::PortTaken("in use".into()))
        });
        assert!(matches!(never, Err(Failure::PortTaken(_))), "{never:?}");
        assert_eq!(tries, TRIES);
    }

    #[test]
    fn a_taken_port_is_known_by_its_name() {
        let rust = "error: cannot listen on 127.0.0.1:1: Address already in use (os error 98)";
        assert!(matches!(not_listening(None, rust), Failure::PortTaken(_)));
        let other = not_listening(None, "error: no such folder (os error 2)");
        assert_eq!(other.to_string(), "it does not listen after 20s: error: no such folder (os error 2)");
    }
}
