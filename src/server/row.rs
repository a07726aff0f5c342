//! One row of the memory ceiling: what takes how much, and with which setting it grows.

use super::config::Config;

/// One row of the [`MemoryCeiling`](super::MemoryCeiling).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CeilingRow {
    name: &'static str,
    bytes: u64,
    how: String,
    pub(super) lever: Option<Lever>,
    /// Each processor has an equal part of it.
    pub(super) of_each_processor: bool,
    /// All of it is allocated at the start, and not only when it is needed.
    pub(super) is_table: bool,
}

/// The one setting that bounds all processors together and fills the tables of each.
pub(super) const CONNECTIONS: &str = "connections_max";

/// The setting with which a row grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lever {
    pub(super) setting: &'static str,
    pub(super) value: usize,
    /// Bytes that are saved by lowering it by one.
    pub(super) each: u64,
}

impl CeilingRow {
    pub(super) fn new(name: &'static str, bytes: u64, how: impl Into<String>) -> Self {
        Self { name, bytes, how: how.into(), lever: None, of_each_processor: false, is_table: false }
    }

    /// The row of one processor, multiplied by the number of processors.
    pub(super) fn times(self, processors: usize) -> Self {
        let Self { name, bytes, how, lever, is_table, .. } = self;
        let times = processors as u64;
        let how = if processors == 1 { how } else { format!("{processors} processors x {how}") };
        // One connection less is one place less in the table of one processor.
        let saves =
            |lever: &Lever| if lever.setting == CONNECTIONS { lever.each } else { lever.each.saturating_mul(times) };
        let lever = lever.map(|lever| Lever { each: saves(&lever), ..lever });
        Self { name, bytes: bytes.saturating_mul(times), how, lever, of_each_processor: true, is_table }
    }

    /// A row of `count` equal parts, as many as `setting` says.
    pub(super) fn of_each(
        name: &'static str,
        bytes: u64,
        setting: &'static str,
        count: usize,
        how: impl Into<String>,
    ) -> Self {
        Self::new(name, bytes, how).grows_with(setting, count, bytes / count.max(1) as u64)
    }

    pub(super) fn grows_with(self, setting: &'static str, value: usize, each: u64) -> Self {
        Self { lever: Some(Lever { setting, value, each }), ..self }
    }

    pub(super) fn made_at_start(self) -> Self {
        Self { is_table: true, ..self }
    }

    /// Adjusts the row of one processor to a setting that is about all processors together.
    pub(super) fn over_all(self, config: &Config) -> Self {
        let total = |lever: Lever| match lever.setting {
            CONNECTIONS => Lever { value: config.connections_max, ..lever },
            _ => lever,
        };
        Self { lever: self.lever.map(total), ..self }
    }

    /// What the memory is for.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// How many bytes it takes at most.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How that was computed.
    pub fn how(&self) -> &str {
        &self.how
    }
}
