//! The load generator against the examples that serve: short runs, of each kind.
//!
//! Its parts have tests of their own, beside them: `tests/load_parts.rs` runs those.

#![cfg(target_os = "linux")]

mod common {
    pub mod child;
    pub mod net;
}

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use common::child::{Ended, Example};
use common::net::LONG;

/// How long is measured, at first. A machine that has other things to do may hold everything up for longer than that:
/// then it is measured for longer.
const SECONDS: [&str; 3] = ["--seconds=0.3", "--seconds=3", "--seconds=30"];
/// How long an answer may take that never comes. Those that do come are this program's, which may be held up.
const NEVER: &str = "--timeout=5";
/// In an open loop: a request at the beginning, and no other for as long as anything takes.
const ONCE: &str = "--rate=0.001";

fn load(address: &str, flags: &[&str]) -> Ended {
    load_for(SECONDS[0], address, flags)
}

fn load_for(seconds: &str, address: &str, flags: &[&str]) -> Ended {
    Example::run("load", &[&[address, seconds, "--warm-up=0.1"], flags].concat())
}

/// A load under which something was answered while it was measured.
fn measured(address: &str, flags: &[&str]) -> Ended {
    let mut loads = SECONDS.iter().map(|seconds| load_for(seconds, address, flags));
    loads.find(|ended| !is_held_up(ended)).expect("answers in half a minute")
}

/// Nothing was answered while it was measured. What was under way then has its time all the same.
fn is_held_up(ended: &Ended) -> bool {
    ended.stderr.contains("no request was answered")
}

/// Loads `server` with each of `runs`, and sees that all went well.
fn goes_well(server: &'static str, runs: &[&str]) {
    let (_server, address) = Example::serve(server, &[]);
    for flags in runs {
        let ended = measured(&address.to_string(), &flags.split_whitespace().collect::<Vec<_>>()).with_code(0);
        assert!(ended.stdout.contains("errors      none"), "{flags}: {ended:#?}");
        assert!(!ended.stdout.contains("answers     0 good"), "{flags}: {ended:#?}");
    }
}

#[test]
fn http_in_a_closed_loop() {
    goes_well(
        "http_echo",
        &[
            "--path /plaintext",
            "--connections 1",
            "--connections 300 --idle 200",
            "--depth 16",
            "--size 1",
            "--size 16K --depth 4",
            "--size 256K --connections 4",
            "--reconnect --connections 8",
            "--reconnect --connections 2 --idle 130",
        ],
    );
}

#[test]
fn http_in_an_open_loop() {
    goes_well("http_echo", &["--rate 500", "--rate 2000 --depth 8 --connections 3", "--rate 200 --size 4K"]);
}

#[test]
fn length_prefixed_messages() {
    goes_well(
        "length_prefixed_echo",
        &[
            "--protocol length-prefixed --size 100 --depth 16",
            "--protocol length-prefixed --connections 2",
            "--protocol length-prefixed --size 1M --connections 2",
            "--protocol length-prefixed --size 64K --rate 100",
            "--protocol length-prefixed --size 5 --reconnect --connections 2",
        ],
    );
}

#[test]
fn the_rate_is_kept() {
    let (_server, address) = Example::serve("http_echo", &[]);
    let is_kept = |seconds: u32| {
        let time = format!("--seconds={seconds}");
        let ended = Example::run("load", &[&address.to_string(), &time, "--warm-up=0", "--rate=400"]);
        let answers = ended.stdout.lines().find_map(|line| line.strip_prefix("answers")).expect("a line of answers");
        let answers: u32 = answers.split_whitespace().next().and_then(|word| word.parse().ok()).expect("a number");
        let went_well = is_held_up(&ended) || ended.stdout.contains("errors      none");
        assert!(answers <= 400 * seconds + 2 && went_well, "{ended:#?}");
        answers >= 300 * seconds && !is_held_up(&ended)
    };
    // What is late is late, and comes behind the end. How late does not depend on how long it is measured.
    assert!([1, 4, 16].into_iter().any(is_kept), "it sends too little, however long it is measured");
}

