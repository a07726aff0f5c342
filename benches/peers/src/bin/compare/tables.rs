//! What was measured, as tables.

use std::fmt::Write;

use crate::campaign::{Cell, Row};
use crate::run::Sample;
use crate::servers::{Rank, SERVERS};
use crate::stats::Spread;
use crate::tries;
use crate::works::Axis;

/// Below this share of its core, the server was not what was waited for.
const BUSY: f64 = 0.95;

/// From this share of the time on that others kept the load generator waiting, the table says so.
const DISTURBED: f64 = 0.02;

impl Cell {
    /// A number of each round.
    pub fn values(&self, of: impl Fn(&Sample) -> f64) -> Vec<f64> {
        self.samples.iter().map(of).collect()
    }

    pub fn spread(&self, of: impl Fn(&Sample) -> f64) -> Option<Spread> {
        Spread::of(self.values(of))
    }

    pub fn cpu(&self) -> Option<f64> {
        self.spread(|sample| sample.cpu).map(|spread| spread.median)
    }

    /// CPU for each answer, as a ratio to that of another server in the same rounds.
    pub fn ratio_to(&self, other: &Cell) -> Option<Spread> {
        Spread::of_ratios(&self.values(|sample| sample.cpu), &other.values(|sample| sample.cpu))
    }
}

impl Row {
    pub fn yardstick(&self) -> Option<&Cell> {
        self.cell(SERVERS[0].name)
    }

    pub fn cell(&self, name: &str) -> Option<&Cell> {
        self.cells.iter().find(|cell| cell.server.name == name)
    }

    /// The peer that needs least.
    fn best_peer(&self) -> Option<&Cell> {
        let peers = self.cells.iter().filter(|cell| cell.server.rank == Rank::Peer);
        let known = peers.filter_map(|cell| Some((cell, cell.cpu()?)));
        known.min_by(|(_, one), (_, other)| one.total_cmp(other)).map(|(cell, _)| cell)
    }
}

/// All of one work.
pub fn work(row: &Row) -> String {
    let (yardstick, best) = (row.yardstick(), row.best_peer());
    let mut text = format!("### {}\n\n`{}`\n\n", row.work.title, row.work.name);
    text.push_str(
        "| server | CPU us per answer | to bare-epoll | to the best peer | answers/s | p50 us | p99 us | p99.9 us | \
         peak MiB | system calls per answer | cores busy |\n|---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for cell in &row.cells {
        if let Some(failed) = cell.failed.as_ref().filter(|_| cell.samples.is_empty()) {
            let _ = writeln!(text, "| {} | {failed} ||||||||||", cell.server.name);
            continue;
        }
        let show =
            |spread: Option<Spread>, digits: usize| spread.map_or("".into(), |spread| format!("{spread:.digits$}"));
        let middle = |of: fn(&Sample) -> f64, digits: usize| {
            cell.spread(of).map_or("".into(), |spread| format!("{:.digits$}", spread.median))
        };
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            cell.server.name,
            show(cell.spread(|sample| sample.cpu), 2),
            show(yardstick.and_then(|other| cell.ratio_to(other)), 2),
            show(best.and_then(|other| cell.ratio_to(other)), 2),
            show(cell.spread(|sample| sample.answers_per_second), 0),
            middle(|sample| sample.p50, 0),
            middle(|sample| sample.p99, 0),
            middle(|sample| sample.p999, 0),
            middle(|sample| sample.peak_kib / 1024.0, 1),
            cell.syscalls.as_ref().map_or("".into(), |calls| format!("{:.2}", calls.all)),
            busy(cell)
        );
    }
    tries::below([(String::new(), row)]).iter().for_each(|line| text.push_str(&format!("\n{line}\n")));
    text.push_str(&idle(row));
    text.push_str(&instructions(row));
    text.push_str(&syscalls(row));
    text
}

/// Which core was busy, if it was not the server's.
fn busy(cell: &Cell) -> String {
    let middle = |of: fn(&Sample) -> f64| cell.spread(of).map_or(0.0, |spread| spread.median);
    let (server, load) = (middle(|sample| sample.server_busy), middle(|sample| sample.load_busy));
    let mark = match (server >= BUSY, load >= BUSY) {
        (true, _) => "",
        (false, true) => " (the load was the limit)",
        (false, false) => " (*)",
    };
    let waited = middle(|sample| sample.load_waited);
    let disturbed = if waited >= DISTURBED { format!(", disturbed {:.0} %", waited * 100.0) } else { String::new() };
    format!("{:.0} % / {:.0} %{mark}{disturbed}", server * 100.0, load * 100.0)
}

fn idle(row: &Row) -> String {
    let bytes = |cell: &Cell| Spread::of(cell.samples.iter().filter_map(|sample| sample.idle_bytes));
    let known: Vec<_> =
        row.cells.iter().filter_map(|cell| Some(format!("{} {:.0}", cell.server.name, bytes(cell)?.median))).collect();
    match known.is_empty() {
        true => String::new(),
        false => format!("\nBytes of resident memory for each idle connection: {}.\n", known.join(", ")),
    }
}

