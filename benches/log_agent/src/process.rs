//! What `/proc` says about a process.

use std::fs;
use std::io;
use std::process::Command;

/// Waits until everything that was written anywhere is on its disk.
pub fn flush_disks() -> io::Result<()> {
    match Command::new("sync").status()?.success() {
        true => Ok(()),
        false => Err(io::Error::other("sync has failed")),
    }
}

/// What a program says that it is, in its first line.
pub fn first_line(program: &str, args: &[&str], libraries: &str) -> String {
    let output = Command::new(program).args(args).env("LD_LIBRARY_PATH", libraries).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    text.lines().next().unwrap_or("unknown").trim().trim_end_matches(" compiled with:").to_owned()
}

/// Seconds of processor time of all threads that live, to the nanosecond.
pub fn cpu_seconds(pid: u32) -> f64 {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let texts = threads.filter_map(|thread| fs::read_to_string(thread.path().join("schedstat")).ok());
    texts.filter_map(|text| text.split_whitespace().next()?.parse::<f64>().ok()).sum::<f64>() / 1e9
}

/// The most memory that it ever had, in MiB.
pub fn peak_mib(pid: u32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|rest| rest.trim().strip_suffix("kB")?.trim().parse::<f64>().ok());
    kilobytes.unwrap_or(f64::NAN) / 1024.0
}
