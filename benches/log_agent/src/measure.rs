//! One case: a system is started, loaded until everything is on disk, and counted.

use std::fs::{self, File};
use std::io::{self, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::thread;
use std::time::{Duration, Instant};

use crate::system::System;
use crate::{load, process};

/// The longest that a case may take.
const LIMIT: Duration = Duration::from_secs(180);
/// Between two looks at the disk.
const LOOK: Duration = Duration::from_millis(2);

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
}

/// Ends what it started, also after an error.
struct Running {
    child: Child,
    directory: PathBuf,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// Measures a case once, in a folder of its own within `folder`.
pub fn run(case: &Case, agent: &Path, peers: &Path, folder: &Path) -> io::Result<Measured> {
    let Case { system, size, connections, records } = *case;
    // What the case before has left to be written would be written during this one.
    process::flush_disks()?;
    let directory = folder.join(format!("log-agent-bench-{}", std::process::id()));
    fs::create_dir_all(&directory)?;
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let child = system.start(agent, peers, port, &directory)?;
    let running = Running { child, directory };
    let pid = running.child.id();
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    wait_until("it listens", Duration::from_secs(20), || TcpStream::connect(address).is_ok())
        .map_err(|error| io::Error::other(format!("{error}: {}", said(&running.directory))))?;
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
        return Err(io::Error::other(format!("{found} of {records} records are on disk, {acked} were acknowledged")));
    }
    let peak_mib = process::peak_mib(pid);
    Ok(Measured {
        rate: records as f64 / seconds,
        cpu: (cpu - cpu_before) * 1e6 / records as f64,
        load: (load_cpu - load_before) / seconds * 100.0,
        peak_mib,
    })
}

fn wait_until(what: &str, limit: Duration, come: impl Fn() -> bool) -> io::Result<()> {
    let began = Instant::now();
    while !come() {
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
