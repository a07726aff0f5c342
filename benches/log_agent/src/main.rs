//! log_agent beside rsyslog, syslog-ng and a bare epoll loop, in one run: records per second, processor time per
//! record, peak memory.
//!
//! `run.sh` starts it. Rounds are interleaved: each system has its turn before any has its second, so that what else
//! goes on in the machine meets all of them. A rate is believed only when all records were counted on disk.
//!
//! A signal ends it between two cases, or the case that runs; nothing of it is left then, and nothing is written.
//!
//! Exits with 0 if every case of log_agent was measured in every round, with 1 if one failed, with 2 if asked for what
//! makes no sense. What peers fail at is told, too, but is theirs.

mod bare;
mod ceiling;
mod interrupt;
mod load;
mod measure;
mod numbers;
mod options;
mod process;
mod report;
mod system;

use std::env;
use std::fmt::Write;
use std::fs;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use measure::Case;
use options::Options;
use report::Rounds;
use system::System;

/// Bytes that are sent in a case: enough for a tenth of a second of the fastest.
const BYTES: u64 = 256 << 20;
/// The agent's default syncs every half second, which is to happen: it gets so many times more.
const DEFAULT_SHARE: u64 = 12;
/// The peers get so many times less, or it would take an hour.
const PEERS_SHARE: u64 = 4;
/// And with durability rsyslog so many records.
const SAFE_RECORDS: u64 = 1024;

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    if let [name, port, path] = args.as_slice()
        && name == "bare"
    {
        return ended(bare::run(port, path), 1);
    }
    match Options::parse(&args) {
        Ok(options) => ended(measure(&options, &args), 1),
        Err(error) => ended(Err(error), 2),
    }
}

fn ended(done: io::Result<()>, code: u8) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(code)
        }
    }
}

fn measure(options: &Options, args: &[String]) -> io::Result<()> {
    interrupt::listen()?;
    let mut text = machine(options, args)?;
    let mut failed = Vec::new();
    for folder in &options.folders {
        let all = measure_all(options, folder);
        interrupt::check()?;
        let _ = writeln!(text, "\n## In {}\n", place(folder));
        let _ = writeln!(text, "{}\n{}{}", report::aims(&all), report::table(&all), report::failures(&all));
        failed.extend(all.into_iter().filter(|rounds| rounds.failed.is_some()));
    }
    println!("{text}");
    if let Some(out) = &options.out {
        fs::write(out, text)?;
    }
    report::verdict(&failed)
}

fn measure_all(options: &Options, folder: &Path) -> Vec<Rounds> {
    let mut all = Vec::new();
    for size in &options.sizes {
        for connections in &options.connections {
            let named = |system: &System| {
                options.only.is_empty() || options.only.iter().any(|name| name.as_str() == system.name())
            };
            let mut cases: Vec<_> = System::ALL
                .into_iter()
                .filter(named)
                .map(|system| {
                    let records = records(system, *size, *connections) / options.divide;
                    Rounds::new(Case { system, size: *size, connections: *connections, records })
                })
                .collect();
            for round in 1..=options.rounds {
                for rounds in cases.iter_mut().filter(|rounds| rounds.failed.is_none()) {
                    if round > 1 && rounds.case.system.once() {
                        continue;
                    }
                    let measure = || measure::run(&rounds.case, &options.agent, &options.peers, folder);
                    let measured = measure::again(&mut rounds.ports_taken, measure);
                    if interrupt::check().is_err() {
                        return all;
                    }
                    match measured {
                        Ok(seen) => rounds.seen.push(seen),
                        Err(failure) => rounds.fails(round, options.rounds, &failure),
                    }
                }
            }
            eprintln!("{} bytes, {connections} connections in {}: done", size, folder.display());
            all.extend(cases);
        }
    }
    all
}

/// How many records, the same for each connection.
fn records(system: System, size: usize, connections: usize) -> u64 {
    let all = BYTES / (size as u64 + 100);
    let records = match system {
        System::RsyslogSafe => SAFE_RECORDS,
        System::Rsyslog | System::SyslogNg => all / PEERS_SHARE,
        System::AgentDefault => all * DEFAULT_SHARE,
        System::Bare | System::Agent | System::AgentAck => all,
    };
    // Also when it is divided.
    records.next_multiple_of(connections as u64 * 8)
}

/// Where and how it was measured.
fn machine(options: &Options, args: &[String]) -> io::Result<String> {
    let libraries = system::libraries(&options.peers)?;
    let peer = |program: &str, flag: &str| {
        let program = options.peers.join(program);
        process::first_line(&program.to_string_lossy(), &[flag], &libraries)
    };
    let cpus = fs::read_to_string("/proc/cpuinfo")?;
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("unknown", |(_, model)| model);
    let cores = std::thread::available_parallelism()?;
    let line = |program: &str, args: &[&str]| process::first_line(program, args, "");
    let mut text = String::new();
    let _ = writeln!(text, "Written by `run.sh {}` on {}.\n", args[2..].join(" "), line("date", &["-u", "+%d %B %Y"]));
    let _ = writeln!(text, "- {cores} cores, {model}; Linux {}", line("uname", &["-r"]));
    let load = fs::read_to_string("/proc/loadavg")?;
    let _ = writeln!(text, "- load of the machine before the run: {}", load.split(' ').next().unwrap_or("unknown"));
    let _ = writeln!(text, "- {}", peer("usr/sbin/rsyslogd", "-v"));
    let _ = writeln!(text, "- {}", peer("usr/sbin/syslog-ng", "-V"));
    let rounds = options.rounds;
    let _ = writeln!(text, "- {rounds} interleaved rounds; rsyslog with its safest settings has one");
    Ok(text)
}

/// A folder, and what kind of disk it lies on.
fn place(folder: &Path) -> String {
    let folder = folder.to_string_lossy();
    let kind = process::first_line("stat", &["-f", "-c", "%T", &folder], "");
    format!("{folder} ({kind})")
}
