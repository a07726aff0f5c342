//! Sends the HTTP cases to nginx and to hyper's server, records what they do, and fails when a difference to this
//! server has no reason: `cargo run --manifest-path tests/peers/Cargo.toml`.
//!
//! Writes `tests/data/http1/peers/outcomes.txt`. The outcomes here are those of docs/http-conformance.md, which a test
//! of the main crate keeps true; the reasons are `tests/data/http1/peers/differences.txt`.

#[path = "../../common/http1_cases.rs"]
mod http1_cases;
mod hyper_server;
mod nginx;
#[path = "../../http_conformance/peers.rs"]
mod peers;
#[path = "../../common/splits.rs"]
mod splits;
mod talk;
#[path = "../../http_conformance/wire.rs"]
mod wire;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{fs, io, thread};

use http1_cases::Case;
use peers::{Record, checksum, concerns};

/// Most of a talk is waiting.
const AT_ONCE: usize = 16;

fn main() -> io::Result<ExitCode> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let data = root.join("tests/data/http1");
    let mut cases = http1_cases::all_in(&data);
    cases.retain(concerns);

    let nginx = nginx::Nginx::start()?;
    let hyper = hyper_server::start()?;
    let [nginx_outcomes, hyper_outcomes] = [nginx.address(), hyper].map(|address| outcomes(&cases, address));
    let mut record = Record { versions: [nginx.version()?, hyper_server::version()], ..Record::default() };
    for (at, case) in cases.iter().enumerate() {
        let both = [nginx_outcomes[at].clone(), hyper_outcomes[at].clone()];
        record.outcomes.insert(case.name.clone(), (checksum(case), both));
    }
    fs::write(data.join("peers/outcomes.txt"), record.write())?;
    println!("{} cases, nginx {}, hyper {}", cases.len(), record.versions[0], record.versions[1]);

    let ours = ours(&fs::read_to_string(root.join("docs/http-conformance.md"))?);
    let differences = peers::parse_differences(&fs::read_to_string(data.join("peers/differences.txt"))?);
    let known: Vec<Case> = cases.into_iter().filter(|case| ours.contains_key(&case.name)).collect();
    let complaints = peers::complaints(&known, &ours, &record, &differences);
    complaints.iter().for_each(|complaint| eprintln!("{complaint}"));
    Ok(if complaints.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What becomes of each case at a server.
fn outcomes(cases: &[Case], server: SocketAddr) -> Vec<String> {
    let next = AtomicUsize::new(0);
    let talk_all = || {
        let numbers = std::iter::repeat_with(|| next.fetch_add(1, Ordering::Relaxed));
        let own = numbers.take_while(|at| *at < cases.len()).map(|at| (at, talk::outcome(&cases[at], server)));
        own.collect::<Vec<_>>()
    };
    let mut all = thread::scope(|scope| {
        let threads: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(talk_all)).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("no panic")).collect::<Vec<_>>()
    });
    all.sort();
    all.into_iter().map(|(_, outcome)| outcome).collect()
}

/// The outcomes here, from the table of cases.
fn ours(document: &str) -> BTreeMap<String, String> {
    let rows = document.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
    let outcome = |(name, rest): (&str, &str)| {
        let cells: Vec<&str> = rest.trim_end_matches(" |").rsplitn(4, " | ").collect();
        Some((name.to_owned(), (*cells.get(2)?).to_owned()))
    };
    rows.filter_map(outcome).collect()
}
