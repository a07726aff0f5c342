//! Makes the threads of a server.

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use super::error::explain;
use super::running::{Meter, Running, Threads, at_once};
use super::shared::Shared;
use super::{Config, Server, descriptors, scheduling};
use crate::accepter::{Accepter, Entrance};
use crate::control::Control;
use crate::message_processor::MessageProcessor;
use crate::processor::{MioSelector, Processor, Selector, Settings};
use crate::protocol::Protocol;
use crate::socket::Socket;

/// The names of the threads. Linux shows their first 15 letters.
const ACCEPTER: &str = "sluicegate-accept";
const PROCESSOR: &str = "sluicegate-process";

/// Starts `server`; its messages go to `users`, one for each processor.
pub(super) fn launch<P, M>(server: Server<P>, users: Vec<M>) -> io::Result<Running<P>>
where
    P: Protocol,
    M: MessageProcessor<P> + 'static,
{
    let Server { listener, address, protocol, config, ceiling, counted_elsewhere } = server;
    // Cloned before there is a thread, so that a panic in `clone` leaves none behind.
    let protocols = vec![protocol; users.len()];
    descriptors::raise_descriptors(address, config.connections_max, config.processors);
    let mut selectors = Vec::with_capacity(users.len());
    let mut wakes = Vec::with_capacity(users.len());
    for _ in &users {
        let made = MioSelector::new();
        let (selector, wake) = made.map_err(|error| explain("cannot make a processor's poll", error))?;
        selectors.push(selector);
        wakes.push(wake);
    }
    let entrance = Entrance::new(listener).map_err(|error| explain("cannot make the accepter's poll", error))?;
    let now = selectors.first_mut().map_or(0, |selector| selector.unix_seconds());
    let shared = Shared::new(&config, now, &entrance.wake(), &wakes);

    if counted_elsewhere {
        log::info!("listening on {address}; its memory is a row of another server's ceiling");
    } else {
        log::info!("listening on {address}; the memory ceiling is");
        ceiling.lines().for_each(|line| log::info!("{line}"));
    }
    let mut processors = Vec::with_capacity(users.len());
    let mut parts = selectors.into_iter().zip(protocols).zip(users).zip(0..);
    let spawned = parts.try_for_each(|(((selector, protocol), user), number)| {
        let mut settings = config.settings(number);
        settings.name = match config.processors {
            1 => address.to_string(),
            _ => format!("processor {number} of {address}"),
        };
        processors.push(spawn_processor(settings, selector, protocol, user, &config, &shared)?);
        Ok(())
    });
    match spawned.and_then(|()| spawn_accepter(entrance, &config, &shared)) {
        Ok(accepter) => Ok(Running::new(address, ceiling, Meter::new(shared), Threads { accepter, processors })),
        Err(error) => {
            // The threads that run already wait for connections, and none will come.
            shared.dealer.finish();
            shared.control.request(at_once());
            processors.into_iter().for_each(|processor| drop(processor.join()));
            Err(error)
        }
    }
}

fn spawn_processor<P, M>(
    settings: Settings,
    selector: MioSelector,
    protocol: P,
    user: M,
    config: &Config,
    shared: &Shared<Socket>,
) -> io::Result<JoinHandle<io::Result<()>>>
where
    P: Protocol,
    M: MessageProcessor<P> + 'static,
{
    let links = shared.links(settings.number);
    let departure = ProcessorDeparture(Arc::clone(&links.control));
    let name = match config.processors {
        1 => PROCESSOR.into(),
        _ => format!("sluicegate-p{}", settings.number),
    };
    spawn(&name, config.processor_stack, move || {
        // Before the processor, so that it is dropped after it.
        let _departure = departure;
        Processor::new(selector, protocol, user, settings, links).run()
    })
}

fn spawn_accepter(
    entrance: Entrance,
    config: &Config,
    shared: &Shared<Socket>,
) -> io::Result<JoinHandle<io::Result<()>>> {
    let Shared { dealer, control, .. } = shared.clone();
    let departure = AccepterDeparture(Arc::clone(&control));
    let accepter = Accepter::new(entrance, dealer, control, shared.metrics(), config.backlog);
    let shares_a_core = scheduling::shares_a_core(config.processors);
    spawn(ACCEPTER, config.accepter_stack, move || {
        let _departure = departure;
        if shares_a_core {
            scheduling::give_way();
        }
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

/// When a processor thread ends, for whatever reason, all others end too. After a shutdown was requested, the others
/// may need the rest of the grace: then only a panic ends them.
struct ProcessorDeparture(Arc<Control>);

impl Drop for ProcessorDeparture {
    fn drop(&mut self) {
        if thread::panicking() || !self.0.is_requested() {
            self.0.request(at_once());
        }
    }
}

/// When the accepter thread ends, for whatever reason, the server shuts down and says why, instead of living on
/// unnoticed with the connections that it has. After a shutdown was requested this changes nothing.
struct AccepterDeparture(Arc<Control>);

impl Drop for AccepterDeparture {
    fn drop(&mut self) {
        if !self.0.is_requested() {
            self.0.request(at_once());
        }
    }
}