fn instructions(row: &Row) -> String {
    let known: Vec<_> =
        row.cells.iter().filter_map(|cell| Some(format!("{} {:.0}", cell.server.name, cell.instructions?))).collect();
    match known.is_empty() {
        true => String::new(),
        false => format!("\nInstructions of the server itself for each answer: {}.\n", known.join(", ")),
    }
}

/// Which system calls, of those whose calls are ours to choose.
fn syscalls(row: &Row) -> String {
    let mut text = String::new();
    for cell in row.cells.iter().filter(|cell| cell.server.rank != Rank::Peer) {
        let Some(calls) = &cell.syscalls else { continue };
        let frequent = calls.by_name.iter().filter(|(_, calls)| *calls >= 0.005);
        let names: Vec<_> = frequent.map(|(name, calls)| format!("{name} {calls:.2}")).collect();
        let _ = write!(text, "\nSystem calls of {}: {}.\n", cell.server.name, names.join(", "));
    }
    text
}

/// Marks the ratio of a server that something went wrong with.
const FAILED: &str = " (!)";

/// CPU for each answer as a ratio to the yardstick, all works and servers.
pub fn ratios(rows: &[Row]) -> String {
    let rows: Vec<_> = rows.iter().filter(|row| row.work.growth.is_none()).collect();
    let named = |name: &str| rows.iter().any(|row| row.cell(name).is_some());
    let servers: Vec<_> = SERVERS.iter().map(|server| server.name).filter(|name| named(name)).collect();
    if rows.is_empty() {
        return String::new();
    }
    let mut text = format!("| work | {} |\n|---{}|\n", servers.join(" | "), "|---".repeat(servers.len()));
    for row in rows {
        let ratio = |name: &&str| {
            let Some(cell) = row.cell(name) else { return "-".into() };
            let ratio = row.yardstick().and_then(|other| cell.ratio_to(other));
            let failed = cell.failed.is_some() || cell.tries.failed() > 0;
            let mark = if failed { FAILED } else { "" };
            ratio.map_or("-".into(), |ratio| format!("{:.2}", ratio.median)) + mark
        };
        let cells: Vec<String> = servers.iter().map(ratio).collect();
        let _ = writeln!(text, "| {} | {} |", row.work.name, cells.join(" | "));
    }
    if text.contains(FAILED) {
        text.push_str("\n`(!)`: it failed there, or a try did; below the table of the work stands why.\n");
    }
    text
}

/// How cost grows, tables for each axis: CPU, and system calls if they were counted.
pub fn growths(rows: &[Row]) -> String {
    let mut text = String::new();
    for axis in Axis::ALL {
        let points: Vec<_> =
            rows.iter().filter_map(|row| row.work.growth.filter(|(of, _)| *of == axis).zip(Some(row))).collect();
        if points.is_empty() {
            continue;
        }
        let cpu = |cell: &Cell| match (cell.spread(|sample| sample.cpu), &cell.failed) {
            (Some(spread), _) => format!("{spread:.2}"),
            (None, why) => why.clone().unwrap_or_default(),
        };
        let ratio = |cell: &Cell, other: &Cell| cell.ratio_to(other).map(|ratio| format!("{ratio:.2}"));
        text.push_str(&growth(axis.title(), &points, &cpu, &ratio));
        if points.iter().any(|(_, row)| row.cells.iter().any(|cell| cell.syscalls.is_some())) {
            let all = |cell: &Cell| cell.syscalls.as_ref().map(|calls| calls.all);
            let calls = |cell: &Cell| all(cell).map_or(String::new(), |all| format!("{all:.2}"));
            let ratio = |cell: &Cell, other: &Cell| quotient(all(cell)?, all(other)?);
            text.push_str(&growth(&format!("{}: system calls per answer", axis.title()), &points, &calls, &ratio));
        }
        let named = points.iter().map(|((_, value), row)| (format!(" at {value}"), *row));
        tries::below(named).iter().for_each(|line| text.push_str(&format!("{line}\n\n")));
    }
    text
}

/// A ratio, if there is one: nothing may have been counted.
fn quotient(one: f64, other: f64) -> Option<String> {
    (other > 0.0).then(|| format!("{:.2}", one / other))
}

/// One table of a series: `show` is what stands in its cells, and `ratio` that of sluicegate to the yardstick.
fn growth(
    title: &str,
    points: &[((Axis, usize), &Row)],
    show: &dyn Fn(&Cell) -> String,
    ratio: &dyn Fn(&Cell, &Cell) -> Option<String>,
) -> String {
    let (_, first) = points[0];
    let names: Vec<_> = first.cells.iter().map(|cell| cell.server.name).collect();
    let mut text = format!("| {title} | {} | ratio |\n|---{}|---|\n", names.join(" | "), "|---".repeat(names.len()));
    for ((_, value), row) in points {
        let cells: Vec<_> = row.cells.iter().map(show).collect();
        let ours = row.cell("sluicegate").zip(row.yardstick()).and_then(|(cell, other)| ratio(cell, other));
        let _ = writeln!(text, "| {value} | {} | {} |", cells.join(" | "), ours.unwrap_or_default());
    }
    text + "\n"
}

