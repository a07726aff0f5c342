//! System calls for each answer, by strace: two short runs of their own, because strace slows them down.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::child::{Running, on_core};
use crate::cli::Args;
use crate::idle::Idle;
use crate::run;
use crate::servers::Start;
use crate::works::Work;

/// A shorter run is taken from a longer one, and with it what connecting needs.
const SECONDS: [f64; 2] = [0.25, 1.25];
/// How much longer for each connection, and at most: how a connection ends is not the same each time, and is to be
/// little beside the answers.
const MORE: [f64; 2] = [0.001, 4.0];
/// How often both are run until the longer one has several times the answers: now and then strace slows one of them
/// much more, and what is left of the difference would say little.
const TRIES: usize = 5;
/// So many times at least.
const TIMES: f64 = 2.0;
/// How long a server may take to see that its peers are gone.
const PATIENCE: Duration = Duration::from_secs(2);

/// Calls for each answer.
#[derive(Debug, Clone)]
pub struct Syscalls {
    pub all: f64,
    /// By name, the most frequent first.
    pub by_name: Vec<(String, f64)>,
}

/// strace at work. Ended when it is dropped, and then the server runs on.
struct Strace {
    child: Child,
    file: std::path::PathBuf,
}

/// What one run came to.
struct Counted {
    answers: f64,
    calls: BTreeMap<String, u64>,
}

pub fn count(args: &Args, start: Start, work: &Work) -> io::Result<Syscalls> {
    let ([short, long], [each, most]) = (SECONDS, MORE);
    let long = long + (work.connections as f64 * each).min(most);
    for _ in 0..TRIES {
        let (before, after) = (counted(args, start, work, short)?, counted(args, start, work, long)?);
        if let Some(syscalls) = Syscalls::of(&before, &after) {
            return Ok(syscalls);
        }
    }
    Err(io::Error::other("hardly more answers in a longer time"))
}

fn counted(args: &Args, start: Start, work: &Work, seconds: f64) -> io::Result<Counted> {
    let server = Running::start(start, args.server_core)?;
    // Connected before anything is counted: what they need would take long under strace, and is none of the answers'.
    let _idle = if work.idle > 0 { Some(Idle::open(&server, work.idle)?) } else { None };
    let mut strace = Strace::attach(&server, args.server_core)?;
    let before = descriptors(&server)?;
    let said = run::load(args, &server, work, seconds, 0.0)?;
    let answers = said.get("answers_ever").and_then(Value::as_f64).filter(|answers| *answers > 0.0);
    let answers = answers.ok_or_else(|| io::Error::other("no answers under strace"))?;
    // To close is counted as well: in both runs all of it, or one can't be taken from the other.
    let since = Instant::now();
    while descriptors(&server)? > before && since.elapsed() < PATIENCE {
        thread::sleep(Duration::from_millis(5));
    }
    Ok(Counted { answers, calls: strace.finish()? })
}

fn descriptors(server: &Running) -> io::Result<usize> {
    Ok(fs::read_dir(format!("/proc/{}/fd", server.pid()))?.count())
}

impl Syscalls {
    /// Of the answers that the longer run has more, if these are enough to be told from what both runs have.
    fn of(short: &Counted, long: &Counted) -> Option<Self> {
        let answers = long.answers - short.answers;
        if long.answers < TIMES * short.answers {
            return None;
        }
        let each = |(name, calls): (&String, &u64)| {
            let before = short.calls.get(name).copied().unwrap_or(0);
            // What is called by the clock or at the start only may be less in the longer run.
            (name.clone(), calls.saturating_sub(before) as f64 / answers)
        };
        let mut by_name: Vec<_> = long.calls.iter().map(each).collect();
        by_name.sort_by(|(_, one), (_, other)| other.total_cmp(one));
        Some(Self { all: by_name.iter().map(|(_, calls)| calls).sum(), by_name })
    }
}

impl Strace {
    fn attach(server: &Running, core: usize) -> io::Result<Self> {
        let file = std::env::temp_dir().join(format!("sluicegate-strace-{}", server.pid()));
        // Where the server runs: it stops for each call anyway, and the load has the other core.
        let mut command = on_core(core);
        command.args(["strace", "-c", "-f", "-U", "calls,name", "-p", &server.pid().to_string(), "-o"]).arg(&file);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| io::Error::other(format!("strace: {error}")))?;
        // It says so for each thread; the first line is enough, as those attach all before any runs on.
        let mut line = String::new();
        BufReader::new(child.stderr.as_mut().expect("piped")).read_line(&mut line)?;
        let strace = Self { child, file };
        match line.contains("attached") {
            true => Ok(strace),
            false => Err(io::Error::other(format!("strace: {}", line.trim()))),
        }
    }

    /// Ends it, and gives its counts by name.
    fn finish(&mut self) -> io::Result<BTreeMap<String, u64>> {
        self.interrupt();
        self.child.wait()?;
        let text = fs::read_to_string(&self.file)?;
        let rows = text.lines().filter_map(|line| {
            let (calls, name) = line.trim().split_once(char::is_whitespace)?;
            let (calls, name) = (calls.parse().ok()?, name.trim());
            (name != "total").then(|| (name.to_owned(), calls))
        });
        Ok(rows.collect())
    }

    /// Asks it to let go of the server and to say what it has counted.
    fn interrupt(&self) {
        let _ = Command::new("kill").args(["-INT", &self.child.id().to_string()]).status();
    }
}

impl Drop for Strace {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            self.interrupt();
            let _ = self.child.wait();
        }
        let _ = fs::remove_file(&self.file);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_connecting_needs_is_not_counted() {
        let run = |answers, calls: &[(&str, u64)]| Counted {
            answers,
            calls: calls.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect(),
        };
        let short = run(100.0, &[("accept4", 1000), ("read", 1100), ("write", 100), ("brk", 3)]);
        let long = run(1100.0, &[("accept4", 1000), ("read", 2100), ("write", 1100), ("brk", 2)]);
        let calls = Syscalls::of(&short, &long).expect("more answers");
        assert_eq!(calls.all, 2.0);
        let [first, second, third, fourth] = &calls.by_name[..] else { panic!("{calls:?}") };
        assert_eq!([first.1, second.1, third.1, fourth.1], [1.0, 1.0, 0.0, 0.0]);
        assert!(Syscalls::of(&long, &short).is_none(), "fewer answers in a longer time");
        assert!(Syscalls::of(&short, &run(199.0, &[])).is_none(), "not enough more");
    }
}
