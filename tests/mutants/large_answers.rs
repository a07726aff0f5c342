//! Bugs in answers that are sent from where they lie, and in reads that expect much.

use super::super::Mutant;

pub const MUTANTS: &[Mutant] = &[
    Mutant {
        name: "order: a large answer overtakes what waits for the socket",
        file: "src/processor/process.rs",
        from: "if waiting.is_empty() { Some(socket) } else { None }",
        to: "if waiting.bytes() < usize::MAX { Some(socket) } else { None }",
    },
    Mutant {
        name: "ledger: what left of a large answer at once is not counted",
        file: "src/processor/process.rs",
        from: "                    self.links.metrics.count_delivered(delivered);\n",
        to: "                    self.links.metrics.count_delivered(if after == After::Close { delivered } else { 0 });\n",
    },
    Mutant {
        name: "memory: a large answer is sent before there is room for what the socket leaves of it",
        file: "src/buffer/outbound/delivery.rs",
        from: "let first = self.find_room(tail.len());",
        to: "let first = self.segments.len().saturating_sub(1);",
    },
    Mutant {
        name: "ledger: what a socket leaves of a large answer begins at the wrong byte",
        file: "src/buffer/outbound/delivery.rs",
        from: "&tail[delivered.saturating_sub(staged)..];",
        to: "&tail[delivered.min(tail.len()).saturating_sub(staged / 2)..];",
    },
    Mutant {
        name: "memory: a block for much stays with little",
        file: "src/processor/read.rs",
        from: "Got::Bytes(count) if count > self.scratch.len() => {",
        to: "Got::Bytes(count) => {",
    },
];
