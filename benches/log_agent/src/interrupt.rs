//! The signals that end the bench: it ends what it has started and removes what was written.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

static INTERRUPTED: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// From now on signals are only noted.
pub fn listen() -> io::Result<()> {
    let interrupted = INTERRUPTED.get_or_init(Arc::default);
    for signal in [SIGINT, SIGTERM] {
        flag::register(signal, Arc::clone(interrupted))?;
    }
    Ok(())
}

/// An error if there was one.
pub fn check() -> io::Result<()> {
    match INTERRUPTED.get().is_some_and(|interrupted| interrupted.load(Relaxed)) {
        true => Err(io::Error::other("interrupted by a signal; nothing was written")),
        false => Ok(()),
    }
}
