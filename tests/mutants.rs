//! Each law, broken on purpose: the simulation has to see it. The list is by law; a name begins with its law, as
//! ARCHITECTURE.md has it, or with what else is promised.
//!
//!     cargo test --test mutants -- --ignored --nocapture
//!
//! copies the crate, plants one bug after the other in the copy, and runs the simulation over it. A bug that survives
//! is a hole in the checks. Takes some minutes; `SLUICEGATE_MUTANT=text` picks those whose name has that text in it.

mod mutants {
    pub mod endings;
    pub mod foreign;
    pub mod http1;
    pub mod large_answers;
    pub mod processors;
    pub mod turns;
    pub mod unasked;
    pub mod waiting;
}

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, io};

/// Seeds that each bug has to survive in vain.
const SEEDS: &str = "400";

/// A bug to be planted: in `file`, the one place that says `from` says `to`.
pub struct Mutant {
    /// The law that it breaks, and how.
    pub name: &'static str,
    pub file: &'static str,
    pub from: &'static str,
    pub to: &'static str,
}

const MUTANTS: &[Mutant] = &[
    Mutant {
        name: "liveness: sleeps while connections wait for their turn",
        file: "src/processor/queues.rs",
        from: "self.all().into_iter().all(SlotQueue::is_empty)",
        to: "[&self.write, &self.write_on].into_iter().all(SlotQueue::is_empty)",
    },
    Mutant {
        name: "liveness: tries again in each cycle while there is no block",
        file: "src/processor/serve_waiters.rs",
        from: "blocks || answers || repaid || owed || others",
        to: "self.famine_due().is_some() || blocks || answers || repaid || owed || others",
    },
    Mutant {
        name: "liveness: a settled reply wakes nobody",
        file: "src/outbox/mod.rs",
        from: "\"every owed reply has its place in advance\");\n        self.wake.wake();",
        to: "\"every owed reply has its place in advance\");",
    },
    Mutant {
        name: "liveness: a block that comes home wakes nobody",
        file: "src/processor/serve_waiters.rs",
        from: "self.links.inbound.line().tell_processor();",
        to: "",
    },
    Mutant {
        name: "liveness: the end behind a short read is forgotten",
        file: "src/processor/read.rs",
        from: "if count < window.len() && !flags.read_closed {",
        to: "if count < window.len() {",
    },
    Mutant {
        name: "liveness: a turn that is over leaves the run queue",
        file: "src/processor/turn.rs",
        from: "if connection.has_input() {\n            self.enqueue_read(slot)\n",
        to: "if connection.has_input() {\n",
    },
    Mutant {
        name: "liveness: whoever lingers is not read",
        file: "src/processor/close.rs",
        from: "self.set_stage(slot, Stage::Lingering { dropped: 0 });\n        self.enqueue_read(slot);",
        to: "self.set_stage(slot, Stage::Lingering { dropped: 0 });",
    },
    Mutant {
        name: "liveness: a socket that pushed back is not watched",
        file: "src/processor/write.rs",
        from: "connection.flags.write_interest = true;\n            if let Err(error) = self.selector.set_write(&mut connection.socket, slot, true) {\n                return self.socket_failed(slot, error.kind());\n            }",
        to: "connection.flags.write_interest = true;",
    },
    Mutant {
        name: "liveness: no deadline is set",
        file: "src/processor/timeouts.rs",
        from: "if self.wheel.due(slot).is_none_or(|set| due < set) =>",
        to: "if false && self.wheel.due(slot).is_none_or(|set| due < set) =>",
    },
    Mutant {
        name: "liveness: whoever comes to wait for a block is not timed",
        file: "src/processor/serve_waiters.rs",
        from: "_ if self.waiters.evict_at(line).is_none() => true,",
        to: "",
    },
    Mutant {
        name: "liveness: whoever comes to wait for room for an answer is not timed",
        file: "src/processor/slow_peers.rs",
        from: "waited_for != self.waits_for_outbound() || (look_at.is_none() && self.is_tight())",
        to: "look_at.is_none() && waited_for && self.is_tight()",
    },
    Mutant {
        name: "liveness: slow peers keep the segments that finished answers wait for",
        file: "src/processor/answer_room.rs",
        from: "let lacks_segments = || !self.can_take_outbound() && outbox.has_work();",
        to: "let lacks_segments = || false;",
    },
    Mutant {
        name: "liveness: nobody is evicted",
        file: "src/processor/serve_waiters.rs",
        from: "if now < due {\n            return false;",
        to: "if now < due + famine * 1000 {\n            return false;",
    },
    Mutant {
        name: "liveness: output is never given up",
        file: "src/processor/slow_peers.rs",
        from: "self.close_now(slot, CloseReason::EvictedOutbound { undelivered });",
        to: "let _ = (slot, CloseReason::EvictedOutbound { undelivered });",
    },
    Mutant {
        name: "liveness: whoever takes its output slowly keeps its room",
        file: "src/processor/slow_peers.rs",
        from: "(_, Some(slot)) if waited_for => self.give_up(slot, Duration::ZERO),\n            (_, Some(slot)) => self.give_up(slot, self.settings.timeouts.famine / PACE_DIVISOR),\n            (stalled, None)",
        to: "(stalled, _)",
    },
    Mutant {
        name: "liveness: a worker's answer in the reserve is not noted, so nothing moves it",
        file: "src/processor/intake.rs",
        from: "            answer_room.note_reserve(slot, &segment);\n",
        to: "",
    },
    Mutant {
        name: "clocks: a message ages while it waits for the server",
        file: "src/connection/deadline.rs",
        from: "self.message_since = self.message_since.map(|began| began + waited);",
        to: "",
    },
    Mutant {
        name: "memory: one block more than configured",
        file: "src/buffer/tier.rs",
        from: "(made < count).then_some(made + 1)",
        to: "(made < count + 1).then_some(made + 1)",
    },
    Mutant {
        name: "memory: output stops no input",
        file: "src/processor/backpressure.rs",
        from: "let undelivered = connection.undelivered.bytes() + self.desk.out.len();\n        if",
        to: "let undelivered = 0 * (connection.undelivered.bytes() + self.desk.out.len());\n        if",
    },
    Mutant {
        name: "memory: more is owed to a connection than it may be",
        file: "src/processor/process.rs",
        from: "if P::IN_ORDER || connection.owed.count() >= self.settings.owed_max {",
        to: "if P::IN_ORDER || connection.owed.count() > self.settings.owed_max {",
    },
    Mutant {
        name: "memory: one connection more than there may be of one processor",
        file: "src/handover/mod.rs",
        from: "self.live.load(SeqCst) < self.connections_each",
        to: "self.live.load(SeqCst) <= self.connections_each",
    },
    Mutant {
        name: "memory: a reserve of two blocks",
        file: "src/buffer/lease.rs",
        from: "size: reply_max, count: 1 }, RESERVE",
        to: "size: reply_max, count: 2 }, RESERVE",
    },
    Mutant {
        name: "memory: room for more segments than were counted",
        file: "src/buffer/segments/mod.rs",
        from: "nodes: Vec::with_capacity(max)",
        to: "nodes: Vec::with_capacity(max + 1)",
    },
    Mutant {
        name: "memory: room for more connections than were counted",
        file: "src/connection/table.rs",
        from: "slots: Vec::with_capacity(max)",
        to: "slots: Vec::with_capacity(2 * max)",
    },
    Mutant {
        name: "memory: a line that has to grow",
        file: "src/processor/waiters.rs",
        from: "waiting: VecDeque::with_capacity(max),",
        to: "waiting: VecDeque::with_capacity(max + 1),",
    },
    Mutant {
        name: "memory: room for more timers than were counted",
        file: "src/timer/mod.rs",
        from: "entries: Vec::with_capacity(slots),",
        to: "entries: Vec::with_capacity(slots + 1),",
    },
    Mutant {
        name: "memory: room for more tickets than were counted",
        file: "src/outbox/owed.rs",
        from: "entries: Vec::with_capacity(max)",
        to: "entries: Vec::with_capacity(max + 1)",
    },
    Mutant {
        name: "memory: a larger scratch than was counted",
        file: "src/processor/mod.rs",
        from: "vec![0; settings.scratch]",
        to: "vec![0; settings.scratch + 1]",
    },
    Mutant {
        name: "memory: room for more events than were counted",
        file: "src/processor/mod.rs",
        from: "ready: Vec::with_capacity(EVENTS)",
        to: "ready: Vec::with_capacity(2 * EVENTS)",
    },
    Mutant {
        name: "memory: holders that hold nothing",
        file: "src/processor/holders.rs",
        from: "        self.entries.push(holder);",
        to: "        self.entries.push(Holder { slot: u32::MAX, ..holder });\n        self.entries.push(holder);",
    },
    Mutant {
        name: "memory: an address that has gone is counted for ever",
        file: "src/admission.rs",
        from: "            if *entry.get() == 0 {",
        to: "            if false && *entry.get() == 0 {",
    },
    Mutant {
        name: "memory: starts although the ceiling is over the limit",
        file: "src/server/ceiling.rs",
        from: "        if excess == 0 {",
        to: "        if excess < u64::MAX {",
    },
    Mutant {
        name: "ledger: an inbound block is lost",
        file: "src/processor/blocks.rs",
        from: "            self.inbound.put(block);",
        to: "            std::mem::forget(block);",
    },
    Mutant {
        name: "ledger: a pause is not counted off",
        file: "src/processor/backpressure.rs",
        from: "self.links.metrics.paused[reason as usize].sub(1);\n        let runs",
        to: "let runs",
    },
    Mutant {
        name: "ledger: a settled reply stays owed",
        file: "src/processor/intake.rs",
        from: "            self.desk.owed.unlink(&mut connection.owed, ticket);",
        to: "            let _ = connection;",
    },
    Mutant {
        name: "ledger: delivered bytes stay on the shared gauge",
        file: "src/processor/write.rs",
        from: "        links.outbox.count_off(slot, bytes);\n        links.metrics",
        to: "        links.metrics",
    },
    Mutant {
        name: "ledger: bytes are counted that never came",
        file: "src/processor/read.rs",
        from: "self.links.metrics.bytes_in.add(count);",
        to: "self.links.metrics.bytes_in.add(count + 1);\n            self.links.metrics.bytes_framing.add(1);",
    },
    Mutant {
        name: "ledger: the accepter's connection is counted twice",
        file: "src/handover/mod.rs",
        from: "        self.live.fetch_add(1, SeqCst);",
        to: "        self.live.fetch_add(2, SeqCst);",
    },
    Mutant {
        name: "ledger: an end is not counted off",
        file: "src/processor/close.rs",
        from: "            self.links.crowd.remove(peer.address.ip());\n        }\n        self.links.handover.ended();",
        to: "            self.links.crowd.remove(peer.address.ip());\n        }",
    },
    Mutant {
        name: "ledger: a message whose user panicked is not counted",
        file: "src/processor/process.rs",
        from: "metrics.messages_in.add(1);",
        to: "metrics.messages_in.add(usize::from(!panicked));",
    },
    Mutant {
        name: "ledger: a delivered block stays in use",
        file: "src/buffer/lease.rs",
        from: "                _ => pool.put(block),",
        to: "                _ => std::mem::forget(block),",
    },
    Mutant {
        name: "home: an outbound block is lost",
        file: "src/buffer/segments/mod.rs",
        from: "while self.pop(queue).is_some() {}",
        to: "while let Some(segment) = self.pop(queue) {\n            std::mem::forget(segment);\n        }",
    },
    Mutant {
        name: "ends once: the user hears of an end twice",
        file: "src/processor/close.rs",
        from: "let _ = foreign(&self.links.metrics, \"closed\", || user.closed(&peer, &reason));",
        to: "user.closed(&peer, &reason);\n        let _ = foreign(&self.links.metrics, \"closed\", || user.closed(&peer, &reason));",
    },
    Mutant {
        name: "ends once: the user does not hear of an end",
        file: "src/processor/close.rs",
        from: "let _ = foreign(&self.links.metrics, \"closed\", || user.closed(&peer, &reason));",
        to: "let _ = foreign(&self.links.metrics, \"closed\", || drop((user, reason)));",
    },
    Mutant {
        name: "ends once: a late reply reaches whoever is in the slot",
        file: "src/processor/intake.rs",
        from: "(connection.id() == id).then_some(id.slot())",
        to: "(connection.id().slot() == id.slot()).then_some(id.slot())",
    },
    Mutant {
        name: "ends once: a peer's half-close is its end",
        file: "src/processor/read.rs",
        from: "None => self.begin_close(slot, reason),",
        to: "None => self.close_now(slot, reason),",
    },
    Mutant {
        name: "ends once: a reason promises what was cut short",
        file: "src/processor/close.rs",
        from: "first.filter(|first| !(cut_short &&",
        to: "first.filter(|first| !(cut_short && false &&",
    },
    Mutant {
        name: "one peer: closed because others hold the memory for answers",
        file: "src/processor/backpressure.rs",
        from: "if full && connection.flags.close_when_full",
        to: "if (full || undelivered > 0) && connection.flags.close_when_full",
    },
    Mutant {
        name: "one peer: whoever is busy has more than its turn",
        file: "src/processor/backpressure.rs",
        from: "if budget.messages == 0 ||",
        to: "if budget.messages == usize::MAX ||",
    },
    Mutant {
        name: "one peer: the error of one ends another",
        file: "src/processor/broken.rs",
        from: "        self.close_now(slot, CloseReason::Socket(kind));",
        to: "        self.close_now(slot ^ 1, CloseReason::Socket(kind));\n        self.close_now(slot, CloseReason::Socket(kind));",
    },
    Mutant {
        name: "any split: a promotion loses a byte",
        file: "src/buffer/inbound.rs",
        from: "let copied = larger.push(self.live());\n        debug_assert_eq!(copied, self.buffered(), \"a promotion keeps every byte\");",
        to: "larger.push(&self.live()[1..]);\n        larger.push(b\"x\");",
    },
    Mutant {
        name: "any split: where a line of the head began is forgotten between two reads",
        file: "src/protocol/http1/search.rs",
        from: "        self.searched = section.len() as u32;\n",
        to: "        self.searched = section.len() as u32;\n        self.line_start = self.searched;\n",
    },
    Mutant {
        name: "order: an answer overtakes those in the queue",
        file: "src/processor/write.rs",
        from: "table.at_mut(slot).filter(|connection| connection.undelivered.is_empty()) else {\n            return 0;",
        to: "table.at_mut(slot) else {\n            return 0;",
    },
    Mutant {
        name: "order: the offset of a short write is not kept",
        file: "src/buffer/segments/mod.rs",
        from: "Self::Block { start, .. } | Self::Lent { start, .. } | Self::Shared { start, .. } => *start += count,",
        to: "Self::Block { start, .. } | Self::Lent { start, .. } | Self::Shared { start, .. } if *start == 0 => *start += count,\n            Self::Block { .. } | Self::Lent { .. } | Self::Shared { .. } => {}",
    },
    Mutant {
        name: "ready: a message comes without having been asked for",
        file: "src/processor/backpressure.rs",
        from: "            self.ask_user() || self.user_is_ready_after_all(slot)\n",
        to: "            true\n",
    },
];

