//! A bar while it runs, and lines at the end.

use std::io;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::tally::Sum;

/// Shows rate, blocked time and acknowledged records.
pub struct Progress {
    bar: ProgressBar,
    began: Instant,
    last: (Instant, u64),
    /// Whether the bar counts records, seconds, or nothing.
    count: Option<u64>,
    seconds: Option<f64>,
    ack: bool,
}

impl Progress {
    pub fn new(count: Option<u64>, seconds: Option<f64>, ack: bool) -> io::Result<Self> {
        let length = count.or(seconds.map(|seconds| (seconds * 1000.0) as u64));
        let (bar, template) = match length {
            Some(length) => (ProgressBar::new(length), "{bar:30} {percent:>3} %  {msg}"),
            None => (ProgressBar::new_spinner(), "{spinner} {msg}"),
        };
        bar.set_style(ProgressStyle::with_template(template).map_err(io::Error::other)?);
        let now = Instant::now();
        Ok(Self { bar, began: now, last: (now, 0), count, seconds, ack })
    }

    pub fn show(&mut self, sum: &Sum) {
        let now = Instant::now();
        let rate = (sum.sent - self.last.1) as f64 / (now - self.last.0).as_secs_f64().max(1e-3);
        self.last = (now, sum.sent);
        let acked = if self.ack { format!(", {} acknowledged", sum.acked) } else { String::new() };
        let blocked = sum.blocked.as_secs_f64();
        self.bar.set_message(format!("{rate:.0} records/s, {} sent, blocked {blocked:.1} s{acked}", sum.sent));
        match (self.count, self.seconds) {
            (Some(_), _) => self.bar.set_position(sum.sent),
            (None, Some(_)) => self.bar.set_position((now - self.began).as_millis() as u64),
            (None, None) => self.bar.tick(),
        }
    }

    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

/// The lines at the end.
pub fn summary(sum: &Sum, threads: u16, elapsed: Duration, ack: bool) -> String {
    let seconds = elapsed.as_secs_f64().max(1e-6);
    let Sum { sent, bytes, acked, blocked, .. } = *sum;
    let mut text = format!(
        "sent {sent} records, {bytes} bytes, over {threads} connections in {seconds:.2} s\n\
         {:.0} records/s, {:.1} MB/s; blocked {:.2} s of {:.2} s",
        sent as f64 / seconds,
        bytes as f64 / 1e6 / seconds,
        blocked.as_secs_f64(),
        seconds * f64::from(threads),
    );
    if ack {
        text.push_str(&format!("\nacknowledged {acked} of {sent} records"));
    }
    text
}
