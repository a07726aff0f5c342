//! The processor thread.
mod selector;
mod settings;

use std::sync::Arc;

use crate::buffer::{Pool, SharedPool, Tier};
use crate::control::Control;
use crate::handover::Handover;
use crate::message_processor::MessageProcessor;
use crate::metrics::Metrics;
use crate::outbox::Outbox;
use crate::protocol::Protocol;

pub use selector::{Readiness, Selector};
pub(crate) use settings::Settings;
pub use settings::{Turn, Watermarks};

/// What a processor shares with the rest of the server.
pub(crate) struct Links<K> {
    pub(crate) handover: Arc<Handover<K>>,
    pub(crate) control: Arc<Control>,
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) inbound: Arc<SharedPool>,
    /// The processor's own reserve for answers.
    pub(crate) reserve: Arc<Tier>,
    pub(crate) metrics: Arc<Metrics>,
}

/// The processor.
pub(crate) struct Processor<S: Selector, P: Protocol, M: MessageProcessor<P>> {
    selector: S,
    prototype: P,
    user: M,
    settings: Settings,
    links: Links<S::Socket>,
}

impl<S: Selector, P: Protocol, M: MessageProcessor<P>> Processor<S, P, M> {
    /// STUB
    pub(crate) fn new(selector: S, prototype: P, user: M, settings: Settings, links: Links<S::Socket>) -> Self {
        Self { selector, prototype, user, settings, links }
    }

    /// Bytes that the connection table takes, for the memory ceiling. STUB
    pub(crate) fn table_memory(connections_max: usize) -> u64 {
        (connections_max * 400) as u64
    }

    /// Runs cycles until the server has stopped. Returns when every connection has closed. STUB
    pub(crate) fn run(&mut self) {}

    /// One cycle: select (bounded by the next timer), then all work. False once the server has stopped. STUB
    pub(crate) fn cycle(&mut self) -> bool {
        false
    }
}
