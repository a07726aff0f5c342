//! The whole agent: from a plan to two servers and their threads, and to their end in order.

use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::vec;

use parking_lot::Mutex;
use sluicegate::flow::Queue;
use sluicegate::http1::Http1;
use sluicegate::{Finish, Message, Reply, Running, Server, Snapshot, Stopper};

use super::acks::Acks;
use super::collector::{BatchQueue, Collector};
use super::compress::Compressor;
use super::descriptors;
use super::directory::{Directory, Rules, unix_seconds};
use super::disk::{Disk, RealDisk};
use super::framing::{Framing, Room};
use super::link::Link;
use super::lock::Lock;
use super::metrics::{self, Sources};
use super::numbers::Numbers;
use super::plan::Plan;
use super::recovery::{Recovered, recover};
use super::tag::LogPool;
use super::writer::Writer;
use super::writers::{Ended, Writers};

/// Writers have at least so long from when the server has ended, also where the grace is over by then.
const WRITING_LEAST: Duration = Duration::from_millis(500);

/// An agent that runs.
pub struct Agent {
    /// Open to tests, which put a server there that fails.
    pub server: Running<Framing>,
    /// The same.
    pub metrics: Option<Running<Http1>>,
    writers: Writers,
    link: Arc<Link>,
    compressor: Option<Compressor>,
    pub numbers: Arc<Numbers>,
    ender: Ender,
}

/// Begins the end of an agent, from any thread. Its server need not run yet.
#[derive(Clone)]
pub struct Ender {
    grace: Duration,
    ending: Arc<Mutex<Ending>>,
}

#[derive(Default)]
struct Ending {
    /// When the grace is over, once it has begun.
    until: Option<Instant>,
    /// From when the server has started.
    server: Option<Stopper>,
}

impl Ender {
    /// What was sent already is read and written, within the grace.
    pub fn end(&self) {
        self.until();
        if let Some(server) = &self.ending.lock().server {
            server.shutdown(self.grace, Finish::ReadOut);
        }
    }

    /// When the grace is over. It has begun now at the latest.
    fn until(&self) -> Instant {
        *self.ending.lock().until.get_or_insert_with(|| Instant::now() + self.grace)
    }

    /// The server that it stops: at once, if that was asked for already.
    fn connect(&self, server: Stopper) {
        let mut ending = self.ending.lock();
        if let Some(until) = ending.until {
            server.shutdown(until.saturating_duration_since(Instant::now()), Finish::ReadOut);
        }
        ending.server = Some(server);
    }
}

impl Agent {
    /// Starts everything: recovers the directory first, and takes records once that is done. Before that, `prepare`
    /// gets what begins the end: whoever asks for it from then on does not end the program without it.
    pub fn start(plan: &Plan, prepare: impl FnOnce(Ender) -> io::Result<()>) -> io::Result<Self> {
        let disk = Box::new(RealDisk::new(&plan.directory));
        Self::start_on(plan, disk, prepare)
    }

    /// The same, over another disk.
    pub fn start_on(
        plan: &Plan,
        disk: Box<dyn Disk>,
        prepare: impl FnOnce(Ender) -> io::Result<()>,
    ) -> io::Result<Self> {
        let askers = plan.metrics.as_ref().map_or(0, |_| metrics::CONNECTIONS_MAX);
        let connections_max = descriptors::connections(plan.connections_max, askers, plan.writers);
        let plan = &Plan { connections_max, ..plan.clone() };
        let lock = Lock::take(&plan.directory)?;
        let (host, port) = &plan.address;
        let room = Arc::default();
        let builder = Server::builder(plan.protocol(&room)).configure(|config| plan.configure(config));
        let mut server = builder.bind(HostPort(host, *port))?;
        let flagged = |error: io::Error| io::Error::new(error.kind(), format!("--metrics: {error}"));
        let mut metrics = plan.metrics.as_deref().map(metrics::bind).transpose().map_err(flagged)?;
        plan.count_in(&mut server)?;
        if let Some(metrics) = &mut metrics {
            server.count_in_server("metrics server", metrics)?;
        }
        let ceiling = server.memory_ceiling().total();
        plan.check_memory(ceiling).map_err(|what| io::Error::new(io::ErrorKind::InvalidInput, what))?;

        say_file_most(disk.file_most(), plan);
        let recovered = recover(&plan.directory)?;
        say_recovered(&recovered);
        let numbers = Arc::new(Numbers::default());
        let rules = Rules {
            rotation: plan.rotation(),
            disk_max: plan.disk_max,
            when_full: plan.when_full,
            clock: Box::new(unix_seconds),
            lock,
        };
        let directory = Arc::new(Directory::new(&plan.directory, disk, &recovered, rules, Arc::clone(&numbers)));
        let parts = Parts::of(plan, room, &directory, &numbers);
        let link = parts.link;
        let sources =
            Arc::new(Sources::new(Arc::clone(&numbers), Arc::clone(&link), parts.pool, Arc::clone(&directory)));
        let compressor = plan.packer.map(|packer| Compressor::start(Arc::clone(&directory), packer)).transpose()?;
        let writers = Writers::start(parts.writers, &link)?;
        let shown = Arc::clone(&sources);
        let answer =
            move |request: Message<'_, Http1>, reply: Reply<'_, Http1>| metrics::answer(&shown, &request, reply);
        // Whatever can fail comes before the server: what that has taken in would be lost.
        let metrics = metrics.map(|server| server.start(answer)).transpose()?;
        let ender = Ender { grace: plan.grace, ending: Arc::default() };
        prepare(ender.clone())?;
        let server = server.start(parts.collector)?;
        ender.connect(server.stopper());
        writers.alarm().connect(server.stopper());
        sources.server.get_or_init(|| (ceiling, server.meter()));
        Ok(Self { server, metrics, writers, link, compressor, numbers, ender })
    }

