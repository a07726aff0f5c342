//! The examples, as a reader of them would try them: each is started as a program, spoken to, and told to go.

#![cfg(unix)]

mod common {
    pub mod child;
    pub mod http_client;
    pub mod net;
}

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use common::child::{Ended, Example};
use common::http_client::{Client, get, post};
use common::net::{ask, connect, connect_narrow, frame, half_close, over, pattern, receive, rest, send};

/// Those that serve until a signal, with the address they take by themselves.
const SERVERS: [(&str, &str); 5] = [
    ("http_echo", "127.0.0.1:8080"),
    ("length_prefixed_echo", "127.0.0.1:9000"),
    ("http_counter", "127.0.0.1:8081"),
    ("broadcast", "127.0.0.1:9001"),
    ("custom_protocol", "127.0.0.1:9002"),
];

/// On the processor thread, and on workers.
const BOTH: [&[&str]; 2] = [&[], &["--workers", "2"]];

const CONTINUE: &str = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n";

#[test]
fn http_echo_says_back_what_it_is_asked() {
    for flags in BOTH {
        let (example, address) = Example::serve("http_echo", flags);
        let mut client = Client::connect(address);
        assert_eq!(client.ask(get("/plaintext")).body, b"Hello, World!");
        for request in
            ["GET /any?thing=else HTTP/1.1\r\nHost: x\r\nX-Y: z\r\n\r\n", "POST /plaintext HTTP/1.1\r\nHost: x\r\n\r\n"]
        {
            let answer = client.ask(request);
            assert_eq!((answer.status, answer.header("content-type")), (200, Some("text/plain")), "{answer:?}");
            assert_eq!(answer.body, request.as_bytes());
        }
        let answer = client.ask("PUT / HTTP/1.1\r\nHost: x\r\nContent-Type: a/b; c=d\r\nContent-Length: 4\r\n\r\n<hi>");
        assert_eq!((answer.header("content-type"), answer.body.as_slice()), (Some("a/b; c=d"), b"<hi>".as_slice()));
        let largest = pattern(960 << 10, 1);
        let answer = client.ask(post(&largest));
        assert_eq!(answer.header("content-type"), None);
        assert!(answer.body == largest, "the largest body differs");

        client.send("HEAD /plaintext HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_eq!(client.answer_without_body().header("content-length"), Some("13"));
        client.send("GET /plaintext HTTP/1.0\r\n\r\n");
        assert_eq!(client.last_answer(200), b"Hello, World!");
        example.shuts_down("TERM");
        example.ends().in_order(" out: 7 (983864 bytes)");
    }
}

#[test]
fn http_echo_answers_byte_for_byte() {
    let (_example, address) = Example::serve("http_echo", &[]);
    let mut peer = connect(address);
    peer.write_all(b"GET /plaintext HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("taken");
    let answer = String::from_utf8(rest(&mut peer)).expect("text");
    let (before, date) = answer.split_once("Date: ").expect("a date");
    assert_eq!(before, "HTTP/1.1 200 OK\r\n");
    let (date, behind) = date.split_at("Sun, 06 Nov 1994 08:49:37 GMT".len());
    assert!(date.ends_with(" GMT"), "{date}");
    assert_eq!(behind, "\r\nContent-Type: text/plain\r\nContent-Length: 13\r\nConnection: close\r\n\r\nHello, World!");
}

#[test]
fn http_echo_answers_a_request_that_has_begun_before_it_ends() {
    for (signal, flags) in ["TERM", "INT"].into_iter().zip(BOTH) {
        let (example, address) = Example::serve("http_echo", flags);
        let mut idle = Client::connect(address);
        idle.ask(get("/plaintext"));
        let mut client = Client::connect(address);
        client.send(CONTINUE);
        assert_eq!(client.answer_without_body().status, 100, "so the server has read the head");
        example.shuts_down(signal);
        idle.ends();
        client.send("late");
        assert_eq!(client.last_answer(200), b"late");
        example.ends().in_order("goodbye; connections: 2, messages in: 2 (109 bytes), out: 2 (238 bytes)");
        assert_eq!(TcpStream::connect(address).expect_err("it has ended").kind(), ErrorKind::ConnectionRefused);
    }
}

#[test]
fn a_second_signal_ends_it_at_once() {
    for (first, second, number) in [("TERM", "TERM", 15), ("INT", "TERM", 15), ("INT", "INT", 2)] {
        let (mut example, address) = Example::serve("http_echo", &["--grace", "1000"]);
        let mut client = Client::connect(address);
        client.send(CONTINUE);
        assert_eq!(client.answer_without_body().status, 100);
        example.shuts_down(first);
        // One that comes too soon is taken for the first.
        while example.runs() {
            example.signal(second);
        }
        let ended = example.ends();
        assert!(ended.stderr.ends_with("a second signal: ends at once\n"), "{ended:?}");
        ended.by_signal(number);
        over(&mut client.stream);
    }
}

/// `timeout` sends one to its child, and the next to the group that both are in.
#[test]
fn signals_that_come_together_are_one() {
    let (example, address) = Example::serve("http_echo", &["--grace", "1000"]);
    let mut client = Client::connect(address);
    client.send(CONTINUE);
    assert_eq!(client.answer_without_body().status, 100);
    // Both wait for a process that is stopped, or the shell could be held up between them.
    example.signals(&["STOP", "TERM", "INT", "CONT"]);
    example.logs("shutting down: ");
    client.send("late");
    assert_eq!(client.last_answer(200), b"late");
    example.ends().in_order("goodbye; connections: 1, messages in: 1 (73 bytes), out: 1 (123 bytes)");
}

#[test]
fn every_flag_of_http_echo_does_something() {
    let flags = "--workers 3 --worker-queue 5 --connections-max 77 --blocks 33,22,11 --memory-max 1G --idle-timeout 1 --grace 7";
    let (example, address) = Example::serve("http_echo", &flags.split(' ').collect::<Vec<_>>());
    for row in
        ["5 messages wait, 3 threads", " connection table ", " 77 x ", " 33 x (4 KiB", " 22 x (128 KiB", " 11 x (1 MiB"]
    {
        example.logs(row);
    }
    // The one wait for a clock in here: idle for a second.
    Client::connect(address).ends();
    example.shuts_down("TERM");
    example.logs("grace 7s");
    example.ends().in_order("goodbye; connections: 1, messages in: 0 (0 bytes), out: 0 (0 bytes)");
}

#[test]
fn http_echo_tells_its_numbers_only_if_it_is_asked_to() {
    let (_example, address) = Example::serve("http_echo", &["--metrics"]);
    let mut client = Client::connect(address);
    client.ask(get("/plaintext"));
    let numbers = String::from_utf8(client.ask(get("/metrics")).body).expect("text");
    assert!(numbers.contains("\nsluicegate_memory_ceiling_bytes 1"), "{numbers}");
    // The request for the numbers is counted once it was handled.
    let lines: Vec<_> = numbers.lines().collect();
    for line in ["accepted_total 1", "open 1", "messages_in_total 1", "closed_total{reason=\"protocol\"} 0"] {
        assert!(lines.contains(&format!("sluicegate_{line}").as_str()), "{line} is missing in\n{numbers}");
    }
    let (_example, address) = Example::serve("http_echo", &[]);
    assert_eq!(Client::connect(address).ask(get("/metrics")).body, get("/metrics"));
}

#[test]
fn too_small_a_memory_max_names_the_row_to_lower() {
    let refused = |flags: &[&str]| {
        let ended = Example::run("http_echo", &[&["127.0.0.1:0"], flags].concat()).with_code(1);
        assert_eq!(ended.stdout, "");
        ended.stderr.lines().last().expect("an error").to_owned()
    };
    let error = refused(&["--memory-max", "64M"]);
    assert!(error.starts_with("error: memory_max: is 64 MiB (67108864 bytes), but the memory ceiling is "), "{error}");
    assert!(
        error.contains("beginning with outbound[1].count = 128: the row \"outbound medium\" takes 16.5 MiB"),
        "{error}"
    );
    let error = refused(&["--memory-max", "1G", "--workers", "1000"]);
    assert!(error.ends_with("the row \"workers\" takes most, 2.0 GiB"), "{error}");
    // And it can be followed.
    let (example, _) = Example::serve("http_echo", &["--memory-max", "64m", "--blocks", "512,24,4"]);
    example.signal("TERM");
    example.ends().with_code(0);
}

#[test]
fn length_prefixed_echo_says_back_every_message() {
    for flags in BOTH {
        let (example, address) = Example::serve("length_prefixed_echo", flags);
        let mut peer = connect(address);
        for length in [0, 1, 5000, 200_000, 1 << 20] {
            let payload = pattern(length, length);
            assert!(ask(&mut peer, &payload) == payload, "{length} bytes differ");
        }
        // One that is too long is refused at its prefix.
        let mut greedy = connect(address);
        greedy.write_all(&((1u32 << 20) + 1).to_be_bytes()).expect("taken");
        assert_eq!(rest(&mut greedy), b"");

        // One and a half, in one piece: with the answer to the first, the half has arrived as well.
        let second = frame(b"second");
        peer.write_all(&[&frame(b"first"), &second[..7]].concat()).expect("taken");
        assert_eq!(receive(&mut peer), b"first");
        example.shuts_down("TERM");
        peer.write_all(&second[7..]).expect("taken");
        assert_eq!(receive(&mut peer), b"second");
        assert_eq!(rest(&mut peer), b"");
        drop((peer, greedy));
        example.ends().in_order("goodbye; connections: 2, messages in: 7 (1253620 bytes), out: 7 (1253616 bytes)");
    }
}

#[test]
fn the_longest_payload_is_a_flag() {
    let (_example, address) = Example::serve("length_prefixed_echo", &["--payload-max", "3M"]);
    let payload = pattern(3 << 20, 3);
    let mut peer = connect(address);
    assert!(ask(&mut peer, &payload) == payload, "the longest payload differs");
    peer.write_all(&((3u32 << 20) + 1).to_be_bytes()).expect("taken");
    assert_eq!(rest(&mut peer), b"");

    let (_example, address) = Example::serve("length_prefixed_echo", &["--payload-max", "5"]);
    let mut peer = connect(address);
    assert_eq!(ask(&mut peer, b"five5"), b"five5");
    peer.write_all(&6u32.to_be_bytes()).expect("taken");
    assert_eq!(rest(&mut peer), b"");
}

#[test]
fn http_counter_counts_and_answers_later() {
    let (example, address) = Example::serve("http_counter", &[]);
    let mut client = Client::connect(address);
    for count in 1..=3 {
        assert_eq!(client.ask(get("/apples")).body, format!("/apples: {count}\n").as_bytes());
    }
    let mut slow = Client::connect(address);
    // In one piece: with the answer to the first, the second has arrived as well.
    let asked = Instant::now();
    slow.send([get("/pears"), get("/slow")].concat());
    assert_eq!(slow.answer().body, b"/pears: 1\n");
    assert_eq!(client.ask(get("/slow-not")).body, b"/slow-not: 1\n", "nobody waits for somebody else's answer");
    example.shuts_down("TERM");
    let is_owed = asked.elapsed() < Duration::from_millis(500);
    client.ends();
    let answer = slow.answer();
    assert_eq!(answer.body, b"/slow: 1\n");
    // On a machine that has other things to do, it may have been given before the server was told to go.
    assert!(answer.closes() || !is_owed, "it was owed: {answer:?}");
    slow.ends();
    let bytes = if answer.closes() { 695 } else { 676 };
    example.ends().in_order(&format!("goodbye; connections: 2, messages in: 6 (197 bytes), out: 6 ({bytes} bytes)"));
}

#[test]
fn broadcast_sends_to_everybody() {
    let (example, address) = Example::serve("broadcast", &[]);
    let mut peers = Vec::new();
    for name in ["first", "second", "third"] {
        peers.push(connect(address));
        send(peers.last_mut().expect("just came"), name.as_bytes());
        peers.iter_mut().for_each(|peer| assert_eq!(receive(peer), name.as_bytes()));
    }
    let long = pattern(1 << 20, 7);
    send(&mut peers[1], &long);
    peers.iter_mut().for_each(|peer| assert!(receive(peer) == long, "it differs"));
    let first = peers.remove(0);
    let line = format!("{} has left: the peer closed it", first.local_addr().expect("its address"));
    drop(first);
    example.logs(&line);
    assert_eq!(ask(&mut peers[0], b""), b"");
    assert_eq!(receive(&mut peers[1]), b"");
    example.shuts_down("TERM");
    peers.iter_mut().for_each(|peer| assert_eq!(rest(peer), b""));
    example.ends().in_order("goodbye; connections: 3, messages in: 5 (1048612 bytes), out: 11 (3145804 bytes)");
}

#[test]
fn a_slow_peer_of_broadcast_misses_messages_and_nobody_else_does() {
    let (example, address) = Example::serve("broadcast", &[]);
    let mut peer = connect(address);
    assert_eq!(ask(&mut peer, b"0"), b"0");
    let mut slow = connect_narrow(address);
    assert_eq!(ask(&mut slow, b"1"), b"1");
    assert_eq!(receive(&mut peer), b"1");

    let mut sent = 0;
    while !example.has_logged("was dropped for #2: the peer takes its messages too slowly") {
        sent += 1;
        assert!(sent < 500, "the kernel takes everything");
        let payload = pattern(1 << 20, sent);
        assert!(ask(&mut peer, &payload) == payload, "{sent} differs");
    }
    example.shuts_down("TERM");
    half_close(&slow);
    let got = rest(&mut slow);
    assert!(got.len() / (1 << 20) < sent, "nothing was missed");
    let mut left = got.as_slice();
    let mut last = 0;
    while !left.is_empty() {
        let (message, behind) = left.split_at(4 + (1 << 20));
        last = (last + 1..=sent).find(|seed| message == frame(&pattern(1 << 20, *seed))).expect("whole, and in order");
        left = behind;
    }
    drop((peer, slow));
    example.ends().with_code(0);
}

#[test]
fn custom_protocol_speaks_in_lines() {
    let (example, address) = Example::serve("custom_protocol", &[]);
    let mut peer = connect(address);
    peer.write_all(b"PING\nECHO some words\r\nECHO \n\nWHAT\nQUIT\nPING\n").expect("taken");
    let unknown = "ERROR expected PING, ECHO <text> or QUIT\n";
    assert_eq!(rest(&mut peer), format!("PONG\nsome words\n\n{unknown}{unknown}BYE\n").as_bytes());

    // With each PONG, the piece behind it has arrived as well.
    let mut pieces = connect(address);
    pieces.write_all(b"PING\nECHO pie").expect("taken");
    assert_eq!(line(&mut pieces), "PONG\n");
    pieces.write_all(b"ces\nPING\nECHO but its end").expect("taken");
    assert_eq!([line(&mut pieces), line(&mut pieces)], ["pieces\n", "PONG\n"]);
    pieces.write_all(b"\n").expect("taken");
    assert_eq!(line(&mut pieces), "but its end\n");
    // The first line is as long as a line can be, with its LF; the second is longer by one.
    let longest = [b"ECHO ", pattern_of_letters(8192 - 6).as_slice(), b"\n"].concat();
    pieces.write_all(&longest).expect("taken");
    pieces.write_all(&[b"x", longest.as_slice()].concat()).expect("taken");
    let answers = [&longest[5..], b"ERROR the line is too long\n"].concat();
    assert!(rest(&mut pieces) == answers, "they differ");

    let mut half = connect(address);
    half.write_all(b"PING\nECHO la").expect("taken");
    assert_eq!(line(&mut half), "PONG\n");
    example.shuts_down("TERM");
    half.write_all(b"te\n").expect("taken");
    assert_eq!(rest(&mut half), b"late\n");
    drop((peer, pieces, half));
    example.ends().in_order(" out: 13 (8356 bytes)");
}

/// Reads one line and no further.
fn line(peer: &mut TcpStream) -> String {
    let mut line = Vec::new();
    while line.last() != Some(&b'\n') {
        line.push(0);
        let at = line.len() - 1;
        peer.read_exact(&mut line[at..]).expect("a line");
    }
    String::from_utf8(line).expect("text")
}

fn pattern_of_letters(length: usize) -> Vec<u8> {
    pattern(length, 5).into_iter().map(|byte| b'a' + byte % 26).collect()
}

#[test]
fn graceful_shutdown_tells_its_story() {
    let Ended { stdout, stderr, .. } = Example::run("graceful_shutdown", &[]).with_code(0);
    assert_eq!(stderr, "");
    let story: Vec<_> = stdout
        .lines()
        .map(|line| match line {
            _ if line.starts_with("listening on 127.0.0.1:") => "listening on ...",
            _ if line.starts_with("    Date: ") => "    Date: ...",
            _ => line,
        })
        .collect();
    let expected = "\
Finish::Answer: what has begun is answered, nothing new begins
listening on ...
- a client has asked; its answer takes a while
- the server was told to shut down
- a connection that had asked nothing: closed
- a new connection: refused
- the answer is ready, and still arrives; it says that it is the last:
    HTTP/1.1 200 OK
    Date: ...
    Content-Type: text/plain
    Content-Length: 14
    Connection: close
    
    worth the wait
- the server has ended: 1 request, 1 answer
Finish::ReadOut: what was sent is read
listening on ...
- a peer has sent 1000 records and half of one more
- its connection: closed
- the server has ended: 1000 records were read";
    assert_eq!(story, expected.lines().collect::<Vec<_>>());
}

#[test]
fn help_names_every_flag_and_default() {
    let help = |name, words: &[&str]| {
        let Ended { stdout, stderr, .. } = Example::run(name, &["--help"]).with_code(0);
        assert_eq!(stderr, "");
        let missing: Vec<_> = words.iter().filter(|word| !stdout.contains(**word)).collect();
        assert!(missing.is_empty(), "{missing:?} is missing in\n{stdout}");
    };
    for (name, address) in SERVERS {
        help(name, &["[ADDR]", "port 0 takes any free one", address, "SIGINT", "SIGTERM"]);
    }
    let flags = ["workers", "worker-queue", "connections-max", "blocks", "memory-max", "idle-timeout", "grace"];
    help("http_echo", &flags.map(|flag| format!("--{flag} <")).each_ref().map(String::as_str));
    help("http_echo", &["--metrics"]);
    help("length_prefixed_echo", &["--workers <N>", "--payload-max <BYTES>", "[default: 1M]"]);
    help("graceful_shutdown", &["ends by itself"]);
}

#[test]
fn each_program_tells_its_name_and_version() {
    let others = ["graceful_shutdown", "load", "attack", "log_agent", "log_spammer", "log_cat"];
    for name in SERVERS.map(|(name, _)| name).into_iter().chain(others) {
        for flag in ["--version", "-V"] {
            let Ended { stdout, stderr, .. } = Example::run(name, &[flag]).with_code(0);
            assert_eq!((stdout, stderr), (format!("{name} {}\n", env!("CARGO_PKG_VERSION")), String::new()));
        }
        assert!(Example::run(name, &["--help"]).with_code(0).stdout.contains("--version"), "{name}");
    }
}

#[test]
fn wrong_usage_is_told_with_code_2() {
    let wrong = |name, args: &[&str], part: &str| {
        let Ended { stdout, stderr, .. } = Example::run(name, args).with_code(2);
        assert!(stdout.is_empty() && stderr.starts_with("error: ") && stderr.contains(part), "{part}: {stderr}");
    };
    for name in SERVERS.map(|(name, _)| name).into_iter().chain(["graceful_shutdown"]) {
        wrong(name, &["--no-such-flag"], "unexpected argument '--no-such-flag'");
        wrong(name, &["127.0.0.1:0", "127.0.0.1:0"], "unexpected argument '127.0.0.1:0'");
    }
    wrong("http_echo", &["--workers", "-1"], "'-1'");
    wrong("http_echo", &["--workers", "many"], "invalid value 'many' for '--workers <N>'");
    wrong("http_echo", &["--blocks", "1,2"], "expected three numbers such as 256,32,4");
    for bytes in ["", "M", "12X", "1.5G", "99999999999G"] {
        wrong("http_echo", &["--memory-max", bytes], &format!("invalid value '{bytes}' for '--memory-max <BYTES>'"));
        wrong("length_prefixed_echo", &["--payload-max", bytes], "'--payload-max <BYTES>'");
    }
}

#[test]
fn what_cannot_be_done_is_one_line_and_code_1() {
    let fails = |name, args: &[&str], line: &str| {
        let Ended { stdout, stderr, .. } = Example::run(name, args).with_code(1);
        let one = stderr.strip_prefix(&format!("error: {line}")).and_then(|rest| rest.strip_suffix('\n'));
        assert!(stdout.is_empty() && one.is_some_and(|rest| !rest.contains('\n')), "{name} {args:?}: {stderr}");
    };
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("its address").to_string();
    for (name, _) in SERVERS {
        fails(name, &[&address], &format!("cannot bind {address}: address already in use; "));
        for nowhere in ["localhost", "localhost:", "localhost:99999"] {
            fails(name, &[nowhere], &format!("cannot bind {nowhere:?}: invalid "));
        }
    }
    let settings = ["127.0.0.1:0", "--connections-max", "0"];
    fails("http_echo", &settings, "connections_max: is 0: raise it to at least 1");
    let settings = ["127.0.0.1:0", "--workers", "2", "--worker-queue", "0"];
    fails("http_echo", &settings, "workers.queue: is 0: at least one message must be able to wait");
}
