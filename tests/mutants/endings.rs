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
        from: "if dropped > self.settings.timeouts.linger_bytes {",
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
];