    /// The server that takes records.
    pub fn server(&self) -> &Running<Framing> {
        &self.server
    }

    /// Where numbers are served.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics.as_ref().map(Running::local_addr)
    }

    /// What begins its end.
    #[allow(dead_code, reason = "the program has the one that `start` gives; tests end agents without signals")]
    pub fn ender(&self) -> &Ender {
        &self.ender
    }

    /// Waits until the agent has ended: because its end was begun, because its server failed, or because a writer
    /// panicked.
    ///
    /// # Errors
    /// A server failed, a writer panicked, the last sync has failed, the disk did not take everything, or not all was
    /// read. The error says which of these, and how many records or senders it has cost.
    pub fn join(self) -> io::Result<()> {
        let meter = self.server.meter();
        let server = self.server.join();
        let until = self.ender.until();
        // What it does takes its share of the disk from writers, who have less time.
        self.compressor.as_ref().inspect(|compressor| compressor.begin_stop());
        self.writers.deadline().set(until.max(Instant::now() + WRITING_LEAST));
        let ended = self.writers.join();
        if let Some(compressor) = self.compressor {
            compressor.stop();
        }
        let metrics = self.metrics.map(|metrics| metrics.shutdown(Duration::ZERO, Finish::Answer)).transpose();
        // That a server has failed hides nothing of what became of the records.
        let Snapshot { accepted: connections, cut_off, .. } = meter.snapshot();
        let Numbers { records_in, records_written, records_rewritten, bytes_written, .. } = &*self.numbers;
        let [taken, bytes, rewritten] = [records_in, bytes_written, records_rewritten].map(|number| number.value());
        let written = records_written.value().saturating_sub(rewritten);
        let again =
            if rewritten > 0 { format!(", with {rewritten} that were written once more") } else { String::new() };
        log::info!(
            "goodbye; connections: {connections}, records in: {taken}, written: {written} ({bytes} bytes{again})"
        );
        // What was received and never left.
        let held = taken.saturating_sub(self.link.left().items);
        outcome(ended, cut_off, held, [server.err(), metrics.err()])
    }
}

/// What there is to say of the end: all of it, in one line, also where one of the two servers has failed.
fn outcome(ended: Ended, cut_off: u64, held: u64, [server, metrics]: [Option<io::Error>; 2]) -> io::Result<()> {
    let server = server.map(|error| error.to_string());
    let metrics = metrics.map(|error| format!("the metrics server has failed: {error}"));
    let whats: Vec<_> = left_behind(ended, cut_off, held).into_iter().chain([server, metrics]).flatten().collect();
    if whats.is_empty() { Ok(()) } else { Err(io::Error::other(whats.join("; "))) }
}

/// What there is to say of records. Of those that are `held`, nobody can tell what became of them if a writer has
/// panicked.
fn left_behind(ended: Ended, cut_off: u64, held: u64) -> [Option<String>; 3] {
    let Ended { lost, unsynced, panicked } = ended;
    let lost = match panicked {
        Some(writer) => Some(format!("writer {writer} panicked; {held} records were received and may not be written")),
        None if lost > 0 => Some(format!(
            "{lost} records were received and not written, because the disk did not take them within --grace"
        )),
        None => None,
    };
    let cut_off = (cut_off > 0)
        .then(|| format!("{cut_off} senders were cut off when --grace was over: not all that they had sent was read"));
    let unsynced = unsynced.map(|error| {
        format!("the last sync has failed, and a crash of the machine may take what was written: {error}")
    });
    [lost, cut_off, unsynced]
}