fn all() -> impl Iterator<Item = &'static Mutant> {
    use mutants::{endings, foreign, http1, large_answers, processors, turns, unasked, waiting};
    let by_noun = [
        processors::MUTANTS,
        turns::MUTANTS,
        large_answers::MUTANTS,
        waiting::MUTANTS,
        foreign::MUTANTS,
        unasked::MUTANTS,
        http1::MUTANTS,
        endings::MUTANTS,
    ];
    MUTANTS.iter().chain(by_noun.into_iter().flatten())
}

/// Copies what cargo needs.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (name, place) = (entry.file_name(), to.join(entry.file_name()));
        if ["target", ".git", "fuzz"].iter().any(|skipped| name == *skipped) {
            continue;
        }
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &place)?;
        } else {
            fs::copy(entry.path(), place)?;
        }
    }
    Ok(())
}

/// The first line in which the simulation of the copy complains; `None` if it is content.
fn complaint(crate_copy: &Path) -> Option<String> {
    // The short stories find what is rare among seeds. What comes before the first cycle, no simulation can see, nor
    // what becomes of the threads.
    let tests = "sim sim_regressions asked_to_close slow_peers server_config processors large_answers \
                 waiting panics unasked http1_limits fairness broken_sockets stalled read_out grace deferred sent_before_the_end";
    let of_a_test = |test| complaint_of(&["--test", test], crate_copy);
    tests.split(' ').find_map(of_a_test).or_else(|| complaint_of(&["--lib"], crate_copy))
}

