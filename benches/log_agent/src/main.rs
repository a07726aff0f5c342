//! log_agent beside rsyslog, syslog-ng and a bare epoll loop, in one run: records per second, processor time per record,
//! peak memory.
//!
//! `run.sh` starts it. A rate is believed only when all records were counted on disk.

mod bare;
mod load;
mod measure;
mod process;
mod system;

use std::env;
use std::io;
use std::path::Path;

use measure::{Case, Measured};
use system::System;

/// Bytes that are sent in a case: enough for a second or more of the fastest.
const BYTES: u64 = 400 << 20;
/// The peers get so many times less, or it would take an hour.
const PEERS_SHARE: u64 = 4;
/// And with durability rsyslog so many records.
const SAFE_RECORDS: u64 = 2000;

fn main() -> io::Result<()> {
    let args: Vec<String> = env::args().collect();
    if args.get(1).map(String::as_str) == Some("bare") {
        return bare::run(&args[2], &args[3]);
    }
    let [agent, peers] = [args.get(1), args.get(2)].map(|arg| arg.map(String::as_str));
    let (Some(agent), Some(peers)) = (agent, peers) else {
        return Err(io::Error::other(
            "usage: log-agent-bench LOG_AGENT PEERS [--quick] [--size N] [--connections N]; run.sh knows the first two",
        ));
    };
    let (agent, peers) = (Path::new(agent), Path::new(peers));
    let only = |flag: &str| {
        let value = args.iter().skip_while(|arg| *arg != flag).nth(1).and_then(|value| value.parse::<usize>().ok());
        move |number: usize| value.is_none_or(|value| value == number)
    };
    let (size_wanted, connections_wanted) = (only("--size"), only("--connections"));
    let divide = if args.iter().any(|arg| arg == "--quick") { 8 } else { 1 };
    println!("{}", Measured::HEAD);
    for durable in [false, true] {
        for size in [100, 400, 4096].into_iter().filter(|size| size_wanted(*size)) {
            for connections in [1, 64].into_iter().filter(|connections| connections_wanted(*connections)) {
                for system in System::all(durable) {
                    let records = records(system, size, connections) / divide;
                    let case = Case { system, size, connections, records };
                    match measure::run(&case, agent, peers) {
                        Ok(measured) => println!("{measured}"),
                        Err(error) => println!("| {} | {size} | {connections} | failed: {error} |", system.name()),
                    }
                }
            }
        }
    }
    Ok(())
}

/// How many records, the same for each connection.
fn records(system: System, size: usize, connections: usize) -> u64 {
    let all = BYTES / (size as u64 + 100);
    let records = match system {
        System::RsyslogSafe => SAFE_RECORDS,
        System::Rsyslog | System::SyslogNg => all / PEERS_SHARE,
        System::Bare | System::Agent | System::AgentAck => all,
    };
    records.next_multiple_of(connections as u64)
}
