//! What may go wrong with a connection's first turn, and with its last.

use crate::Mutant;

/// Bugs to be planted.
pub const MUTANTS: &[Mutant] = &[
    Mutant {
        name: "liveness: a newcomer has no first turn",
        file: "src/processor/intake.rs",
        from: "        self.look_once_more(slot);\n",
        to: "",
    },
    Mutant {
        name: "liveness: nobody watches a connection that its first turn has left open",
        file: "src/processor/turn.rs",
        from: "                self.watch(slot);\n                self.rearm(slot);",
        to: "                self.rearm(slot);",
    },
    Mutant {
        name: "liveness: nobody watches a connection that was refused when it came",
        file: "src/processor/turn.rs",
        from: "given.bytes);\n            self.watch(slot);\n",
        to: "given.bytes);\n",
    },
    Mutant {
        name: "one peer: those who linger have their turns before others who go on",
        file: "src/processor/backpressure.rs",
        from: " || connection.lingers() => self.go_on",
        to: " => self.go_on",
    },
    Mutant {
        name: "one peer: what is read of those who linger costs nothing",
        file: "src/processor/turn.rs",
        from: "            return cost;\n",
        to: "            return 0 * cost;\n",
    },
    Mutant {
        name: "one peer: a turn of one that lingers has no end",
        file: "src/processor/turn.rs",
        from: "self.linger_turn(slot, given.bytes);",
        to: "self.linger_turn(slot, usize::MAX);",
    },
    Mutant {
        name: "liveness: an end that waited for a reply in vain is forgotten",
        file: "src/processor/timeouts.rs",
        from: "        self.enqueue_ending(slot);\n",
        to: "",
    },
    Mutant {
        name: "ends once: each socket that breaks was reset",
        file: "src/processor/mod.rs",
        from: "return self.socket_broke(readiness.slot);",
        to: "return self.socket_failed(readiness.slot, std::io::ErrorKind::ConnectionReset);",
    },
    Mutant {
        name: "ends once: a socket that breaks waits for a read, also of one that is paused",
        file: "src/processor/mod.rs",
        from: "return self.socket_broke(readiness.slot);",
        to: "connection.flags.readable = true;",
    },
    Mutant {
        name: "clocks: an empty line between requests is the beginning of one",
        file: "src/processor/decode.rs",
        from: "if keep > 0 && connection.deadlines",
        to: "if connection.deadlines",
    },
    Mutant {
        name: "liveness: nobody watches a connection whose end waits for something",
        file: "src/processor/write.rs",
        from: "            self.deliver(slot, first);\n            self.watch(slot);\n",
        to: "            self.deliver(slot, first);\n",
    },
    Mutant {
        name: "selector: room is asked for before the socket is watched",
        file: "src/processor/write.rs",
        from: "output_waits(self.now);\n        self.watch(slot);\n",
        to: "output_waits(self.now);\n",
    },
    Mutant {
        name: "linger: who goes on talking in one breath is closed at once",
        file: "src/processor/decode.rs",
        from: "            connection.flags.sends_no_more = false;\n",
        to: "",
    },
    Mutant {
        name: "linger: who has gone on talking before it is answered is closed at once",
        file: "src/connection/mod.rs",
        from: "(self.flags.sends_no_more && !self.flags.readable)",
        to: "self.flags.sends_no_more",
    },
    Mutant {
        name: "linger: who has more in its block is closed at once",
        file: "src/processor/close.rs",
        from: "        connection.flags.sends_no_more &= connection.inbound.buffered() == 0;\n",
        to: "",
    },
    Mutant {
        name: "linger: a tunnel is closed at once",
        file: "src/protocol/http1/mod.rs",
        from: "!layout.exchange.keep_alive() && !layout.exchange.is_connect()",
        to: "!layout.exchange.keep_alive()",
    },
    Mutant {
        name: "linger: who has asked for the end is waited for",
        file: "src/protocol/http1/mod.rs",
        from: "!layout.exchange.keep_alive() && !layout.exchange.is_connect()",
        to: "false && layout.exchange.is_connect()",
    },
    Mutant {
        name: "one peer: a newcomer has the turn of who had its slot",
        file: "src/processor/intake.rs",
        from: "        self.go_on.remove(slot);\n",
        to: "",
    },
    Mutant {
        name: "shutdown: the grace begins when the processor hears of it",
        file: "src/processor/shutdown.rs",
        from: "let Some(newer) = self.links.control.shutdown() else { return };",
        to: "let first = |_: &Shutdown| self.phase == Phase::Serving;\n        let Some(newer) = self.links.control.shutdown().filter(first) else { return };\n        let newer = Shutdown { asked: self.now, ..newer };",
    },
    Mutant {
        name: "shutdown: a second grace is counted from the first request",
        file: "src/processor/shutdown.rs",
        from: "Phase::Draining { request, .. } => *request = newer,",
        to: "Phase::Draining { request, .. } => request.grace = newer.grace,",
    },
    Mutant {
        name: "shutdown: what is sent behind a full window is not waited for",
        file: "src/processor/draining.rs",
        from: "(active.max(began) + QUIET)",
        to: "(active.max(began) + 0 * QUIET)",
    },
    Mutant {
        name: "shutdown: whoever goes on sending is read for the whole grace",
        file: "src/processor/draining.rs",
        from: ".min(began + MOST)",
        to: ".min(began + 1000 * MOST)",
    },
    Mutant {
        name: "shutdown: the second of a read-out begins anew with each turn",
        file: "src/connection/deadline.rs",
        from: "*self.read_out_since.get_or_insert(now)",
        to: "*self.read_out_since.insert(now)",
    },
    Mutant {
        name: "shutdown: the second of a read-out goes on while the user takes nothing",
        file: "src/connection/deadline.rs",
        from: "since + now.saturating_duration_since(waits.max(since))",
        to: "since + 0 * now.saturating_duration_since(waits.max(since))",
    },
    Mutant {
        name: "shutdown: what was waited before the end prolongs the second of a read-out",
        file: "src/connection/deadline.rs",
        from: "now.saturating_duration_since(waits.max(since))",
        to: "now.saturating_duration_since(waits)",
    },
    Mutant {
        name: "shutdown: a wait for the server is excluded twice",
        file: "src/connection/deadline.rs",
        from: "let Some(waits) = self.waits.take() else { return };",
        to: "let Some(waits) = self.waits else { return };",
    },
    Mutant {
        name: "shutdown: the second of a read-out stands still while a reply is owed",
        file: "src/reason.rs",
        from: "Self::NoBlocks | Self::NotReady => true,\n            Self::Turn | Self::Owed |",
        to: "Self::NoBlocks | Self::NotReady | Self::Owed => true,\n            Self::Turn |",
    },
    Mutant {
        name: "liveness: a newcomer who is silent takes somebody's block",
        file: "src/processor/blocks.rs",
        from: "if self.leave_to_selector(slot) {",
        to: "if slot == u32::MAX && self.leave_to_selector(slot) {",
    },
    Mutant {
        name: "liveness: who has taken what it was given is forgotten",
        file: "src/processor/write.rs",
        from: "return self.write_on.push(slot);",
        to: "return;",
    },
    Mutant {
        name: "liveness: sleeps while there is more for who takes it",
        file: "src/processor/mod.rs",
        from: "&self.to_write, &self.write_on].into_iter().all(SlotQueue::is_empty)",
        to: "&self.to_write].into_iter().all(SlotQueue::is_empty)",
    },
];