fn complaint_of(target: &[&str], crate_copy: &Path) -> Option<String> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.arg("test").args(target).args(["--", "--nocapture"]).current_dir(crate_copy);
    cargo.env("CARGO_TARGET_DIR", crate_copy.join("target")).env("RUST_BACKTRACE", "0");
    // Most of the time goes into building.
    cargo.env("CARGO_PROFILE_TEST_OPT_LEVEL", "0").env("CARGO_PROFILE_TEST_DEBUG", "0");
    cargo.env("CARGO_PROFILE_DEV_DEBUG", "0");
    cargo.env("SLUICEGATE_SEEDS", SEEDS).env_remove("SLUICEGATE_SEED").env_remove("SLUICEGATE_SEEDS_FROM");
    let output = cargo.output().expect("cargo runs");
    if output.status.success() {
        return None;
    }
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    assert!(!text.contains("could not compile"), "the mutant does not compile:\n{text}");
    let telling = |line: &&str| line.starts_with("seed ") && line.contains(": ") || line.starts_with("Error: ");
    let failed = |line: &&str| line.ends_with("... FAILED") || line.contains("(signal: ");
    let line = text.lines().find(telling).or(text.lines().find(failed));
    // What ends for another reason, because there is no such test or no more room on the disk, has found nothing.
    Some(line.unwrap_or_else(|| panic!("cargo failed, and no test did:\n{text}")).to_owned())
}

