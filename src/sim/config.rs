//! STOPGAP until `server::Config` is there: the fields that a simulation needs, under the same names.
#![allow(missing_docs)]

use crate::buffer::{TIERS, TierConfig};
use crate::connection::Timeouts;
use crate::outbox::OutboxLimits;
use crate::processor::{Settings, Turn, Watermarks};

#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    pub connections_max: usize,
    pub handover_max: usize,
    pub inbound: [TierConfig; TIERS],
    pub outbound: [TierConfig; TIERS],
    pub reply_max: usize,
    pub scratch: usize,
    pub turn: Turn,
    pub watermarks: Watermarks,
    pub timeouts: Timeouts,
    pub owed_max: usize,
    pub owed_total_max: usize,
    pub unasked_max: usize,
    pub segments_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        let tiers = [
            TierConfig { size: 4 << 10, count: 1024 },
            TierConfig { size: 128 << 10, count: 128 },
            TierConfig { size: 1 << 20, count: 16 },
        ];
        Self {
            connections_max: 16 << 10,
            handover_max: 1024,
            inbound: tiers,
            outbound: tiers,
            reply_max: (1 << 20) + (64 << 10),
            scratch: 64 << 10,
            turn: Turn::default(),
            watermarks: Watermarks::default(),
            timeouts: Timeouts::default(),
            owed_max: 64,
            owed_total_max: 16 << 10,
            unasked_max: 4096,
            segments_max: 32 << 10,
        }
    }
}

impl Config {
    pub(crate) fn settings(&self) -> Settings {
        Settings {
            connections_max: self.connections_max,
            turn: self.turn,
            watermarks: self.watermarks,
            timeouts: self.timeouts,
            scratch: self.scratch,
            owed_max: self.owed_max,
            owed_total_max: self.owed_total_max,
            reply_max: self.reply_max,
            segments_max: self.segments_max,
        }
    }

    pub(crate) fn outbox_limits(&self) -> OutboxLimits {
        OutboxLimits {
            connections_max: self.connections_max,
            owed_total_max: self.owed_total_max,
            unasked_max: self.unasked_max,
            reply_max: self.reply_max,
            outbound_high: self.watermarks.high,
        }
    }
}
