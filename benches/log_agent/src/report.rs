//! Tables of what was seen: medians, how far rounds lie apart, and ratios, which are taken round by round.

use std::fmt::Write;
use std::io;

use crate::measure::{Case, Failure, Measured};
use crate::numbers::Numbers;
use crate::system::System;

/// All rounds of a case.
pub struct Rounds {
    pub case: Case,
    pub seen: Vec<Measured>,
    /// In which round something went wrong, and what, so that there are no more.
    pub failed: Option<String>,
    /// How often others had the port that it was to listen at.
    pub ports_taken: usize,
}

impl Rounds {
    pub fn new(case: Case) -> Self {
        Self { case, seen: Vec::new(), failed: None, ports_taken: 0 }
    }

    /// The case has no more rounds.
    pub fn fails(&mut self, round: usize, rounds: usize, failure: &Failure) {
        let why = one_line(&failure.to_string());
        eprintln!("{}: failed in round {round} of {rounds}: {why}", self.case.system.name());
        self.failed = Some(format!("failed in round {round} of {rounds}: {why}"));
    }

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

/// All cases of one folder, as rows of a table with its head.
pub fn table(all: &[Rounds]) -> String {
    let mut text = String::from(
        "| system | bytes | connections | records/s, median (spread) | to the better peer | CPU us/record, median (spread) \
         | to bare | load busy | peak MiB, median |\n|---|---:|---:|---:|---:|---:|---:|---:|---:|\n",
    );
    for rounds in all {
        let Case { system, size, connections, .. } = rounds.case;
        let name = system.name();
        if let Some(failed) = rounds.failed.as_ref().filter(|_| rounds.seen.is_empty()) {
            let _ = writeln!(text, "| {name} | {size} | {connections} | {failed} |");
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

/// What stands below the table: which rows are not of all rounds, and why.
pub fn failures(all: &[Rounds]) -> String {
    let mut text = String::new();
    for rounds in all {
        let name = named(&rounds.case);
        if let Some(failed) = &rounds.failed {
            let _ = writeln!(text, "- {name}: {failed}");
        }
        if rounds.ports_taken > 0 {
            let _ =
                writeln!(text, "- {name}: its port was taken, and it was started again; times: {}", rounds.ports_taken);
        }
    }
    if text.is_empty() { text } else { format!("\n{text}") }
}

/// An error if a case of ours is among those that `failed`.
pub fn verdict(failed: &[Rounds]) -> io::Result<()> {
    let ours: Vec<_> = failed.iter().filter(|rounds| rounds.case.system.is_ours()).collect();
    match ours.first() {
        None => Ok(()),
        Some(first) => {
            let (name, why) = (named(&first.case), first.failed.as_deref().unwrap_or_default());
            Err(io::Error::other(format!("cases of log_agent that failed: {}; the first: {name}: {why}", ours.len())))
        }
    }
}

fn named(case: &Case) -> String {
    format!("{}, {} bytes, connections: {}", case.system.name(), case.size, case.connections)
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "/")
}

/// What was aimed at, and what was seen, for each size and number of connections.
pub fn aims(all: &[Rounds]) -> String {
    let mut text = String::from(
        "| bytes | connections | CPU to bare, at most 1.3 | records/s to the better peer, at least 5 | --ack to without, at \
         least 0.5 | the most peak MiB, of the ceiling |\n|---:|---:|---:|---:|---:|---:|\n",
    );
    for agent in all.iter().filter(|rounds| rounds.case.system == System::Agent) {
        let Case { size, connections, .. } = agent.case;
        let beside = |system: System| beside(all, &agent.case, system);
        let ratio = |system: System, number: fn(&Rounds) -> Numbers, to: &Numbers| {
            beside(system).map_or(Numbers(Vec::new()), |rounds| number(rounds).ratio_to(to))
        };
        let bare = beside(System::Bare).map_or(Numbers(Vec::new()), Rounds::cpus);
        let peers = better(all, &agent.case, &[System::Rsyslog, System::SyslogNg]);
        let alike = |rounds: &&Rounds| (rounds.case.size, rounds.case.connections) == (size, connections);
        let ours: Vec<_> = all.iter().filter(alike).filter(|rounds| rounds.case.system.is_ours()).collect();
        // Nothing is met by who has failed.
        let failed = |systems: &[System]| {
            ours.iter().any(|rounds| rounds.failed.is_some() && systems.contains(&rounds.case.system))
        };
        let plain = failed(&[System::Agent]);
        let _ = writeln!(
            text,
            "| {size} | {connections} | {} | {} | {} | {} |",
            judged(&ratio(System::Agent, Rounds::cpus, &bare), plain, |ratio| ratio <= 1.3),
            judged(&ratio(System::Agent, Rounds::rates, &peers), plain, |ratio| ratio >= 5.0),
            judged(
                &ratio(System::AgentAck, Rounds::rates, &agent.rates()),
                failed(&[System::Agent, System::AgentAck]),
                |ratio| ratio >= 0.5
            ),
            peak(&ours),
        );
    }
    text
}

/// The peak that is nearest to its ceiling, of all rounds of ours: each is judged by what it has printed itself.
fn peak(ours: &[&Rounds]) -> String {
    let seen = ours.iter().flat_map(|rounds| &rounds.seen);
    let pairs = seen.filter_map(|seen| Some((seen.peak_mib, seen.ceiling_mib?)));
    let Some((peak, ceiling)) = pairs.max_by(|one, other| (one.0 / one.1).total_cmp(&(other.0 / other.1))) else {
        return "not measured".into();
    };
    let failed = ours.iter().any(|rounds| rounds.failed.is_some());
    // Where whole numbers would show no difference, more digits do.
    let digits = if peak.round() == ceiling.round() { 2 } else { 0 };
    format!("{peak:.digits$} of {ceiling:.digits$}, {}", verdict_of(peak <= ceiling, failed))
}

/// The median, or nothing where nothing was measured.
fn shown(numbers: &Numbers, decimals: usize) -> String {
    numbers.median().map_or(String::new(), |median| format!("{median:.decimals$}"))
}

fn times(ratios: &Numbers, decimals: usize) -> String {
    ratios.median().map_or(String::new(), |median| format!("{median:.decimals$} x"))
}

fn judged(ratios: &Numbers, failed: bool, good: impl Fn(f64) -> bool) -> String {
    let Some(median) = ratios.median() else { return if failed { "failed" } else { "not measured" }.into() };
    format!("{median:.2} ({}), {}", ratios.spread(2), verdict_of(good(median), failed))
}

/// What is missed is missed, also where a round has failed.
fn verdict_of(good: bool, failed: bool) -> &'static str {
    match (good, failed) {
        (false, _) => "missed",
        (true, true) => "but a round failed",
        (true, false) => "met",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A system with a round for each peak.
    fn rounds(system: System, peaks: &[f64]) -> Rounds {
        let ceiling_mib = system.is_ours().then_some(171.4);
        let seen = |peak_mib: &f64| Measured { rate: 10.0, cpu: 0.5, load: 20.0, peak_mib: *peak_mib, ceiling_mib };
        let case = Case { system, size: 100, connections: 1, records: 8 };
        Rounds { seen: peaks.iter().map(seen).collect(), ..Rounds::new(case) }
    }

    fn lost() -> Failure {
        Failure::Other(io::Error::other("7 of 8 records\nare on disk"))
    }

    #[test]
    fn the_peak_is_judged_by_the_ceiling() {
        let all =
            [rounds(System::Bare, &[999.0]), rounds(System::Agent, &[20.0, 58.7]), rounds(System::AgentAck, &[40.0])];
        let text = aims(&all);
        assert!(
            text.contains("| the most peak MiB, of the ceiling |") && text.ends_with("| 59 of 171, met |\n"),
            "{text}"
        );
        let mut all = [rounds(System::Agent, &[20.0]), rounds(System::AgentDefault, &[171.5])];
        assert!(aims(&all).ends_with("| 172 of 171, missed |\n"), "{}", aims(&all));
        all.iter_mut().for_each(|rounds| rounds.seen.clear());
        assert!(aims(&all).ends_with("| not measured |\n"), "{}", aims(&all));
    }

    #[test]
    fn a_peak_that_rounds_to_the_ceiling_is_not_met_by_rounding() {
        let text = aims(&[rounds(System::Agent, &[171.45])]);
        assert!(text.ends_with("| 171.45 of 171.40, missed |\n"), "{text}");
    }

    #[test]
    fn the_big_table_has_the_median_of_peaks() {
        let text = table(&[rounds(System::Agent, &[10.0, 20.0, 30.0, 50.0])]);
        assert!(text.contains("| peak MiB, median |\n") && text.ends_with("| 25.0 |\n"), "{text}");
    }

    #[test]
    fn who_fails_in_a_later_round_is_seen_and_meets_nothing() {
        let mut all = [rounds(System::Bare, &[3.0; 5]), rounds(System::Agent, &[20.0; 3])];
        assert_eq!((failures(&all), aims(&all).contains("1.00 (1.00-1.00), met")), (String::new(), true));
        all[1].fails(4, 5, &lost());
        let why = "- log_agent, 100 bytes, connections: 1: failed in round 4 of 5: 7 of 8 records are on disk\n";
        assert_eq!(failures(&all), format!("\n{why}"));
        assert!(table(&all).ends_with("| 20.0 |\n"), "{}", table(&all));
        let text = aims(&all);
        assert!(text.contains("| 1.00 (1.00-1.00), but a round failed |") && !text.contains("met"), "{text}");
        assert!(text.ends_with("| 20 of 171, but a round failed |\n"), "{text}");
    }

    #[test]
    fn who_fails_at_once_has_a_row_that_says_so() {
        let mut all = [rounds(System::Rsyslog, &[])];
        all[0].fails(1, 5, &lost());
        let row = "| rsyslog | 100 | 1 | failed in round 1 of 5: 7 of 8 records are on disk |\n";
        assert!(table(&all).ends_with(row), "{}", table(&all));
    }

    #[test]
    fn a_taken_port_is_told() {
        let all = [Rounds { ports_taken: 2, ..rounds(System::SyslogNg, &[12.0]) }];
        let told = "\n- syslog-ng, 100 bytes, connections: 1: its port was taken, and it was started again; times: 2\n";
        assert_eq!(failures(&all), told);
    }

    #[test]
    fn only_failures_of_ours_are_ours() {
        let mut failed = vec![rounds(System::Rsyslog, &[])];
        failed[0].fails(1, 5, &lost());
        assert!(verdict(&failed).is_ok());
        failed.push(rounds(System::AgentAck, &[20.0]));
        failed[1].fails(2, 5, &lost());
        let error = verdict(&failed).expect_err("a case of ours").to_string();
        assert!(
            error.starts_with("cases of log_agent that failed: 1; the first: log_agent --ack, 100 bytes"),
            "{error}"
        );
    }
}
