//! LAW ledger: what was counted is what is there.

use super::{Processor, Selector};
use crate::message_processor::MessageProcessor;
use crate::protocol::Protocol;

impl<S: Selector, P: Protocol, M: MessageProcessor<P>> Processor<S, P, M> {
    /// LAW ledger, checked every cycle in debug builds.
    pub(super) fn check_ledger(&self) -> Result<(), String> {
        let snapshot = self.links.metrics.snapshot();
        snapshot.check_ledger()?;
        let buffered: usize = self.table.iter().map(|connection| connection.inbound.buffered()).sum();
        if buffered as u64 != snapshot.bytes_buffered {
            return Err(format!("{buffered} bytes are buffered, {} are counted", snapshot.bytes_buffered));
        }
        let queued: usize = self.table.iter().map(|connection| connection.undelivered.bytes()).sum();
        if queued as u64 != snapshot.bytes_outbound {
            return Err(format!("{queued} bytes are queued for peers, {} are counted", snapshot.bytes_outbound));
        }
        let open = self.table.iter().count();
        if open as u64 != snapshot.open {
            return Err(format!("{open} connections are open, {} are counted", snapshot.open));
        }
        if let Some(forgotten) = self.table.iter().find(|connection| !connection.flags.watched) {
            return Err(format!("{} is open and nobody watches it", forgotten.id()));
        }
        Ok(())
    }

    #[cfg(debug_assertions)]
    pub(super) fn assert_ledger(&self) {
        if let Err(difference) = self.check_ledger() {
            panic!("LAW ledger is broken: {difference}");
        }
    }
}
