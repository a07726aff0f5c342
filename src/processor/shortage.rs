//! Logs shortages that a peer pays for: only once in a while, and with the setting to change.

use std::io;
use std::time::{Duration, Instant};

use super::{Processor, Selector};
use crate::buffer::TIERS;
use crate::message_processor::MessageProcessor;
use crate::protocol::Protocol;

/// The shortest time between two log lines about the same shortage.
const PAUSE: Duration = Duration::from_secs(10);

/// The resource that has run out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shortage {
    /// Blocks for messages, of this tier: a connection was evicted from its own.
    Inbound(usize),
    /// The same, but no connection could be evicted, because the user keeps messages.
    Kept(usize),
    /// Memory for answers: a connection was closed because its peer did not take its answers.
    Outbound,
    /// Tickets for deferred replies: no message is handled until one is settled.
    Tickets,
    /// What the system needs to watch one more socket: a connection was closed.
    Watch(io::ErrorKind),
}

impl Shortage {
    const COUNT: usize = 2 * TIERS + 3;

    fn index(self) -> usize {
        match self {
            Self::Inbound(tier) => tier,
            Self::Kept(tier) => TIERS + tier,
            Self::Outbound => 2 * TIERS,
            Self::Tickets => 2 * TIERS + 1,
            Self::Watch(_) => 2 * TIERS + 2,
        }
    }
}

/// When each shortage was most recently logged.
#[derive(Debug, Default)]
pub(super) struct Shortages([Option<Instant>; Shortage::COUNT]);

impl Shortages {
    /// True if it is time for a line.
    fn is_news(&mut self, shortage: Shortage, now: Instant) -> bool {
        let told = &mut self.0[shortage.index()];
        let is_news = told.is_none_or(|told| now >= told + PAUSE);
        if is_news {
            *told = Some(now);
        }
        is_news
    }
}

impl<S: Selector, P: Protocol, M: MessageProcessor<P>> Processor<S, P, M> {
    /// Logs a shortage that a peer pays for, unless it was logged a moment ago. Metrics count every occurrence.
    #[cold]
    pub(super) fn tell_of_shortage(&mut self, shortage: Shortage) {
        if self.shortages.is_news(shortage, self.now) {
            log::warn!("{}: {}", self.settings.name, self.describe_shortage(shortage));
        }
    }

    fn describe_shortage(&self, shortage: Shortage) -> String {
        let famine = self.settings.timeouts.famine;
        match shortage {
            Shortage::Inbound(tier) => {
                let block = self.links.inbound.tiers()[tier].size();
                format!(
                    "all blocks of {block} bytes are in use and others wait for one: a connection whose message came \
                     slowest was evicted; raise inbound[{tier}].count, or timeouts.famine = {famine:?}"
                )
            }
            Shortage::Kept(tier) => {
                let (of_tier, kept) = (&self.links.inbound.tiers()[tier], self.links.inbound.tiers()[tier].kept());
                format!(
                    "connections wait for a block of {} bytes and get none: messages that are kept (into_owned), or \
                     wait for workers, hold {kept} of {}; let go of some, or raise inbound[{tier}].count",
                    of_tier.size(),
                    of_tier.count(),
                )
            }
            Shortage::Outbound => format!(
                "the memory for answers ran low: a connection was closed whose peer did not take its own fast enough; \
                 raise outbound, lower watermarks.high, or raise timeouts.famine = {famine:?}"
            ),
            Shortage::Tickets => format!(
                "all {} deferred replies are outstanding, and no message is handled until one is sent or dropped; drop \
                 those of connections that have closed, or raise owed_total_max",
                self.settings.owed_total_max
            ),
            Shortage::Watch(kind) => format!(
                "the system does not watch one more connection ({kind}), which was closed: lower connections_max, or \
                 raise what is short, such as fs.epoll.max_user_watches on Linux"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_shortage_is_told_of_once_in_a_while() {
        let (mut shortages, now) = (Shortages::default(), Instant::now());
        let all = (0..TIERS).flat_map(|tier| [Shortage::Inbound(tier), Shortage::Kept(tier)]);
        for shortage in all.chain([Shortage::Outbound, Shortage::Tickets, Shortage::Watch(io::ErrorKind::StorageFull)])
        {
            let told =
                [0, 1, 9, 10, 19, 20].map(|second| shortages.is_news(shortage, now + Duration::from_secs(second)));
            assert_eq!(told, [true, false, false, true, false, true], "{shortage:?}");
        }
    }
}
