//! Attacks a server in twelve ways while good clients use it, and measures what that does to both.
//!
//! ```text
//! cargo build --release --examples
//! cargo run --release --example attack -- --spawn                    # all twelve, three rounds each: ten minutes
//! cargo run --release --example attack -- --spawn slow-head 7        # some, by name or number
//! cargo run --release --example attack -- 127.0.0.1:8080 --pid 4711  # a server that runs: http_echo --metrics
//! ```
//!
//! A round is: 64 good connections alone (calm), the attack beside them, what the attack leaves behind, the server at
//! rest. The attackers are a process of their own at nice 10. Everything is on this machine, bounded in number and
//! time, and ends by itself. The last lines name each target that was missed, and then the exit code is 1.
//!
//! | file | what it does |
//! |---|---|
//! | `cli` | the command line |
//! | `target`, `process`, `numbers` | the server: starts it, `/proc`, its own numbers |
//! | `good` | the good clients, and their latency |
//! | `attacks/`, `script` | what attackers do |
//! | `attackers`, `swarm`, `dial` | their process, their thousands of sockets |
//! | `round`, `progress` | one measurement |
//! | `summary`, `report` | the median of some, the table, the targets |

mod attackers;
mod attacks;
mod cli;
#[path = "../common/mod.rs"]
mod common;
mod dial;
mod good;
#[path = "../common/interrupt.rs"]
mod interrupt;
mod numbers;
mod process;
mod progress;
mod random;
mod report;
mod round;
mod script;
mod summary;
mod swarm;
mod target;

use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use attackers::Orders;
use attacks::Attack;
use cli::{Args, Task};
use progress::Progress;
use round::{Round, Times};
use summary::Summary;
use target::Target;

fn main() -> ExitCode {
    let args = Args::parse();
    let task = args.task();
    common::run("warn", || match task {
        Task::Attacker(attack, target) => attackers::be_attackers(attack, &orders(&args, attack, target, args.seed)),
        Task::Spawn(attacks) => attack_all(&args, &attacks, None),
        Task::Attach(address, pid, attacks) => attack_all(&args, &attacks, Some(&Target::attach(address, pid)?)),
    })
}

fn orders(args: &Args, attack: &Attack, target: SocketAddr, seed: u64) -> Orders {
    Orders { target, seconds: args.seconds.unwrap_or(attack.seconds), scale: args.scale, seed }
}

/// Runs the attacks against `running`, or each against a server of its own.
fn attack_all(args: &Args, attacks: &[&'static Attack], running: Option<&Target>) -> io::Result<()> {
    let progress = Progress::new(planned(args, attacks))?;
    let mut summaries = Vec::new();
    for attack in attacks {
        if running.is_some() && attack.descriptors.is_some() {
            progress
                .line(&format!("{}: left out, because its server has to be started for it (--spawn)\n", attack.name));
            continue;
        }
        let mut rounds = Vec::new();
        for round in 1..=args.rounds {
            progress.name(format!("{} {round}/{}:", attack.name, args.rounds));
            rounds.push(one_round(args, attack, running, u64::from(round), &progress)?);
        }
        let summary = Summary::of(attack, &rounds, args.scale >= 1.0);
        progress.line(&report::details(attack, &summary, rounds.iter().max_by_key(|round| round.good_errors.len())));
        summaries.push(summary);
    }
    progress.finish();
    common::say(report::table(&summaries));
    report::verdict(&summaries)
}

fn one_round(
    args: &Args,
    attack: &Attack,
    running: Option<&Target>,
    round: u64,
    progress: &Progress,
) -> io::Result<Round> {
    let spawned = if running.is_none() { Some(Target::spawn(attack.descriptors)?) } else { None };
    let target = running.or(spawned.as_ref()).expect("one of the two");
    let orders = orders(args, attack, target.address, args.seed.wrapping_add(round));
    round::run(attack, &orders, target, progress)
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", attack.name)))
}

/// How long it takes, about.
fn planned(args: &Args, attacks: &[&Attack]) -> Duration {
    let round = |attack: &&Attack| {
        let seconds = args.seconds.unwrap_or(attack.seconds);
        let Times { calm, rest } = Times::beside(seconds);
        calm + rest + Duration::from_secs_f64(seconds + 1.0)
    };
    attacks.iter().map(round).sum::<Duration>() * args.rounds
}
