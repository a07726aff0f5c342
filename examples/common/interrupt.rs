//! Signals that ask the program to end.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

/// Signals that come so soon after the first were meant as one: `timeout`, for one, signals its child, and then the
/// group that both are in.
const TOGETHER: Duration = Duration::from_millis(100);

/// Enough to wait on.
const STACK: usize = 64 << 10;

/// Calls `end` when SIGINT or SIGTERM comes. Another one, later, ends the program at once.
///
/// A thread of its own waits for signals, so no handler has to do more than to wake it.
pub fn on_signal(end: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let wait = move || {
        signals.forever().next();
        end();
        thread::sleep(TOGETHER);
        signals.pending().for_each(drop);
        if let Some(signal) = signals.forever().next() {
            // Not `eprintln`, which panics if nobody reads it: no further signal would be heard then.
            let _ = writeln!(io::stderr(), "a second signal: ends at once");
            // Fails for a signal that it does not know, which these are not.
            let _ = emulate_default_handler(signal);
        }
    };
    thread::Builder::new().name("signals".into()).stack_size(STACK).spawn(wait)?;
    Ok(())
}

/// A flag that SIGINT and SIGTERM raise. Another one, later, ends the program at once.
pub fn interrupted() -> io::Result<Arc<AtomicBool>> {
    let raised = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&raised);
    on_signal(move || flag.store(true, Relaxed))?;
    Ok(raised)
}
