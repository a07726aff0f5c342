//! A server's life from its start to a signal, and its end in order.

use std::io;
use std::thread;
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use sluicegate::{Finish, Protocol, Running, Snapshot};

use crate::common::say;
use interrupt::interrupted;

#[path = "interrupt.rs"]
mod interrupt;

/// How long connections may finish what they have begun, where no flag says otherwise.
pub const GRACE: Duration = Duration::from_secs(10);

/// Enough to wait on.
const STACK: usize = 64 << 10;

/// What `--help` says about it.
pub const HELP: &str = "SIGINT (Ctrl-C) or SIGTERM ends it once its connections have finished what they have begun; \
                        a second signal ends it at once.\nRUST_LOG=debug logs more.";

/// Stays until the server has ended: after SIGINT or SIGTERM, once its connections have finished what they have begun;
/// or because it failed.
pub fn serve_until_signal<P: Protocol>(running: Running<P>, grace: Duration) -> io::Result<()> {
    let stopper = running.stopper();
    on_signal(move || stopper.shutdown(grace, Finish::Answer))?;
    say(format_args!("listening on {}", running.local_addr()));
    goodbye(&running.join()?);
    Ok(())
}

/// Calls `end` when SIGINT or SIGTERM comes. A second signal ends the program at once.
///
/// A thread of its own waits for signals, so no handler has to do more than to wake it, and the caller can wait for the
/// server's end, whatever it is that ends it.
pub fn on_signal(end: impl FnOnce() + Send + 'static) -> io::Result<()> {
    interrupted()?;
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let wait = move || {
        signals.forever().next();
        end();
    };
    thread::Builder::new().name("signals".into()).stack_size(STACK).spawn(wait)?;
    Ok(())
}

fn goodbye(numbers: &Snapshot) {
    let Snapshot { accepted, messages_in, messages_out, bytes_in, bytes_out, .. } = numbers;
    log::info!(
        "goodbye; connections: {accepted}, messages in: {messages_in} ({bytes_in} bytes), \
         out: {messages_out} ({bytes_out} bytes)"
    );
}
