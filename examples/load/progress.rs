//! How far it is, and whether it is to end before.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::interrupt::interrupted;

/// A bar whose unit is a millisecond. It is drawn on stderr, and only if that is a terminal.
pub struct Progress {
    bar: ProgressBar,
    interrupted: Arc<AtomicBool>,
}

impl Progress {
    pub fn new(planned: Duration) -> io::Result<Self> {
        let interrupted = interrupted()?;
        let bar = ProgressBar::new(planned.as_millis() as u64);
        let style = ProgressStyle::with_template("{bar:30} {percent:>3} %  {msg}").map_err(io::Error::other)?;
        bar.set_style(style);
        bar.set_message("connecting");
        Ok(Self { bar, interrupted })
    }

    /// True if a signal has come.
    pub fn interrupted(&self) -> bool {
        self.interrupted.load(Relaxed)
    }

    /// `measured`: answers so far and in what time, if it counts already.
    pub fn show(&self, passed: Duration, measured: Option<(u64, Duration)>) {
        self.bar.set_position(passed.as_millis() as u64);
        self.bar.set_message(match measured {
            None => "warm-up".into(),
            Some((answers, time)) => {
                let rate = answers as f64 / time.as_secs_f64().max(0.001);
                let left = (self.bar.length().unwrap_or(0) as f64 / 1000.0 - passed.as_secs_f64()).max(0.0);
                format!("{rate:.0} answers/s, {left:.0} s left")
            }
        });
    }

    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
