//! From settings to a bound server: what is refused, in which words, and what the memory ceiling says.

use std::collections::HashSet;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use sluicegate::{ConfigError, Decode, Finish, Message, Protocol, ProtocolError, Reply, Server, TierConfig};

/// One byte is a message.
#[derive(Clone, Debug)]
struct Bytewise {
    message_max: usize,
}

const BYTEWISE: Bytewise = Bytewise { message_max: 1 };

impl Protocol for Bytewise {
    type Layout = ();
    type Exchange = ();
    const IN_ORDER: bool = false;

    fn message_max(&self) -> usize {
        self.message_max
    }

    fn decode(&mut self, _: &mut [u8]) -> Result<Decode<()>, ProtocolError> {
        Ok(Decode::Complete { consumed: 1, layout: () })
    }

    fn exchange(_: &()) {}
}

fn ignore(_: Message<'_, Bytewise>, reply: Reply<'_, Bytewise>) {
    reply.none();
}

fn setting(error: &io::Error) -> Option<&'static str> {
    error.get_ref()?.downcast_ref::<ConfigError>().map(ConfigError::setting)
}

#[test]
fn the_default_ceiling_is_at_most_128_mib_and_the_sum_of_its_rows() {
    let server = Server::bind("127.0.0.1:0", BYTEWISE).expect("a port");
    let ceiling = server.memory_ceiling();
    assert!(ceiling.total() <= 128 << 20, "{ceiling}");
    assert_eq!(ceiling.total(), ceiling.rows().map(|row| row.bytes()).sum::<u64>());
    let names: HashSet<_> = ceiling.rows().map(|row| row.name()).collect();
    assert_eq!(names.len(), ceiling.rows().len(), "each name once");
    for name in ["inbound small", "outbound large", "reserves", "spares", "scratch", "timers", "metrics", "program"] {
        assert!(names.contains(name), "{name} is missing in\n{ceiling}");
    }
    assert!(ceiling.rows().all(|row| row.bytes() > 0 && !row.how().is_empty()), "{ceiling}");
}

#[test]
fn a_ceiling_over_memory_max_is_refused_before_anything_is_bound() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = listener.local_addr().expect("its address");
    let error = Server::builder(BYTEWISE).memory_max(64 << 20).bind(taken).expect_err("too much");
    assert_eq!((error.kind(), setting(&error)), (io::ErrorKind::InvalidInput, Some("memory_max")));
    let text = error.to_string();
    assert!(text.starts_with("memory_max: is 64 MiB (67108864 bytes), but the memory ceiling is "), "{text}");
    assert!(text.contains("lower several settings, beginning with "), "{text}");
}

#[test]
fn smaller_pools_fit_under_a_smaller_limit() {
    let tiers = [(1 << 10, 64), (8 << 10, 16), (64 << 10, 4)].map(|(size, count)| TierConfig { size, count });
    let builder = Server::builder(BYTEWISE).inbound(tiers).outbound(tiers).connections_max(100).memory_max(32 << 20);
    let server = builder.configure(|config| config.owed_total_max = 100).bind("127.0.0.1:0").expect("it fits");
    assert!(server.memory_ceiling().total() <= 32 << 20, "{}", server.memory_ceiling());
    assert_eq!(server.config().connections_max, 100);
}

#[test]
fn a_row_that_is_too_much_is_not_added() {
    let mut server = Server::builder(BYTEWISE).memory_max(256 << 20).bind("127.0.0.1:0").expect("it fits");
    let own = server.memory_ceiling().total();
    let error = server.count_in("cache", 1 << 30, "a gibibyte").expect_err("too much");
    assert_eq!((error.setting(), server.memory_ceiling().total()), ("memory_max", own));
    server.count_in("cache", 64 << 20, "less").expect("it fits");
    assert_eq!(server.memory_ceiling().total(), own + (64 << 20));
}

#[test]
fn settings_that_contradict_the_protocol_are_refused() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let error = Server::from_listener(listener, Bytewise { message_max: 2 << 20 }).expect_err("too long");
    assert_eq!((error.kind(), setting(&error)), (io::ErrorKind::InvalidInput, Some("inbound[2].size")));
}

#[test]
fn a_bind_error_names_the_address_in_display_and_debug() {
    let first = Server::bind("127.0.0.1:0", BYTEWISE).expect("a port");
    let address = first.local_addr();
    assert_ne!(address.port(), 0);
    let error = Server::bind(address, BYTEWISE).expect_err("one listener a port");
    let text = format!("cannot bind {address}: address already in use; ");
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    assert!(error.to_string().starts_with(&text), "{error}");
    assert!(format!("{error:?}").contains(&text), "{error:?}");
}

#[test]
fn peers_may_come_before_the_start_and_not_after_the_end() {
    let server = Server::bind("127.0.0.1:0", BYTEWISE).expect("a port");
    let address = server.local_addr();
    let _early = TcpStream::connect(address).expect("the backlog takes it");
    let running = server.start(ignore).expect("started");
    assert_eq!(running.local_addr(), address);
    running.shutdown(Duration::ZERO, Finish::Answer).expect("nothing failed");
    let refused = TcpStream::connect(address).expect_err("the listener is closed");
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
}

#[test]
fn a_running_server_that_is_dropped_ends() {
    let server = Server::bind("127.0.0.1:0", BYTEWISE).expect("a port");
    let address = server.local_addr();
    drop(server.start(ignore).expect("started"));
    TcpStream::connect(address).expect_err("the listener is closed");
}

/// More than any machine can address, whatever its kernel promises.
#[test]
fn tables_that_the_machine_has_no_memory_for_are_refused() {
    const MOST: usize = 1 << 28;
    let error = Server::builder(BYTEWISE)
        .processors(1024)
        .configure(|config| config.owed_total_max = MOST)
        .bind("127.0.0.1:0")
        .expect_err("there is no such machine");
    assert_eq!((error.kind(), setting(&error)), (io::ErrorKind::InvalidInput, Some("owed_total_max")));
    let text = error.to_string();
    assert!(text.starts_with("owed_total_max: is 268435456, "), "{text}");
}

#[test]
fn a_stopper_ends_it_from_another_thread() {
    let running = Server::bind("127.0.0.1:0", BYTEWISE).expect("a port").start(ignore).expect("started");
    let stopper = running.stopper();
    let asks = std::thread::spawn(move || stopper.shutdown(Duration::ZERO, Finish::ReadOut));
    running.join().expect("nothing failed");
    asks.join().expect("no panic");
}

/// Compiles: the types of the closure's arguments are inferred.
#[expect(dead_code, reason = "it would stay for ever")]
fn serve_infers_its_closure() -> io::Result<()> {
    Server::bind("127.0.0.1:0", BYTEWISE)?.serve(|message, reply| match message.bytes() {
        [0] => reply.close(),
        _ => reply.none(),
    })
}
