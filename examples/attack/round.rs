//! One round of one attack: calm, attack, what is left of it, rest.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use crate::attackers::{Attackers, Family, Orders};
use crate::attacks::Attack;
use crate::good::{GoodClients, Latencies, Phase};
use crate::numbers::{Numbers, Reader, try_normal_request};
use crate::process::{self, Memory};
use crate::progress::Progress;
use crate::target::Target;

/// Until the good clients' first requests are forgotten.
const WARM: Duration = Duration::from_millis(500);
/// Between two looks at the server's memory.
const SAMPLE: Duration = Duration::from_millis(10);
/// Between two looks at its descriptors and its own numbers.
const SAMPLE_NUMBERS: Duration = Duration::from_millis(500);
/// What an attack leaves behind must be gone by then.
pub const SETTLE: Duration = Duration::from_secs(6);
/// Attackers that have not ended so long after their time are stuck.
const OVERTIME: Duration = Duration::from_secs(10);

/// How long a round takes, besides the attack.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    pub calm: Duration,
    pub rest: Duration,
}

impl Times {
    /// Shorter ones for short attacks.
    pub fn beside(seconds: f64) -> Self {
        let time = Duration::from_secs(2).min(Duration::from_secs_f64(seconds));
        Self { calm: time, rest: time }
    }
}

/// What was measured.
pub struct Round {
    pub ceiling: u64,
    pub memory_before: u64,
    pub memory_peak: u64,
    pub memory_after: u64,
    /// Of one processor, 1.0 is all of it.
    pub cpu_during: f64,
    pub cpu_at_rest: f64,
    /// Seconds that the threads of the server, and of this program, waited for a processor during the attack.
    pub waited_for_cpu: [f64; 2],
    pub calm: Latencies,
    pub during: Latencies,
    pub good_errors: Vec<String>,
    pub descriptors_before: usize,
    pub descriptors_most: usize,
    pub descriptors_after: usize,
    pub blocks_before: u64,
    pub blocks_most: u64,
    pub blocks_after: u64,
    pub blocks_are_back: bool,
    /// How long descriptors and blocks took to come back.
    pub settled: Option<Duration>,
    pub works: Result<(), String>,
    pub numbers_before: Numbers,
    pub numbers_after: Numbers,
    pub attackers: Vec<Family>,
    pub complaints: Vec<String>,
}

/// What is looked at again and again.
struct Watch<'a> {
    target: &'a Target,
    reader: Reader,
    progress: &'a Progress,
    /// The peak in `/proc` is that since the start of the attack.
    peak_is_fresh: bool,
    memory_peak: u64,
    descriptors_most: usize,
    blocks_most: u64,
    next_numbers: Instant,
}

impl Watch<'_> {
    fn look(&mut self) -> io::Result<()> {
        self.progress.check()?;
        let memory = process::memory(self.target.pid)?;
        self.memory_peak = self.memory_peak.max(if self.peak_is_fresh { memory.peak } else { memory.now });
        if Instant::now() < self.next_numbers {
            return Ok(());
        }
        self.next_numbers = Instant::now() + SAMPLE_NUMBERS;
        self.descriptors_most = self.descriptors_most.max(process::descriptors(self.target.pid)?);
        self.blocks_most = self.blocks_most.max(self.reader.read()?.blocks());
        Ok(())
    }

    /// Looks until the attackers have ended.
    fn attack(&mut self, attackers: &mut Attackers, seconds: f64) -> io::Result<()> {
        let until = Instant::now() + Duration::from_secs_f64(seconds) + OVERTIME;
        while attackers.ended()?.is_none() {
            if Instant::now() > until {
                return Err(io::Error::other("the attackers do not end"));
            }
            self.look()?;
            thread::sleep(SAMPLE);
        }
        self.next_numbers = Instant::now();
        self.look()
    }

    /// Waits until the attack has left nothing behind; how long that took, if it did not take too long.
    fn settle(&mut self, descriptors: usize, before: &Numbers) -> io::Result<(Option<Duration>, usize, Numbers)> {
        let start = Instant::now();
        loop {
            let found = (process::descriptors(self.target.pid)?, self.reader.read()?);
            let elapsed = start.elapsed();
            // A look that took so long itself has seen them too late.
            if elapsed > SETTLE {
                return Ok((None, found.0, found.1));
            }
            if found.0 <= descriptors && found.1.blocks_are_back(before) {
                return Ok((Some(elapsed), found.0, found.1));
            }
            self.progress.check()?;
            thread::sleep(SAMPLE * 5);
        }
    }
}

