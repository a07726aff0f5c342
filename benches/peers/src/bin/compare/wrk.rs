//! The same work by wrk, so that our own load generator is not the only witness.

use std::fmt::Write;
use std::{fs, io};

use crate::campaign::Row;
use crate::child::{Running, on_core};
use crate::cli::Args;
use crate::run::{Sample, TRIES};
use crate::servers::Server;
use crate::stats::Spread;
use crate::tries::one_line;
use crate::works::Work;

/// The work that is done again.
pub const WORK: &str = "get-64";

/// What wrk saw of a server, round by round.
pub struct Seen {
    pub server: &'static Server,
    rounds: Vec<Round>,
    /// Why there are no more.
    failed: Option<String>,
}

/// One run of wrk.
pub struct Round {
    answers_per_second: f64,
    /// CPU time of the server's process for each answer, in microseconds.
    cpu: f64,
}

impl Seen {
    pub fn nothing_of(server: &'static Server) -> Self {
        Self { server, rounds: Vec::new(), failed: None }
    }

    pub fn add(&mut self, round: io::Result<Round>) {
        match round {
            Ok(round) => self.rounds.push(round),
            Err(error) => self.failed = Some(one_line(&error.to_string())),
        }
    }

    pub fn failed(&self) -> bool {
        self.failed.is_some()
    }

    fn spread(&self, of: fn(&Round) -> f64, digits: usize) -> String {
        Spread::of(self.rounds.iter().map(of)).map_or(String::new(), |spread| format!("{spread:.digits$}"))
    }
}

/// Measures until it goes well, as with the load generator of our own.
pub fn measure(args: &Args, server: &Server, work: &Work) -> io::Result<Round> {
    let again = (1..TRIES).find_map(|_| measure_once(args, server, work).ok());
    again.map_or_else(|| measure_once(args, server, work), Ok)
}

fn measure_once(args: &Args, server: &Server, work: &Work) -> io::Result<Round> {
    let start = server.start(work).ok_or_else(|| io::Error::other("it is no HTTP server"))?;
    let running = Running::start(start, args.server_core)?;
    let used = cpu_seconds(&running)?;
    let mut command = on_core(args.load_core);
    command.args(["wrk", "-t1", &format!("-c{}", work.connections)]);
    command.arg(format!("-d{}s", args.seconds.ceil())).arg(format!("http://{}/plaintext", running.address));
    let output = command.output()?;
    let used = cpu_seconds(&running)? - used;
    let said = String::from_utf8_lossy(&output.stdout);
    let rate =
        said.lines().find_map(|line| line.strip_prefix("Requests/sec:")).and_then(|rate| rate.trim().parse().ok());
    let answers = said.lines().find_map(|line| line.split_once(" requests in ")?.0.trim().parse::<f64>().ok());
    let failed = said.contains("Socket errors") || said.contains("Non-2xx");
    match rate.zip(answers).filter(|&(_, answers)| !failed && answers > 0.0) {
        Some((answers_per_second, answers)) => Ok(Round { answers_per_second, cpu: used * 1e6 / answers }),
        None => Err(io::Error::other(format!("wrk says: {said} {}", String::from_utf8_lossy(&output.stderr)))),
    }
}

/// Processor time of all threads of the server, as the scheduler counts it.
fn cpu_seconds(server: &Running) -> io::Result<f64> {
    let mut nanoseconds = 0;
    for thread in fs::read_dir(format!("/proc/{}/task", server.pid()))? {
        let text = fs::read_to_string(thread?.path().join("schedstat"))?;
        nanoseconds += text.split(' ').next().and_then(|used| used.parse::<u64>().ok()).unwrap_or(0);
    }
    Ok(nanoseconds as f64 / 1e9)
}

/// Both witnesses, side by side.
pub fn table(rows: &[Row], seen: &[Seen]) -> String {
    let Some(row) = rows.iter().find(|row| row.work.name == WORK).filter(|_| !seen.is_empty()) else {
        return String::new();
    };
    let mut text = "| server | answers/s by load | answers/s by wrk | CPU us per answer by load | by wrk |\n\
                    |---|---|---|---|---|\n"
        .to_owned();
    for one in seen {
        let spread = |of: fn(&Sample) -> f64, digits: usize| {
            let spread = row.cell(one.server.name).and_then(|cell| cell.spread(of));
            spread.map_or(String::new(), |spread| format!("{spread:.digits$}"))
        };
        let rate = match &one.failed {
            Some(why) => format!("failed: {why}"),
            None => one.spread(|round| round.answers_per_second, 0),
        };
        let _ = writeln!(
            text,
            "| {} | {} | {rate} | {} | {} |",
            one.server.name,
            spread(|sample| sample.answers_per_second, 0),
            spread(|sample| sample.cpu, 2),
            one.spread(|round| round.cpu, 2),
        );
    }
    text
}

#[test]
fn what_wrk_could_not_measure_stands_in_its_table() {
    let work = crate::works::all().into_iter().find(|work| work.name == WORK).expect("a work");
    let server = &crate::servers::SERVERS[0];
    let rows = [Row { work, cells: vec![crate::campaign::Cell::new(server)] }];
    let mut seen = [Seen::nothing_of(server), Seen::nothing_of(server)];
    for rate in [1000.0, 1234.5, 2000.0] {
        seen[0].add(Ok(Round { answers_per_second: rate, cpu: 5.0 }));
    }
    seen[1].add(Err(io::Error::other("wrk says:\nno")));
    let text = table(&rows, &seen);
    let told = "| bare-epoll |  | 1234 (1000-2000) |  | 5.00 |\n| bare-epoll |  | failed: wrk says: no |  |  |\n";
    assert!(text.ends_with(told), "{text}");
    assert_eq!(seen.map(|one| one.failed()), [false, true]);
}
