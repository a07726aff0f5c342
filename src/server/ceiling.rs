//! The memory ceiling: what the server can take at most, as a sum of named rows.

use std::fmt;

use super::config::{Config, INBOUND, OUTBOUND, TierNames};
use super::resident::{KernelBuffers, PROGRAM_GROWTH, is_given, resident_at_start};
use super::units::Bytes;
use crate::buffer::{Block, HEADROOM, Segments, TierConfig};
use crate::config_error::ConfigError;
use crate::handover::Handover;
use crate::metrics::Metrics;
use crate::offload::Workers;
use crate::outbox::{OutboxLimits, Reply};
use crate::processor::{Crowd, Holders, MioSelector, Processor, Selector};
use crate::protocol::{Message, Protocol};
use crate::timer::Wheel;

/// The name of the row of the program itself.
const PROGRAM: &str = "program";

/// The most memory that a server takes, whatever its peers do: a sum of rows that were counted before it started.
///
/// `Display` is a table, a line a row. What is not in the sum is said below it: the kernel's socket buffers, and the
/// state of the user's own processor.
///
/// With more than one processor, the rows that each of them has come first, each as a product, and the last line is the
/// sum of both: so many times what a processor takes, and what they have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryCeiling {
    rows: Vec<CeilingRow>,
    kernel: KernelBuffers,
    processors: usize,
}

/// One row of the [`MemoryCeiling`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CeilingRow {
    name: &'static str,
    bytes: u64,
    how: String,
    lever: Option<Lever>,
    /// Each processor has an equal part of it.
    of_each_processor: bool,
    /// All of it is there from the start, and not only when it is needed.
    is_table: bool,
}

/// The one setting that bounds all processors together and fills the tables of each.
const CONNECTIONS: &str = "connections_max";

/// The setting that a row grows with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Lever {
    setting: &'static str,
    value: usize,
    /// Bytes that one less of it saves.
    each: u64,
}

impl CeilingRow {
    fn new(name: &'static str, bytes: u64, how: impl Into<String>) -> Self {
        Self { name, bytes, how: how.into(), lever: None, of_each_processor: false, is_table: false }
    }

    /// What one processor takes, for so many of them.
    fn times(self, processors: usize) -> Self {
        let Self { name, bytes, how, lever, is_table, .. } = self;
        let times = processors as u64;
        let how = if processors == 1 { how } else { format!("{processors} processors x {how}") };
        // One connection less is one place less with one of them.
        let saves =
            |lever: &Lever| if lever.setting == CONNECTIONS { lever.each } else { lever.each.saturating_mul(times) };
        let lever = lever.map(|lever| Lever { each: saves(&lever), ..lever });
        Self { name, bytes: bytes.saturating_mul(times), how, lever, of_each_processor: true, is_table }
    }

    /// A row of `count` equal parts, as many as `setting` says.
    fn of_each(name: &'static str, bytes: u64, setting: &'static str, count: usize, how: impl Into<String>) -> Self {
        Self::new(name, bytes, how).grows_with(setting, count, bytes / count.max(1) as u64)
    }

    fn grows_with(self, setting: &'static str, value: usize, each: u64) -> Self {
        Self { lever: Some(Lever { setting, value, each }), ..self }
    }

    fn made_at_start(self) -> Self {
        Self { is_table: true, ..self }
    }

    /// The setting is about all processors together, and the row was that of one.
    fn over_all(self, config: &Config) -> Self {
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

    /// How many bytes that are at most.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How that was computed.
    pub fn how(&self) -> &str {
        &self.how
    }
}

impl MemoryCeiling {
    /// The ceiling of a server with `config`, started now.
    pub(super) fn of<P: Protocol>(config: &Config) -> Self {
        let mut each = Vec::new();
        each.extend(pool_rows(["inbound small", "inbound medium", "inbound large"], &INBOUND, &config.inbound));
        each.extend(pool_rows(["outbound small", "outbound medium", "outbound large"], &OUTBOUND, &config.outbound));
        each.extend(processor_rows::<P>(config));
        each.extend(queue_rows(config));
        each.extend(thread_rows(config));
        let processors = config.processors;
        let each = each.into_iter().map(|row: CeilingRow| row.times(processors).over_all(config));
        // What is switched off takes nothing.
        let rows = each.chain(server_rows(config)).filter(|row| row.bytes > 0).collect();
        Self { rows, kernel: KernelBuffers::of(config.connections_max), processors }
    }

