//! Planted in how connections and servers end.

use crate::Mutant;

/// Bugs to be planted.
pub const MUTANTS: &[Mutant] = &[
    Mutant {
        name: "linger: closed at once, with unread bytes in the socket",
        file: "src/processor/close.rs",
        from: "if connection.has_heard_all() ||",
        to: "if !connection.has_heard_all() ||",
    },
    Mutant {
        name: "linger: over with the first bytes that are dropped",
        file: "src/processor/close.rs",
        from: "if dropped == limit {",
        to: "if dropped > 0 {",
    },
    Mutant {
        name: "shutdown: the grace never ends",
        file: "src/processor/shutdown.rs",
        from: "if self.now >= request.until() {",
        to: "if self.now >= request.until() + std::time::Duration::from_secs(1) {",
    },
    Mutant {
        name: "selector: a socket is dropped while it is registered",
        file: "src/processor/close.rs",
        from: "let _ = self.selector.deregister(&mut connection.socket);",
        to: "let _ = &mut connection.socket;",
    },
    Mutant {
        name: "ends once: what has arrived before a socket breaks is not read",
        file: "src/processor/broken.rs",
        from: "if P::IN_ORDER || connection.ending.is_some() {",
        to: "if P::IN_ORDER || !P::IN_ORDER {",
    },
    Mutant {
        name: "one peer: a socket that breaks gives its connection a second turn",
        file: "src/processor/broken.rs",
        from: "        self.queues.write.push(slot);\n",
        to: "        self.read_on_if_broken(slot);\n",
    },
    Mutant {
        name: "memory: output that holds no block is given up for want of blocks",
        file: "src/processor/slow_peers.rs",
        from: "let any = !self.has_segments();",
        to: "let any = true;",
    },
    Mutant {
        name: "shutdown: each message that begins is waited for",
        file: "src/processor/process.rs",
        from: "connection.flags.has_final_answer = is_final;\n            let exchange = exchange_of::<P>(&layout, is_final);\n            let Connection { peer, undelivered",
        to: "let exchange = exchange_of::<P>(&layout, is_final);\n            let Connection { peer, undelivered",
    },
    Mutant {
        name: "one peer: a turn has no end for what is written",
        file: "src/processor/backpressure.rs",
        from: "            self.flush_and_end_turn(slot);\n            return false;",
        to: "            self.flush_and_end_turn(slot);\n            self.clear_pause(slot, PauseReason::Turn);\n            if self.table.at(slot).is_none_or(|connection| !connection.paused.is_empty()) { return false; }",
    },
];
