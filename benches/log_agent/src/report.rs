//! Tables of what was seen: medians, how far rounds lie apart, and ratios.

use std::fmt::Write;

use crate::measure::{Case, Measured};
use crate::system::System;

/// All rounds of a case.
pub struct Rounds {
    pub case: Case,
    pub seen: Vec<Measured>,
    /// What went wrong, if something did.
    pub failed: Option<String>,
}

impl Rounds {
    fn median(&self, number: impl Fn(&Measured) -> f64) -> f64 {
        let mut numbers: Vec<_> = self.seen.iter().map(number).collect();
        numbers.sort_by(f64::total_cmp);
        numbers.get(numbers.len() / 2).copied().unwrap_or(f64::NAN)
    }

    fn spread(&self, number: impl Fn(&Measured) -> f64, decimals: usize) -> String {
        let numbers = || self.seen.iter().map(&number);
        let [least, most] = [numbers().fold(f64::MAX, f64::min), numbers().fold(f64::MIN, f64::max)];
        format!("{least:.decimals$}-{most:.decimals$}")
    }

    fn rate(&self) -> f64 {
        self.median(|seen| seen.rate)
    }

    fn cpu(&self) -> f64 {
        self.median(|seen| seen.cpu)
    }
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
        let same = |wanted: &[System]| {
            let there = all.iter().filter(|other| {
                let case = other.case;
                wanted.contains(&case.system) && (case.size, case.connections) == (size, connections)
            });
            there.filter(|other| !other.seen.is_empty()).collect::<Vec<_>>()
        };
        let peers: &[System] = match system.durable() {
            false => &[System::Rsyslog, System::SyslogNg],
            true => &[System::RsyslogSafe],
        };
        let best = same(peers).iter().map(|peer| peer.rate()).fold(f64::NAN, f64::max);
        let bare = same(&[System::Bare]).first().map_or(f64::NAN, |bare| bare.cpu());
        let _ = writeln!(
            text,
            "| {name} | {size} | {connections} | {:.0} ({}) | {:.1} x | {:.3} ({}) | {:.2} x | {:.0} % | {:.1} |",
            rounds.rate(),
            rounds.spread(|seen| seen.rate, 0),
            rounds.rate() / best,
            rounds.cpu(),
            rounds.spread(|seen| seen.cpu, 3),
            rounds.cpu() / bare,
            rounds.median(|seen| seen.load),
            rounds.median(|seen| seen.peak_mib),
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
        let other = |system: System| {
            let mut there = all.iter().filter(|rounds| {
                let case = rounds.case;
                (case.system, case.size, case.connections) == (system, size, connections) && !rounds.seen.is_empty()
            });
            there.next()
        };
        let [bare, ack, rsyslog, syslog_ng] =
            [System::Bare, System::AgentAck, System::Rsyslog, System::SyslogNg].map(other);
        let best = [rsyslog, syslog_ng].into_iter().flatten().map(Rounds::rate).fold(f64::NAN, f64::max);
        let acked = ack.map_or(f64::NAN, Rounds::rate);
        let peaks = [Some(agent), ack].into_iter().flatten().flat_map(|rounds| &rounds.seen);
        let peak = peaks.map(|seen| seen.peak_mib).fold(f64::NAN, f64::max);
        let _ = writeln!(
            text,
            "| {size} | {connections} | {} | {} | {} | {peak:.0} |",
            judged(agent.cpu() / bare.map_or(f64::NAN, Rounds::cpu), |ratio| ratio <= 1.3),
            judged(agent.rate() / best, |ratio| ratio >= 5.0),
            judged(acked / agent.rate(), |ratio| ratio >= 0.5),
        );
    }
    text
}

fn judged(ratio: f64, good: impl Fn(f64) -> bool) -> String {
    let word = if good(ratio) { "met" } else { "missed" };
    format!("{ratio:.2}, {word}")
}
