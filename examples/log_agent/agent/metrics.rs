//! Numbers for Prometheus, over our own HTTP server.

use std::fmt::{self, Write};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use sluicegate::http1::{Http1, Response};
use sluicegate::{CloseKind, Config, Message, Meter, PauseReason, Reply, Server, TierConfig};

use super::directory::{Directory, Sum};
use super::link::Link;
use super::numbers::{Numbers, SYNC_BUCKETS};
use super::tag::LogPool;

/// Where numbers come from.
pub struct Sources {
    pub numbers: Arc<Numbers>,
    pub link: Arc<Link>,
    pub pool: LogPool,
    pub directory: Arc<Directory>,
    /// The ceiling, and the numbers of the server: from when it runs.
    pub server: OnceLock<(u64, Meter)>,
    /// For rates.
    last: Mutex<Sample>,
}

/// The sums of a moment.
#[derive(Debug, Clone, Copy)]
struct Sample {
    at: Instant,
    records: u64,
    bytes: u64,
    written: u64,
}

impl Sources {
    pub fn new(numbers: Arc<Numbers>, link: Arc<Link>, pool: LogPool, directory: Arc<Directory>) -> Self {
        let last = Mutex::new(Sample { at: Instant::now(), records: 0, bytes: 0, written: 0 });
        Self { numbers, link, pool, directory, server: OnceLock::new(), last }
    }

    /// Per second since the last time somebody asked, records in, bytes in, and bytes written.
    fn rates(&self) -> [f64; 3] {
        let Numbers { records_in, bytes_in, bytes_written, .. } = &*self.numbers;
        let now = Sample {
            at: Instant::now(),
            records: records_in.value(),
            bytes: bytes_in.value(),
            written: bytes_written.value(),
        };
        let before = std::mem::replace(&mut *self.last.lock(), now);
        let seconds = now.at.duration_since(before.at).as_secs_f64().max(1e-3);
        let sums = [(now.records, before.records), (now.bytes, before.bytes), (now.written, before.written)];
        sums.map(|(now, before)| (now - before) as f64 / seconds)
    }
}

/// Connections at once, and as many that wait in the kernel.
pub const CONNECTIONS_MAX: usize = 256;
/// Until the first byte of a connection's request, and from there until all of it has come.
const REQUEST_WITHIN: Duration = Duration::from_secs(1);
/// How long a peer may take nothing of its answer.
const WRITE_STALL: Duration = Duration::from_secs(1);
/// Until a peer that was answered closes, too.
const LINGER: Duration = Duration::from_millis(250);
/// How long others wait for a block before a half request loses its own; the same for answers that nobody takes.
const FAMINE: Duration = Duration::from_millis(250);

/// A server for the numbers, bound and small.
pub fn bind(address: &str) -> io::Result<Server<Http1>> {
    Server::builder(Http1::default()).configure(configure).bind(address)
}

/// A place is held for a second or two, whatever is done with it: so whoever asks for numbers finds one soon, also
/// behind hundreds of connections that ask for nothing.
fn configure(config: &mut Config) {
    config.connections_max = CONNECTIONS_MAX;
    config.backlog = CONNECTIONS_MAX;
    config.handover_max = 16;
    config.timeouts.idle = REQUEST_WITHIN;
    config.timeouts.message = REQUEST_WITHIN;
    // A request is short: its bytes earn it no time.
    config.timeouts.message_rate = 0;
    config.timeouts.write_stall = WRITE_STALL;
    config.timeouts.linger = LINGER;
    config.timeouts.famine = FAMINE;
    config.owed_max = 1;
    config.owed_total_max = 16;
    config.unasked_max = 1;
    config.segments_max = 256;
    let tiers = |large| {
        let size = [4 << 10, 16 << 10, large];
        std::array::from_fn(|tier| TierConfig { size: size[tier], count: [64, 4, 1][tier] })
    };
    // Requests have no body to speak of, and the answer is one text.
    config.inbound = tiers(1 << 20);
    config.outbound = tiers(64 << 10);
    config.reply_max = 64 << 10;
    config.processor_stack = 256 << 10;
}

