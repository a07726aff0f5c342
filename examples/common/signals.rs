//! A server's life from its start to a signal, and its end in order.

use std::io;
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

/// What `--help` says about it.
pub const HELP: &str = "SIGINT (Ctrl-C) or SIGTERM ends it once its connections have finished what they have begun; \
                        a second signal ends it at once.\nRUST_LOG=debug logs more.";

/// Stays until SIGINT or SIGTERM, then lets the connections finish what they have begun. A second signal ends at once.
///
/// The server has two threads and neither is this one, so this one can wait for signals: no handler has to do more than
/// to wake it.
pub fn serve_until_signal<P: Protocol>(running: Running<P>, grace: Duration) -> io::Result<()> {
    until_signal(&running)?;
    goodbye(&running.shutdown(grace, Finish::Answer)?);
    Ok(())
}

/// Says where the server listens, and waits for SIGINT or SIGTERM. A second signal ends the program at once.
pub fn until_signal<P: Protocol>(running: &Running<P>) -> io::Result<()> {
    interrupted()?;
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    say(format_args!("listening on {}", running.local_addr()));

    signals.forever().next();
    Ok(())
}

fn goodbye(numbers: &Snapshot) {
    let Snapshot { accepted, messages_in, messages_out, bytes_in, bytes_out, .. } = numbers;
    log::info!(
        "goodbye; connections: {accepted}, messages in: {messages_in} ({bytes_in} bytes), \
         out: {messages_out} ({bytes_out} bytes)"
    );
}
