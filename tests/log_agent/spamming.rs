//! `log_spammer` against agents that do not do what they should, and where threads are short.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::thread;

use crate::child::{Ended, Example};

/// An agent of which nobody has taken a connection yet.
fn agent() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("its address").port().to_string();
    (listener, port)
}

/// Runs a spammer against an agent that does `serve` with its one connection.
fn spam(args: &[&str], serve: impl FnOnce(TcpStream) + Send) -> Ended {
    let (listener, port) = agent();
    thread::scope(|scope| {
        scope.spawn(move || serve(listener.accept().expect("a peer").0));
        Example::run("log_spammer", &[&["127.0.0.1", &port], args].concat())
    })
}

/// Reads to the end, and says a number.
fn acknowledging(number: u64) -> impl FnOnce(TcpStream) + Send {
    move |mut peer| {
        peer.read_to_end(&mut Vec::new()).expect("the end of the stream");
        peer.write_all(&number.to_be_bytes()).expect("taken");
    }
}

#[test]
fn it_ends_though_the_agent_takes_nothing() {
    let (listener, port) = agent();
    // More than the kernel takes.
    let start = |args: &[&str]| {
        let spammer =
            Example::start("log_spammer", &[&["127.0.0.1", &port, "1", "0", "--size", "32000000"], args].concat());
        (spammer, listener.accept().expect("it connects").0)
    };
    let (timed, _timed_peer) = start(&["--seconds", "0.1"]);
    let (signalled, _signalled_peer) = start(&[]);
    let (mut impatient, _impatient_peer) = start(&["--ack"]);
    signalled.signal("TERM");
    impatient.signal("INT");
    // One that comes too soon is taken for the first.
    while impatient.runs() {
        impatient.signal("TERM");
    }
    impatient.ends().by_signal(15);
    timed.ends().failed_with("given up: the agent has taken nothing for");
    signalled.ends().failed_with("given up: the agent has taken nothing for");
}

#[test]
fn what_was_not_acknowledged_is_no_success() {
    let args = ["1", "0", "--count", "10", "--ack"];
    spam(&args, acknowledging(10)).with_code(0);
    spam(&args, acknowledging(3)).failed_with("7 of 10 records are not acknowledged");
    spam(&args, acknowledging(11)).failed_with("the agent acknowledges 11 records, of 10 that were sent");
    spam(&args, |mut peer| drop(peer.read(&mut [0; 8]))).with_code(1);
}

#[test]
fn no_rate_is_too_high() {
    let reads = |mut peer: TcpStream| drop(std::io::copy(&mut peer, &mut std::io::sink()));
    spam(&["1", "18446744073709551615", "--seconds", "1.1"], reads).with_code(0);
}

#[test]
fn threads_that_cannot_be_started_are_one_clear_line() {
    let test = std::env::current_exe().expect("known");
    let program = test.ancestors().nth(2).expect("its folder").join("examples/log_spammer");
    let (_listener, port) = agent();
    // Each thread has a stack: in so much memory not all of them find a place.
    let line = format!("ulimit -v 400000 && exec {} 127.0.0.1 {port} 5000 1 --seconds 0.1", program.display());
    let output = Command::new("sh").args(["-c", &line]).output().expect("it ran");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.starts_with("error: cannot start thread ") && said.lines().count() == 1, "{said}");
}
