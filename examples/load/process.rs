//! CPU time and memory of a process, from `/proc`.

use std::fs;
use std::io;
use std::time::Duration;

/// `/proc/PID/stat` counts in hundredths of a second.
const TICK: u64 = 10_000_000;
/// A difference up to this is one of rounding.
const ROUNDING: u64 = 3 * TICK;

/// A process at one moment.
#[derive(Debug, Clone, Default)]
pub struct Process {
    /// CPU time of each of its threads, in nanoseconds.
    threads: Vec<(u32, u64)>,
    /// CPU time of all its threads, also those that have ended, in nanoseconds but by the tick.
    whole: u64,
}

/// What a process needs of the machine's memory, in KiB.
#[derive(Debug, Clone, Copy, Default)]
pub struct Memory {
    pub now: u64,
    pub peak: u64,
}

impl Process {
    /// The process with that number.
    pub fn look(pid: u32) -> io::Result<Self> {
        let folder = format!("/proc/{pid}");
        let stat = read(&format!("{folder}/stat"))?;
        // The name, in brackets, may have spaces; utime and stime are the 14th and the 15th.
        let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields).split_whitespace();
        let ticks: u64 = fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
        let tasks = fs::read_dir(format!("{folder}/task")).map_err(|error| unreadable(&folder, &error))?;
        let threads = tasks.flatten().filter_map(|task| {
            let ran = fs::read_to_string(task.path().join("schedstat")).ok()?;
            Some((task.file_name().to_str()?.parse().ok()?, ran.split_whitespace().next()?.parse().ok()?))
        });
        Ok(Self { threads: threads.collect(), whole: ticks * TICK })
    }

    /// This very thread.
    pub fn look_at_this_thread() -> Self {
        let ran = fs::read_to_string("/proc/thread-self/schedstat").ok();
        let ran = ran.as_deref().and_then(|text| text.split_whitespace().next()).and_then(|ran| ran.parse().ok());
        Self { threads: vec![(0, ran.unwrap_or(0))], whole: 0 }
    }

    /// The CPU time since `before`. To the nanosecond, unless threads have ended with theirs.
    pub fn cpu_since(&self, before: &Self) -> Duration {
        let ran_before = |thread| before.threads.iter().find(|(other, _)| *other == thread).map_or(0, |(_, ran)| *ran);
        let by_threads = self.threads.iter().map(|(thread, ran)| ran.saturating_sub(ran_before(*thread))).sum();
        let by_ticks = self.whole.saturating_sub(before.whole);
        Duration::from_nanos(if by_ticks > by_threads + ROUNDING { by_ticks } else { by_threads })
    }

    pub fn threads(&self) -> usize {
        self.threads.len()
    }
}

impl Memory {
    pub fn of(pid: u32) -> io::Result<Self> {
        let status = read(&format!("/proc/{pid}/status"))?;
        let of = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|line| line.split_whitespace().next()).and_then(|kib| kib.parse().ok()).unwrap_or(0)
        };
        Ok(Self { now: of("VmRSS:"), peak: of("VmHWM:") })
    }
}

fn read(path: &str) -> io::Result<String> {
    fs::read_to_string(path).map_err(|error| unreadable(path, &error))
}

fn unreadable(path: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot read {path}: {error}; is --pid the server's, and does it run?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(threads: &[(u32, u64)], whole: u64) -> Process {
        Process { threads: threads.to_vec(), whole }
    }

    #[test]
    fn new_threads_count_and_old_ones_count_from_before() {
        let before = process(&[(1, 100), (2, 50)], 0);
        let after = process(&[(1, 130), (2, 50), (3, 7)], TICK);
        assert_eq!(after.cpu_since(&before), Duration::from_nanos(37));
    }

    #[test]
    fn the_time_of_threads_that_have_ended_is_not_lost() {
        let before = process(&[(1, 100), (2, 50)], 0);
        let after = process(&[(1, 130)], 8 * TICK);
        assert_eq!(after.cpu_since(&before), Duration::from_nanos(8 * TICK));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_is_seen() {
        let (pid, before) = (std::process::id(), Process::look_at_this_thread());
        let process = Process::look(pid).expect("it runs");
        assert!(process.threads() >= 1);
        let memory = Memory::of(pid).expect("it runs");
        assert!(memory.now > 0 && memory.peak >= memory.now);
        assert!(Process::look_at_this_thread().cpu_since(&before) > Duration::ZERO);
        assert!(Process::look(u32::MAX).expect_err("no such process").to_string().contains("--pid"));
    }
}
