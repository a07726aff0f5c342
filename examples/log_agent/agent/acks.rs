//! Which sender is told what, and when: how many of its records are durable. On the processor thread only.

use std::sync::Arc;

use sluicegate::{After, ConnectionId, Deferred, Encode, EncodeError, Outbound, Reply, SendError, WriteProxy};

use super::framing::Framing;
use super::link::Link;
use super::numbers::Numbers;

/// So many records of a connection are on disk: eight bytes, big-endian, without a length before them.
pub struct Durable(pub u64);

impl Encode<Durable> for Framing {
    fn encode((): (), Durable(records): Durable, out: &mut Outbound) -> Result<After, EncodeError> {
        out.put(&records.to_be_bytes());
        Ok(After::KeepOpen)
    }
}

/// All connections that are owed acknowledgements.
///
/// Two ways lead to a sender. While records of its are under way, the newest number goes unasked, and only if nothing
/// waits before it: a sender that does not read has one number waiting, not thousands. And as long as some of its
/// records are not durable a reply is owed to it, which keeps its connection open, also when the sender has said its
/// last word or the agent shuts down. That reply is the last number.
pub struct Acks {
    senders: Vec<Sender>,
    /// Slots with a number to be told.
    waiting: Vec<u32>,
    link: Arc<Link>,
    numbers: Arc<Numbers>,
    proxy: Option<WriteProxy<Framing>>,
}

#[derive(Default)]
struct Sender {
    connection: Option<ConnectionId>,
    received: u64,
    durable: u64,
    told: u64,
    /// The last number, as long as it is not known.
    owed: Option<Deferred<Framing>>,
    waits: bool,
}

impl Acks {
    /// For at most so many connections at once.
    pub fn new(connections: usize, link: Arc<Link>, numbers: Arc<Numbers>) -> Self {
        let mut senders = Vec::new();
        senders.resize_with(connections, Sender::default);
        Self { senders, waiting: Vec::with_capacity(connections), link, numbers, proxy: None }
    }

    /// Bytes that this takes for so many connections, for the memory ceiling.
    pub fn memory(connections: usize) -> u64 {
        (connections * (size_of::<Sender>() + size_of::<u32>())) as u64
    }

    pub fn connect(&mut self, proxy: &WriteProxy<Framing>) {
        self.proxy = Some(proxy.clone());
    }

    /// So many records have come, whose acknowledgement is owed from now on.
    pub fn received(&mut self, reply: Reply<'_, Framing>, records: u64) {
        let connection = reply.connection();
        let Some(sender) = self.senders.get_mut(connection.slot() as usize) else { return reply.close() };
        if sender.connection != Some(connection) {
            // A place in `waiting` stays what it is; it is looked at and found empty.
            *sender = Sender { connection: Some(connection), waits: sender.waits, ..Sender::default() };
        }
        sender.received += records;
        match sender.owed {
            Some(_) => reply.none(),
            None => sender.owed = Some(reply.defer()),
        }
    }

    /// Nobody waits for these numbers any more.
    pub fn closed(&mut self, connection: ConnectionId) {
        let sender = self.senders.get_mut(connection.slot() as usize);
        if let Some(sender) = sender.filter(|sender| sender.connection == Some(connection)) {
            *sender = Sender { waits: sender.waits, ..Sender::default() };
        }
    }

    /// Takes what writers have told, and passes on what can be passed on. In each cycle: a sender that has read what it
    /// was told has made a cycle by it.
    pub fn tell(&mut self) {
        let Self { senders, waiting, link, numbers, proxy } = self;
        link.take_news(|connection, durable| {
            let sender = &mut senders[connection.slot() as usize];
            if sender.connection == Some(connection) {
                sender.durable = durable;
                if !sender.waits {
                    sender.waits = true;
                    waiting.push(connection.slot());
                }
            }
        });
        let Some(proxy) = proxy else { return };
        waiting.retain(|slot| {
            let sender = &mut senders[*slot as usize];
            let before = sender.told;
            sender.waits = !sender.pass_on(proxy);
            numbers.records_acked.add_alone(sender.told.saturating_sub(before));
            sender.waits
        });
    }
}

impl Sender {
    /// Sends the newest number; false if it has to wait.
    fn pass_on(&mut self, proxy: &WriteProxy<Framing>) -> bool {
        let Some(connection) = self.connection.filter(|_| self.told < self.durable) else { return true };
        if proxy.undelivered(connection) > 0 {
            return false;
        }
        // Also more than were counted as received: of a message that was refused in its middle.
        if self.durable >= self.received
            && let Some(owed) = self.owed.take()
        {
            // More senders than there are blocks for answers: the others are told in the next cycle.
            if let Err(owed) = owed.try_send(Durable(self.durable)) {
                self.owed = Some(owed);
                return false;
            }
        } else if let Err(SendError::PeerTooSlow | SendError::OutboxFull) =
            proxy.send(connection, Durable(self.durable))
        {
            return false;
        }
        self.told = self.durable;
        true
    }
}
