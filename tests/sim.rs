//! The server in a simulated world: thousands of seeds, every law checked after every cycle.
//!
//! - `cargo test --test sim` runs the usual seeds and prints which. `.ci/run` runs others besides, each time new ones.
//! - `SLUICEGATE_SEED=123 cargo test --test sim` runs one again.
//! - `SLUICEGATE_SEEDS=100000 SLUICEGATE_SEEDS_FROM=7 cargo test --release --test sim` runs more, and others.

mod sim {
    pub mod http;
    pub mod lines;
    pub mod record;
    pub mod script;
    pub mod user;
    pub mod wire;
    pub mod world;
}

use std::any::Any;
use std::env;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Once};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use sim::lines::Lines;
use sim::script::{CLOSED_FROM_OUTSIDE, Director, SHOW, Temper, config};
use sim::user::User;
use sim::wire::Wire;
use sim::world::World;
use sluicegate::http1::Http1;
use sluicegate::sim::{Broken, Random, Report, Seen, Simulation};
use sluicegate::{Config, Finish, HEADROOM, LengthPrefixed};

/// Seeds of a usual run.
const SEEDS: u64 = 2000;
/// Seeds of a usual run with several processors.
const SEEDS_OF_SEVERAL: u64 = 600;

/// How many processors a simulation has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Processors {
    One,
    /// Two or more, as it is drawn.
    Several,
}

/// One simulation from beginning to end.
fn run<P: Wire>(seed: u64, processors: Processors) -> Result<Report, String> {
    let mut random = Random::new(seed);
    let temper = Temper::drawn(&mut random);
    let mut config = config(&mut random, temper);
    if processors == Processors::Several {
        config.processors = random.between(2, config.connections_max.min(4));
        config.connections_max += random.below(4);
    }
    let protocol = P::new(config.inbound[2].size + HEADROOM);
    let world = Arc::new(Mutex::new(World::<P>::new()));
    let patience = Duration::from_millis(random.pick(&[1, 100, 3000]));
    let (simulation, director) = set_up(seed, &config, temper, protocol, Arc::clone(&world), patience);
    if random.chance(300) {
        simulation.network().set_oversleep(Duration::from_millis(30));
    }
    director.arrange(&mut random);
    let healed = random.chance(700);
    let mut report = play(simulation, &director, healed, random)?;
    let mut world = world.lock();
    world.read_all();
    world.seen.iter().for_each(|name| report.seen.add(name, 1));
    match world.wrong.take() {
        Some(wrong) => Err(wrong),
        None => Ok(report),
    }
}

/// A server in its world, not yet begun. The user is made before the simulation, so that it gets the network later.
fn set_up<P: Wire>(
    seed: u64,
    config: &Config,
    temper: Temper,
    protocol: P,
    world: Arc<Mutex<World<P>>>,
    patience: Duration,
) -> (Simulation<P, User<P>>, Director<P>) {
    let simulation = Simulation::new_with(seed, config.clone(), protocol.clone(), |number, network, workers| User {
        world: Arc::clone(&world),
        network: network.clone(),
        workers: (!seed.is_multiple_of(5)).then(|| workers.clone()),
        random: Random::new(seed ^ 0xfeed ^ u64::from(number) << 32),
        patience,
        promised: false,
        meddles: config.processors > 1,
        closes_full: !temper.polite && seed.is_multiple_of(10),
        due: None,
        asked: network.now(),
        jumps: 0,
    });
    let simulation = simulation.expect("the drawn settings hold together");
    let director = Director {
        world,
        network: simulation.network().clone(),
        listener: simulation.listener(),
        workers: simulation.workers_by_processor(),
        proxy: simulation.proxy(),
        protocol,
        temper,
        answer_max: config.reply_max - P::ANSWER_OVERHEAD,
        config: config.clone(),
    };
    (simulation, director)
}

fn play<P: Wire>(
    mut simulation: Simulation<P, User<P>>,
    director: &Director<P>,
    healed: bool,
    mut random: Random,
) -> Result<Report, String> {
    let text = |broken: Broken| broken.to_string();
    let world = &director.world;
    if let Err(broken) = simulation.run_for(SHOW) {
        return Err(format!("{broken}\n{}", simulation.describe()));
    }
    world.lock().read_all();
    if healed {
        director.heal();
        let done = |_: &Simulation<P, User<P>>| {
            let mut world = world.lock();
            world.read_all();
            world.wrong.is_some() || world.records.iter().all(|record| record.is_gone() || record.is_complete())
        };
        let complete = simulation.run_until(Duration::from_secs(900), done);
        let complete = complete.map_err(|broken| format!("{broken}\n{}", simulation.describe()))?;
        if !complete && director.temper.patient {
            let incomplete = incomplete(&world.lock());
            return Err(format!(
                "LAW liveness: the world is healed, and still: {incomplete}\n{}",
                simulation.describe()
            ));
        }
    }
    world.lock().judge(director.expectations(simulation.network().counts().selector_failures));
    if let Some(wrong) = world.lock().wrong.take() {
        return Err(wrong);
    }
    // These are accepted, and the processor has not seen them when it is told to shut down.
    director.arrange_latecomers(&mut random);
    let finish = random.pick(&[Finish::Answer, Finish::ReadOut]);
    let grace = Duration::from_millis(random.pick(&[0, 10, 3000]));
    simulation.shutdown(grace, finish).map_err(text)
}

