//! How far it is, and whether it is to end before: a signal ends it, and its children with it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::interrupt::interrupted;

/// Between two looks for a signal.
const LOOK: Duration = Duration::from_millis(50);

/// A bar whose unit is a millisecond of what is planned.
pub struct Progress {
    bar: ProgressBar,
    interrupted: Arc<AtomicBool>,
}

impl Progress {
    pub fn new(planned: Duration) -> io::Result<Self> {
        let interrupted = interrupted()?;
        let bar = ProgressBar::new(planned.as_millis() as u64);
        let style = ProgressStyle::with_template("{bar:30} {percent:>3} %  about {eta} left  {prefix} {msg}");
        bar.set_style(style.map_err(io::Error::other)?);
        Ok(Self { bar, interrupted })
    }

    /// What runs now.
    pub fn name(&self, name: String) {
        self.bar.set_prefix(name);
    }

    /// `Err` if it is to end now.
    pub fn check(&self) -> io::Result<()> {
        if self.interrupted.load(Relaxed) {
            Err(io::Error::new(io::ErrorKind::Interrupted, "interrupted by a signal"))
        } else {
            Ok(())
        }
    }

    /// Begins a part that takes about `time`.
    pub fn begin(&self, part: &'static str, time: Duration) {
        self.bar.set_message(part);
        self.bar.inc(time.as_millis() as u64);
    }

    /// Lets `time` pass.
    pub fn pass(&self, part: &'static str, time: Duration) -> io::Result<()> {
        self.begin(part, time);
        let until = Instant::now() + time;
        loop {
            self.check()?;
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            thread::sleep(left.min(LOOK));
        }
    }

    /// No part runs.
    pub fn end(&self) {
        self.bar.set_message("what is left");
    }

    /// A line above the bar.
    pub fn line(&self, line: &str) {
        self.bar.suspend(|| crate::common::say(line));
    }

    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
