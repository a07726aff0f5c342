//! The command line of the bench.

use std::io;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use crate::system::System;

const USAGE: &str = "usage: log-agent-bench LOG_AGENT PEERS [--rounds N] [--dir FOLDER] [--memory-dir FOLDER] \
                     [--out FILE] [--quick] [--size N] [--connections N] [--only NAME,...]; run.sh knows the first two";

/// What is to be measured, and where.
#[derive(Debug, Clone)]
pub struct Options {
    pub agent: PathBuf,
    pub peers: PathBuf,
    /// How often each case is measured.
    pub rounds: usize,
    /// Where all systems write.
    pub folders: Vec<PathBuf>,
    /// Where the results go, besides standard output.
    pub out: Option<PathBuf>,
    /// Divides the number of records.
    pub divide: u64,
    pub sizes: Vec<usize>,
    pub connections: Vec<usize>,
    /// Names of systems; none is all.
    pub only: Vec<String>,
}

impl Options {
    pub fn parse(args: &[String]) -> io::Result<Self> {
        let [agent, peers, flags @ ..] = args else { return Err(io::Error::other(USAGE)) };
        let (agent, peers) = (PathBuf::from(agent), PathBuf::from(peers));
        let memory = PathBuf::from("/dev/shm");
        let mut options = Self {
            agent,
            peers,
            rounds: 5,
            folders: vec![std::env::temp_dir()],
            out: None,
            divide: 1,
            sizes: vec![100, 400, 4096],
            connections: vec![1, 64],
            only: Vec::new(),
        };
        let mut memory = memory.is_dir().then_some(memory);
        let mut flags = flags.iter();
        while let Some(flag) = flags.next() {
            if flag == "--quick" {
                options.divide = 8;
                continue;
            }
            let value = flags.next().ok_or_else(|| io::Error::other(format!("{flag} lacks its value; {USAGE}")))?;
            let number =
                || value.parse::<usize>().map_err(|error| io::Error::other(format!("{flag} {value}: {error}")));
            match flag.as_str() {
                "--rounds" => options.rounds = number()?.max(1),
                "--size" => options.sizes = vec![within(flag, number()?, 1..=1 << 20)?],
                "--connections" => options.connections = vec![within(flag, number()?, 1..=1000)?],
                "--only" => options.only = value.split(',').map(known).collect::<Result<_, _>>()?,
                "--dir" => options.folders = vec![PathBuf::from(value)],
                "--memory-dir" => memory = (value != "none").then(|| PathBuf::from(value)),
                "--out" => options.out = Some(PathBuf::from(value)),
                _ => return Err(io::Error::other(format!("{flag} is not known; {USAGE}"))),
            }
        }
        options.folders.extend(memory);
        Ok(options)
    }
}

fn within(flag: &str, number: usize, range: RangeInclusive<usize>) -> io::Result<usize> {
    let (least, most) = (*range.start(), *range.end());
    let wrong = || io::Error::other(format!("{flag} {number}: it is from {least} to {most}"));
    range.contains(&number).then_some(number).ok_or_else(wrong)
}

/// The name of a system, if it is one.
fn known(name: &str) -> io::Result<String> {
    match System::ALL.iter().any(|system| system.name() == name) {
        true => Ok(name.to_owned()),
        false => {
            let names = System::ALL.map(System::name).join("\", \"");
            Err(io::Error::other(format!("--only {name}: there is no such system; there are \"{names}\"")))
        }
    }
}