fn incomplete<P: Wire>(world: &World<P>) -> String {
    let stuck = world.records.iter().enumerate().filter(|(_, record)| !record.is_gone() && !record.is_complete());
    let lines = stuck.map(|(index, record)| {
        let (processed, whole) = (record.processed, record.whole());
        format!(
            "peer {index} has {} answers to {processed} processed of {whole} whole requests, {} of {} unasked; {} unread, {} untaken",
            record.reading.answers.len(),
            record.reading.unasked,
            record.unasked.len(),
            record.peer.unread(),
            record.peer.untaken(),
        )
    });
    lines.collect::<Vec<_>>().join("; ")
}

/// The protocols take turns.
fn run_seed(seed: u64, processors: Processors) -> Result<Report, String> {
    let run = || match seed % 3 {
        0 => run::<LengthPrefixed>(seed, processors),
        1 => run::<Lines>(seed, processors),
        _ => run::<Http1>(seed, processors),
    };
    panic::catch_unwind(AssertUnwindSafe(run))
        .unwrap_or_else(|panic| Err(format!("panic: {}", panic_text(panic.as_ref()))))
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

fn number(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

/// Panics that belong to the play are not news.
fn hush_planned_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(hush);
}

fn hush() {
    let usual = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        let text = panic_text(info.payload());
        if !text.starts_with("planned") {
            usual(info);
        }
    }));
}

#[test]
fn no_seed_breaks_a_law() {
    run_seeds(Processors::One, "no_seed_breaks_a_law", SEEDS);
}

#[test]
fn no_seed_breaks_a_law_with_several_processors() {
    run_seeds(Processors::Several, "no_seed_breaks_a_law_with_several", SEEDS_OF_SEVERAL);
}

fn run_seeds(processors: Processors, test: &str, usual: u64) {
    hush_planned_panics();
    if let Some(seed) = number("SLUICEGATE_SEED") {
        let _ = env_logger::builder().is_test(false).try_init();
        println!("seed {seed}");
        run_seed(seed, processors).unwrap_or_else(|what| panic!("seed {seed}: {what}"));
        return;
    }
    let from = number("SLUICEGATE_SEEDS_FROM").unwrap_or(0);
    let until = from + number("SLUICEGATE_SEEDS").unwrap_or(usual);
    println!("seeds {from} to {}, processors: {processors:?}", until - 1);
    let started = Instant::now();
    let (seen, failed) = run_all(from, until, processors);
    println!("{} seeds in {:?}", until - from, started.elapsed());
    for (seed, what) in failed.iter().take(10) {
        println!("seed {seed}: {what}\n    SLUICEGATE_SEED={seed} cargo test --test sim {test} -- --nocapture");
    }
    assert!(failed.is_empty(), "{} of {} seeds failed, the first is {}", failed.len(), until - from, failed[0].0);
    println!("seen least: {}", rarest(&seen));
    let missing = seen.missing();
    // The rarest comes up about once in a thousand seeds: among a few new ones it may be missing, among many never.
    let full = processors == Processors::One && ((from == 0 && until >= SEEDS) || until - from >= 10 * SEEDS);
    assert!(!full || missing.is_empty(), "never seen in a full run: {missing:?}");
    assert!(until - from < usual || seen.count(CLOSED_FROM_OUTSIDE) > 0, "nobody was closed from outside");
    let across = seen.count("unasked from another processor");
    assert!(processors == Processors::One || until - from < usual || across > 0, "nobody wrote to another processor's");
}

/// What was seen least often. With few seeds it may not have come up at all.
fn rarest(seen: &Seen) -> String {
    let mut counts: Vec<_> = seen.iter().map(|(name, count)| (count, name)).collect();
    counts.sort_unstable();
    counts.iter().take(5).map(|(count, name)| format!("{name} ({count})")).collect::<Vec<_>>().join(", ")
}

fn run_all(from: u64, until: u64, processors: Processors) -> (Seen, Vec<(u64, String)>) {
    let next = AtomicU64::new(from);
    let results = Mutex::new((Seen::default(), Vec::new()));
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, |count| count.get()) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Relaxed);
                    if seed >= until {
                        break;
                    }
                    let result = run_seed(seed, processors);
                    let mut results = results.lock();
                    match result {
                        Ok(report) => results.0.merge(&report.seen),
                        Err(what) => results.1.push((seed, what)),
                    }
                }
            });
        }
    });
    let (seen, mut failed) = results.into_inner();
    failed.sort();
    (seen, failed)
}

#[test]
fn the_same_seed_takes_the_same_course() {
    hush_planned_panics();
    for (seed, processors) in (0..60).flat_map(|seed| [(seed, Processors::One), (seed, Processors::Several)]) {
        let run = |()| run_seed(seed, processors).unwrap_or_else(|what| panic!("seed {seed}: {what}"));
        let [one, same] = [(); 2].map(run);
        assert_eq!((one.elapsed, one.cycles, one.closed), (same.elapsed, same.cycles, same.closed), "seed {seed}");
        assert_eq!((one.metrics, one.seen), (same.metrics, same.seen), "seed {seed}");
        assert_eq!(one.processors, same.processors, "seed {seed}");
    }
}
