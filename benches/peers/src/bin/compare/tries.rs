//! What went wrong on the way to a number, and how it is told beside the number.

use std::io;

use crate::campaign::{Cell, Row};

/// How often a server was tried at a work, and why it failed where it did, also if it went well when it was repeated.
#[derive(Debug, Default)]
pub struct Tries {
    made: usize,
    failed: Vec<String>,
}

impl Tries {
    /// Makes a try, and counts it.
    pub fn made<T>(&mut self, result: io::Result<T>) -> io::Result<T> {
        self.made += 1;
        result.inspect_err(|error| self.failed.push(one_line(&error.to_string())))
    }

    pub fn failed(&self) -> usize {
        self.failed.len()
    }

    /// Such as `1 of 6 tries failed: no answers`, if one did.
    fn told(&self) -> Option<String> {
        let mut reasons: Vec<(&str, usize)> = Vec::new();
        for why in &self.failed {
            match reasons.iter_mut().find(|(known, _)| known == why) {
                Some((_, times)) => *times += 1,
                None => reasons.push((why, 1)),
            }
        }
        let told = |(why, times): &(&str, usize)| match times {
            1 => (*why).to_owned(),
            times => format!("{why} ({times} times)"),
        };
        let reasons: Vec<_> = reasons.iter().map(told).collect();
        (!reasons.is_empty())
            .then(|| format!("{} of {} tries failed: {}", self.failed.len(), self.made, reasons.join("; ")))
    }
}

impl Cell {
    /// There is no more of it: it failed `place`, such as `in round 4 of 5`.
    pub fn fails(&mut self, place: &str, error: &io::Error) {
        self.failed = Some(format!("failed {place}: {}", one_line(&error.to_string())));
    }

    /// All that went wrong, if something did: where it was given up, tries that failed before others went well, and
    /// what was not counted.
    pub fn troubles(&self) -> Option<String> {
        let told: Vec<_> =
            [self.failed.clone(), self.tries.told(), self.uncounted.clone()].into_iter().flatten().collect();
        (!told.is_empty()).then(|| told.join("; "))
    }
}

/// What stands below the table of these rows: a sentence for each server that something went wrong with, and where, as
/// its row is called.
pub fn below<'r>(rows: impl IntoIterator<Item = (String, &'r Row)>) -> Vec<String> {
    let told = |name: &str, cell: &Cell| Some(format!("{}{name}: {}.", cell.server.name, cell.troubles()?));
    rows.into_iter().flat_map(|(name, row)| row.cells.iter().filter_map(move |cell| told(&name, cell))).collect()
}

/// Fit for a row of a table.
pub fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "/")
}