    /// Adds what a pool of workers takes.
    pub(super) fn add_workers<P: Protocol>(&mut self, workers: &Workers) {
        let Workers { threads, queue, stack_size, .. } = *workers;
        let how = format!("{queue} messages wait, {threads} threads with a stack of {}", Bytes(stack_size as u64));
        let row = CeilingRow::of_each("workers", workers.memory::<P>(), "workers.threads", threads, how);
        let row = row.times(self.processors);
        // With one they stand at the end, where there is no other order.
        let common = self.rows.iter().rposition(|row| row.of_each_processor).map_or(0, |last| last + 1);
        self.rows.insert(if self.processors == 1 { self.rows.len() } else { common }, row);
    }

    /// Adds what the program says that it takes itself.
    pub(super) fn count_in(&mut self, name: &'static str, bytes: u64, how: String) {
        self.rows.push(CeilingRow::new(name, bytes, how));
    }

    /// The sum without the program itself, of which there is one in a process however many servers it has.
    pub(super) fn without_program(&self) -> u64 {
        sum(self.rows.iter().filter(|row| row.name != PROGRAM))
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
    /// It is; the error names the largest row that a setting changes, and how far that would have to go down.
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

    /// Refuses tables that the operating system has no memory for. To make them would end the process.
    ///
    /// # Errors
    /// It has none; the error names the setting that the largest of them grows with.
    pub(super) fn check_tables(&self) -> Result<(), ConfigError> {
        let tables = || self.rows.iter().filter(|row| row.is_table);
        let bytes = sum(tables());
        let levers = tables().filter_map(|row| Some((row, row.lever?)));
        let Some((row, Lever { setting, value, .. })) = levers.max_by_key(|(row, _)| row.bytes) else { return Ok(()) };
        if is_given(bytes) {
            return Ok(());
        }
        let what = format!(
            "is {value}, but the system does not give the {} ({bytes} bytes) that all tables take from the start: lower \
             it, the row {:?} takes most, {}",
            Bytes(bytes),
            row.name,
            Bytes(row.bytes)
        );
        Err(ConfigError::new(setting, what))
    }

    /// What to lower to save `excess` bytes.
    fn advice(&self, excess: u64) -> String {
        let levers = self.rows.iter().filter_map(|row| Some((row, row.lever?)));
        let Some((row, Lever { setting, value, each })) = levers.max_by_key(|(row, _)| row.bytes) else {
            return "raise it".into();
        };
        let (name, bytes) = (row.name, Bytes(row.bytes));
        match (value as u64).saturating_sub(excess.div_ceil(each.max(1))) {
            0 => format!("lower several settings, beginning with {setting} = {value}: the row {name:?} takes {bytes}"),
            left => format!("lower {setting} from {value} to {left}: the row {name:?} takes most, {bytes}"),
        }
    }

    /// What is not in the sum, a line each.
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
        let rows = self.rows.iter().map(move |row| line(row.name, row.bytes, &row.how));
        rows.chain([line("total", self.total(), &self.formula())]).chain(self.notes())
    }

    /// How the sum comes about, where there is more than one processor.
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

/// All of them. What is more than can be counted is more than any limit.
fn sum<'r>(rows: impl Iterator<Item = &'r CeilingRow>) -> u64 {
    rows.map(CeilingRow::bytes).fold(0, u64::saturating_add)
}

/// The table: a line a row, the total, and what is not in it.
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

/// The most of a server's memory: its blocks.
fn pool_rows<'a>(
    names: [&'static str; 3],
    settings: &'a [TierNames; 3],
    tiers: &'a [TierConfig; 3],
) -> impl Iterator<Item = CeilingRow> + 'a {
    names.into_iter().zip(settings.iter().zip(tiers)).map(|(name, (setting, tier))| {
        let TierConfig { size, count } = *tier;
        let how = format!("{count} x ({} + {HEADROOM} B)", Bytes(size as u64));
        CeilingRow::of_each(name, tier.memory(), setting.count, count, how)
    })
}

/// A processor whose user does not matter: what it takes for a connection depends on the protocol only.
type AnyProcessor<P> = Processor<MioSelector, P, fn(Message<'_, P>, Reply<'_, P>)>;

