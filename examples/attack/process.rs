//! What `/proc` says about a process.

use std::fs;
use std::io;

/// The kernel counts time for users in hundredths of a second, whatever it does inside.
const TICKS_PER_SECOND: f64 = 100.0;

/// Resident memory, in bytes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Memory {
    pub now: u64,
    /// The most since the process began, or since [`reset_peak`].
    pub peak: u64,
}

/// The memory of `pid`.
pub fn memory(pid: u32) -> io::Result<Memory> {
    let status = read(pid, "status")?;
    let number = |name| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kilobytes = line.and_then(|rest| rest.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
        kilobytes.map(|kilobytes| kilobytes << 10).ok_or_else(|| io::Error::other(format!("/proc says no {name}")))
    };
    Ok(Memory { now: number("VmRSS:")?, peak: number("VmHWM:")? })
}

/// Begins the peak of memory anew; false if that is not permitted.
pub fn reset_peak(pid: u32) -> bool {
    fs::write(path(pid, "clear_refs"), "5").is_ok()
}

/// Seconds of processor time that `pid` has used, in user and in kernel mode.
pub fn cpu_seconds(pid: u32) -> io::Result<f64> {
    let stat = read(pid, "stat")?;
    // The name of the program may have anything in it, also spaces. Behind it come the state and numbers.
    let (_, numbers) = stat.rsplit_once(')').unwrap_or_default();
    let mut fields = numbers.split_whitespace().skip(11).map(str::parse::<u64>);
    match (fields.next(), fields.next()) {
        (Some(Ok(user)), Some(Ok(system))) => Ok((user + system) as f64 / TICKS_PER_SECOND),
        _ => Err(io::Error::other("/proc says no times")),
    }
}

/// Seconds that the threads of `pid` could have run and had no processor, all together; zero where that is not told.
pub fn waited_for_cpu(pid: u32) -> f64 {
    let Ok(threads) = fs::read_dir(path(pid, "task")) else { return 0.0 };
    let statistics = threads.flatten().filter_map(|thread| fs::read_to_string(thread.path().join("schedstat")).ok());
    let nanoseconds = statistics.filter_map(|text| text.split_whitespace().nth(1)?.parse::<f64>().ok());
    nanoseconds.sum::<f64>() / 1e9
}

/// Open descriptors of `pid`.
pub fn descriptors(pid: u32) -> io::Result<usize> {
    Ok(fs::read_dir(path(pid, "fd")).map_err(|error| explain(pid, &error))?.count())
}

fn read(pid: u32, name: &str) -> io::Result<String> {
    fs::read_to_string(path(pid, name)).map_err(|error| explain(pid, &error))
}

fn explain(pid: u32, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot read of process {pid}, the server, in /proc: {error}"))
}

fn path(pid: u32, name: &str) -> String {
    format!("/proc/{pid}/{name}")
}
