//! What went wrong on the way to a number, and how it is told beside the number.

use std::fmt::Write;
use std::io;

use crate::campaign::{Cell, Row};

/// How often a server was tried at a work, and why it failed where it did. Whether it was repeated well does not matter here.
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

    /// All that went wrong, if something did: where it was given up, and tries that failed before others went well.
    pub fn troubles(&self) -> Option<String> {
        let told: Vec<_> = self.failed.clone().into_iter().chain(self.tries.told()).collect();
        (!told.is_empty()).then(|| told.join("; "))
    }
}

/// A line for each server of these rows that something went wrong with, under the name that its row has beside others.
pub fn below<'r>(rows: impl IntoIterator<Item = (String, &'r Row)>) -> String {
    let mut text = String::new();
    for (name, row) in rows {
        for cell in &row.cells {
            let Some(troubles) = cell.troubles() else { continue };
            let _ = writeln!(text, "- {}{name}: {troubles}", cell.server.name);
        }
    }
    text
}

/// Fit for a row of a table.
pub fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "/")
}
