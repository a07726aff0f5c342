//! The rounds of one attack together, and whether the targets were met.

use std::fmt;
use std::time::Duration;

use crate::attacks::Attack;
use crate::good::Latencies;
use crate::round::{Round, SETTLE};

/// The good clients may wait so much longer than in the calm, or so long in any case.
const SLOWER: u32 = 5;
const SLOW: Duration = Duration::from_millis(20);
/// Of one processor, at rest.
const REST: f64 = 0.01;

/// What is shown of one attack.
pub struct Summary {
    pub name: &'static str,
    pub ceiling: u64,
    pub memory: [u64; 3],
    pub cpu_during: f64,
    pub cpu_at_rest: f64,
    pub calm: Quantiles,
    pub during: Quantiles,
    /// Before, at most, after.
    pub descriptors: [usize; 3],
    pub blocks: [u64; 3],
    pub settled: Option<Duration>,
    pub checks: Vec<Check>,
}

/// A target, and whether it was met.
pub struct Check {
    pub met: bool,
    pub what: String,
}

/// Half of the requests took less than the first, all but one in a hundred less than the second.
#[derive(Debug, Clone, Copy)]
pub struct Quantiles {
    pub p50: Duration,
    pub p99: Duration,
}

impl fmt::Display for Quantiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&format!("{}/{}", milliseconds(self.p50), milliseconds(self.p99)))
    }
}

/// `0.12`, `12.3`.
fn milliseconds(time: Duration) -> String {
    let milliseconds = time.as_secs_f64() * 1e3;
    if milliseconds < 10.0 { format!("{milliseconds:.2}") } else { format!("{milliseconds:.1}") }
}

/// The middle one; of an even number, the upper of the two in the middle.
fn median<T: PartialOrd>(values: impl Iterator<Item = T>) -> T {
    let mut values: Vec<T> = values.collect();
    values.sort_by(|left, right| left.partial_cmp(right).unwrap_or(std::cmp::Ordering::Equal));
    values.swap_remove(values.len() / 2)
}

impl Summary {
    /// Of one round or more. Times and loads are medians; where one bad round is one too many, the worst counts.
    pub fn of(attack: &Attack, rounds: &[Round], whole: bool) -> Self {
        let most = |number: fn(&Round) -> u64| rounds.iter().map(number).max().unwrap_or(0);
        let mut summary = Self {
            name: attack.name,
            ceiling: rounds.iter().map(|round| round.ceiling).min().unwrap_or(0),
            memory: [
                most(|round| round.memory_before),
                most(|round| round.memory_peak),
                most(|round| round.memory_after),
            ],
            cpu_during: median(rounds.iter().map(|round| round.cpu_during)),
            cpu_at_rest: median(rounds.iter().map(|round| round.cpu_at_rest)),
            calm: quantiles(rounds, |round| &round.calm),
            during: quantiles(rounds, |round| &round.during),
            descriptors: [
                most(|round| round.descriptors_before as u64) as usize,
                most(|round| round.descriptors_most as u64) as usize,
                most(|round| round.descriptors_after as u64) as usize,
            ],
            blocks: [
                most(|round| round.blocks_before),
                most(|round| round.blocks_most),
                most(|round| round.blocks_after),
            ],
            settled: rounds
                .iter()
                .map(|round| round.settled)
                .try_fold(Duration::ZERO, |most, one| Some(most.max(one?))),
            checks: Vec::new(),
        };
        summary.checks = summary.check(attack, rounds, whole);
        summary
    }

    fn check(&self, attack: &Attack, rounds: &[Round], whole: bool) -> Vec<Check> {
        let mebibytes = |bytes: u64| format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20));
        let mut checks = Vec::new();
        let mut check = |met, what| checks.push(Check { met, what });
        let [_, peak, _] = self.memory;
        check(peak <= self.ceiling, format!("memory {} of the ceiling's {}", mebibytes(peak), mebibytes(self.ceiling)));
        if let Some(share) = attack.fills.filter(|_| whole) {
            let filled = peak as f64 / self.ceiling as f64;
            let what = format!("filled {:.0} % of the ceiling, at least {:.0} %", filled * 100.0, share * 100.0);
            check(filled >= share, what);
        }
        let mut families = rounds.iter().flat_map(|round| &round.attackers);
        if whole && let Some(family) = families.find(|family| !family.is_whole) {
            let name = family.text.split(':').next().unwrap_or_default();
            check(false, format!("the attackers {name} came to all their connections (`ulimit -n` may stop them)"));
        }
        let limit = (self.calm.p99 * SLOWER).max(SLOW);
        let (p99, limit_text) = (milliseconds(self.during.p99), milliseconds(limit));
        check(self.during.p99 <= limit, format!("good clients' p99 {p99} ms, at most {limit_text} ms"));
        check(self.cpu_at_rest < REST, format!("CPU at rest {:.1} %, below 1 %", self.cpu_at_rest * 100.0));
        // In each round: what the first one leaves behind is there before the second.
        let leak = rounds.iter().find(|round| round.descriptors_after > round.descriptors_before);
        let [before, _, after] = self.descriptors;
        let (before, after) = leak.map_or((before, after), |round| (round.descriptors_before, round.descriptors_after));
        check(leak.is_none(), format!("descriptors {after} afterwards, {before} before"));
        let [before, _, after] = self.blocks;
        let back = rounds.iter().all(|round| round.blocks_are_back);
        check(back, format!("blocks {after} in use afterwards, {before} before"));
        let errors: Vec<_> = rounds.iter().flat_map(|round| &round.good_errors).collect();
        let first = errors.first().map(|error| format!(", such as: {error}")).unwrap_or_default();
        check(errors.is_empty(), format!("errors of good clients: {}{first}", errors.len()));
        let settled = self.settled.map_or(format!("more than {SETTLE:?}"), |time| format!("{time:.1?}"));
        check(self.settled.is_some(), format!("descriptors and blocks were back after {settled}, at most {SETTLE:?}"));
        let failure = rounds.iter().find_map(|round| round.works.as_ref().err());
        let works = failure.map_or("a normal request works afterwards".into(), |error| {
            format!("a normal request works afterwards: {error}")
        });
        check(failure.is_none(), works);
        checks
    }

    /// What was not met.
    pub fn missed(&self) -> impl Iterator<Item = &Check> {
        self.checks.iter().filter(|check| !check.met)
    }
}

fn quantiles(rounds: &[Round], latencies: impl Fn(&Round) -> &Latencies) -> Quantiles {
    let quantile = |at| {
        let nanoseconds = rounds.iter().map(|round| latencies(round).value_at_quantile(at));
        Duration::from_nanos(median(nanoseconds))
    };
    Quantiles { p50: quantile(0.5), p99: quantile(0.99) }
}
