//! Bugs in what several processors have to do with each other.

use super::super::Mutant;

pub const MUTANTS: &[Mutant] = &[
    Mutant {
        name: "shutdown: nobody is told that a selector has failed",
        file: "src/processor/shutdown.rs",
        from: "            self.links.control.request(ShutdownRequest::at_once(self.now));\n",
        to: "            let _ = ShutdownRequest::at_once(self.now);\n",
    },
    Mutant {
        name: "memory: one connection more than there may be of all processors",
        file: "src/handover/dealer.rs",
        from: "if self.live() >= self.connections_max {",
        to: "if self.live() > self.connections_max {",
    },
    Mutant {
        name: "dealing: a connection goes to any processor with room",
        file: "src/handover/dealer.rs",
        from: ".min_by_key(|number| self.handovers[*number].live())",
        to: ".next()",
    },
    Mutant {
        name: "liveness: an unasked message wakes nobody",
        file: "src/outbox/write_proxy.rs",
        from: "    outbox.wake.wake();\n    Ok(())",
        to: "    Ok(())",
    },
    Mutant {
        name: "liveness: resume reaches the first processor only",
        file: "src/outbox/write_proxy.rs",
        from: "self.outboxes.iter().for_each(",
        to: "self.outboxes.iter().take(1).for_each(",
    },
    Mutant {
        name: "ends once: an unasked message stays with the sender's processor",
        file: "src/outbox/write_proxy.rs",
        from: "let Some(outbox) = self.outboxes.of(connection) else",
        to: "let Some(outbox) = Some(&self.home).filter(|_| self.outboxes.of(connection).is_some()) else",
    },
    Mutant {
        name: "ledger: the sum over processors is none",
        file: "src/metrics.rs",
        from: "$( self.$name = self.$name.wrapping_add(other.$name); )+",
        to: "$( self.$name = self.$name.max(other.$name); )+",
    },
    Mutant {
        name: "shutdown: the processor that ends first takes the grace from the others",
        file: "src/server/launch.rs",
        from: "if thread::panicking() || !self.0.is_requested() {",
        to: "if thread::panicking() || !self.0.is_requested() || true {",
    },
    Mutant {
        name: "shutdown: a processor that fails leaves the others to their grace",
        file: "src/server/launch.rs",
        from: "if thread::panicking() || !self.0.is_requested() {",
        to: "if !self.0.is_requested() {",
    },
    Mutant {
        name: "admission: an address has as much with each processor",
        file: "src/admission.rs",
        from: "(*count as usize) < self.per_address_max;",
        to: "(*count as usize) < self.per_address_max * 2;",
    },
    Mutant {
        name: "admission: who is refused takes a place",
        file: "src/admission.rs",
        from: "            self.remove_address(address);\n            return Err(CrowdScope::Server);",
        to: "            return Err(CrowdScope::Server);",
    },
];
