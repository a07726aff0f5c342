//! Tables of what was seen: medians, how far rounds lie apart, and ratios, which are taken round by round.

use std::fmt::Write;

use crate::measure::{Case, Measured};
use crate::numbers::Numbers;
use crate::system::System;

/// All rounds of a case.
pub struct Rounds {
    pub case: Case,
    pub seen: Vec<Measured>,
    /// What went wrong, if something did.
    pub failed: Option<String>,
}

impl Rounds {
    fn numbers(&self, number: impl Fn(&Measured) -> f64) -> Numbers {
        Numbers(self.seen.iter().map(number).collect())
    }

    fn rates(&self) -> Numbers {
        self.numbers(|seen| seen.rate)
    }

    fn cpus(&self) -> Numbers {
        self.numbers(|seen| seen.cpu)
    }
}

/// What `system` has in the case of another, with the same size and connections; without a round, nothing.
fn beside<'r>(all: &'r [Rounds], case: &Case, system: System) -> Option<&'r Rounds> {
    let alike = |other: &Case| (other.system, other.size, other.connections) == (system, case.size, case.connections);
    all.iter().find(|rounds| alike(&rounds.case) && !rounds.seen.is_empty())
}

/// The better of those `peers` that were measured, in each round.
fn better(all: &[Rounds], case: &Case, peers: &[System]) -> Numbers {
    let rates = peers.iter().filter_map(|peer| Some(beside(all, case, *peer)?.rates()));
    rates.reduce(|one, other| one.larger(&other)).unwrap_or(Numbers(Vec::new()))
}

/// The cases of one size and number of connections in one folder, as rows of a table with its head.
pub fn table(all: &[Rounds]) -> String {
    let mut text = String::from(
        "| system | bytes | connections | records/s, median (spread) | to the better peer | CPU us/record, median (spread) \
         | to bare | load busy | peak MiB |\n|---|---:|---:|---:|---:|---:|---:|---:|---:|\n",
    );
    for rounds in all {
        let Case { system, size, connections, .. } = rounds.case;
        let name = system.name();
        if let Some(what) = &rounds.failed {
            let what = what.lines().next().unwrap_or_default();
            let _ = writeln!(text, "| {name} | {size} | {connections} | failed: {what} |");
            continue;
        }
        let peers: &[System] = match system.durable() {
            false => &[System::Rsyslog, System::SyslogNg],
            true => &[System::RsyslogSafe],
        };
        let (rates, cpus) = (rounds.rates(), rounds.cpus());
        let bare = beside(all, &rounds.case, System::Bare).map_or(Numbers(Vec::new()), Rounds::cpus);
        let _ = writeln!(
            text,
            "| {name} | {size} | {connections} | {} ({}) | {} | {} ({}) | {} | {} % | {} |",
            shown(&rates, 0),
            rates.spread(0),
            times(&rates.ratio_to(&better(all, &rounds.case, peers)), 1),
            shown(&cpus, 3),
            cpus.spread(3),
            times(&cpus.ratio_to(&bare), 2),
            shown(&rounds.numbers(|seen| seen.load), 0),
            shown(&rounds.numbers(|seen| seen.peak_mib), 1),
        );
    }
    text
}

/// What was aimed at, and what was seen, for each size and number of connections.
pub fn aims(all: &[Rounds]) -> String {
    let mut text = String::from(
        "| bytes | connections | CPU to bare, at most 1.3 | records/s to the better peer, at least 5 | --ack to without, at \
         least 0.5 | peak MiB, below the ceiling |\n|---:|---:|---:|---:|---:|---:|\n",
    );
    for agent in all.iter().filter(|rounds| rounds.case.system == System::Agent) {
        let Case { size, connections, .. } = agent.case;
        let beside = |system: System| beside(all, &agent.case, system);
        let ratio = |system: System, number: fn(&Rounds) -> Numbers, to: &Numbers| {
            beside(system).map_or(Numbers(Vec::new()), |rounds| number(rounds).ratio_to(to))
        };
        let bare = beside(System::Bare).map_or(Numbers(Vec::new()), Rounds::cpus);
        let peers = better(all, &agent.case, &[System::Rsyslog, System::SyslogNg]);
        let peaks = [System::Agent, System::AgentAck].into_iter().filter_map(beside);
        let peak = peaks.filter_map(|rounds| rounds.numbers(|seen| seen.peak_mib).most()).fold(0.0, f64::max);
        let _ = writeln!(
            text,
            "| {size} | {connections} | {} | {} | {} | {peak:.0} |",
            judged(&ratio(System::Agent, Rounds::cpus, &bare), |ratio| ratio <= 1.3),
            judged(&ratio(System::Agent, Rounds::rates, &peers), |ratio| ratio >= 5.0),
            judged(&ratio(System::AgentAck, Rounds::rates, &agent.rates()), |ratio| ratio >= 0.5),
        );
    }
    text
}

/// The median, or nothing where nothing was measured.
fn shown(numbers: &Numbers, decimals: usize) -> String {
    numbers.median().map_or(String::new(), |median| format!("{median:.decimals$}"))
}

fn times(ratios: &Numbers, decimals: usize) -> String {
    ratios.median().map_or(String::new(), |median| format!("{median:.decimals$} x"))
}

fn judged(ratios: &Numbers, good: impl Fn(f64) -> bool) -> String {
    let Some(median) = ratios.median() else { return "not measured".into() };
    format!("{median:.2} ({}), {}", ratios.spread(2), if good(median) { "met" } else { "missed" })
}
