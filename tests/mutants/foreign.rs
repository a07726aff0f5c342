//! Panics of code that is not ours, and what they must not cost.

use super::super::Mutant;

pub const MUTANTS: &[Mutant] = &[
    Mutant {
        name: "one peer: a panic of foreign code is everybody's",
        file: "src/panics.rs",
        from: "    catch_unwind(AssertUnwindSafe(call)).map_err(",
        to: "    Ok::<T, Box<dyn Any + Send>>(call()).map_err(",
    },
    Mutant {
        name: "one peer: a parse state is used after it has panicked",
        file: "src/processor/decode.rs",
        from: "if self.speak(slot, \"interim\", P::interim) == Err(Panicked) {",
        to: "if self.speak(slot, \"interim\", P::interim) == Err(Panicked) && slot == u32::MAX {",
    },
    Mutant {
        name: "ledger: a connection that could not be opened is still counted",
        file: "src/processor/intake.rs",
        from: "            return self.links.handover.ended();",
        to: "            return;",
    },
    Mutant {
        name: "ledger: what the user was not given counts as given",
        file: "src/processor/process.rs",
        from: "        if handed_over {",
        to: "        if handed_over || panicked {",
    },
    Mutant {
        name: "ledger: a panic before an answer begins takes the one before back",
        file: "src/outbox/desk.rs",
        from: "        self.outcome = Outcome::Pending;\n        self.out.begin();\n",
        to: "        self.outcome = Outcome::Pending;\n",
    },
];
