//! All measurements, in their order.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use indicatif::{ProgressBar, ProgressStyle};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use crate::cli::{Args, Plan};
use crate::instructions;
use crate::run::{self, Sample};
use crate::servers::{Server, Start};
use crate::syscalls::{self, Syscalls};
use crate::tries::{Tries, one_line};
use crate::works::Work;
use crate::wrk::{self, Seen};
use crate::{conformity, document, tables};

/// All that was measured of one server at one work.
pub struct Cell {
    pub server: &'static Server,
    /// One for each round.
    pub samples: Vec<Sample>,
    pub syscalls: Option<Syscalls>,
    /// Of the server itself, for each answer.
    pub instructions: Option<f64>,
    pub tries: Tries,
    /// Where it failed and why, so that there is no more.
    pub failed: Option<String>,
    /// Why its calls or instructions were not counted, though it was measured.
    pub uncounted: Option<String>,
}

impl Cell {
    pub fn new(server: &'static Server) -> Self {
        let (samples, tries) = (Vec::new(), Tries::default());
        Self { server, samples, syscalls: None, instructions: None, tries, failed: None, uncounted: None }
    }
}

/// One work, with all servers that can do it.
pub struct Row {
    pub work: Work,
    pub cells: Vec<Cell>,
}

/// How far it is, and whether it is to end.
struct Progress {
    bar: ProgressBar,
    interrupted: Arc<AtomicBool>,
}

pub fn run(args: &Args, plan: &Plan) -> io::Result<()> {
    rlimit::increase_nofile_limit(u64::MAX)?;
    let rows: Vec<_> = plan.works.iter().map(|work| row(plan, work)).filter(|row| !row.cells.is_empty()).collect();
    let progress = Progress::new(args, plan, &rows)?;
    for server in &plan.servers {
        progress.begin(format!("{}: does it answer right?", server.name))?;
        conformity::check(server, args.server_core)?;
    }
    if args.check {
        progress.finish();
        println!("all {} servers answer right", plan.servers.len());
        return Ok(());
    }
    let mut done: Vec<Row> = Vec::new();
    for row in rows {
        let row = measure(args, row, &progress)?;
        if row.work.growth.is_none() {
            progress.print(&tables::work(&row));
        }
        done.push(row);
    }
    let seen = if plan.is_whole { seen_by_wrk(args, &done, &progress)? } else { Vec::new() };
    progress.finish();
    println!("{}", tables::growths(&done));
    println!("{}", tables::ratios(&done));
    if let Some(folder) = &plan.out {
        document::write(folder, args, &done, &seen)?;
    }
    let cells = || done.iter().flat_map(|row| &row.cells);
    let repeated: usize = cells().map(|cell| cell.tries.failed()).sum();
    if repeated > 0 {
        println!("tries that failed: {repeated}, as the tables say");
    }
    let failed = cells().filter(|cell| cell.failed.is_some() || cell.uncounted.is_some()).count()
        + seen.iter().filter(|one| one.failed()).count();
    match failed {
        0 => Ok(()),
        failed => Err(io::Error::other(format!("measurements that failed: {failed}, as the tables say"))),
    }
}

fn row(plan: &Plan, work: &Work) -> Row {
    let servers = plan.servers.iter().copied().filter(|server| server.start(work).is_some());
    Row { work: work.clone(), cells: servers.map(Cell::new).collect() }
}

