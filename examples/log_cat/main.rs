//! Reads back what `log_agent` has written, exactly as it was received.
//!
//! ```text
//! cargo run --release --example log_cat -- ./logs --since 2026-11-21T09:30:00 --connection 7
//! cargo run --release --example log_cat -- ./logs --follow
//! cargo run --release --example log_cat -- ./logs --bad
//! cargo run --release --example log_cat -- ./logs --verify
//! ```

mod cat;
#[allow(dead_code, reason = "its lines may fail to be written, which counts here")]
#[path = "../common/mod.rs"]
mod common;
mod follow;
mod look;
#[allow(dead_code, reason = "shared with log_agent, which writes what this one reads")]
#[path = "../log_agent/store/mod.rs"]
mod store;
mod verify;

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;

use cat::{Connection, Filter};
use store::name::Kind;
use store::utc::parse_time;

/// Prints the records in a directory of log_agent's, a line each, segment by segment in the order of their numbers.
///
/// A record that has newlines or binary bytes in it is printed as it is, with a newline behind it if it has none.
/// A segment that is packed or deleted meanwhile is no fault. Exits with 1 if a record is not what was received or is
/// missing, and says in which segment. A segment whose index has no mark at its end is one that is being written; so
/// that is a fault of a packed one, and of every one if no log_agent has locked the directory. Then a segment that is
/// not packed and whose index is missing is read by its lines, which is said, and a fault, too: nobody can check them.
/// The directory stays as it is.
#[derive(Parser)]
#[command(name = "log_cat", version)]
struct Args {
    /// The directory of the segments, packed or not
    dir: PathBuf,
    /// Only records received then or later: UTC such as 2026-11-21 or 2026-11-21T09:30:00, or unix seconds
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    since: Option<u64>,
    /// Only records received before that
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    until: Option<u64>,
    /// Only records of the connection with this number. Numbers begin anew when the agent starts; 12.7 is the 7th
    /// connection since the start whose first segment was number 12
    #[arg(long, value_name = "N", value_parser = Connection::parse)]
    connection: Option<Connection>,
    /// Instead of the records that are good, those that log_agent --json has set aside, in segments bad_*. (--verify
    /// checks both)
    #[arg(long, conflicts_with = "verify")]
    bad: bool,
    /// Go on as records come, until a signal
    #[arg(long, conflicts_with = "verify")]
    follow: bool,
    /// Print no records, but check each and say what was found
    #[arg(long)]
    verify: bool,
}

fn main() -> ExitCode {
    let Args { dir, since, until, connection, bad, follow, verify } = Args::parse();
    let kind = if bad { Kind::Bad } else { Kind::Log };
    let filter = Filter { since, until, connection };
    common::run("warn", || {
        readable(&dir)?;
        if verify { verify::verify(&dir, &filter) } else { cat::cat(&dir, kind, &filter, follow) }
    })
}

/// Says which directory it is that can't be read: later errors name none.
fn readable(dir: &Path) -> io::Result<()> {
    let why = |error: io::Error| io::Error::new(error.kind(), format!("cannot read {}: {error}", dir.display()));
    dir.read_dir().map(drop).map_err(why)
}
