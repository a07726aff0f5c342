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
    /// How long its threads could have run and others ran, in nanoseconds.
    waited: u64,
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
        let mut process = Self { whole: ticks * TICK, ..Self::default() };
        for task in tasks.flatten() {
            let number = task.file_name().to_str().and_then(|number| number.parse().ok());
            // A thread may have ended meanwhile.
            let times = fs::read_to_string(task.path().join("schedstat")).ok();
            if let Some((number, (ran, waited))) = number.zip(times.as_deref().and_then(ran_and_waited)) {
                process.threads.push((number, ran));
                process.waited += waited;
            }
        }
        Ok(process)
    }

    /// This very thread.
    pub fn look_at_this_thread() -> Self {
        let times = fs::read_to_string("/proc/thread-self/schedstat").ok();
        let (ran, waited) = times.as_deref().and_then(ran_and_waited).unwrap_or_default();
        Self { threads: vec![(0, ran)], waited, whole: 0 }
    }

    /// The CPU time since `before`. To the nanosecond, unless threads have ended with theirs.
    pub fn cpu_since(&self, before: &Self) -> Duration {
        let ran_before = |thread| before.threads.iter().find(|(other, _)| *other == thread).map_or(0, |(_, ran)| *ran);
        let by_threads = self.threads.iter().map(|(thread, ran)| ran.saturating_sub(ran_before(*thread))).sum();
        let by_ticks = self.whole.saturating_sub(before.whole);
        Duration::from_nanos(if by_ticks > by_threads + ROUNDING { by_ticks } else { by_threads })
    }

    /// How long it was kept waiting for a core since `before`.
    pub fn waited_since(&self, before: &Self) -> Duration {
        Duration::from_nanos(self.waited.saturating_sub(before.waited))
    }

    pub fn threads(&self) -> usize {
        self.threads.len()
    }
}

impl Memory {
    pub fn of(pid: u32) -> io::Result<Self> {
        let path = format!("/proc/{pid}/status");
        let status = read(&path)?;
        let of = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|line| line.split_whitespace().next()).and_then(|kib| kib.parse().ok())
        };
        // Who has ended and was not waited for is still there, without memory.
        let known = of("VmRSS:").zip(of("VmHWM:")).map(|(now, peak)| Self { now, peak });
        known.ok_or_else(|| unreadable(&path, &io::Error::other("no memory is told of")))
    }
}

/// The first two numbers of a `schedstat`.
fn ran_and_waited(text: &str) -> Option<(u64, u64)> {
    let mut numbers = text.split_whitespace().map_while(|number| number.parse().ok());
    numbers.next().zip(numbers.next())
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
        Process { threads: threads.to_vec(), waited: 0, whole }
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
    fn times_are_two_numbers() {
        assert_eq!(ran_and_waited("123 45 6\n"), Some((123, 45)));
        assert_eq!([ran_and_waited(""), ran_and_waited("1"), ran_and_waited("a 1")], [None; 3]);
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
