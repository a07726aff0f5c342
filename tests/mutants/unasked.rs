//! Bugs in what is written unasked.

use super::super::Mutant;

pub const MUTANTS: &[Mutant] = &[
    Mutant {
        name: "ends once: what is sent to who has gone is charged to its successor",
        file: "src/outbox/gauge.rs",
        from: "let fits = takes(before, connection) && has < high",
        to: "let fits = has < high",
    },
    Mutant {
        name: "unasked: what is sent in a cycle comes behind the end that begins in it",
        file: "src/processor/write.rs",
        from: "        self.take_answers();\n",
        to: "",
    },
    Mutant {
        name: "unasked: what was sent before a shutdown comes behind it",
        file: "src/processor/shutdown.rs",
        from: "                self.take_answers();\n",
        to: "",
    },
    Mutant {
        name: "unasked: an end that has begun takes nothing more",
        file: "src/processor/intake.rs",
        from: "is_some_and(Connection::takes_unasked);",
        to: "is_some_and(|connection| connection.ending.is_none());",
    },
    Mutant {
        name: "unasked: an end takes more behind its final answer, or before a refusal",
        file: "src/connection/mod.rs",
        from: "self.waits_for_replies() && self.ending.as_deref().is_none_or(takes)",
        to: "self.waits_for_replies() && (true || self.ending.as_deref().is_none_or(takes))",
    },
    Mutant {
        name: "unasked: who was asked to close is sent more",
        file: "src/outbox/gauge.rs",
        from: "is_its(value, connection) && value & TO_CLOSE == 0",
        to: "is_its(value, connection)",
    },
    Mutant {
        name: "unasked: who is slow gets no last message",
        file: "src/outbox/mod.rs",
        from: "gauge.charge(connection, bytes, u64::MAX)",
        to: "gauge.charge(connection, bytes, self.limits.outbound_high as u64)",
    },
    Mutant {
        name: "unasked: nobody looks who was asked to close",
        file: "src/processor/intake.rs",
        from: "        self.take_closes();\n",
        to: "",
    },
    Mutant {
        name: "unasked: an end does not wait for what found no segment",
        file: "src/processor/close.rs",
        from: "left && self.has_more_on_its_way(slot)",
        to: "left && false",
    },
    Mutant {
        name: "unasked: a shutdown does not wait for what found no segment",
        file: "src/processor/shutdown.rs",
        from: "true if untouched && self.has_more_on_its_way(slot) =>",
        to: "true if untouched && false =>",
    },
    Mutant {
        name: "broadcast: who pushes back keeps the blocks of all",
        file: "src/processor/write.rs",
        from: "                self.segments.make_own(queue, pool);\n",
        to: "                let _ = (queue, pool);\n",
    },
    Mutant {
        name: "broadcast: who has pushed back keeps the blocks of all",
        file: "src/processor/intake.rs",
        from: "filter(|_| is_copied)",
        to: "filter(|_| is_copied && false)",
    },
    Mutant {
        name: "broadcast: who got no copy keeps the blocks of all for good",
        file: "src/buffer/segments/lent.rs",
        from: "        if self.ends_lent(queue) {",
        to: "        if false && self.ends_lent(queue) {",
    },
    Mutant {
        name: "broadcast: a copy lies in a small block or nowhere",
        file: "src/buffer/segments/lent.rs",
        from: "{ SMALL..SMALL } else { SMALL..TIERS }",
        to: "{ SMALL..SMALL } else { SMALL..SMALL + 1 }",
    },
    Mutant {
        name: "broadcast: output that frees no block is given up first",
        file: "src/processor/slow_peers.rs",
        from: "patience * if self.shares(slot) { 2 } else { 1 }",
        to: "patience * if self.shares(slot) { 1 } else { 1 }",
    },
    Mutant {
        name: "broadcast: encoded for each receiver",
        file: "src/outbox/broadcast.rs",
        from: "if matches!(encoding, Encoding::NotNeededYet) {",
        to: "if true {",
    },
    Mutant {
        name: "outbox: what never fits is to be tried again",
        file: "src/buffer/outbound/mod.rs",
        from: "if self.source.could_hold(self.answer.copied + more, blocks) {",
        to: "if self.source.could_hold(more, left) || more > 0 {",
    },
];