/// Answers `GET /metrics`. Each connection is answered once: one that stays open between two scrapes, which are further
/// apart than an idle connection may wait, would be closed just when the next request is on its way.
pub fn answer(sources: &Sources, request: &Message<'_, Http1>, reply: Reply<'_, Http1>) {
    match (request.method(), request.path()) {
        ("GET" | "HEAD", "/metrics") => {
            let mut text = String::with_capacity(16 << 10);
            match write_all(&mut text, sources) {
                Ok(()) => reply.send(Response::ok(text).content_type("text/plain; version=0.0.4").close()),
                Err(_) => reply.send(Response::new(500).close()),
            }
        }
        (_, "/metrics") => {
            let allow = Response::new(405).header("Allow", "GET, HEAD");
            reply.send(allow.unwrap_or_else(|_| Response::new(405)).close());
        }
        _ => reply.send(Response::new(404).close()),
    }
}

/// Writes families of numbers in Prometheus' text format.
struct Page<'t>(&'t mut String);

impl Page<'_> {
    fn head(&mut self, name: &str, kind: &str, help: &str) -> fmt::Result {
        writeln!(self.0, "# HELP log_agent_{name} {help}\n# TYPE log_agent_{name} {kind}")
    }

    fn value(&mut self, name: &str, labels: &str, value: impl fmt::Display) -> fmt::Result {
        writeln!(self.0, "log_agent_{name}{labels} {value}")
    }

    fn counter(&mut self, name: &str, help: &str, value: impl fmt::Display) -> fmt::Result {
        self.head(name, "counter", help)?;
        self.value(name, "", value)
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl fmt::Display) -> fmt::Result {
        self.head(name, "gauge", help)?;
        self.value(name, "", value)
    }
}

fn write_all(text: &mut String, sources: &Sources) -> fmt::Result {
    let mut page = Page(text);
    write_flow(&mut page, sources)?;
    write_server(&mut page, sources)?;
    write_drops(&mut page, sources)?;
    write_disk(&mut page, sources)?;
    write_syncs(&mut page, &sources.numbers)
}

fn write_flow(page: &mut Page<'_>, sources: &Sources) -> fmt::Result {
    let Sources { numbers, link, pool, .. } = sources;
    let [records, bytes, written] = sources.rates();
    page.counter("records_total", "Records received.", numbers.records_in.value())?;
    page.counter("bytes_total", "Bytes of their payloads.", numbers.bytes_in.value())?;
    page.gauge("records_per_second", "Records received, a second, since the last scrape.", format!("{records:.1}"))?;
    page.gauge("bytes_per_second", "Bytes received, a second, since the last scrape.", format!("{bytes:.1}"))?;
    page.counter("acknowledged_records_total", "Records whose senders were told.", numbers.records_acked.value())?;
    let left = link.left();
    let waiting = numbers.records_in.value().saturating_sub(left.items);
    page.gauge("queue_records", "Records that wait for the disk.", waiting)?;
    let waiting = numbers.bytes_queued.value().saturating_sub(left.bytes);
    page.gauge("queue_bytes", "Bytes that wait for the disk.", waiting)?;
    page.gauge("queue_records_high_water", "The most records that ever waited.", numbers.queue_records_high.value())?;
    page.gauge("queue_bytes_high_water", "The most bytes that ever waited.", numbers.queue_bytes_high.value())?;
    page.gauge("batches", "Batches in use.", pool.in_use())?;
    page.gauge("batches_high_water", "The most batches that were ever in use.", pool.high_water())?;
    page.gauge("batches_max", "Batches that there are.", pool.count())?;
    let paused = numbers.pauses.total(Instant::now()).as_secs_f64();
    page.counter("paused_seconds_total", "Seconds in which nothing was taken in.", format!("{paused:.6}"))?;
    page.counter("written_records_total", "Records written to segments.", numbers.records_written.value())?;
    page.counter(
        "rewritten_records_total",
        "Records that have to be written once more; they are counted as written each time.",
        numbers.records_rewritten.value(),
    )?;
    page.counter("written_bytes_total", "Bytes written, newlines and index included.", numbers.bytes_written.value())?;
    page.gauge(
        "written_megabytes_per_second",
        "MB written, a second, since the last scrape.",
        format!("{:.3}", written / 1e6),
    )?;
    let seconds = numbers.write_micros.value() as f64 / 1e6;
    page.counter("writing_seconds_total", "Seconds that writers were at work.", format!("{seconds:.6}"))
}

