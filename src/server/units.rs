//! Bytes as people read them.

use std::fmt;

/// Shows a number of bytes as `512 B`, `4 KiB`, `4.5 MiB`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bytes(pub(super) u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(u64, &str); 4] = [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
        let text = match UNITS.iter().find(|(unit, _)| self.0 >= *unit) {
            None => format!("{} B", self.0),
            Some((unit, name)) if self.0.is_multiple_of(*unit) => format!("{} {name}", self.0 / unit),
            Some((unit, name)) => format!("{:.1} {name}", self.0 as f64 / *unit as f64),
        };
        f.pad(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_units_are_exact_and_others_have_one_digit() {
        let text = |bytes| Bytes(bytes).to_string();
        assert_eq!((text(0), text(1023)), ("0 B".into(), "1023 B".into()));
        assert_eq!((text(4096), text(4608)), ("4 KiB".into(), "4.5 KiB".into()));
        assert_eq!((text(1 << 20), text((1 << 30) - 1)), ("1 MiB".into(), "1024.0 MiB".into()));
        assert_eq!(format!("{:>8}", Bytes(4096)), "   4 KiB");
    }
}