/// Runs one round against `target`.
pub fn run(attack: &Attack, orders: &Orders, target: &Target, progress: &Progress) -> io::Result<Round> {
    let times = Times::beside(orders.seconds);
    let reader = Reader::connect(target.address)?;
    let good = GoodClients::start(target.address, attack.polite)?;
    progress.pass("calm", WARM)?;
    good.enter(Phase::Calm);
    progress.pass("calm", times.calm)?;

    let peak_is_fresh = process::reset_peak(target.pid);
    let Memory { now: memory_before, .. } = process::memory(target.pid)?;
    let mut watch = Watch {
        target,
        reader,
        progress,
        peak_is_fresh,
        memory_peak: memory_before,
        descriptors_most: 0,
        blocks_most: 0,
        next_numbers: Instant::now(),
    };
    let descriptors_before = process::descriptors(target.pid)?;
    let numbers_before = watch.reader.read()?;
    progress.begin("attack", Duration::from_secs_f64(orders.seconds));
    let (cpu, start) = (process::cpu_seconds(target.pid)?, Instant::now());
    let waited = [target.pid, std::process::id()].map(process::waited_for_cpu);
    good.enter(Phase::During);
    let mut attackers = Attackers::start(attack, orders)?;
    watch.attack(&mut attackers, orders.seconds)?;
    let cpu_during = (process::cpu_seconds(target.pid)? - cpu) / start.elapsed().as_secs_f64();
    let waited_now = [target.pid, std::process::id()].map(process::waited_for_cpu);
    good.enter(Phase::Silent);
    progress.end();
    let attackers = attackers.report()?;

    let (settled, descriptors_after, settled_numbers) = watch.settle(descriptors_before, &numbers_before)?;
    let cpu_at_rest = cpu_at_rest(target.pid, times.rest, progress)?;
    good.enter(Phase::Warm);
    let works = try_normal_request(target.address);
    progress.pass("after", WARM)?;
    let memory_after = process::memory(target.pid)?.now;
    let good = good.finish()?;
    let numbers_after = watch.reader.read()?;
    Ok(Round {
        ceiling: target.ceiling,
        memory_before,
        memory_peak: watch.memory_peak,
        memory_after,
        cpu_during,
        cpu_at_rest,
        waited_for_cpu: [0, 1].map(|who| waited_now[who] - waited[who]),
        calm: good.calm,
        during: good.during,
        good_errors: good.errors,
        descriptors_before,
        descriptors_most: watch.descriptors_most,
        descriptors_after,
        blocks_before: numbers_before.blocks(),
        blocks_most: watch.blocks_most,
        blocks_after: settled_numbers.blocks(),
        blocks_are_back: settled_numbers.blocks_are_back(&numbers_before),
        settled,
        works,
        numbers_before,
        numbers_after,
        attackers,
        complaints: target.complaints(),
    })
}

/// Processor time of a server that nobody asks for anything.
fn cpu_at_rest(pid: u32, rest: Duration, progress: &Progress) -> io::Result<f64> {
    let (cpu, start) = (process::cpu_seconds(pid)?, Instant::now());
    progress.pass("rest", rest)?;
    Ok((process::cpu_seconds(pid)? - cpu) / start.elapsed().as_secs_f64())
}
