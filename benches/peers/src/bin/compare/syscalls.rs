//! System calls for each answer, by strace: a short run of its own, because strace slows it down.

use std::fs;
use std::io::{self, BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::child::Running;
use crate::cli::Args;
use crate::run;
use crate::servers::Start;
use crate::works::Work;

/// How long it is counted.
const SECONDS: f64 = 1.0;

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

pub fn count(args: &Args, start: Start, work: &Work) -> io::Result<Syscalls> {
    let server = Running::start(start, args.server_core)?;
    let mut strace = Strace::attach(&server)?;
    let said = run::load(args, &server, work, SECONDS, 0.0)?;
    let answers = said.get("answers_ever").and_then(Value::as_f64).filter(|answers| *answers > 0.0);
    let answers = answers.ok_or_else(|| io::Error::other("no answers under strace"))?;
    let calls = strace.finish()?;
    let mut by_name: Vec<_> = calls.into_iter().map(|(name, calls)| (name, calls as f64 / answers)).collect();
    by_name.sort_by(|(_, one), (_, other)| other.total_cmp(one));
    Ok(Syscalls { all: by_name.iter().map(|(_, calls)| calls).sum(), by_name })
}

impl Strace {
    fn attach(server: &Running) -> io::Result<Self> {
        let file = std::env::temp_dir().join(format!("sluicegate-strace-{}", server.pid()));
        let mut command = Command::new("strace");
        command.args(["-c", "-f", "-U", "calls,name", "-p", &server.pid().to_string(), "-o"]).arg(&file);
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
    fn finish(&mut self) -> io::Result<Vec<(String, u64)>> {
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
