//! RESULTS.md, and the charts beside it.

use std::fmt::Write;
use std::path::Path;
use std::{env, fs, io};

use crate::campaign::Row;
use crate::cli::Args;
use crate::works::Axis;
use crate::wrk::{self, Seen};
use crate::{charts, machine, run, tables};

const CHARTS: &str = "charts";

const HOW: &str = "\
The server has one core, the load generator (`examples/load`) the other. Each run has a new server. The servers take turns, \
round by round; shown are medians, and in brackets the least and the most. A run that fails is made again, and so is one \
that was disturbed more than `--calm` allows: up to three tries are made. Failed ones are told below the table of their work, \
also where another went well; a server that fails in all three is not measured any more at this work, and its numbers are of \
the rounds before. All Rust servers are built with link-time optimization. hyper is told to write the answers of a pipeline \
together; axum has no setting for that. Ratios are between runs of the same round. CPU is \
that of the server's process, user and system, all threads, from `/proc`. Latency is seen from the load generator, in a closed \
loop. System calls are counted by `strace -c -f`, in two runs of their own: what a shorter one needs is taken from a longer \
one, and with it what connecting needs. Where the longer run does not have twice the answers in five tries they are not \
counted. At the end wrk is the second witness, in as many rounds, without a warm-up.

bare-epoll, bare-mio and bare-mio-accepter are yardsticks: loops that know as much of HTTP as they need here. *Cores busy* \
are the server's and the load's. Where the server's is below 95 %, it could have done more: then requests per second say \
little, and CPU per answer is what counts; `(the load was the limit)` and `(*)`, neither was, mark these. *Disturbed* is the \
share of the time that other programs kept the load generator waiting for its core.\n";

/// What was typed, without the places of files.
fn command() -> String {
    let mut words = vec!["benches/compare.sh".to_owned()];
    let mut args = env::args().skip(1);
    while let Some(word) = args.next() {
        match word.as_str() {
            "--load" | "--out" => drop(args.next()),
            word if word.starts_with("--load=") || word.starts_with("--out=") => {}
            _ => words.push(word),
        }
    }
    words.join(" ")
}

pub fn write(folder: &Path, args: &Args, rows: &[Row], seen: &[Seen]) -> io::Result<()> {
    let charts = folder.join(CHARTS);
    fs::create_dir_all(&charts)?;
    let mut text = String::from("# Measured beside peers\n\nWritten by `benches/compare.sh`; do not edit.\n\n");
    machine::describe().iter().for_each(|line| text.push_str(&format!("- {line}\n")));
    let _ = writeln!(
        text,
        "- command: `{}`; {} rounds of {} s after {} s of warm-up\n\n{HOW}",
        command(),
        args.rounds,
        args.seconds,
        args.warm_up
    );
    text.push_str("## CPU for each answer, bare epoll = 1\n\n");
    let _ = writeln!(text, "{}\n![CPU for each answer]({CHARTS}/cpu.svg)\n", tables::ratios(rows));
    fs::write(charts.join("cpu.svg"), charts::bars(rows))?;
    text.push_str("## How cost grows\n\nCPU of the server for each answer, in microseconds.\n\n");
    text.push_str(&tables::growths(rows));
    for axis in Axis::ALL {
        if let Some(chart) = charts::curves(rows, axis) {
            fs::write(charts.join(axis.file()), chart)?;
            let _ = writeln!(text, "![{}]({CHARTS}/{})\n", axis.title(), axis.file());
        }
    }
    text.push_str("## Work by work\n\n");
    for row in rows.iter().filter(|row| row.work.growth.is_none()) {
        let beside = match row.work.idle {
            0 => String::new(),
            idle => format!(", beside {idle} idle connections"),
        };
        let _ = writeln!(text, "{}\n    load ADDR {}{beside}\n", tables::work(row), run::words(&row.work).join(" "));
    }
    if !seen.is_empty() {
        let _ = writeln!(text, "## GET keep-alive, 64 connections, by wrk\n\n{}", wrk::table(rows, seen));
    }
    fs::write(folder.join("RESULTS.md"), text.trim_end().to_owned() + "\n")
}

#[test]
fn how_it_was_measured_says_how_often_it_is_tried() {
    assert_eq!(run::TRIES, 3);
    assert!(HOW.contains("up to three tries are made. Failed ones are told"), "{HOW}");
}