fn processor_rows<P: Protocol>(config: &Config) -> [CeilingRow; 6] {
    let Config { reply_max, scratch, segments_max, .. } = *config;
    let connections = config.connections_each();
    let one_block = |size| TierConfig { size, count: 1 }.memory();
    let each = |name, bytes: u64, setting, count: usize| {
        let how = format!("{count} x {}", Bytes(bytes / count.max(1) as u64));
        CeilingRow::of_each(name, bytes, setting, count, how)
    };
    let spares: u64 =
        config.inbound_with_spares().iter().zip(&config.inbound).map(|(all, own)| all.memory() - own.memory()).sum();
    let table = AnyProcessor::<P>::table_memory(connections);
    [
        CeilingRow::new("reserves", 2 * one_block(reply_max), "2 x reply_max: the processor's, the workers'")
            .grows_with("reply_max", reply_max, 2),
        CeilingRow::new("spares", spares, "one more inbound block a tier, to copy what users keep"),
        CeilingRow::new("scratch", one_block(scratch), "one block to read into and decode in")
            .grows_with("scratch", scratch, 1),
        each("connection table", table, CONNECTIONS, connections).made_at_start(),
        each("timers", Wheel::memory(connections) as u64, CONNECTIONS, connections).made_at_start(),
        each("outbound segments", Segments::memory(segments_max), "segments_max", segments_max).made_at_start(),
    ]
}

/// Each block has a place on the way home and one in the processor's own list.
const PLACES_OF_A_BLOCK: usize = size_of::<Box<[u8]>>() + size_of::<Block>() + size_of::<usize>();
/// And each inbound one may have a holder.
const PLACES_OF_INBOUND: usize = PLACES_OF_A_BLOCK + Holders::PER_BLOCK;

fn queue_rows(config: &Config) -> [CeilingRow; 4] {
    let Config { handover_max, owed_total_max, unasked_max, .. } = *config;
    let connections_max = config.connections_each();
    let nothing = OutboxLimits { connections_max: 0, owed_total_max: 0, unasked_max: 0, ..config.outbox_limits() };
    let handover = Handover::<<MioSelector as Selector>::Socket>::memory(handover_max);
    let owed = OutboxLimits { owed_total_max, ..nothing }.memory();
    let unasked = OutboxLimits { unasked_max, ..nothing }.memory();
    let gauges = OutboxLimits { connections_max, ..nothing }.memory();
    let inbound: usize = config.inbound_with_spares().iter().map(|tier| tier.count).sum();
    let outbound: usize = config.outbound.iter().map(|tier| tier.count).sum();
    let (blocks, lists) = (inbound + outbound, inbound * PLACES_OF_INBOUND + outbound * PLACES_OF_A_BLOCK);
    let places = |names, tiers, each| std::iter::zip(names, tiers).map(move |(names, tier)| (names, tier, each));
    let tiers = places(&INBOUND, &config.inbound, PLACES_OF_INBOUND);
    let tiers = tiers.chain(places(&OUTBOUND, &config.outbound, PLACES_OF_A_BLOCK));
    let most = tiers.max_by_key(|(_, tier, each)| tier.count * each);
    let (names, most, each) = most.unwrap_or((&INBOUND[0], &config.inbound[0], PLACES_OF_INBOUND));
    let row = CeilingRow::of_each;
    let accepted = format!("{handover_max} sockets on their way to the processor");
    let replies = format!("{owed_total_max} deferred replies and their segments");
    let messages = format!("{unasked_max} messages and their segments");
    [
        row("queue: accepted", handover, "handover_max", handover_max, accepted).made_at_start(),
        row("queue: replies", owed, "owed_total_max", owed_total_max, replies).made_at_start(),
        row("queue: unasked", unasked, "unasked_max", unasked_max, messages).made_at_start(),
        CeilingRow::new(
            "lists",
            gauges + lists as u64 + MioSelector::memory(),
            format!("{blocks} blocks free or held, {connections_max} gauges of output, events of one sleep"),
        )
        .grows_with(names.count, most.count, each as u64)
        .made_at_start(),
    ]
}

fn stack(name: &'static str, setting: &'static str, size: usize) -> CeilingRow {
    CeilingRow::new(name, size as u64, "as its thread was started with").grows_with(setting, size, 1)
}

fn thread_rows(config: &Config) -> [CeilingRow; 2] {
    [
        CeilingRow::new("metrics", size_of::<Metrics>() as u64, "counters and gauges"),
        stack("stack: processor", "processor_stack", config.processor_stack),
    ]
}

/// What there is once, however many processors there are.
fn server_rows(config: &Config) -> [CeilingRow; 3] {
    let (resident, source) = resident_at_start();
    let addresses = Crowd::memory(&config.admission, config.connections_max);
    [
        CeilingRow::new("addresses", addresses, "connections of each, for admission.per_address_max").made_at_start(),
        stack("stack: accepter", "accepter_stack", config.accepter_stack),
        CeilingRow::new(
            PROGRAM,
            resident + PROGRAM_GROWTH,
            format!("{} {source} + {}", Bytes(resident), Bytes(PROGRAM_GROWTH)),
        ),
    ]
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
