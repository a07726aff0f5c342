//! The log-collection agent of `examples/log_agent`: what it acknowledges is on disk, what it receives is not lost, and
//! a disk that fails in any way costs time and nothing else.
//!
//! Most of it runs in this process, over a disk that fails on purpose. The unit tests of the example's own files run
//! here as well, because examples have none of their own.

#![cfg(unix)]

#[path = "common/child.rs"]
mod child;
#[path = "common/net.rs"]
mod net;

#[allow(dead_code, reason = "shared with the program, of which the tests use a part")]
#[path = "../examples/log_agent/agent/mod.rs"]
mod agent;
#[allow(dead_code, reason = "the same")]
#[path = "../examples/log_agent/store/mod.rs"]
mod store;

#[allow(dead_code, reason = "the same")]
#[path = "../examples/log_cat/cat.rs"]
mod cat;
#[path = "../examples/log_cat/follow.rs"]
mod follow;
#[allow(dead_code, reason = "the same")]
#[path = "../examples/log_cat/look.rs"]
mod look;
#[allow(dead_code, reason = "the same")]
#[path = "../examples/log_spammer/pace.rs"]
mod pace;
#[allow(dead_code, reason = "the same")]
#[path = "../examples/log_spammer/record.rs"]
mod record;
#[path = "../examples/log_spammer/verify.rs"]
mod verify;

#[path = "log_agent/acking.rs"]
mod acking;
#[path = "log_agent/clients.rs"]
mod clients;
#[path = "log_agent/crashing.rs"]
mod crashing;
#[path = "log_agent/disks.rs"]
mod disks;
#[path = "log_agent/dropping.rs"]
mod dropping;
#[path = "log_agent/ending.rs"]
mod ending;
#[path = "log_agent/following.rs"]
mod following;
#[path = "log_agent/forging.rs"]
mod forging;
#[path = "log_agent/full.rs"]
mod full;
#[path = "log_agent/gating.rs"]
mod gating;
#[path = "log_agent/limited.rs"]
mod limited;
#[path = "log_agent/locking.rs"]
mod locking;
#[path = "log_agent/logs.rs"]
mod logs;
#[path = "log_agent/naming.rs"]
mod naming;
#[path = "log_agent/packing.rs"]
mod packing;
#[path = "log_agent/panicking.rs"]
mod panicking;
#[path = "log_agent/partial.rs"]
mod partial;
#[path = "log_agent/programs.rs"]
mod programs;
#[path = "log_agent/reading.rs"]
mod reading;
#[path = "log_agent/recovering.rs"]
mod recovering;
#[path = "log_agent/rig.rs"]
mod rig;
#[path = "log_agent/simulated.rs"]
mod simulated;
#[path = "log_agent/sockets.rs"]
mod sockets;
#[path = "log_agent/spamming.rs"]
mod spamming;
#[path = "log_agent/syncing.rs"]
mod syncing;
#[path = "log_agent/writing.rs"]
mod writing;
