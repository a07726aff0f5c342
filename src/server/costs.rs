//! What each part costs: the rows of the memory ceiling, computed from the settings.

use std::array;

use super::config::{Config, INBOUND, OUTBOUND, TierNames};
use super::resident::{PROGRAM_GROWTH, resident_at_start};
use super::row::{CONNECTIONS, CeilingRow};
use super::units::Bytes;
use crate::admission::Crowd;
use crate::buffer::{Block, HEADROOM, Segments, TierConfig};
use crate::handover::Handover;
use crate::metrics::Metrics;
use crate::offload::Workers;
use crate::outbox::{OutboxLimits, Reply};
use crate::processor::{Holders, MioSelector, Processor, Selector};
use crate::protocol::{Message, Protocol};
use crate::timer::Wheel;

/// The name of the row of the program itself.
pub(super) const PROGRAM: &str = "program";

/// The memory of one processor, with everything that it does not share.
pub(super) fn of_a_processor<P: Protocol>(config: &Config) -> impl Iterator<Item = CeilingRow> {
    let inbound = pool_rows(["inbound small", "inbound medium", "inbound large"], &INBOUND, &config.inbound);
    let outbound = pool_rows(["outbound small", "outbound medium", "outbound large"], &OUTBOUND, &config.outbound);
    let pools = inbound.chain(outbound);
    let rest = processor_rows::<P>(config).into_iter().chain(queue_rows(config));
    pools.chain(rest).chain([lists_row(config)]).chain(thread_rows(config))
}

/// The memory of a pool of workers.
pub(super) fn of_workers<P: Protocol>(workers: &Workers) -> CeilingRow {
    let Workers { threads, queue, stack_size, .. } = *workers;
    let how = format!("{queue} messages wait, {threads} threads with a stack of {}", Bytes(stack_size as u64));
    CeilingRow::of_each("workers", workers.memory::<P>(), "workers.threads", threads, how)
}

/// The memory of everything that exists once, however many processors there are.
pub(super) fn of_the_server(config: &Config) -> [CeilingRow; 3] {
    let (resident, source) = resident_at_start();
    // What is resident differs by some pages from start to start, and a ceiling should not.
    let resident = resident.next_multiple_of(1 << 20);
    let addresses = Crowd::memory(&config.admission, config.connections_max);
    [
        CeilingRow::new("addresses", addresses, "connections of each, for admission.per_address_max").made_at_start(),
        stack("stack: accepter", "accepter_stack", config.accepter_stack),
        CeilingRow::new(
            PROGRAM,
            resident + PROGRAM_GROWTH,
            format!("{} {source}, rounded up + {}", Bytes(resident), Bytes(PROGRAM_GROWTH)),
        ),
    ]
}

/// The largest part of a server's memory: its blocks.
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

/// A processor with any user: the memory that it takes for a connection depends only on the protocol.
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

fn queue_rows(config: &Config) -> [CeilingRow; 3] {
    let Config { handover_max, owed_total_max, unasked_max, .. } = *config;
    let handover = Handover::<<MioSelector as Selector>::Socket>::memory(handover_max);
    let owed = OutboxLimits { owed_total_max, ..no_places(config) }.memory();
    let unasked = OutboxLimits { unasked_max, ..no_places(config) }.memory();
    let row = |name, bytes, setting, count, how| CeilingRow::of_each(name, bytes, setting, count, how).made_at_start();
    let accepted = format!("{handover_max} sockets on their way to the processor");
    let replies = format!("{owed_total_max} deferred replies and their segments");
    let messages = format!("{unasked_max} messages and their segments");
    [
        row("queue: accepted", handover, "handover_max", handover_max, accepted),
        row("queue: replies", owed, "owed_total_max", owed_total_max, replies),
        row("queue: unasked", unasked, "unasked_max", unasked_max, messages),
    ]
}

/// The limits of an outbox without any room; the caller raises one of them to count what that kind of place takes.
fn no_places(config: &Config) -> OutboxLimits {
    OutboxLimits { connections_each: 0, owed_total_max: 0, unasked_max: 0, ..config.outbox_limits() }
}

/// Each block has a place on the way home and one in the processor's own list.
const PLACES_OF_A_BLOCK: usize = size_of::<Box<[u8]>>() + size_of::<Block>() + size_of::<usize>();
/// An outbound one may be lent to many peers, and is then an allocation of its own, with two counts and a header.
const PLACES_OF_OUTBOUND: usize = PLACES_OF_A_BLOCK + size_of::<Block>() + 2 * size_of::<usize>() + 16;
/// An inbound one may have a holder.
const PLACES_OF_INBOUND: usize = PLACES_OF_A_BLOCK + Holders::PER_BLOCK;

fn lists_row(config: &Config) -> CeilingRow {
    let connections_each = config.connections_each();
    let gauges = OutboxLimits { connections_each, ..no_places(config) }.memory();
    let inbound: usize = config.inbound_with_spares().iter().map(|tier| tier.count).sum();
    let outbound: usize = config.outbound.iter().map(|tier| tier.count).sum();
    let (blocks, lists) = (inbound + outbound, inbound * PLACES_OF_INBOUND + outbound * PLACES_OF_OUTBOUND);
    let how = format!("{blocks} blocks free or held, {connections_each} gauges of output, events of one sleep");
    let (setting, count, each) = longest_list(config);
    CeilingRow::new("lists", gauges + lists as u64 + MioSelector::memory(), how)
        .grows_with(setting, count, each as u64)
        .made_at_start()
}

/// The blocks whose places take the most memory: the name of the setting of their count, that count, and the bytes of
/// one block's places.
fn longest_list(config: &Config) -> (&'static str, usize, usize) {
    let counts = |names: &[TierNames; 3], tiers: &[TierConfig; 3], each| {
        array::from_fn::<_, 3, _>(|tier| (names[tier].count, tiers[tier].count, each))
    };
    let [inbound, outbound] =
        [counts(&INBOUND, &config.inbound, PLACES_OF_INBOUND), counts(&OUTBOUND, &config.outbound, PLACES_OF_OUTBOUND)];
    let first = inbound[0];
    inbound.into_iter().chain(outbound).max_by_key(|(_, count, each)| count * each).unwrap_or(first)
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
