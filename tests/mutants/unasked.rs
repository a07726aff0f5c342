//! Bugs in what is written unasked.

use super::super::Mutant;

pub const MUTANTS: &[Mutant] = &[Mutant {
    name: "ends once: what is sent to who has gone is charged to its successor",
    file: "src/outbox/gauge.rs",
    from: "let fits = before & !BYTES == mark(connection) && before",
    to: "let fits = before",
}];
