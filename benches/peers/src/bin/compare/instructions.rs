//! Instructions for each answer, by valgrind: what other programs on the machine can't change.
//!
//! Only those of the server itself are counted, not the kernel's.

use std::fs;
use std::io;

use serde_json::Value;

use crate::child::Running;
use crate::cli::Args;
use crate::run;
use crate::servers::Start;
use crate::works::Work;

/// A shorter run is taken from a longer one, and with it what starting and connecting needs.
const SECONDS: [f64; 2] = [0.5, 2.0];

/// What one run came to.
struct Counted {
    answers: f64,
    instructions: f64,
}

pub fn count(args: &Args, start: Start, work: &Work) -> io::Result<f64> {
    let [short, long] = SECONDS;
    let (before, after) = (counted(args, start, work, short)?, counted(args, start, work, long)?);
    let answers = after.answers - before.answers;
    match answers > 0.0 {
        true => Ok((after.instructions - before.instructions) / answers),
        false => Err(io::Error::other("no more answers in a longer time under valgrind")),
    }
}

fn counted(args: &Args, start: Start, work: &Work, seconds: f64) -> io::Result<Counted> {
    let log = std::env::temp_dir().join(format!("sluicegate-valgrind-{}", std::process::id()));
    let words = ["valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"];
    let log_word = format!("--log-file={}", log.display());
    let words: Vec<&str> = words.into_iter().chain([log_word.as_str()]).collect();
    let server = Running::start_under(&words, start, args.server_core)?;
    let said = run::load(args, &server, work, seconds, 0.0)?;
    server.ends()?;
    let text = fs::read_to_string(&log)?;
    let _ = fs::remove_file(&log);
    let instructions = text.lines().find_map(|line| line.split_once("refs:")).map(|(_, count)| count);
    let instructions = instructions.and_then(|count| count.trim().replace(',', "").parse().ok());
    let answers = said.get("answers_ever").and_then(Value::as_f64);
    let counted = answers.zip(instructions).map(|(answers, instructions)| Counted { answers, instructions });
    counted.ok_or_else(|| io::Error::other(format!("valgrind says: {}", text.trim())))
}