/// An address as its two parts, because one text has no place for an interface's name (`fe80::1%eth0`). An error names
/// it as one text, as people write it.
struct HostPort<'a>(&'a str, u16);

impl ToSocketAddrs for HostPort<'_> {
    type Iter = vec::IntoIter<SocketAddr>;

    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        (self.0, self.1).to_socket_addrs()
    }
}

impl fmt::Debug for HostPort<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(host, port) = self;
        let address = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        write!(out, "{address:?}")
    }
}

/// What stands between the server and the disk.
struct Parts {
    link: Arc<Link>,
    pool: LogPool,
    collector: Collector,
    writers: Vec<(Writer, BatchQueue)>,
}

impl Parts {
    fn of(plan: &Plan, room: Arc<Room>, directory: &Arc<Directory>, numbers: &Arc<Numbers>) -> Self {
        let gate = plan.gate();
        let acks = plan.ack.then_some(plan.connections_max);
        let link = Arc::new(Link::new(gate.exit(), plan.writers, acks));
        let batches = plan.batches();
        let queues: Vec<_> = (0..plan.writers).map(|_| Arc::new(Queue::new(batches))).collect();
        let writer = |number| {
            let (directory, link) = (Arc::clone(directory), Arc::clone(&link));
            Writer::new(number, plan.fsync, directory, link, batches, plan.json)
        };
        let writers = queues.iter().enumerate().map(|(number, queue)| (writer(number), Arc::clone(queue))).collect();
        let acks = acks.map(|connections| Acks::new(connections, Arc::clone(&link), Arc::clone(numbers)));
        let pool = plan.pool();
        let shared = Arc::clone(&link);
        let collector =
            Collector::new((gate, room), pool.clone(), queues, shared, acks, plan.json, Arc::clone(numbers));
        Self { link, pool, collector, writers }
    }
}

/// Once, and before anything is written: segments that are smaller than was asked for have a reason.
fn say_file_most(most: u64, plan: &Plan) {
    if most < plan.rotation().bytes.max(plan.cap as u64 + 1) {
        log::warn!(
            "files may have {most} bytes at most here (ulimit -f): segments end before that, and a longer record waits \
             until that limit is raised"
        );
    }
}

fn say_recovered(recovered: &Recovered) {
    let Recovered { number, unfinished, bytes, bytes_cut, .. } = recovered;
    if *number > 0 {
        log::info!(
            "recovered: segments up to number {number}, {bytes} bytes; {unfinished} were not finished, {bytes_cut} \
             bytes of torn records were cut off"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_went_wrong_is_said_in_the_end() {
        let said = |lost, unsynced: bool, panicked, cut_off, failed: u8| {
            let unsynced = unsynced.then(|| io::Error::other("no disk"));
            let failed = [(1, "no selector"), (2, "no socket")]
                .map(|(bit, what)| (failed & bit > 0).then(|| io::Error::other(what)));
            outcome(Ended { lost, unsynced, panicked }, cut_off, 9, failed).map_err(|error| error.to_string())
        };
        assert_eq!(said(0, false, None, 0, 0), Ok(()));
        for bits in 1..32_u8 {
            let (lost, unsynced, cut_off, failed) =
                (usize::from(bits & 1), bits & 2 > 0, u64::from(bits & 4), bits >> 3);
            let error = said(lost, unsynced, None, cut_off, failed).expect_err("that went wrong");
            let parts = [
                (lost > 0, "1 records were received and not written"),
                (cut_off > 0, "4 senders were cut off"),
                (unsynced, "the last sync has failed, and a crash of the machine may take what was written: no disk"),
                (failed & 1 > 0, "no selector"),
                (failed & 2 > 0, "the metrics server has failed: no socket"),
            ];
            for (is_wrong, part) in parts {
                assert_eq!(error.contains(part), is_wrong, "{error}");
            }
        }
        let panicked = "writer 3 panicked; 9 records were received and may not be written";
        assert_eq!(said(1, false, Some(3), 0, 0).expect_err("that, too"), panicked);
        let error = said(1, true, Some(3), 4, 1).expect_err("and the rest");
        for part in [panicked, "4 senders were cut off", "the last sync has failed", "no selector"] {
            assert!(error.contains(part), "{error}");
        }
        assert!(!error.contains("not written, because"), "{error}");
    }
}
