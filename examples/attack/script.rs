//! What attackers do: families of connections, and the steps of each.

use std::sync::Arc;
use std::time::Duration;

use crate::random::Random;

/// Connections that do the same.
pub struct Family {
    pub name: &'static str,
    /// Open at once; one that ends is replaced.
    pub connections: usize,
    /// Opened a second until all are there.
    pub opens: f64,
    /// Opened a second from then on, to replace those that ended.
    pub reopens: f64,
    /// Opened altogether, if that is bounded.
    pub total: Option<usize>,
    /// With small buffers of its own: its kernel takes little off the server, and holds little.
    pub narrow: bool,
    /// The script of the connection with that number.
    pub script: Box<dyn Fn(usize, Random) -> Script>,
}

impl Family {
    /// A family that replaces what it loses at a tenth of the rate at which it came.
    pub fn new(
        name: &'static str,
        connections: usize,
        opens: f64,
        script: impl Fn(usize, Random) -> Script + 'static,
    ) -> Self {
        let script = Box::new(script);
        Self { name, connections, opens, reopens: opens / 10.0, total: None, narrow: false, script }
    }

    pub fn reopening(self, reopens: f64) -> Self {
        Self { reopens, ..self }
    }

    pub fn in_total(self, total: usize) -> Self {
        Self { total: Some(total), ..self }
    }

    pub fn narrow(self) -> Self {
        Self { narrow: true, ..self }
    }

    /// The same with fewer connections, to try things out.
    pub fn scaled(self, scale: f64) -> Self {
        let scaled = |count: usize| ((count as f64 * scale).ceil() as usize).max(1);
        Self { connections: scaled(self.connections), total: self.total.map(scaled), ..self }
    }
}

/// Bytes that many connections may send.
pub type Shared = Arc<[u8]>;

/// One thing that a connection does.
#[derive(Debug, Clone)]
pub enum Step {
    /// Sends bytes, as fast as they are taken.
    Send(Shared),
    /// Does nothing for so long.
    Wait(Duration),
    /// Says that it will send nothing more.
    Finish,
    /// Does nothing until the server ends it.
    Hold,
    /// Closes in order; with unread answers that is a reset.
    Close,
    /// Closes by a reset.
    Reset,
}

impl Step {
    pub fn send(bytes: impl AsRef<[u8]>) -> Self {
        Self::Send(bytes.as_ref().into())
    }
}

/// What one connection does, step by step.
pub struct Script {
    /// Takes the answers that come, and forgets them.
    pub reads: bool,
    pub next: Box<dyn FnMut() -> Step>,
}

impl Script {
    /// Steps without end.
    pub fn endless(reads: bool, next: impl FnMut() -> Step + 'static) -> Self {
        Self { reads, next: Box::new(next) }
    }

    /// These steps, then it holds.
    pub fn of(reads: bool, steps: impl IntoIterator<Item = Step, IntoIter: 'static>) -> Self {
        let mut steps = steps.into_iter();
        Self::endless(reads, move || steps.next().unwrap_or(Step::Hold))
    }

    /// This at once, then these bytes, one a second.
    pub fn dribble(begin: Shared, bytes: impl Iterator<Item = u8> + 'static) -> Self {
        let rest = bytes.flat_map(|byte| [Step::Wait(Duration::from_secs(1)), Step::send([byte])]);
        Self::of(true, std::iter::once(Step::Send(begin)).chain(rest))
    }
}
