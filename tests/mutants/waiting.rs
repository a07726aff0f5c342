//! Bugs in the lines in which connections wait for what the server is short of, and in the list of who holds blocks.

use super::super::Mutant;

pub const MUTANTS: &[Mutant] = &[
    Mutant {
        name: "liveness: newcomers overtake those who wait",
        file: "src/processor/serve_waiters.rs",
        from: "front.first_wait < connection.first_wait)",
        to: "front.first_wait < connection.first_wait && front.first_wait == 0)",
    },
    Mutant {
        name: "liveness: who was let out of a line in vain stands at its end",
        file: "src/processor/serve_waiters.rs",
        from: "connection.first_wait = connection.first_wait.min(wait);",
        to: "connection.first_wait = wait;",
    },
    Mutant {
        name: "liveness: who was heard stays before those who wait",
        file: "src/connection/mod.rs",
        from: "        self.first_wait = NOT_WAITING;\n",
        to: "        self.first_wait = self.first_wait.min(NOT_WAITING);\n",
    },
    Mutant {
        name: "liveness: those who stand behind each other have turns of one message for ever",
        file: "src/processor/serve_waiters.rs",
        from: "                self.dissolve(LineFor::Ready);\n",
        to: "",
    },
    Mutant {
        name: "liveness: a line that dissolves forgets who came from another",
        file: "src/processor/waiters.rs",
        from: "waiter.first_wait > self.due && waiter.wants",
        to: "waiter.wants",
    },
    Mutant {
        name: "liveness: a read that could be large waits for a small block",
        file: "src/processor/serve_waiters.rs",
        from: "            || (self.could_read_medium()\n                && self.ensure_spare",
        to: "            || (false && self.could_read_medium()\n                && self.ensure_spare",
    },
    Mutant {
        name: "liveness: whoever gets a larger block has received anew what it holds",
        file: "src/processor/holders.rs",
        from: "            holder.receive(0, quarter);\n            self.add_holder(Holder { since: quarter, ..holder });",
        to: "            let _ = holder;\n            let bytes = self.table.at(slot).map_or(0, |connection| connection.inbound.buffered());\n            self.note_holder(slot, bytes);",
    },
    Mutant {
        name: "liveness: what was received is counted by quarters of a second, whatever the famine time is",
        file: "src/processor/holders.rs",
        from: "let micros = (famine / QUARTERS as u32)",
        to: "let micros = (0 * famine + Duration::from_millis(250))",
    },
    Mutant {
        name: "memory: holders that have to grow",
        file: "src/processor/holders.rs",
        from: "entries: Vec::with_capacity(blocks)",
        to: "entries: Vec::with_capacity(blocks + 1)",
    },
    Mutant {
        name: "liveness: whoever has just got its block loses it to the next in line",
        file: "src/processor/holders.rs",
        from: "least.filter(|holder| tier == SMALL || !holder.is_new(quarter))",
        to: "least",
    },
    Mutant {
        name: "liveness: whoever sends fast is evicted",
        file: "src/processor/holders.rs",
        from: "is_evictable(tier, found) && !is_spared(holder, found))",
        to: "is_evictable(tier, found) && (true || !is_spared(holder, found)))",
    },
    Mutant {
        name: "liveness: whoever becomes slower and slower keeps its block",
        file: "src/processor/holders.rs",
        from: "!had_time && capacity",
        to: "capacity",
    },
    Mutant {
        name: "liveness: nobody is ever slow",
        file: "src/processor/holders.rs",
        from: "!had_time && capacity <= (self.of_late(quarter) as usize).saturating_mul(SOON)",
        to: "true",
    },
    Mutant {
        name: "liveness: an encoder that was told of a block still waits",
        file: "src/buffer/line.rs",
        from: "            self.waiting.store(false, SeqCst);\n            self.changed.notify_all();",
        to: "            self.changed.notify_all();",
    },
];
