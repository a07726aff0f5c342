//! Tidiness as a test: layers, sizes, words, and documents that tell the truth.
//!
//! This file holds the rules and applies them to the repository; the checkers, each with tests of what it refuses, are
//! in `tests/tidy/`.

use std::time::Duration;

use sluicegate::http1::Limits;
use sluicegate::{Config, Workers};

mod tidy {
    pub mod documents;
    pub mod layers;
    pub mod sizes;
    pub mod source;
    pub mod words;
}

use tidy::layers::Row;
use tidy::source::{Source, root, sources};
use tidy::words::Word;
use tidy::{documents, layers, sizes, words};

/// The modules at the top of `src/`. A module knows those of the rows above its own, and nobody else.
const ROWS: &[Row] = &[
    Row { name: "what threads share", modules: &["sync"] },
    Row {
        name: "ground",
        modules: &["id", "reason", "timer", "clock", "wake", "encode_error", "config_error", "panics", "exposition"],
    },
    Row { name: "ground floor", modules: &["metrics", "poll"] },
    Row { name: "memory", modules: &["buffer"] },
    Row { name: "flow", modules: &["flow"] },
    Row { name: "between threads", modules: &["control", "handover"] },
    Row { name: "protocols", modules: &["protocol"] },
    Row { name: "ways out", modules: &["outbox"] },
    Row { name: "one peer", modules: &["connection"] },
    Row { name: "the user's trait", modules: &["message_processor"] },
    Row { name: "newcomers", modules: &["socket", "admission"] },
    Row { name: "threads", modules: &["accepter", "offload", "processor"] },
    Row { name: "around it all", modules: &["server"] },
    Row { name: "a simulated world", modules: &["sim"] },
    Row { name: "for the benches", modules: &["internals"] },
];

const LINES_MAX: usize = 500;
const COLUMNS_MAX: usize = 120;
const FUNCTION_LINES_MAX: usize = 70;

/// Words that stand only in the product code of the files behind them.
const WORDS: &[Word] = &[
    Word {
        word: "Instant::now",
        why: "time is an argument; the cycle asks its selector once",
        // In the last one a request to shut down is made, on any thread, and its grace begins.
        files: &["src/accepter/mod.rs", "src/processor/mio_selector.rs", "src/sim/clock.rs", "src/server/running.rs"],
    },
    Word {
        word: "SystemTime::now",
        why: "the wall clock comes from the selector",
        files: &["src/processor/mio_selector.rs"],
    },
    Word {
        word: "thread::",
        why: "threads are made by the server and by workers",
        // The accepter yields, the outbox asks on which thread it is and whether that panics, the model of a condition
        // parks; they make none.
        files: &[
            "src/accepter/mod.rs",
            "src/offload/mod.rs",
            "src/outbox/processor_thread.rs",
            "src/panics.rs",
            "src/server/launch.rs",
            "src/server/running.rs",
            "src/server/scheduling.rs",
            "src/sync/model.rs",
        ],
    },
    Word {
        word: "mio::",
        why: "the operating system is behind `Selector`, `Socket` and the accepter",
        files: &["src/accepter/mod.rs", "src/poll.rs", "src/processor/mio_selector.rs", "src/socket.rs"],
    },
    Word {
        word: "thread_local!",
        why: "what a thread remembers for itself is hidden from who reads the code",
        // Each says what it remembers; none changes what is answered.
        files: &[
            "src/outbox/processor_thread.rs",
            "src/protocol/http1/known_heads.rs",
            "src/protocol/http1/usual_head.rs",
        ],
    },
    Word {
        word: "parking_lot",
        why: "locks by which threads wait for each other come from `sync`, so that loom can run them",
        files: &["src/sync/mod.rs"],
    },
    Word { word: "sleep(", why: "a thread waits to be woken; a fixed sleep is a guess", files: SLEEPERS },
    Word { word: "unwrap(", why: "say what holds, with `expect`, or handle it", files: &[] },
    Word { word: "unsafe", why: "there is none", files: &[] },
    Word { word: "unbounded", why: "every queue has a bound", files: &[] },
    Word { word: "mpsc", why: "every queue has a bound, and a row in the ceiling", files: &[] },
    Word { word: "todo!", why: "do it or write an issue", files: &[] },
    Word { word: "dbg!", why: "the crate talks through `log`", files: &[] },
    Word { word: "println!", why: "the crate talks through `log`", files: &[] },
    Word { word: "eprintln!", why: "the crate talks through `log`", files: &[] },
];