#[test]
fn the_server_is_measured_and_programs_read_json() {
    let (server, address) = Example::serve("http_echo", &[]);
    let (address, pid) = (address.to_string(), server.id().to_string());
    let text = measured(&address, &["--pid", &pid]).with_code(0).stdout;
    assert!(text.contains(" us of CPU per answer, "), "{text}");
    let json = measured(&address, &["--pid", &pid, "--json"]).with_code(0).stdout;
    assert!(json.starts_with("{\"protocol\":\"http\"") && json.ends_with("\"errors\":{}}\n"), "{json}");
    for key in ["answers", "answers_per_second", "p99.9", "cpu_seconds", "memory_peak_kib", "load_busy"] {
        assert!(json.contains(&format!("\"{key}\":")), "no {key} in {json}");
    }
    assert_eq!(json.lines().count(), 1);
}

#[test]
fn what_goes_wrong_is_said() {
    let refused = |address: &str, flags: &[&str], code| load(address, flags).with_code(code).stderr;
    assert!(refused("nowhere", &[], 2).contains("nowhere is no address such as 127.0.0.1:8080"));
    assert!(refused("127.0.0.1:1", &["--path", "x"], 2).contains("begins with /"));
    assert!(refused("127.0.0.1:1", &["--reconnect", "--rate", "5"], 2).contains("cannot be used with"));
    assert!(refused("127.0.0.1:1", &["--rate=-1"], 2).contains("is not a rate"));
    assert!(refused("127.0.0.1:1", &["--rate=1e8"], 2).contains("is not a rate"));
    assert!(refused("127.0.0.1:1", &["--timeout=0"], 2).contains("--timeout 0 leaves no time for an answer"));
    assert!(refused("127.0.0.1:1", &[], 1).contains("cannot connect to 127.0.0.1:1: Connection refused"));
    let (_server, address) = Example::serve("length_prefixed_echo", &[]);
    assert!(refused(&address.to_string(), &[], 1).contains("is --protocol right?"));
    let (_server, address) = Example::serve("http_echo", &[]);
    assert!(refused(&address.to_string(), &["--pid=4294967295"], 1).contains("is --pid the server's"));
    assert!(refused(&address.to_string(), &["--protocol=length-prefixed"], 1).contains("is --protocol right?"));
}

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

/// Reads a request.
fn take(peer: &mut TcpStream) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        peer.read_exact(&mut byte).expect("a request");
        head.push(byte[0]);
    }
}

/// Starts a load of one connection that never ends, and answers its first request.
fn one_client(flags: &[&str]) -> (Example, TcpStream) {
    one_client_for("--seconds=1000", flags)
}

fn one_client_for(seconds: &str, flags: &[&str]) -> (Example, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let alone = [&*address, "--connections=1", seconds, "--warm-up=0"];
    let example = Example::start("load", &[&alone, flags].concat());
    let (mut peer, _) = listener.accept().expect("a client");
    take(&mut peer);
    peer.write_all(ANSWER).expect("taken");
    (example, peer)
}

/// Ends a load that has given up its connection, whose end shows that it has seen why.
fn ends_behind(example: Example, mut peer: TcpStream) -> Ended {
    // Not for ever, if it does not.
    peer.set_read_timeout(Some(LONG)).expect("set");
    assert_eq!(peer.read(&mut [0; 1]).expect("the end"), 0);
    example.signal("INT");
    example.ends().with_code(1)
}

fn longest_milliseconds(ended: &Ended) -> f64 {
    let most = ended.stdout.split("max ").nth(1).and_then(|text| text.split(" ms").next());
    most.and_then(|text| text.parse().ok()).expect("the longest latency")
}

#[test]
fn a_server_that_closes_behind_each_answer_is_connected_to_again() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    thread::spawn(move || {
        for peer in listener.incoming().flatten() {
            // Those that stay open and say nothing must not hold up the others.
            thread::spawn(move || {
                let mut lines = BufReader::new(&peer).lines().map_while(Result::ok);
                if lines.any(|line| line.is_empty()) {
                    let _ = (&peer).write_all(b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n");
                }
            });
        }
    });
    for flags in [&["--connections=1"][..], &["--connections=3", "--idle=2"], &["--connections=1", "--rate=100"]] {
        let ended = measured(&address, flags).with_code(0);
        assert!(ended.stdout.contains("errors      none"), "{flags:?}: {ended:#?}");
    }
}

#[test]
fn a_signal_ends_it_with_its_summary() {
    let (example, mut peer) = one_client(&[]);
    take(&mut peer);
    peer.write_all(ANSWER).expect("taken");
    take(&mut peer);
    example.signal("INT");
    let ended = example.ends().with_code(0);
    assert!(ended.stdout.contains("errors      none"), "{ended:#?}");
}

