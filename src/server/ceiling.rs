//! The memory ceiling: the most that the server can take, as a sum of named rows.

use std::fmt;

use super::config::Config;
use super::costs::{self, PROGRAM};
use super::resident::{KernelBuffers, is_given};
use super::row::{CeilingRow, Lever};
use super::units::Bytes;
use crate::config_error::ConfigError;
use crate::offload::Workers;
use crate::protocol::Protocol;

/// The most memory that a server takes, whatever its peers do: a sum of rows that were counted before it started.
///
/// `Display` is a table with one line for each row. Below it are notes on what the sum does not include: the kernel's
/// socket buffers, and the state of the user's own processor with what it shares with answers.
///
/// With more than one processor, the rows that each of them has come first, each as a product, and the final line shows
/// the sum: the number of processors times what one of them takes, plus what they have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryCeiling {
    rows: Vec<CeilingRow>,
    kernel: KernelBuffers,
    processors: usize,
}

impl MemoryCeiling {
    /// The ceiling of a server with `config`, started now.
    pub(super) fn of<P: Protocol>(config: &Config) -> Self {
        let processors = config.processors;
        let each = costs::of_a_processor::<P>(config).map(|row| row.times(processors).over_all(config));
        // A row of zero bytes belongs to something that is switched off.
        let rows = each.chain(costs::of_the_server(config)).filter(|row| row.bytes() > 0).collect();
        Self { rows, kernel: KernelBuffers::of(config.connections_max), processors }
    }

    /// Adds what a pool of workers takes.
    pub(super) fn add_workers<P: Protocol>(&mut self, workers: &Workers) {
        let row = costs::of_workers::<P>(workers).times(self.processors);
        // With one processor they stand at the end, because there is no other order.
        let common = self.rows.iter().rposition(|row| row.of_each_processor).map_or(0, |last| last + 1);
        self.rows.insert(if self.processors == 1 { self.rows.len() } else { common }, row);
    }

    /// Adds a row for memory that the program says it takes itself.
    pub(super) fn count_in(&mut self, name: &'static str, bytes: u64, how: String) {
        self.rows.push(CeilingRow::new(name, bytes, how));
    }

    /// The sum without the row of the program itself, which a process has only once, however many servers it runs.
    pub(super) fn without_program(&self) -> u64 {
        sum(self.rows.iter().filter(|row| row.name() != PROGRAM))
    }

    /// The sum of all rows, in bytes.
    pub fn total(&self) -> u64 {
        sum(self.rows.iter())
    }

