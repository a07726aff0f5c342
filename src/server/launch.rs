//! Makes what the two threads share, and the threads.

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use mio::net::TcpStream;

use super::error::explain;
use super::running::{Meter, Running, Shared, Threads};
use super::{Config, Server, limits};
use crate::accepter::{Accepter, Entrance};
use crate::buffer::{Line, SharedPool, reserve};
use crate::clock::WallClock;
use crate::control::{Control, Finish, Shutdown};
use crate::handover::Handover;
use crate::message_processor::MessageProcessor;
use crate::metrics::Metrics;
use crate::outbox::Outbox;
use crate::processor::{Links, MioSelector, Processor, Selector};
use crate::protocol::Protocol;
use crate::wake::WakeFlag;

/// The names of the threads. Linux shows their first 15 letters.
const ACCEPTER: &str = "sluicegate-accept";
const PROCESSOR: &str = "sluicegate-process";

/// Starts `server`; its messages go to `user`.
pub(super) fn launch<P, M>(server: Server<P>, user: M) -> io::Result<Running<P>>
where
    P: Protocol,
    M: MessageProcessor<P> + 'static,
{
    let Server { listener, address, protocol, config, ceiling, counted_elsewhere } = server;
    limits::raise_descriptors(config.connections_max);
    let (mut selector, processor_wake) =
        MioSelector::new().map_err(|error| explain("cannot make the processor's poll", error))?;
    let entrance = Entrance::new(listener).map_err(|error| explain("cannot make the accepter's poll", error))?;
    let now = selector.unix_seconds();
    let shared = shared(&config, now, entrance.wake(), processor_wake);

    if counted_elsewhere {
        log::info!("listening on {address}; its memory is a row of another server's ceiling");
    } else {
        log::info!("listening on {address}; the memory ceiling is");
        ceiling.lines().for_each(|line| log::info!("{line}"));
    }
    let processor = spawn_processor(selector, protocol, user, &config, &shared)?;
    let accepter = match spawn_accepter(entrance, &config, &shared) {
        Ok(accepter) => accepter,
        Err(error) => {
            // The accepter was dropped unused, which told the processor that nobody will come.
            shared.control.request(AT_ONCE);
            drop(processor.join());
            return Err(error);
        }
    };
    Ok(Running::new(address, ceiling, Meter::new(shared), Threads { accepter, processor }))
}

/// Everything that more than one thread holds.
fn shared(config: &Config, now: u64, accepter: Arc<WakeFlag>, processor: Arc<WakeFlag>) -> Shared {
    let metrics = Arc::new(Metrics::default());
    let pool = |tiers| SharedPool::new(tiers, Line::new(Arc::clone(&processor)));
    let outbox = Outbox::new(
        config.outbox_limits(),
        pool(config.outbound),
        Arc::new(WallClock::at(now)),
        Arc::clone(&processor),
        Arc::clone(&metrics),
    );
    Shared {
        handover: Handover::new(
            config.handover_max,
            config.connections_max,
            Arc::clone(&accepter),
            Arc::clone(&processor),
        ),
        control: Control::new(accepter, Arc::clone(&processor)),
        inbound: pool(config.inbound_with_spares()),
        outbox,
        metrics,
    }
}

fn spawn_processor<P, M>(
    selector: MioSelector,
    protocol: P,
    user: M,
    config: &Config,
    shared: &Shared,
) -> io::Result<JoinHandle<()>>
where
    P: Protocol,
    M: MessageProcessor<P> + 'static,
{
    let Shared { handover, control, outbox, inbound, metrics } = shared.clone();
    let reserve = reserve(config.reply_max, outbox.pool.line());
    let departure = ProcessorDeparture { control: Arc::clone(&control), outbox: Arc::clone(&outbox) };
    let links: Links<TcpStream> = Links { handover, control, outbox, inbound, reserve, metrics };
    let settings = config.settings();
    spawn(PROCESSOR, config.processor_stack, move || {
        // Before the processor, so that it is dropped after it.
        let _departure = departure;
        Processor::new(selector, protocol, user, settings, links).run();
    })
}

fn spawn_accepter(entrance: Entrance, config: &Config, shared: &Shared) -> io::Result<JoinHandle<io::Result<()>>> {
    let Shared { handover, control, metrics, .. } = shared.clone();
    let departure = AccepterDeparture(Arc::clone(&control));
    let accepter = Accepter::new(entrance, handover, control, metrics, config.backlog);
    spawn(ACCEPTER, config.accepter_stack, move || {
        let _departure = departure;
        accepter.run()
    })
}

fn spawn<T: Send + 'static>(
    name: &str,
    stack: usize,
    body: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    let builder = thread::Builder::new().name(name.into()).stack_size(stack);
    builder.spawn(body).map_err(|error| explain(format!("cannot start the thread {name}"), error))
}

/// A shutdown that waits for nobody.
pub(super) const AT_ONCE: Shutdown = Shutdown { grace: Duration::ZERO, finish: Finish::Answer };

/// Whatever ends the processor thread, also a panic: the accepter ends too, and nobody waits for a block that only the
/// processor could have freed.
struct ProcessorDeparture {
    control: Arc<Control>,
    outbox: Arc<Outbox>,
}

impl Drop for ProcessorDeparture {
    fn drop(&mut self) {
        self.control.request(AT_ONCE);
        self.outbox.pool.line().close();
    }
}

/// Whatever ends the accepter thread: a server that can't accept goes down and says why, instead of living on unnoticed
/// with those who are connected. After a shutdown was requested this changes nothing.
struct AccepterDeparture(Arc<Control>);

impl Drop for AccepterDeparture {
    fn drop(&mut self) {
        if !self.0.is_requested() {
            self.0.request(AT_ONCE);
        }
    }
}
