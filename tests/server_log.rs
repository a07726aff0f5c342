//! What a server logs when it starts. Alone in its binary: the logger and the limit of descriptors are the process's.

use std::sync::Mutex;
use std::time::Duration;

use log::{Level, LevelFilter, Log, Metadata, Record};
use sluicegate::{Finish, LengthPrefixed, Message, Reply, Server};

struct Collect(Mutex<Vec<(Level, String)>>);

static LINES: Collect = Collect(Mutex::new(Vec::new()));

impl Log for Collect {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let line = (record.level(), record.args().to_string());
        self.0.lock().expect("nobody panics with it").push(line);
    }

    fn flush(&self) {}
}

fn ignore(_: Message<'_, LengthPrefixed>, reply: Reply<'_, LengthPrefixed>) {
    reply.none();
}

#[test]
#[cfg(unix)]
fn the_ceiling_is_logged_row_by_row_and_too_few_descriptors_once() {
    log::set_logger(&LINES).expect("the only logger");
    log::set_max_level(LevelFilter::Info);
    rlimit::setrlimit(rlimit::Resource::NOFILE, 100, 256).expect("a limit may be lowered");

    let server = Server::builder(LengthPrefixed::default()).connections_max(1000).bind("127.0.0.1:0").expect("a port");
    let (address, rows) = (server.local_addr(), server.memory_ceiling().rows().len());
    let running = server.start(ignore).expect("started");
    running.shutdown(Duration::ZERO, Finish::Answer).expect("nothing failed");

    let (soft, _) = rlimit::getrlimit(rlimit::Resource::NOFILE).expect("the limit");
    assert_eq!(soft, 256, "raised as far as allowed");
    let lines = LINES.0.lock().expect("nobody panics with it");
    let with = |level, text: &str| lines.iter().filter(|line| line.0 == level && line.1.contains(text)).count();
    assert_eq!(with(Level::Warn, "connections_max = 1000"), 1, "{lines:?}");
    assert_eq!(with(Level::Warn, "256"), 1, "{lines:?}");
    let first = lines.iter().position(|line| line.1.contains(&format!("listening on {address}")));
    let first = first.expect("it says where it listens") + 1;
    assert!(lines[first].1.starts_with("inbound small "), "{lines:?}");
    assert!(lines[first + rows].1.starts_with("total "), "{lines:?}");
    assert_eq!(with(Level::Info, "not counted"), 2, "{lines:?}");
    assert_eq!(
        with(Level::Info, &format!("shutting down: {address} with 0 connections open, grace 0ns")),
        1,
        "{lines:?}"
    );
}