    /// The rows, in the order in which they are shown.
    pub fn rows(&self) -> std::slice::Iter<'_, CeilingRow> {
        self.rows.iter()
    }

    /// Refuses a ceiling over `memory_max`.
    ///
    /// # Errors
    /// The ceiling is over it; the error names the largest row that a setting changes, and how far that setting would
    /// have to be lowered.
    pub(super) fn check(&self, memory_max: Option<u64>) -> Result<(), ConfigError> {
        let total = self.total();
        let Some((limit, excess)) = memory_max.and_then(|limit| Some((limit, total.checked_sub(limit)?))) else {
            return Ok(());
        };
        if excess == 0 {
            return Ok(());
        }
        let what = format!(
            "is {} ({limit} bytes), but the memory ceiling is {}, {} more: {}",
            Bytes(limit),
            Bytes(total),
            Bytes(excess),
            self.advice(excess)
        );
        Err(ConfigError::new("memory_max", what))
    }

    /// Refuses tables for which the operating system has no memory. Trying to make them would end the process.
    ///
    /// # Errors
    /// It has none; the error names the setting with which the largest of them grows.
    pub(super) fn check_tables(&self) -> Result<(), ConfigError> {
        let tables = || self.rows.iter().filter(|row| row.is_table);
        let bytes = sum(tables());
        let levers = tables().filter_map(|row| Some((row, row.lever?)));
        let Some((row, Lever { setting, value, .. })) = levers.max_by_key(|(row, _)| row.bytes()) else {
            return Ok(());
        };
        if is_given(bytes) {
            return Ok(());
        }
        let what = format!(
            "is {value}, but the system does not give the {} ({bytes} bytes) that all tables take from the start: lower \
             it, the row {:?} takes most, {}",
            Bytes(bytes),
            row.name(),
            Bytes(row.bytes())
        );
        Err(ConfigError::new(setting, what))
    }

    /// What to lower to save `excess` bytes.
    fn advice(&self, excess: u64) -> String {
        let levers = self.rows.iter().filter_map(|row| Some((row, row.lever?)));
        let Some((row, Lever { setting, value, each })) = levers.max_by_key(|(row, _)| row.bytes()) else {
            return "raise it".into();
        };
        let (name, bytes) = (row.name(), Bytes(row.bytes()));
        match (value as u64).saturating_sub(excess.div_ceil(each.max(1))) {
            0 => format!(
                "raise it, or lower several settings, beginning with {setting} = {value}: the row {name:?} takes {bytes}"
            ),
            left => {
                format!("raise it, or lower {setting} from {value} to {left}: the row {name:?} takes most, {bytes}")
            }
        }
    }

    /// Notes on what is not in the sum, one line each.
    fn notes(&self) -> [String; 2] {
        [
            format!("not counted: socket buffers in the kernel, {}", self.kernel),
            "not counted: the state of your own message processor, unless it was counted in, and what it shares with \
             answers"
                .into(),
        ]
    }

    /// The table, line by line.
    pub(super) fn lines(&self) -> impl Iterator<Item = String> + '_ {
        let line =
            |name: &str, bytes, how: &str| format!("{name:<18}{:>10}  {how}", Bytes(bytes)).trim_end().to_owned();
        let rows = self.rows.iter().map(move |row| line(row.name(), row.bytes(), row.how()));
        rows.chain([line("total", self.total(), &self.formula())]).chain(self.notes())
    }

    /// How the sum is computed if there is more than one processor.
    fn formula(&self) -> String {
        if self.processors == 1 {
            return String::new();
        }
        let all = sum(self.rows.iter().filter(|row| row.of_each_processor));
        let each = all / self.processors as u64;
        let (each, common) = (Bytes(each), Bytes(self.total() - all));
        format!("{} processors x {each} + {common} that they have in common", self.processors)
    }
}

/// The sum of the rows; it saturates, so that a sum too large to be counted is over any limit.
fn sum<'r>(rows: impl Iterator<Item = &'r CeilingRow>) -> u64 {
    rows.map(CeilingRow::bytes).fold(0, u64::saturating_add)
}

/// The table: one line for each row, the total, and what is not in it.
impl fmt::Display for MemoryCeiling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines().try_for_each(|line| writeln!(f, "{line}"))
    }
}

impl<'a> IntoIterator for &'a MemoryCeiling {
    type Item = &'a CeilingRow;
    type IntoIter = std::slice::Iter<'a, CeilingRow>;

