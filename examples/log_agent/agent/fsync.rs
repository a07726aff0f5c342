//! When records are forced to disk.

use std::fmt;
use std::time::Duration;

/// When records are forced to disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fsync {
    /// The kernel decides. A crash of the agent loses nothing that was written; one of the machine, the last half
    /// minute.
    Never,
    /// So long after the first record that is not, at most; while the disk takes no more, with one of the tries to
    /// write on, two seconds later at most. Senders do not wait for one that has failed: it is logged, and the agent
    /// ends with an error, unless the same writer has synced another segment since, of records of the same kind (those
    /// that are not JSON have segments of their own). What the failed one has may be lost then all the same.
    Interval(Duration),
    /// After each write, before anything is acknowledged or forgotten.
    Batch,
}

impl Fsync {
    /// Reads `never`, `interval:500` or `batch`.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "never" => Ok(Self::Never),
            None if text == "batch" => Ok(Self::Batch),
            Some(("interval", millis)) => match millis.parse() {
                Ok(millis @ 1..=3_600_000) => Ok(Self::Interval(Duration::from_millis(millis))),
                _ => Err("an interval has 1 to 3600000 milliseconds, such as interval:500".into()),
            },
            _ => Err("expected never, interval:MS such as interval:500, or batch".into()),
        }
    }
}

impl fmt::Display for Fsync {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Never => f.write_str("never"),
            Self::Interval(time) => write!(f, "interval:{}", time.as_millis()),
            Self::Batch => f.write_str("batch"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_as_it_is_written() {
        for policy in [Fsync::Never, Fsync::Batch, Fsync::Interval(Duration::from_millis(20))] {
            assert_eq!(Fsync::parse(&policy.to_string()), Ok(policy));
        }
        for wrong in ["", "always", "interval", "interval:", "interval:0", "interval:-1", "never:1"] {
            assert!(Fsync::parse(wrong).is_err(), "{wrong}");
        }
    }
}
