//! What is logged, for tests to look at. The logger is the process's: one test finds the lines of others, too.

use std::sync::Once;

use log::{LevelFilter, Log, Metadata, Record};
use parking_lot::Mutex;

struct Collect(Mutex<Vec<String>>);

static LINES: Collect = Collect(Mutex::new(Vec::new()));

impl Log for Collect {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        self.0.lock().push(record.args().to_string());
    }

    fn flush(&self) {}
}

/// Warnings and errors are kept from now on.
pub fn keep() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        log::set_logger(&LINES).expect("the only logger");
        log::set_max_level(LevelFilter::Warn);
    });
}

/// The lines with all of `parts` in them.
pub fn with(parts: &[&str]) -> Vec<String> {
    let lines = LINES.0.lock();
    lines.iter().filter(|line| parts.iter().all(|part| line.contains(part))).cloned().collect()
}
