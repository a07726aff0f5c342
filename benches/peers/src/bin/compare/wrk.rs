//! The same work by wrk, so that our own load generator is not the only witness.

use std::fmt::Write;
use std::io;

use crate::campaign::Row;
use crate::child::{Running, on_core};
use crate::cli::Args;
use crate::servers::Server;
use crate::tries::one_line;
use crate::works::Work;

/// The work that is done again.
pub const WORK: &str = "get-64";

/// Answers per second, as wrk sees it, or why there are none.
pub struct Seen {
    server: &'static Server,
    answers_per_second: Result<f64, String>,
}

impl Seen {
    pub fn of(server: &'static Server, answers_per_second: io::Result<f64>) -> Self {
        Self { server, answers_per_second: answers_per_second.map_err(|error| one_line(&error.to_string())) }
    }

    pub fn failed(&self) -> bool {
        self.answers_per_second.is_err()
    }
}

pub fn measure(args: &Args, server: &Server, work: &Work) -> io::Result<f64> {
    let start = server.start(work).ok_or_else(|| io::Error::other("it is no HTTP server"))?;
    let running = Running::start(start, args.server_core)?;
    let mut command = on_core(args.load_core);
    command.args(["wrk", "-t1", &format!("-c{}", work.connections)]);
    command.arg(format!("-d{}s", args.seconds.ceil())).arg(format!("http://{}/plaintext", running.address));
    let output = command.output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    let rate = said.lines().find_map(|line| line.strip_prefix("Requests/sec:"));
    let rate = rate.and_then(|rate| rate.trim().parse().ok());
    let failed = said.contains("Socket errors") || said.contains("Non-2xx");
    match rate.filter(|_| !failed) {
        Some(answers_per_second) => Ok(answers_per_second),
        None => Err(io::Error::other(format!("wrk says: {said} {}", String::from_utf8_lossy(&output.stderr)))),
    }
}

/// Both witnesses, side by side.
pub fn table(rows: &[Row], seen: &[Seen]) -> String {
    let Some(row) = rows.iter().find(|row| row.work.name == WORK).filter(|_| !seen.is_empty()) else {
        return String::new();
    };
    let mut text = "| server | answers/s by load | answers/s by wrk |\n|---|---|---|\n".to_owned();
    for Seen { server, answers_per_second } in seen {
        let ours = row.cell(server.name).and_then(|cell| cell.spread(|sample| sample.answers_per_second));
        let ours = ours.map_or("".into(), |spread| format!("{spread:.0}"));
        let by_wrk = match answers_per_second {
            Ok(rate) => format!("{rate:.0}"),
            Err(why) => format!("failed: {why}"),
        };
        let _ = writeln!(text, "| {} | {ours} | {by_wrk} |", server.name);
    }
    text
}

#[test]
fn what_wrk_could_not_measure_stands_in_its_table() {
    let work = crate::works::all().into_iter().find(|work| work.name == WORK).expect("a work");
    let server = &crate::servers::SERVERS[0];
    let rows = [Row { work, cells: vec![crate::campaign::Cell::new(server)] }];
    let seen = [Seen::of(server, Ok(1234.5)), Seen::of(server, Err(io::Error::other("wrk says:\nno")))];
    let text = table(&rows, &seen);
    assert!(text.ends_with("| bare-epoll |  | 1234 |\n| bare-epoll |  | failed: wrk says: no |\n"), "{text}");
    assert_eq!(seen.map(|one| one.failed()), [false, true]);
}
