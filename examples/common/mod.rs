//! What the examples share: a log, an exit code, lines on stdout.

use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

use env_logger::Env;

/// Runs an example. Its log goes to stderr, from `level` on unless `RUST_LOG` says otherwise; an error becomes one line
/// there.
pub fn run(level: &str, example: impl FnOnce() -> io::Result<()>) -> ExitCode {
    env_logger::Builder::from_env(Env::default().default_filter_or(level)).init();
    let Err(error) = example() else { return ExitCode::SUCCESS };
    // Not `eprintln`, which panics if nobody reads it.
    let _ = writeln!(io::stderr(), "error: {error}");
    ExitCode::FAILURE
}

/// Prints one line, at once: whoever started the example may wait for it.
pub fn say(line: impl fmt::Display) {
    let mut stdout = io::stdout().lock();
    let _ = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
}