/// Round by round, and in each the servers take turns; what needs runs of its own comes behind that.
fn measure(args: &Args, mut row: Row, progress: &Progress) -> io::Result<Row> {
    let work = &row.work;
    for round in 1..=args.rounds {
        for cell in &mut row.cells {
            progress.begin(format!("{} {round}/{}: {}", work.name, args.rounds, cell.server.name))?;
            let Some(start) = start(cell, work) else { continue };
            match run::measure(args, start, work, &mut cell.tries) {
                Ok(sample) => cell.samples.push(sample),
                Err(error) => fail(cell, work, &format!("in round {round} of {}", args.rounds), &error, progress)?,
            }
        }
    }
    for cell in &mut row.cells {
        if !args.no_syscalls {
            progress.begin(format!("{} system calls: {}", work.name, cell.server.name))?;
            let Some(start) = start(cell, work) else { continue };
            match syscalls::count(args, start, work) {
                Ok(syscalls) => cell.syscalls = Some(syscalls),
                Err(error) => leave_uncounted(cell, work, "under strace", &error, progress)?,
            }
        }
        if args.instructions {
            progress.begin(format!("{} instructions: {}", work.name, cell.server.name))?;
            let Some(start) = start(cell, work) else { continue };
            match instructions::count(args, start, work) {
                Ok(instructions) => cell.instructions = Some(instructions),
                Err(error) => leave_uncounted(cell, work, "under valgrind", &error, progress)?,
            }
        }
    }
    Ok(row)
}

/// One of the works again, by another load generator.
fn seen_by_wrk(args: &Args, done: &[Row], progress: &Progress) -> io::Result<Vec<Seen>> {
    let Some(row) = done.iter().find(|row| row.work.name == wrk::WORK) else { return Ok(Vec::new()) };
    let measured = row.cells.iter().filter(|cell| cell.failed.is_none());
    let mut seen: Vec<_> = measured.map(|cell| Seen::nothing_of(cell.server)).collect();
    for round in 1..=args.rounds {
        for one in &mut seen {
            progress.begin(format!("{} by wrk {round}/{}: {}", row.work.name, args.rounds, one.server.name))?;
            one.add(wrk::measure(args, one.server, &row.work));
        }
    }
    progress.check()?;
    Ok(seen)
}

/// How the server is started, unless it has failed already.
fn start(cell: &Cell, work: &Work) -> Option<Start> {
    cell.server.start(work).filter(|_| cell.failed.is_none())
}

fn fail(cell: &mut Cell, work: &Work, place: &str, error: &io::Error, progress: &Progress) -> io::Result<()> {
    progress.check()?;
    progress.print(&format!("{} failed at {} {place}: {error}\n", cell.server.name, work.name));
    cell.fails(place, error);
    Ok(())
}

fn leave_uncounted(cell: &mut Cell, work: &Work, place: &str, error: &io::Error, to: &Progress) -> io::Result<()> {
    to.check()?;
    to.print(&format!("{} was not counted at {} {place}: {error}\n", cell.server.name, work.name));
    cell.uncounted = Some(one_line(&format!("not counted {place}: {error}")));
    Ok(())
}

impl Progress {
    fn new(args: &Args, plan: &Plan, rows: &[Row]) -> io::Result<Self> {
        let interrupted = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            flag::register(signal, Arc::clone(&interrupted))?;
        }
        let runs = |row: &Row| {
            let counts = u64::from(!args.no_syscalls) + u64::from(args.instructions);
            row.cells.len() as u64 * (u64::from(args.rounds) + counts)
        };
        let by_wrk = rows.iter().find(|row| plan.is_whole && row.work.name == wrk::WORK);
        let by_wrk = by_wrk.map_or(0, |row| row.cells.len() as u64 * u64::from(args.rounds));
        let runs = if args.check { 0 } else { rows.iter().map(runs).sum::<u64>() + by_wrk };
        let bar = ProgressBar::new(plan.servers.len() as u64 + runs);
        let style = ProgressStyle::with_template("{bar:30} {pos}/{len}  about {eta} left  {msg}");
        bar.set_style(style.map_err(io::Error::other)?);
        Ok(Self { bar, interrupted })
    }

    /// `Err` if it is to end now: what runs is ended on the way out.
    fn check(&self) -> io::Result<()> {
        match self.interrupted.load(Relaxed) {
            true => Err(io::Error::new(io::ErrorKind::Interrupted, "interrupted by a signal; nothing was written")),
            false => Ok(()),
        }
    }

    /// The next step begins.
    fn begin(&self, what: String) -> io::Result<()> {
        self.check()?;
        self.bar.set_message(what);
        self.bar.inc(1);
        Ok(())
    }

    fn print(&self, text: &str) {
        self.bar.suspend(|| println!("{text}"));
    }

    fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
