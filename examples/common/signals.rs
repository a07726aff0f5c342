//! A server's life from its start to a signal, and its end in order.

use std::io;
use std::time::Duration;

use sluicegate::{Finish, Protocol, Running, Snapshot};

use crate::common::say;
pub use interrupt::on_signal;

#[allow(dead_code, reason = "shared with programs that look at a flag")]
#[path = "interrupt.rs"]
mod interrupt;

/// How long connections may finish what they have begun, where no flag says otherwise.
pub const GRACE: Duration = Duration::from_secs(10);

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

fn goodbye(numbers: &Snapshot) {
    let Snapshot { accepted, messages_in, messages_out, bytes_in, bytes_out, .. } = numbers;
    log::info!(
        "goodbye; connections: {accepted}, messages in: {messages_in} ({bytes_in} bytes), \
         out: {messages_out} ({bytes_out} bytes)"
    );
}
