//! Connections that are over before they have begun.

use crate::script::{Family, Script, Step};

/// Connect and reset; every fourth sends half a request first.
pub fn resets() -> Family {
    Family::new("reset-storm", 256, 4000.0, |number, _| {
        let half = (number % 4 == 0).then(|| Step::send("GET / HTTP/1.1\r\nHo"));
        Script::of(false, half.into_iter().chain([Step::Reset]))
    })
    .reopening(4000.0)
    .in_total(20_000)
}