/// Each has a function of that name, in which its thread waits in its poll, or calls it. (The simulation has a record
/// of it.)
const SLEEPERS: &[&str] = &["src/accepter/mod.rs", "src/processor/sleep.rs", "src/processor/mod.rs"];

/// What pure folders know nothing of.
const SANS_IO: &[(&str, &[&str])] = &[
    ("src/protocol/", &["Instant", "Duration", "TcpStream", "thread", "mio", "log"]),
    ("src/buffer/", &["Instant", "Duration", "TcpStream", "thread", "mio", "log"]),
    ("src/flow/", &["Instant", "TcpStream", "thread", "mio", "log"]),
    ("src/connection/", &["TcpStream", "thread", "mio", "log"]),
];

/// Names in ARCHITECTURE.md that are not the crate's own.
const FOREIGN: &[&str] = &["Date", "SO_REUSEPORT"];

fn assert_tidy(complaints: Vec<String>) {
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

/// The folders with code that is shown to others.
fn shown() -> Vec<Source> {
    ["src", "examples", "benches"].into_iter().flat_map(sources).collect()
}

fn document(name: &str) -> String {
    std::fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[test]
fn rows_know_only_the_rows_above() {
    assert_tidy(layers::upward(ROWS, &sources("src")));
}

#[test]
fn the_protocols_do_not_know_each_other() {
    assert_tidy(layers::between_siblings("protocol", &["http1", "length_prefixed"], &sources("src")));
}

#[test]
fn no_file_is_too_long() {
    let tests = sources("tests");
    assert_tidy(shown().iter().chain(&tests).filter_map(|source| sizes::long_file(source, LINES_MAX)).collect());
}

#[test]
fn no_line_is_too_wide() {
    let others = ["tests", "fuzz"].into_iter().flat_map(sources).collect::<Vec<_>>();
    assert_tidy(shown().iter().chain(&others).flat_map(|source| sizes::wide_lines(source, COLUMNS_MAX)).collect());
}

#[test]
fn no_function_is_too_long() {
    assert_tidy(shown().iter().flat_map(|source| sizes::long_functions(source, FUNCTION_LINES_MAX)).collect());
}

#[test]
fn each_file_says_what_it_is() {
    let tests = sources("tests");
    assert_tidy(shown().iter().chain(&tests).filter_map(sizes::no_introduction).collect());
}

#[test]
fn words_stand_where_they_belong() {
    let sources = sources("src");
    assert_tidy(WORDS.iter().flat_map(|word| words::misplaced(word, &sources)).collect());
}

#[test]
fn pure_rooms_know_no_socket_thread_or_clock() {
    let sources = sources("src");
    assert_tidy(SANS_IO.iter().flat_map(|(folder, words)| words::foreign(folder, words, &sources)).collect());
}

#[test]
fn architecture_names_what_exists() {
    let exists = |path: &str| root().join(path).exists();
    assert_tidy(documents::unknown_names(&document("ARCHITECTURE.md"), &sources("src"), exists, FOREIGN));
}

#[test]
fn planted_bugs_were_caught_by_tests_that_exist() {
    let tests = sources("tests");
    let all: Vec<_> = shown().into_iter().chain(tests).collect();
    assert_tidy(documents::unknown_tests(&document("docs/planted-bugs.md"), &all));
}

#[test]
fn the_readmes_commands_lead_somewhere() {
    let readme = document("README.md");
    for command in ["cargo run --release --example http_echo", "cargo test"] {
        let is_command =
            |line: &str| line == command || line.strip_prefix(command).is_some_and(|rest| rest.starts_with(' '));
        assert!(readme.lines().any(is_command), "README.md does not say `{command}`");
    }
    let manual = document("examples/log_agent/README.md");
    let words = || readme.split_whitespace().chain(manual.split_whitespace());
    let examples = words().zip(words().skip(1)).filter(|(option, _)| *option == "--example");
    for name in examples.map(|(_, name)| name.trim_matches(|letter: char| !letter.is_ascii_alphanumeric())) {
        let paths = [format!("examples/{name}.rs"), format!("examples/{name}/main.rs")];
        let exists = paths.iter().any(|path| root().join(path).exists());
        assert!(exists, "a README runs the example {name}, but there is no {}", paths.join(" and no "));
    }
}

#[test]
fn ci_runs_the_test_command_that_the_readme_names() {
    let ci = document(".ci/run");
    assert!(ci.contains("README.md"), ".ci/run takes the test command from README.md, so that there is one only");
    for step in [
        "cargo fmt --check",
        "SLUICEGATE_SEEDS_FROM=\"$new_seeds\" cargo test --test sim",
        "cargo clippy --all-targets -- -D warnings",
        "cargo clippy --lib -- -D warnings",
        "cargo doc --no-deps",
        "cargo bench --no-run",
        "cargo test --release --test loom",
    ] {
        assert!(ci.contains(step), ".ci/run does not say `{step}`");
    }
}

#[test]
fn the_readmes_defaults_are_those_of_the_code() {
    let readme = document("README.md");
    assert_tidy(documents::wrong_defaults(&documents::table(&readme, "Defaults"), &defaults()));
}

/// Every setting and its default, as the README writes it.
fn defaults() -> Vec<(&'static str, String)> {
    use documents::{bytes, count};
    let Config { timeouts, turn, watermarks, .. } = Config::default();
    let config = Config::default();
    let http = Limits::default();
    let workers = Workers::default();
    let seconds = |time: Duration| format!("{} s", time.as_secs_f64());
    let tiers = |tiers: [sluicegate::TierConfig; 3]| {
        tiers.map(|tier| format!("{} x {}", count(tier.count), bytes(tier.size))).join(", ")
    };
    vec![
        ("processors", count(config.processors)),
        ("connections_max", count(config.connections_max)),
        ("handover_max", count(config.handover_max)),
        ("backlog", count(config.backlog)),
        ("inbound", tiers(config.inbound)),
        ("outbound", tiers(config.outbound)),
        ("reply_max", bytes(config.reply_max)),
        ("scratch", bytes(config.scratch)),
        ("turn.messages", count(turn.messages)),
        ("turn.bytes", bytes(turn.bytes)),
        ("watermarks.high", bytes(watermarks.high)),
        ("watermarks.low", bytes(watermarks.low)),
        ("owed_max", count(config.owed_max)),
        ("owed_total_max", count(config.owed_total_max)),
        ("unasked_max", count(config.unasked_max)),
        ("segments_max", count(config.segments_max)),
        ("memory_max", config.memory_max.map_or("none".into(), |limit| bytes(limit as usize))),
        ("processor_stack", bytes(config.processor_stack)),
        ("accepter_stack", bytes(config.accepter_stack)),
        ("timeouts.idle", seconds(timeouts.idle)),
        ("timeouts.message", seconds(timeouts.message)),
        ("timeouts.message_rate", bytes(timeouts.message_rate)),
        ("timeouts.rate_grace", seconds(timeouts.rate_grace)),
        ("timeouts.write_stall", seconds(timeouts.write_stall)),
        ("timeouts.reply", seconds(timeouts.reply)),
        ("timeouts.linger", seconds(timeouts.linger)),
        ("timeouts.linger_bytes", bytes(timeouts.linger_bytes)),
        ("timeouts.famine", seconds(timeouts.famine)),
        ("http1::Limits::head_max", bytes(http.head_max as usize)),
        ("http1::Limits::fields_max", count(http.fields_max as usize)),
        ("http1::Limits::target_max", bytes(http.target_max as usize)),
        ("http1::Limits::body_max", bytes(http.body_max as usize)),
        ("http1::Limits::chunk_framing_max", bytes(http.chunk_framing_max as usize)),
        ("LengthPrefixed payload_max", bytes(sluicegate::LengthPrefixed::PAYLOAD_MAX_DEFAULT)),
        ("Workers::threads", count(workers.threads)),
        ("Workers::queue", count(workers.queue)),
        ("Workers::stack_size", bytes(workers.stack_size)),
        ("Workers::join_timeout", seconds(workers.join_timeout)),
    ]
}
