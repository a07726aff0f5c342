//! The server that is attacked: started here, or found running.

use std::env;
use std::io::{self, BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread;
use std::time::Duration;

use crate::numbers::Reader;

/// How long the server may take to start.
const START: Duration = Duration::from_secs(20);

/// The server.
pub struct Target {
    pub address: SocketAddr,
    pub pid: u32,
    /// The memory ceiling that it has printed, in bytes.
    pub ceiling: u64,
    child: Option<Spawned>,
}

struct Spawned {
    child: Child,
    log: Receiver<Line>,
}

enum Line {
    Out(String),
    Log(String),
}

impl Target {
    /// One that runs. What it has printed is not seen here, so it is asked.
    pub fn attach(address: SocketAddr, pid: u32) -> io::Result<Self> {
        let ceiling = Reader::connect(address)?.read()?.of("memory_ceiling_bytes");
        Ok(Self { address, pid, ceiling, child: None })
    }

    /// Starts the example `http_echo` with its defaults, and with a limit of open descriptors if there is to be one.
    pub fn spawn(descriptors: Option<u64>) -> io::Result<Self> {
        let server = path()?;
        let mut command = match descriptors {
            None => Command::new(server),
            Some(limit) => {
                // The soft and the hard limit: the server raises the soft one to the hard one.
                let mut shell = Command::new("sh");
                shell.args(["-c", &format!("ulimit -n {limit} && exec \"$0\" \"$@\"")]).arg(server);
                shell
            }
        };
        command.args(["127.0.0.1:0", "--metrics"]).env_remove("RUST_LOG");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child =
            command.spawn().map_err(|error| io::Error::other(format!("cannot start http_echo: {error}")))?;
        // Bounded: lines that nobody takes are dropped, and the server never waits for its log.
        let (lines, log) = mpsc::sync_channel(1024);
        child.stdout.take().into_iter().for_each(|stdout| pass_on(stdout, lines.clone(), Line::Out));
        child.stderr.take().into_iter().for_each(|stderr| pass_on(stderr, lines.clone(), Line::Log));
        drop(lines);
        let spawned = Spawned { child, log };
        let (address, ceiling) = spawned.started()?;
        Ok(Self { address, pid: spawned.child.id(), ceiling, child: Some(spawned) })
    }

    /// Warnings and errors that it has logged since the last call.
    pub fn complaints(&self) -> Vec<String> {
        let lines = self.child.iter().flat_map(|spawned| spawned.log.try_iter());
        let complaint = |line| match line {
            Line::Log(text) if text.contains("WARN") || text.contains("ERROR") || text.contains("panicked") => {
                Some(text)
            }
            _ => None,
        };
        lines.filter_map(complaint).collect()
    }
}

impl Spawned {
    /// Waits for where it listens and for the total of its ceiling.
    fn started(&self) -> io::Result<(SocketAddr, u64)> {
        let (mut address, mut ceiling, mut last) = (None, None, String::new());
        loop {
            if let (Some(address), Some(ceiling)) = (address, ceiling) {
                return Ok((address, ceiling));
            }
            match self.log.recv_timeout(START) {
                Ok(Line::Out(line)) => {
                    address = address.or(line.strip_prefix("listening on ").and_then(|text| text.parse().ok()));
                }
                Ok(Line::Log(line)) => {
                    ceiling = ceiling.or(total(&line));
                    last = line;
                }
                Err(_) => return Err(io::Error::other(format!("http_echo did not start: {last}"))),
            }
        }
    }
}

impl Drop for Spawned {
    fn drop(&mut self) {
        // By its id, and both fail if it has ended: that is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The bytes of a line such as `[... INFO ...] total             127.9 MiB`.
fn total(line: &str) -> Option<u64> {
    let (_, row) = line.split_once("] total ")?;
    let mut words = row.split_whitespace();
    let number: f64 = words.next()?.parse().ok()?;
    let unit = match words.next()? {
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        _ => return None,
    };
    Some((number * f64::from(1 << unit)) as u64)
}

fn pass_on(stream: impl Read + Send + 'static, lines: SyncSender<Line>, kind: fn(String) -> Line) {
    thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            let _ = lines.try_send(kind(line));
        }
    });
}

/// `http_echo` beside this program.
fn path() -> io::Result<PathBuf> {
    let path = env::current_exe()?.with_file_name("http_echo");
    if path.is_file() {
        Ok(path)
    } else {
        Err(io::Error::other(format!(
            "there is no {}: build it by `cargo build --release --example http_echo`",
            path.display()
        )))
    }
}
