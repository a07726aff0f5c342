//! The command line.

use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};

use crate::servers::{self, SERVERS, Server};
use crate::works::{self, Work};

/// Measures sluicegate beside bare loops and other servers.
///
/// Exits with 0 if everything was measured, with 1 if something failed, with 2 if asked for what makes no sense. A try
/// that failed and went well when it was made again is told, and is no failure.
#[derive(Debug, Parser)]
#[command(name = "compare", after_help = names())]
pub struct Args {
    /// Rounds; medians are shown, and the least and the most
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pub rounds: u32,
    /// How long each run measures
    #[arg(long, value_name = "SECS", default_value_t = 2.0)]
    pub seconds: f64,
    /// How long each run sends before it measures
    #[arg(long, value_name = "SECS", default_value_t = 0.5)]
    pub warm_up: f64,
    /// These servers only
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    only: Vec<String>,
    /// These works only; the part of a name before a dash means all that begin so
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    work: Vec<String>,
    /// Measure again, at most twice, if others kept the load generator waiting for more than this share of the time
    #[arg(long, value_name = "PERCENT", default_value_t = 100.0)]
    pub calm: f64,
    /// Don't count system calls
    #[arg(long)]
    pub no_syscalls: bool,
    /// Count the server's own instructions, too, by valgrind; that is the same whatever else runs
    #[arg(long)]
    pub instructions: bool,
    /// Only check that the servers answer right
    #[arg(long)]
    pub check: bool,
    /// Where RESULTS.md and the charts go; by default only a whole comparison is written, to benches/, of five rounds
    /// of half a second at least, behind a warm-up, and with system calls
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// The load generator: this crate's example `load`
    #[arg(long, value_name = "PROGRAM")]
    pub load: PathBuf,
    /// The core of the servers
    #[arg(long, value_name = "CORE", default_value_t = 0)]
    pub server_core: usize,
    /// The core of the load generator
    #[arg(long, value_name = "CORE", default_value_t = 1)]
    pub load_core: usize,
}

/// Who is measured, with what, and where it is written.
pub struct Plan {
    pub servers: Vec<&'static Server>,
    pub works: Vec<Work>,
    /// Nothing was left out.
    pub is_whole: bool,
    pub out: Option<PathBuf>,
}

impl Args {
    /// True if the numbers are to be believed more than those of a quick look.
    fn is_careful(&self) -> bool {
        self.rounds >= 5 && self.seconds >= 0.5 && self.warm_up > 0.0 && !self.no_syscalls
    }

    /// What is asked for. Ends the program with code 2 if that makes no sense.
    pub fn plan(&self) -> Plan {
        for name in &self.only {
            if servers::find(name).is_none() {
                usage_error(&format!("there is no server {name:?}; --help lists them"));
            }
        }
        let works = works::all();
        let asked = |work: &Work, name: &String| work.name == *name || work.name.starts_with(&format!("{name}-"));
        if let Some(name) = self.work.iter().find(|name| !works.iter().any(|work| asked(work, name))) {
            usage_error(&format!("there is no work {name:?}; --help lists them"));
        }
        if !(self.seconds > 0.0 && self.warm_up >= 0.0) {
            usage_error("--seconds is more than 0, and --warm-up not less");
        }
        if !self.load.is_file() {
            usage_error(&format!(
                "there is no {}: build it by `cargo build --release --example load`",
                self.load.display()
            ));
        }
        let is_whole = self.only.is_empty() && self.work.is_empty();
        let benches = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
        let chosen = |server: &&Server| self.only.is_empty() || self.only.iter().any(|name| name == server.name);
        let servers: Vec<_> = SERVERS.iter().filter(chosen).collect();
        let chosen = |work: &Work| self.work.is_empty() || self.work.iter().any(|name| asked(work, name));
        let works: Vec<_> = works.into_iter().filter(chosen).collect();
        if !works.iter().any(|work| servers.iter().any(|server| server.start(work).is_some())) {
            usage_error("none of these servers does any of these works");
        }
        // A rough one does not take the place of one that took its time.
        let out = self.out.clone().or_else(|| (is_whole && self.is_careful()).then(benches));
        Plan { servers, works, is_whole, out }
    }
}

fn names() -> String {
    let servers: Vec<_> = SERVERS.iter().map(|server| server.name).collect();
    let works: Vec<_> = works::all().into_iter().map(|work| work.name).collect();
    format!("Servers: {}\n\nWorks: {}", servers.join(" "), works.join(" "))
}

fn usage_error(what: &str) -> ! {
    Args::command().error(ErrorKind::ValueValidation, what).exit()
}