#[test]
fn without_a_warm_up_the_first_request_counts() {
    for flags in [&[][..], &["--rate=1000"]] {
        let (example, mut peer) = one_client(flags);
        take(&mut peer);
        peer.write_all(ANSWER).expect("taken");
        // Which shows that the first answer was seen. This one stays without.
        take(&mut peer);
        example.signal("INT");
        let ended = example.ends().with_code(0);
        assert!(ended.stdout.contains("\nanswers     1 good"), "{ended:#?}");
        assert!(longest_milliseconds(&ended) > 0.0, "{ended:#?}");
    }
}

#[test]
fn without_an_answer_nothing_was_measured() {
    let (example, mut peer) = one_client(&[]);
    take(&mut peer);
    example.signal("INT");
    let ended = example.ends().with_code(1);
    assert!(ended.stdout.contains("latency     none was measured"), "{ended:#?}");
    assert!(ended.stderr.contains("no request was answered"), "{ended:#?}");
}

#[test]
fn programs_are_told_that_no_latency_was_measured() {
    let (example, mut peer) = one_client(&["--json"]);
    take(&mut peer);
    example.signal("INT");
    let json = example.ends().with_code(1).stdout;
    let latency = "\"latency\":{\"p50\":null,\"p90\":null,\"p99\":null,\"p99.9\":null,\"max\":null}";
    assert!(json.contains(latency), "{json}");
}

#[test]
fn a_server_that_hangs_in_the_end_does_not_go_unnoticed() {
    let (example, mut peer) = one_client_for("--seconds=1e-6", &[NEVER]);
    take(&mut peer);
    let ended = example.ends().with_code(1);
    assert!(ended.stdout.contains("error       1 x no answer in time"), "{ended:#?}");
}

#[test]
fn the_last_answer_is_waited_for_and_nothing_else_is_sent() {
    let (example, mut peer) = one_client_for("--seconds=1e-6", &["--timeout=100"]);
    let mut requests = 0;
    // A request or the end, which may be a reset.
    while peer.peek(&mut [0; 1]).is_ok_and(|bytes| bytes > 0) {
        take(&mut peer);
        peer.write_all(ANSWER).expect("taken");
        requests += 1;
        assert!(requests <= 2, "the first one, and at most one before the time was over");
    }
    // It may have come behind that time, and then nothing was measured.
    let ended = example.ends();
    assert!(ended.stdout.contains("errors      none"), "{ended:#?}");
}

#[test]
fn in_an_open_loop_the_last_answer_may_take_as_long_as_any() {
    let (example, mut peer) = one_client_for("--seconds=1e-6", &[ONCE, "--timeout=100"]);
    take(&mut peer);
    // It neither asks again nor gives up.
    peer.set_read_timeout(Some(Duration::from_millis(1500))).expect("set");
    let nothing = peer.read(&mut [0; 1]).expect_err("nothing, and no end").kind();
    assert_eq!(nothing, ErrorKind::WouldBlock);
    peer.write_all(ANSWER).expect("taken");
    // It came behind the time that was measured, and was not missing.
    let ended = example.ends();
    assert!(ended.stdout.contains("errors      none"), "{ended:#?}");
}

#[test]
fn in_an_open_loop_a_server_that_hangs_in_the_end_does_not_go_unnoticed() {
    let (example, mut peer) = one_client_for("--seconds=1e-6", &[ONCE, NEVER]);
    take(&mut peer);
    let ended = example.ends().with_code(1);
    assert!(ended.stdout.contains("error       1 x "), "{ended:#?}");
    assert!(longest_milliseconds(&ended) >= 5000.0, "{ended:#?}");
}

#[test]
fn in_an_open_loop_what_a_signal_did_not_wait_for_is_a_latency_and_no_error() {
    let (example, mut peer) = one_client(&[ONCE, "--timeout=1000"]);
    take(&mut peer);
    example.signal("INT");
    let ended = example.ends();
    assert!(ended.stdout.contains("errors      none"), "{ended:#?}");
    assert!(longest_milliseconds(&ended) > 0.0, "{ended:#?}");
}

#[test]
fn an_answer_that_is_cut_short_is_an_error_though_it_was_to_be_the_last() {
    let (example, mut peer) = one_client(&[]);
    take(&mut peer);
    peer.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 9\r\n\r\nhalf").expect("taken");
    peer.shutdown(Shutdown::Write).expect("open");
    let ended = ends_behind(example, peer);
    assert!(ended.stdout.contains("error       1 x closed before the answer"), "{ended:#?}");
}