/// The laws by their names: the first column of their table.
fn laws(architecture: &str) -> Vec<&str> {
    let section = architecture.split("\n## ").find(|section| section.starts_with("The laws")).expect("its section");
    let rows = section.lines().filter_map(|line| line.strip_prefix("| ")?.split(" |").next());
    rows.filter(|name| *name != "law").collect()
}

#[test]
fn each_law_has_its_mutant() {
    let architecture = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("ARCHITECTURE.md"));
    let architecture = architecture.expect("it is there");
    let laws = laws(&architecture);
    assert!(laws.len() >= 8, "{laws:?}");
    let is_broken = |law: &str| all().any(|mutant| mutant.name.strip_prefix(law).is_some_and(begins_text));
    let whole: Vec<_> = laws.into_iter().filter(|law| !is_broken(law)).collect();
    assert!(whole.is_empty(), "no mutant breaks {whole:?}");
}

fn begins_text(rest: &str) -> bool {
    rest.starts_with(": ")
}

#[test]
fn each_mutant_has_its_place() {
    let missing = all().filter(|mutant| {
        let file = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(mutant.file)).unwrap_or_default();
        file.matches(mutant.from).count() != 1
    });
    let missing: Vec<_> = missing.map(|mutant| (mutant.name, mutant.file)).collect();
    assert!(missing.is_empty(), "the code has changed where these were planted: {missing:#?}");
}

#[test]
#[ignore = "takes minutes"]
fn every_planted_bug_is_found() {
    let place = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("mutants");
    copy(Path::new(env!("CARGO_MANIFEST_DIR")), &place).expect("the crate can be copied");
    let wanted = env::var("SLUICEGATE_MUTANT").unwrap_or_default();
    // What fails without a planted bug would find each of them.
    assert_eq!(complaint(&place), None, "the copy is sound");
    let mut survivors = Vec::new();
    for mutant in all().filter(|mutant| mutant.name.contains(&wanted)) {
        let file = place.join(mutant.file);
        let sound = fs::read_to_string(&file).expect("the file is there");
        assert_eq!(sound.matches(mutant.from).count(), 1, "{}: its place in {} is gone", mutant.name, mutant.file);
        fs::write(&file, sound.replace(mutant.from, mutant.to)).expect("the copy can be written");
        let found = complaint(&place);
        fs::write(&file, sound).expect("the copy can be written");
        println!("{}\n    {}", mutant.name, found.as_deref().unwrap_or("SURVIVED"));
        if found.is_none() {
            survivors.push(mutant.name);
        }
    }
    assert!(survivors.is_empty(), "not found: {survivors:#?}");
}
