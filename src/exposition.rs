//! The numbers of a snapshot as Prometheus reads them: its text format, version 0.0.4.

use std::fmt::Write;

/// What a number does over time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It only grows; its name ends in `_total`.
    Counter,
    /// It goes up and down, or is the most there ever was.
    Gauge,
}

/// The text, written family by family.
#[derive(Debug, Default)]
pub(crate) struct Exposition(String);

/// Where the samples of one family go.
pub(crate) struct Family<'e> {
    text: &'e mut String,
    name: String,
}

impl Exposition {
    /// Begins a family. `docs` is what rustdoc says of it: one line, with links to items of this crate.
    pub(crate) fn family(&mut self, kind: Kind, name: &str, docs: &str) -> Family<'_> {
        let (kind, end) = match kind {
            Kind::Counter => ("counter", "_total"),
            Kind::Gauge => ("gauge", ""),
        };
        let (text, name) = (&mut self.0, format!("sluicegate_{name}{end}"));
        let help = docs.trim().replace(['[', ']', '`'], "");
        append(text, format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
        Family { text, name }
    }

    pub(crate) fn into_text(self) -> String {
        self.0
    }
}

impl Family<'_> {
    /// The only number of its family.
    pub(crate) fn sample(self, value: u64) {
        append(self.text, format_args!("{} {value}\n", self.name));
    }

    /// One of several, told apart by a label. Labels are words of this crate and need no escapes.
    pub(crate) fn labelled(&mut self, key: &str, label: &str, value: u64) {
        append(self.text, format_args!("{}{{{key}=\"{label}\"}} {value}\n", self.name));
    }
}

fn append(text: &mut String, line: std::fmt::Arguments<'_>) {
    // A string takes everything.
    let _ = text.write_fmt(line);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_says_what_it_is_before_its_numbers() {
        let mut text = Exposition::default();
        text.family(Kind::Gauge, "open", " Connections, by [`Kind`].").sample(3);
        let mut closed = text.family(Kind::Counter, "closed", " Those that ended.");
        closed.labelled("reason", "idle", 2);
        closed.labelled("reason", "user", 0);
        assert_eq!(
            text.into_text(),
            "# HELP sluicegate_open Connections, by Kind.\n\
             # TYPE sluicegate_open gauge\n\
             sluicegate_open 3\n\
             # HELP sluicegate_closed_total Those that ended.\n\
             # TYPE sluicegate_closed_total counter\n\
             sluicegate_closed_total{reason=\"idle\"} 2\n\
             sluicegate_closed_total{reason=\"user\"} 0\n"
        );
    }
}