#[test]
fn how_long_a_missing_answer_was_waited_for_is_a_latency() {
    let (example, mut peer) = one_client(&[NEVER]);
    for _ in 0..2 {
        take(&mut peer);
        peer.write_all(ANSWER).expect("taken");
    }
    take(&mut peer);
    let ended = ends_behind(example, peer);
    assert!(longest_milliseconds(&ended) >= 5000.0, "{ended:#?}");
}

#[test]
fn a_server_that_says_it_closes_has_to_close() {
    let (example, mut peer) = one_client(&[NEVER]);
    take(&mut peer);
    peer.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n").expect("taken");
    let ended = ends_behind(example, peer);
    assert!(ended.stdout.contains("error       1 x not closed behind the answer"), "{ended:#?}");
}

#[test]
fn a_signal_ends_it_while_it_connects() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let example = Example::start("load", &[&address, "--timeout=1000"]);
    let (mut peer, _) = listener.accept().expect("a client");
    take(&mut peer);
    example.signal("INT");
    let ended = example.ends().with_code(1);
    assert_eq!(ended.stderr, "error: interrupted by a signal while connecting; nothing was measured\n");
}

#[test]
fn a_server_that_goes_away_does_not_take_the_summary_with_it() {
    let (server, _) = Example::serve("http_echo", &[]);
    let pid = server.id().to_string();
    let (example, mut peer) = one_client(&["--pid", &pid]);
    for _ in 0..2 {
        take(&mut peer);
        peer.write_all(ANSWER).expect("taken");
    }
    take(&mut peer);
    drop(server);
    example.signal("INT");
    let ended = example.ends().with_code(1);
    assert!(ended.stdout.contains(" good, "), "{ended:#?}");
    assert!(ended.stdout.contains(&format!("server      cannot read /proc/{pid}/stat")), "{ended:#?}");
    assert!(ended.stderr.starts_with(&format!("error: cannot read /proc/{pid}/stat")), "{ended:#?}");
}

#[test]
fn programs_are_told_that_the_server_has_gone() {
    let (server, _) = Example::serve("http_echo", &[]);
    let (example, mut peer) = one_client(&["--json", "--pid", &server.id().to_string()]);
    for _ in 0..2 {
        take(&mut peer);
        peer.write_all(ANSWER).expect("taken");
    }
    take(&mut peer);
    // Killed but not waited for, so that its number is still there.
    server.signal("KILL");
    server.closes();
    example.signal("INT");
    let ended = example.ends().with_code(1);
    assert!(ended.stdout.contains(",\"server\":null,\"errors\":{}}"), "{ended:#?}");
}

/// A server that takes a connection and does not read from it, once a first request is on its way. It is larger than
/// what the kernel holds.
fn who_does_not_read(flags: &[&str]) -> (Example, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let example = Example::start("load", &[&[&*address, "--connections=1", "--size=100M"], flags].concat());
    let (mut peer, _) = listener.accept().expect("a client");
    peer.read_exact(&mut [0]).expect("a request");
    (example, peer)
}

#[test]
fn who_does_not_read_holds_nobody_up() {
    let (example, _peer) = who_does_not_read(&["--timeout=0.2"]);
    let ended = example.ends().with_code(1);
    assert!(ended.stderr.contains("no answer within 200ms"), "{ended:#?}");
    let (example, _peer) = who_does_not_read(&["--timeout=1000"]);
    example.signal("INT");
    let ended = example.ends().with_code(1);
    assert_eq!(ended.stderr, "error: interrupted by a signal while connecting; nothing was measured\n");
}

#[test]
fn errors_are_counted_by_kind_and_are_a_failure() {
    let (example, mut peer) = one_client(&[]);
    take(&mut peer);
    peer.write_all(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n").expect("taken");
    take(&mut peer);
    peer.write_all(ANSWER).expect("taken");
    take(&mut peer);
    // In the middle of an answer; there is nobody to connect to again.
    peer.write_all(&ANSWER[..20]).expect("taken");
    peer.shutdown(Shutdown::Write).expect("open");
    let ended = ends_behind(example, peer);
    for line in ["error       1 x status 503", "error       1 x closed before the answer"] {
        assert!(ended.stdout.contains(line), "no {line:?} in {ended:#?}");
    }
    assert!(ended.stderr.contains("things went wrong"), "{ended:#?}");
}
