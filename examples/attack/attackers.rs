//! The attackers as a process of their own, at nice 10: this program again, in another part.

use std::env;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::process::{self, Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::attacks::Attack;
use crate::common::say;
use crate::swarm::Swarm;

/// What the attackers are told.
#[derive(Debug, Clone, Copy)]
pub struct Orders {
    pub target: SocketAddr,
    pub seconds: f64,
    pub scale: f64,
    pub seed: u64,
}

/// What became of a family of attackers.
#[derive(Debug)]
pub struct Family {
    /// For people: its name, and what it did.
    pub text: String,
    /// True if it came to all its connections. Otherwise the attack was less than it says.
    pub is_whole: bool,
}

impl Family {
    /// Reads what [`Swarm::report`] says of one.
    fn read(text: &str) -> Self {
        let counts = text.split_once(": ").and_then(|(_, counts)| counts.split_once(" connections"));
        let counts = counts.and_then(|(counts, _)| counts.split_once(" of "));
        let number = |text: &str| text.parse::<u64>().ok();
        let is_whole =
            counts.is_some_and(|(opened, wanted)| number(opened).is_some() && number(opened) >= number(wanted));
        Self { text: text.to_owned(), is_whole }
    }
}

/// The attackers, seen from outside.
pub struct Attackers {
    child: Child,
}

impl Attackers {
    pub fn start(attack: &Attack, orders: &Orders) -> io::Result<Self> {
        let Orders { target, seconds, scale, seed } = *orders;
        let mut command = Command::new("nice");
        command.args(["-n", "10"]).arg(env::current_exe()?).args(["--attacker", attack.name, "--target"]);
        command.arg(target.to_string()).arg(format!("--seconds={seconds}")).arg(format!("--scale={scale}"));
        command.arg(format!("--seed={seed}"));
        // The pipe to its stdin is never written to: its end tells the attackers that we are gone.
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let child = command
            .spawn()
            .map_err(|error| io::Error::other(format!("cannot start the attackers by nice: {error}")))?;
        Ok(Self { child })
    }

    /// How they ended, if they have.
    pub fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// What became of each family.
    pub fn report(mut self) -> io::Result<Vec<Family>> {
        let mut text = String::new();
        if let Some(stdout) = &mut self.child.stdout {
            stdout.read_to_string(&mut text)?;
        }
        if self.child.wait()?.success() {
            Ok(text.lines().map(Family::read).collect())
        } else {
            Err(io::Error::other("the attackers failed"))
        }
    }
}

impl Drop for Attackers {
    fn drop(&mut self) {
        // By its id, and both fail if it has ended: that is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The attackers' part: attacks for its time, says what became of it, and ends.
pub fn be_attackers(attack: &Attack, orders: &Orders) -> io::Result<()> {
    let until = Instant::now() + Duration::from_secs_f64(orders.seconds);
    end_with_the_parent()?;
    rlimit::increase_nofile_limit(u64::MAX)?;
    let families = (attack.families)().into_iter().map(|family| family.scaled(orders.scale)).collect();
    let mut swarm = Swarm::new(orders.target, families, orders.seed)?;
    swarm.run(until)?;
    swarm.report().for_each(say);
    Ok(())
}

fn end_with_the_parent() -> io::Result<()> {
    let watch = || {
        let _ = io::stdin().read_to_end(&mut Vec::new());
        process::exit(1);
    };
    thread::Builder::new().name("watch the parent".into()).spawn(watch).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_is_whole_with_all_its_connections() {
        let is_whole = |text| Family::read(text).is_whole;
        assert!(is_whole("idle: 5000 of 5000 connections, 1 open at the end"));
        assert!(is_whole("a: 21 of 20 connections, and those anew"));
        assert!(!is_whole("idle: 999 of 5000 connections, 999 open at the end"));
        assert!(!is_whole("idle: no connections"));
    }
}