    fn into_iter(self) -> Self::IntoIter {
        self.rows()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ceiling(rows: Vec<CeilingRow>) -> MemoryCeiling {
        MemoryCeiling { rows, kernel: KernelBuffers::of(1), processors: 1 }
    }

    #[test]
    fn a_ceiling_over_the_limit_says_what_to_lower_and_how_far() {
        let rows = vec![
            CeilingRow::of_each("small", 1000, "inbound[0].count", 10, "10 x 100 B"),
            CeilingRow::of_each("large", 8000, "inbound[2].count", 8, "8 x 1000 B"),
            CeilingRow::new("program", 9000, "can't be lowered"),
        ];
        let ceiling = ceiling(rows);
        assert_eq!(ceiling.check(None), Ok(()));
        assert_eq!(ceiling.check(Some(18_000)), Ok(()));
        let error = ceiling.check(Some(17_999)).expect_err("a byte too much");
        assert_eq!(error.setting(), "memory_max");
        assert!(error.to_string().contains("lower inbound[2].count from 8 to 7: the row \"large\""), "{error}");
        let error = ceiling.check(Some(16_000)).expect_err("two blocks too much");
        assert!(error.to_string().contains("from 8 to 6"), "{error}");
        let error = ceiling.check(Some(1000)).expect_err("more than that row");
        assert!(error.to_string().contains("several settings, beginning with inbound[2].count = 8"), "{error}");
    }

    #[test]
    fn with_several_processors_each_row_is_a_product_and_the_sum_says_what_of() {
        use crate::protocol::LengthPrefixed;
        let of = |processors| {
            let config = Config { processors, connections_max: 1000, ..Config::default() };
            MemoryCeiling::of::<LengthPrefixed>(&config)
        };
        let (one, four) = (of(1), of(4));
        let bytes = |ceiling: &MemoryCeiling, name| {
            ceiling.rows().find(|row| row.name() == name).map(CeilingRow::bytes).expect("the row is there")
        };
        for name in ["inbound large", "reserves", "scratch", "outbound segments", "queue: unasked", "stack: processor"]
        {
            assert_eq!(bytes(&four, name), 4 * bytes(&one, name), "{name}");
        }
        for name in ["connection table", "stack: accepter"] {
            assert_eq!(bytes(&four, name), bytes(&one, name), "{name}: 1000 connections are 4 times 250");
        }
        let text = four.to_string();
        assert!(text.contains("  4 processors x 16 x (1 MiB + 512 B)\n"), "{text}");
        let total = text.lines().find(|line| line.starts_with("total")).expect("its line");
        assert!(total.contains(" 4 processors x ") && total.ends_with(" that they have in common"), "{total}");
        assert!(!one.to_string().contains("processors x"), "{one}");
        let error = four.check(Some(four.total() - 1)).expect_err("a byte too much");
        assert!(error.to_string().contains("count from"), "{error}");
    }

    #[test]
    fn tables_without_memory_are_refused_by_the_setting_of_the_largest() {
        let row = |name, bytes| CeilingRow::of_each(name, bytes, name, 2, "");
        let (small, block) = (row("segments_max", 1000).made_at_start(), row("outbound[2].count", 1 << 62));
        assert_eq!(ceiling(vec![small.clone(), block.clone()]).check_tables(), Ok(()), "blocks are made when needed");
        let large = row("connections_max", 1 << 60).made_at_start();
        let error = ceiling(vec![small, block, large]).check_tables().expect_err("nobody has that");
        assert_eq!(error.setting(), "connections_max");
        let text = "connections_max: is 2, but the system does not give the 1048576.0 TiB (1152921504606847976 bytes)";
        assert!(error.to_string().starts_with(text), "{error}");
    }

    #[test]
    fn what_the_program_counts_in_is_a_row_and_the_program_is_counted_once() {
        let mut ceiling = ceiling(vec![CeilingRow::new("small", 1000, ""), CeilingRow::new(PROGRAM, 9000, "")]);
        assert_eq!(ceiling.without_program(), 1000);
        ceiling.count_in("batches", 500, "my own".into());
        assert_eq!((ceiling.total(), ceiling.rows().last().map(CeilingRow::name)), (10_500, Some("batches")));
        assert!(ceiling.check(Some(10_499)).is_err());
    }

    #[test]
    fn what_is_more_than_can_be_counted_is_over_any_limit() {
        let mut ceiling = ceiling(vec![CeilingRow::new("huge", u64::MAX / 2, "").times(64)]);
        assert_eq!(ceiling.total(), u64::MAX);
        ceiling.count_in("more", u64::MAX, "my own".into());
        assert_eq!(ceiling.total(), u64::MAX);
        assert!(ceiling.check(Some(u64::MAX - 1)).is_err());
    }

    #[test]
    fn the_table_has_a_line_a_row_and_the_sum() {
        let rows = vec![CeilingRow::new("one", 4 << 10, "a block"), CeilingRow::new("two", 1 << 20, "another")];
        let text = ceiling(rows).to_string();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "one                    4 KiB  a block");
        assert_eq!(lines[1], "two                    1 MiB  another");
        assert_eq!(lines[2], "total                1.0 MiB");
        assert!(lines[3..].iter().all(|line| line.starts_with("not counted: ")), "{text}");
    }
}
