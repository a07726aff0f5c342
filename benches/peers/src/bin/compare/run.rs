//! One measurement: a server of its own, the load generator beside it, and what both say.

use std::io;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::child::{Running, on_core};
use crate::cli::Args;
use crate::idle::Idle;
use crate::servers::Start;
use crate::tries::Tries;
use crate::works::{Kind, Work};

/// Before a measurement is given up, or taken though it was disturbed.
pub const TRIES: usize = 3;

/// What one run came to.
#[derive(Debug, Clone)]
pub struct Sample {
    pub answers_per_second: f64,
    /// CPU time of the server's process for each answer, in microseconds.
    pub cpu: f64,
    /// Latencies in microseconds.
    pub p50: f64,
    pub p99: f64,
    pub p999: f64,
    pub peak_kib: f64,
    /// Bytes of memory for each idle connection, if there were any.
    pub idle_bytes: Option<f64>,
    /// The shares of their cores that the server and the load generator used.
    pub server_busy: f64,
    pub load_busy: f64,
    /// The share of the time that others kept the load generator waiting for its core.
    pub load_waited: f64,
}

/// Measures until it is calm enough, and until it goes well: some servers fail at times, and not because of the work.
/// What failed stays in `tries`.
pub fn measure(args: &Args, start: Start, work: &Work, tries: &mut Tries) -> io::Result<Sample> {
    calmest(args.calm, tries, || measure_once(args, start, work))
}

/// The first sample in which others took no more than `calm` percent of the time, or that with the least.
fn calmest(calm: f64, tries: &mut Tries, mut once: impl FnMut() -> io::Result<Sample>) -> io::Result<Sample> {
    let mut best: Option<Sample> = None;
    let mut failed = None;
    for _ in 0..TRIES {
        match tries.made(once()) {
            Ok(sample) if sample.load_waited * 100.0 <= calm => return Ok(sample),
            Ok(sample) if best.as_ref().is_none_or(|best| sample.load_waited < best.load_waited) => best = Some(sample),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(error),
            Err(error) => failed = Some(error),
        }
    }
    best.ok_or_else(|| failed.unwrap_or_else(|| io::Error::other("no run went well")))
}

fn measure_once(args: &Args, start: Start, work: &Work) -> io::Result<Sample> {
    let server = Running::start(start, args.server_core)?;
    let idle = if work.idle > 0 { Some(Idle::open(&server, work.idle)?) } else { None };
    let said = load(args, &server, work, args.seconds, args.warm_up)?;
    let number = |path: &str| {
        let value = said.pointer(path).and_then(Value::as_f64);
        value.ok_or_else(|| io::Error::other(format!("the load generator says nothing of {path}")))
    };
    let (answers, seconds) = (number("/answers")?, number("/seconds")?);
    if answers == 0.0 {
        return Err(io::Error::other("no answers"));
    }
    let cpu_seconds = number("/server/cpu_seconds")?;
    Ok(Sample {
        answers_per_second: answers / seconds,
        cpu: cpu_seconds * 1e6 / answers,
        p50: number("/latency/p50")?,
        p99: number("/latency/p99")?,
        p999: number("/latency/p99.9")?,
        peak_kib: number("/server/memory_peak_kib")?,
        idle_bytes: idle.map(|idle| idle.bytes_each),
        server_busy: cpu_seconds / seconds,
        load_busy: number("/load_busy")?,
        load_waited: number("/load_waited")?,
    })
}

/// Runs the load generator against `server`, and gives what it says.
pub fn load(args: &Args, server: &Running, work: &Work, seconds: f64, warm_up: f64) -> io::Result<Value> {
    let mut command = on_core(args.load_core);
    command.arg(&args.load).arg(server.address.to_string()).args(words(work)).arg("--json");
    command.arg(format!("--seconds={seconds}")).arg(format!("--warm-up={warm_up}"));
    command.arg(format!("--pid={}", server.pid()));
    finish(&mut command)
}

/// What the load generator is told of a work.
pub fn words(work: &Work) -> Vec<String> {
    let path = if work.size == 0 { "/plaintext" } else { "/echo" };
    let mut words = vec![format!("--connections={}", work.connections), format!("--size={}", work.size)];
    match work.kind {
        Kind::LengthPrefixed => words.push("--protocol=length-prefixed".into()),
        Kind::Http | Kind::Deferred => words.push(format!("--path={path}")),
    }
    match work.reconnect {
        true => words.push("--reconnect".into()),
        false => words.push(format!("--depth={}", work.depth)),
    }
    words
}

fn finish(command: &mut Command) -> io::Result<Value> {
    let output = command.stdin(Stdio::null()).output()?;
    let said: Option<Value> = serde_json::from_slice(&output.stdout).ok();
    let errors = said.as_ref().and_then(|said| said.get("errors")).and_then(Value::as_object);
    match (said.as_ref(), errors) {
        (Some(_), Some(errors)) if !errors.is_empty() => {
            let errors = errors.iter().map(|(kind, count)| format!("{count} x {kind}"));
            Err(io::Error::other(errors.collect::<Vec<_>>().join(", ")))
        }
        (Some(said), _) if output.status.success() => Ok(said.clone()),
        _ => {
            let why = String::from_utf8_lossy(&output.stderr);
            Err(io::Error::other(why.trim().trim_start_matches("error: ").to_owned()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::tests::sample;

    #[test]
    fn a_failed_try_is_repeated_and_remembered() {
        let mut tries = Tries::default();
        let mut results = [Err("no answers"), Ok(sample(1.0))].into_iter();
        let mut once = || results.next().expect("no more tries than needed").map_err(io::Error::other);
        assert_eq!(calmest(100.0, &mut tries, &mut once).map(|sample| sample.cpu).ok(), Some(1.0));
        assert_eq!(tries.failed(), 1);
        let failed = calmest(100.0, &mut tries, || Err(io::Error::other("1 x reset"))).map(drop);
        assert_eq!(failed.map_err(|error| error.to_string()), Err("1 x reset".into()));
        assert_eq!(tries.failed(), 1 + TRIES);
    }

    #[test]
    fn what_fails_behind_a_disturbed_run_is_remembered() {
        let mut tries = Tries::default();
        let disturbed = Sample { load_waited: 0.5, ..sample(1.0) };
        let mut results = [Ok(disturbed), Err("no answers"), Err("no answers")].into_iter();
        let once = || results.next().expect("three tries").map_err(io::Error::other);
        assert!(calmest(2.0, &mut tries, once).is_ok(), "disturbed is better than nothing");
        assert_eq!(tries.failed(), 2);
    }
}
