//! Bugs in what is written unasked.

use super::super::Mutant;

pub const MUTANTS: &[Mutant] = &[
    Mutant {
        name: "ends once: what is sent to who has gone is charged to its successor",
        file: "src/outbox/gauge.rs",
        from: "let fits = before & !BYTES == mark(connection) && has < high",
        to: "let fits = has < high",
    },
    Mutant {
        name: "outbox: what never fits is to be tried again",
        file: "src/buffer/outbound.rs",
        from: "match self.source.could_hold(self.answer.copied + more, blocks) {",
        to: "match self.source.could_hold(more, left) || more > 0 {",
    },
];