fn write_server(page: &mut Page<'_>, sources: &Sources) -> fmt::Result {
    let Some((ceiling, meter)) = sources.server.get() else { return Ok(()) };
    let numbers = meter.snapshot();
    page.gauge("memory_ceiling_bytes", "The most memory that the agent takes.", ceiling)?;
    page.gauge("connections", "Connections open.", numbers.open)?;
    page.counter("connections_total", "Connections accepted.", numbers.accepted)?;
    page.head("connections_paused", "gauge", "Connections that are not read, by reason.")?;
    for (reason, count) in PauseReason::ALL.iter().zip(numbers.paused) {
        page.value("connections_paused", &format!("{{reason=\"{reason}\"}}"), count)?;
    }
    page.head("connections_closed_total", "counter", "Connections that ended, by reason.")?;
    for (kind, count) in CloseKind::ALL.iter().zip(numbers.closed) {
        page.value("connections_closed_total", &format!("{{reason=\"{kind}\"}}"), count)?;
    }
    page.head("inbound_blocks_high_water", "gauge", "The most blocks for unfinished records ever in use, by size.")?;
    for (tier, count) in ["small", "medium", "large"].iter().zip(numbers.inbound_blocks_high) {
        page.value("inbound_blocks_high_water", &format!("{{tier=\"{tier}\"}}"), count)?;
    }
    Ok(())
}

fn write_drops(page: &mut Page<'_>, sources: &Sources) -> fmt::Result {
    let numbers = &sources.numbers;
    page.head(
        "dropped_records_total",
        "counter",
        "Records that are not on disk, by reason. Those that a shutdown or a broken socket cuts off are not among the \
         incomplete ones.",
    )?;
    for (reason, count) in [
        ("incomplete", numbers.records_incomplete.value()),
        ("oversize", numbers.records_oversize.value()),
        ("dropped_segment", numbers.records_dropped.value()),
    ] {
        page.value("dropped_records_total", &format!("{{reason=\"{reason}\"}}"), count)?;
    }
    page.counter(
        "dropped_segments_uncounted_total",
        "Dropped segments whose records nobody could count; they are missing above.",
        numbers.segments_dropped_uncounted.value(),
    )?;
    page.counter("bad_records_total", "Records that are not JSON and were set aside.", numbers.records_bad.value())
}

fn write_disk(page: &mut Page<'_>, sources: &Sources) -> fmt::Result {
    let Sources { numbers, directory, .. } = sources;
    // Counted each time, on the one thread of this server: a number that was kept would not know what operators delete.
    if let Ok(Sum { segments, bytes }) = Sum::of(&directory.path) {
        page.gauge("segments", "Segments in the directory.", segments)?;
        page.gauge("disk_used_bytes", "Bytes of all segments and their indexes.", bytes)?;
    }
    page.head("segments_total", "counter", "Segments by what became of them.")?;
    for (what, count) in [
        ("opened", numbers.segments_opened.value()),
        ("finished", numbers.segments_finished.value()),
        ("compressed", numbers.segments_compressed.value()),
        ("deleted_while_open", numbers.segments_deleted.value()),
        ("dropped", numbers.segments_dropped.value()),
    ] {
        page.value("segments_total", &format!("{{event=\"{what}\"}}"), count)?;
    }
    if let Some(free) = free_bytes(&directory.path) {
        page.gauge("disk_free_bytes", "Bytes free on the disk of the directory.", free)?;
    }
    page.counter("disk_troubles_total", "Times that a writer could not write.", numbers.troubles.value())?;
    page.gauge("writers_in_trouble", "Writers that cannot write now.", numbers.troubled.value())
}

fn write_syncs(page: &mut Page<'_>, numbers: &Numbers) -> fmt::Result {
    page.head("fsync_seconds", "histogram", "How long it took to force records to disk.")?;
    let mut sum = 0;
    for (count, most) in numbers.syncs.iter().zip(SYNC_BUCKETS.map(Some).into_iter().chain([None])) {
        sum += count.value();
        let most = most.map_or("+Inf".into(), |micros| Duration::from_micros(micros).as_secs_f64().to_string());
        page.value("fsync_seconds_bucket", &format!("{{le=\"{most}\"}}"), sum)?;
    }
    page.value("fsync_seconds_sum", "", format!("{:.6}", numbers.sync_micros.value() as f64 / 1e6))?;
    page.value("fsync_seconds_count", "", sum)?;
    page.counter("fsync_failures_total", "Times that it failed.", numbers.syncs_failed.value())
}

fn free_bytes(path: &PathBuf) -> Option<u64> {
    let disk = rustix::fs::statvfs(path).ok()?;
    Some(disk.f_bavail * disk.f_frsize)
}
