//! How segments are called: `log_20261121_093000_0042.log`.

use std::fmt;

use super::utc::Utc;

/// What a segment holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Records as they came.
    Log,
    /// Records that were set aside, because they are not JSON.
    Bad,
}

/// How the bytes of a segment are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Packing {
    Plain,
    Gzip,
    Zstd,
}

impl Packing {
    const ALL: [Self; 3] = [Self::Plain, Self::Gzip, Self::Zstd];

    fn suffix(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Gzip => ".gz",
            Self::Zstd => ".zst",
        }
    }
}

/// The name of a segment. Names sort as their segments were opened, in this program and in `ls`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentName {
    pub kind: Kind,
    /// When it was opened, in unix seconds.
    pub opened: u64,
    /// One number over all writers and restarts, never used again.
    pub number: u64,
}

impl SegmentName {
    /// The file with its lines.
    pub fn data(self, packing: Packing) -> String {
        format!("{self}.log{}", packing.suffix())
    }

    /// The file with its index.
    pub fn index(self) -> String {
        format!("{self}.idx")
    }

    /// Reads the name of a file with lines.
    pub fn parse_data(file: &str) -> Option<(Self, Packing)> {
        Packing::ALL.into_iter().find_map(|packing| {
            let stem = file.strip_suffix(packing.suffix())?.strip_suffix(".log")?;
            Some((Self::parse(stem)?, packing))
        })
    }

    /// Reads the name of a file with an index.
    pub fn parse_index(file: &str) -> Option<Self> {
        Self::parse(file.strip_suffix(".idx")?)
    }

    /// True if a file of that name is of a segment: its lines or its index.
    pub fn owns(file: &str) -> bool {
        Self::parse_data(file).is_some() || Self::parse_index(file).is_some()
    }

    fn parse(stem: &str) -> Option<Self> {
        let mut parts = stem.split('_');
        let kind = match parts.next()? {
            "log" => Kind::Log,
            "bad" => Kind::Bad,
            _ => return None,
        };
        let [date, time, number] = [parts.next()?, parts.next()?, parts.next()?];
        let number_of = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?;
        if parts.next().is_some() || date.len() != 8 || time.len() != 6 {
            return None;
        }
        let [year, month, day] = [number_of(&date[..4])?, number_of(&date[4..6])?, number_of(&date[6..])?];
        let [hour, minute, second] = [number_of(&time[..2])?, number_of(&time[2..4])?, number_of(&time[4..])?];
        let opened = Utc { year, month, day, hour, minute, second }.unix()?;
        let name = Self { kind, opened, number: number_of(number)? };
        // Only what this program writes: not `+42`, not `042`.
        (name.to_string() == stem).then_some(name)
    }
}

/// Without a suffix.
impl fmt::Display for SegmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Utc { year, month, day, hour, minute, second } = Utc::of_unix(self.opened);
        let kind = match self.kind {
            Kind::Log => "log",
            Kind::Bad => "bad",
        };
        let number = self.number;
        write!(f, "{kind}_{year:04}{month:02}{day:02}_{hour:02}{minute:02}{second:02}_{number:04}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_when_and_which() {
        let name = SegmentName { kind: Kind::Log, opened: 1_000_000_000, number: 42 };
        assert_eq!(name.data(Packing::Plain), "log_20010909_014640_0042.log");
        assert_eq!(name.data(Packing::Zstd), "log_20010909_014640_0042.log.zst");
        assert_eq!(name.index(), "log_20010909_014640_0042.idx");
        for packing in Packing::ALL {
            assert_eq!(SegmentName::parse_data(&name.data(packing)), Some((name, packing)));
            assert!(SegmentName::owns(&name.data(packing)) && !SegmentName::owns(&(name.data(packing) + ".tmp")));
        }
        assert_eq!(SegmentName::parse_index(&name.index()), Some(name));
        assert!(SegmentName::owns(&name.index()));
        let grown = SegmentName { kind: Kind::Bad, number: 123_456, ..name };
        assert_eq!(grown.index(), "bad_20010909_014640_123456.idx");
        assert_eq!(SegmentName::parse_index(&grown.index()), Some(grown));
    }

    #[test]
    fn other_files_are_no_segments() {
        for file in [
            "",
            "log.log",
            "log_20010909_014640_0042.idx",
            "log_20010909_014640_0042.log.gz.tmp",
            "log_20010909_014640_042.log",
            "log_20010909_014640_00042.log",
            "log_20010909_014640_+042.log",
            "log_20010931_014640_0042.log",
            "log_20010909_014640_0042_1.log",
            "log_äöüä_014640_0042.log",
            "messages_20010909_014640_0042.log",
        ] {
            assert_eq!(SegmentName::parse_data(file), None, "{file}");
        }
    }
}