#[cfg(test)]
pub mod tests {
    use std::io;

    use super::*;
    use crate::servers;
    use crate::works;

    /// A calm sample with that much CPU for each answer.
    pub fn sample(cpu: f64) -> Sample {
        let (answers_per_second, peak_kib, idle_bytes) = (1e6, 1024.0, None);
        let (p50, p99, p999, server_busy, load_busy, load_waited) = (1.0, 2.0, 3.0, 1.0, 0.5, 0.0);
        Sample { answers_per_second, cpu, p50, p99, p999, peak_kib, idle_bytes, server_busy, load_busy, load_waited }
    }

    /// A work with the yardstick and ours, each with so many samples.
    fn row(work: &str, samples: [usize; 2]) -> Row {
        let work = works::all().into_iter().find(|known| known.name == work).expect("a work");
        let cell = |name, samples| {
            let mut cell = Cell::new(servers::find(name).expect("a server"));
            cell.samples = vec![sample(1.5); samples];
            cell
        };
        Row { work, cells: vec![cell("bare-epoll", samples[0]), cell("sluicegate", samples[1])] }
    }

    fn tried(cell: &mut Cell, well: usize, failed: &[&str]) {
        (0..well).for_each(|_| drop(cell.tries.made(Ok(()))));
        failed.iter().for_each(|why| drop(cell.tries.made::<()>(Err(io::Error::other((*why).to_owned())))));
    }

    #[test]
    fn there_is_no_ratio_to_nothing() {
        assert_eq!(quotient(3.0, 2.0).as_deref(), Some("1.50"));
        assert_eq!([quotient(0.0, 0.0), quotient(3.0, 0.0)], [None, None]);
    }

    #[test]
    fn a_failed_try_stands_below_the_table() {
        let mut row = row("get-64", [5, 5]);
        assert!(!work(&row).contains("failed"), "nothing has failed yet");
        tried(&mut row.cells[0], 5, &[]);
        tried(&mut row.cells[1], 5, &["2 x reset | late\nby 1 s"]);
        let text = work(&row);
        assert!(text.contains("|\n\nsluicegate: 1 of 6 tries failed: 2 x reset / late by 1 s.\n"), "{text}");
        assert!(text.contains("| sluicegate | 1.50 |") && !text.contains("\nbare-epoll"), "{text}");
        tried(&mut row.cells[1], 0, &["no answers", "no answers"]);
        let text = work(&row);
        assert!(text.contains(": 3 of 8 tries failed: 2 x reset / late by 1 s; no answers (2 times).\n"), "{text}");
    }

    #[test]
    fn who_fails_in_a_later_round_is_seen() {
        let mut row = row("get-64", [5, 3]);
        tried(&mut row.cells[1], 3, &["no answers", "no answers", "no answers"]);
        row.cells[1].fails("in round 4 of 5", &io::Error::other("no answers"));
        let text = work(&row);
        let told = "\nsluicegate: failed in round 4 of 5: no answers; 3 of 6 tries failed: no answers (3 times).\n";
        assert!(text.contains(told) && text.contains("| sluicegate | 1.50 |"), "{text}");
        row.cells[0].uncounted = Some("not counted under strace: gone".into());
        assert!(work(&row).contains("\nbare-epoll: not counted under strace: gone.\n"));
        let text = ratios(&[row]);
        assert!(text.contains("| 1.00 | 1.00 (!) |\n\n`(!)`"), "{text}");
    }

    #[test]
    fn who_never_went_well_has_a_row_that_says_so() {
        let mut row = row("get-64", [5, 0]);
        row.cells[1].fails("in round 1 of 5", &io::Error::other("no answers"));
        let text = work(&row);
        assert!(text.contains("| sluicegate | failed in round 1 of 5: no answers |||"), "{text}");
    }

    #[test]
    fn what_fails_in_a_series_stands_below_its_tables() {
        let mut rows = [row("grow-depth-1", [5, 5]), row("grow-depth-2", [5, 3])];
        assert!(!growths(&rows).contains("tries"), "{}", growths(&rows));
        tried(&mut rows[0].cells[0], 5, &["no answers"]);
        rows[1].cells[1].fails("in round 4 of 5", &io::Error::other("no answers"));
        let text = growths(&rows);
        let (tried, failed) = ("at 1: 1 of 6 tries failed: no answers", "at 2: failed in round 4 of 5: no answers");
        assert!(text.ends_with(&format!("|\n\nbare-epoll {tried}.\n\nsluicegate {failed}.\n\n")), "{text}");
        rows[1].cells[1].samples.clear();
        assert!(growths(&rows).contains("| 2 | 1.50 | failed in round 4 of 5: no answers |"));
    }
}
