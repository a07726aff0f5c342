//! From settings to a bound server.

use std::fmt;
use std::io;
use std::net::{TcpListener, ToSocketAddrs};

use super::error::explain;
use super::{Config, MemoryCeiling, Server, listener};
use crate::admission::Admission;
use crate::buffer::{TIERS, TierConfig};
use crate::connection::Timeouts;
use crate::processor::{Turn, Watermarks};
use crate::protocol::Protocol;

/// The longest backlog that a listener made elsewhere is assumed to have: longer than any system's default.
const BACKLOG_OF_OTHERS: usize = 1 << 16;

/// Settings of a server to be; made by [`Server::builder`]. Each is described at [`Config`].
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until it is bound"]
pub struct Builder<P> {
    protocol: P,
    config: Config,
}

impl<P: Protocol> Builder<P> {
    pub(super) fn new(protocol: P) -> Self {
        Self { protocol, config: Config::default() }
    }

    /// Takes all settings from `config`.
    pub fn config(self, config: Config) -> Self {
        Self { config, ..self }
    }

    /// Changes settings that have no method of their own here.
    ///
    /// ```
    /// use sluicegate::{LengthPrefixed, Server};
    ///
    /// let server = Server::builder(LengthPrefixed::default())
    ///     .connections_max(1000)
    ///     .configure(|config| config.segments_max = 4000)
    ///     .bind("127.0.0.1:0")?;
    /// println!("{}", server.memory_ceiling());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn configure(mut self, change: impl FnOnce(&mut Config)) -> Self {
        change(&mut self.config);
        self
    }

    /// Sets [`Config::processors`]. With more than one, start the server with a method that makes a message processor
    /// for each, such as [`Server::serve_with`].
    pub fn processors(self, processors: usize) -> Self {
        self.configure(|config| config.processors = processors)
    }

    /// Sets [`Config::connections_max`].
    pub fn connections_max(self, connections_max: usize) -> Self {
        self.configure(|config| config.connections_max = connections_max)
    }

    /// Sets [`Config::memory_max`], in bytes.
    pub fn memory_max(self, bytes: u64) -> Self {
        self.configure(|config| config.memory_max = Some(bytes))
    }

    /// Sets [`Config::inbound`], smallest tier first.
    pub fn inbound(self, tiers: [TierConfig; TIERS]) -> Self {
        self.configure(|config| config.inbound = tiers)
    }

    /// Sets [`Config::outbound`], smallest tier first.
    pub fn outbound(self, tiers: [TierConfig; TIERS]) -> Self {
        self.configure(|config| config.outbound = tiers)
    }

    /// Sets [`Config::reply_max`], in bytes.
    pub fn reply_max(self, bytes: usize) -> Self {
        self.configure(|config| config.reply_max = bytes)
    }

    /// Sets [`Config::timeouts`].
    pub fn timeouts(self, timeouts: Timeouts) -> Self {
        self.configure(|config| config.timeouts = timeouts)
    }

    /// Sets [`Config::admission`].
    pub fn admission(self, admission: Admission) -> Self {
        self.configure(|config| config.admission = admission)
    }

    /// Sets [`Config::turn`].
    pub fn turn(self, turn: Turn) -> Self {
        self.configure(|config| config.turn = turn)
    }

    /// Sets [`Config::watermarks`].
    pub fn watermarks(self, watermarks: Watermarks) -> Self {
        self.configure(|config| config.watermarks = watermarks)
    }

    /// Binds the first of the addresses that can be bound. Peers can connect from then on; they are accepted once the
    /// server is started.
    ///
    /// # Errors
    /// `InvalidInput` with a [`ConfigError`](crate::ConfigError) if the settings can't be used, the memory ceiling is
    /// over `memory_max`, or the system has no memory for the tables that are made at start. Any other error means that
    /// the address can't be bound; it names the address and says why.
    pub fn bind(self, addresses: impl ToSocketAddrs + fmt::Debug) -> io::Result<Server<P>> {
        let ceiling = self.check()?;
        let backlog = i32::try_from(self.config.backlog).unwrap_or(i32::MAX);
        let listener = listener::bind(addresses, backlog)?;
        self.finish(listener, ceiling)
    }

    /// Takes a listener that was bound elsewhere (socket activation, tests), makes it non-blocking and sets
    /// `TCP_NODELAY` and `SO_OOBINLINE`.
    ///
    /// # Errors
    /// As [`bind`](Self::bind), or the listener can't be set up.
    pub fn from_listener(mut self, listener: TcpListener) -> io::Result<Server<P>> {
        let ceiling = self.check()?;
        // The length of its backlog is unknown, and at the end of the server the whole backlog is accepted.
        self.config.backlog = self.config.backlog.max(BACKLOG_OF_OTHERS);
        listener::prepare(&listener).map_err(|error| explain("cannot set up the listener", error))?;
        self.finish(listener, ceiling)
    }

    /// The ceiling of a server with these settings, if they can be used.
    fn check(&self) -> io::Result<MemoryCeiling> {
        self.config.validate(self.protocol.message_max())?;
        let ceiling = MemoryCeiling::of::<P>(&self.config);
        let within = ceiling.check(self.config.memory_max).and_then(|()| ceiling.check_tables());
        if within.is_err() {
            ceiling.lines().for_each(|line| log::error!("{line}"));
        }
        within?;
        Ok(ceiling)
    }

    fn finish(self, listener: TcpListener, ceiling: MemoryCeiling) -> io::Result<Server<P>> {
        let address = listener.local_addr().map_err(|error| explain("cannot ask for the listener's address", error))?;
        Ok(Server {
            listener,
            address,
            protocol: self.protocol,
            config: self.config,
            ceiling,
            counted_elsewhere: false,
        })
    }
}
