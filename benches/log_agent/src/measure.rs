//! One case: a system is started, loaded until everything is on disk, and counted.

use std::fmt;
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

#[derive(Debug, Clone, Copy)]
pub struct Case {
    pub system: System,
    pub size: usize,
    pub connections: usize,
    pub records: u64,
}

/// What was seen.
#[derive(Debug)]
pub struct Measured {
    case: Case,
    seconds: f64,
    cpu: f64,
    load_cpu: f64,
    peak_mib: f64,
}

impl Measured {
    pub const HEAD: &'static str = "| system | bytes | connections | records | records/s | CPU us/record | load busy | peak MiB |\n\
                                    |---|---:|---:|---:|---:|---:|---:|---:|";
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { case: Case { system, size, connections, records }, seconds, cpu, load_cpu, peak_mib } = self;
        let rate = *records as f64 / seconds;
        let each = cpu * 1e6 / *records as f64;
        let busy = load_cpu / seconds * 100.0;
        let name = system.name();
        write!(
            f,
            "| {name} | {size} | {connections} | {records} | {rate:.0} | {each:.3} | {busy:.0} % | {peak_mib:.1} |"
        )
    }
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

pub fn run(case: &Case, agent: &Path, peers: &Path) -> io::Result<Measured> {
    let Case { system, size, connections, records } = *case;
    let directory = std::env::temp_dir().join(format!("log-agent-bench-{}", std::process::id()));
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
    Ok(Measured { case: *case, seconds, cpu: cpu - cpu_before, load_cpu: load_cpu - load_before, peak_mib })
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
