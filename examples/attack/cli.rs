//! The command line.

use std::net::SocketAddr;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};

use crate::attacks::{self, ATTACKS, Attack};

/// Attacks a running HTTP server from this machine, and tells what it does to the server and to its good clients.
///
/// Exits with 0 if every target was met, with 1 if one was missed or something failed.
#[derive(Debug, Parser)]
#[command(name = "attack", version)]
#[command(override_usage = "attack --spawn [NAME]...\n       attack ADDR --pid PID [NAME]...")]
#[command(after_help = attacks::list())]
pub struct Args {
    /// Start the server too: the example `http_echo` with its defaults, anew for each round
    #[arg(long, conflicts_with = "pid")]
    spawn: bool,
    /// The process that serves at ADDR; start `http_echo` with --metrics
    #[arg(long, value_name = "PID")]
    pid: Option<u32>,
    /// Rounds of each attack; medians are shown, and the worst of memory, descriptors, blocks and errors
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub rounds: u32,
    /// Whatever is random in an attack begins with this
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// ADDR unless --spawn, such as 127.0.0.1:8080; then attacks by name or number, default all
    #[arg(value_name = "ADDR|NAME")]
    words: Vec<String>,
    /// Share of the connections of each attack
    #[arg(long, hide = true, default_value_t = 1.0)]
    pub scale: f64,
    /// Seconds of each attack
    #[arg(long, hide = true)]
    pub seconds: Option<f64>,
    /// Be the attackers of this attack
    #[arg(long, hide = true)]
    attacker: Option<String>,
    /// Whom the attackers attack
    #[arg(long, hide = true)]
    target: Option<SocketAddr>,
}

/// What is to be done.
pub enum Task {
    /// Attack a server that is started for it.
    Spawn(Vec<&'static Attack>),
    /// Attack the server at that address, which is that process.
    Attach(SocketAddr, u32, Vec<&'static Attack>),
    /// Be the attackers.
    Attacker(&'static Attack, SocketAddr),
}

impl Args {
    /// What is asked for. Ends the program with code 2 if that makes no sense.
    pub fn task(&self) -> Task {
        if let (Some(attacker), Some(target)) = (&self.attacker, self.target) {
            return Task::Attacker(named(attacker), loopback(target));
        }
        if self.spawn {
            return Task::Spawn(all_named(&self.words));
        }
        match (self.words.split_first(), self.pid) {
            (Some((word, names)), Some(pid)) => match word.parse() {
                Ok(address) => Task::Attach(loopback(address), pid, all_named(names)),
                Err(_) => usage_error(&format!("ADDR {word:?} is no IP address with a port, such as 127.0.0.1:8080")),
            },
            _ => usage_error("whom to attack? Give --spawn, or ADDR and --pid PID"),
        }
    }
}

/// It is no weapon: what it attacks is on this machine.
fn loopback(address: SocketAddr) -> SocketAddr {
    if address.ip().is_loopback() {
        address
    } else {
        usage_error(&format!("{address} is not on this machine; only loopback addresses are attacked"))
    }
}

fn all_named(names: &[String]) -> Vec<&'static Attack> {
    if names.is_empty() { ATTACKS.iter().collect() } else { names.iter().map(|name| named(name)).collect() }
}

fn named(name: &str) -> &'static Attack {
    attacks::find(name).unwrap_or_else(|| usage_error(&format!("there is no attack {name:?}; --help lists them")))
}

fn usage_error(what: &str) -> ! {
    Args::command().error(ErrorKind::ValueValidation, what).exit()
}
