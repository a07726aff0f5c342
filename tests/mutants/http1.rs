//! Bugs in how long a request may be.

use super::super::Mutant;

pub const MUTANTS: &[Mutant] = &[
    Mutant {
        name: "any split: the empty line behind a chunked body has no room",
        file: "src/protocol/http1/mod.rs",
        from: "self.limits.head_max as usize + self.limits.body_max as usize + EMPTY_LINE",
        to: "self.limits.head_max as usize + self.limits.body_max as usize",
    },
    Mutant {
        name: "any split: one byte more than there is room for is waited for",
        file: "src/protocol/http1/search.rs",
        from: "if section.len() >= len_max {",
        to: "if section.len() > len_max {",
    },
];
