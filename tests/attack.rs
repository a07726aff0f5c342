//! The attacks, small and short: that they run, measure and judge, and that a tiny one is withstood.
//!
//! The real ones take ten minutes: `cargo run --release --example attack -- --spawn`.

#![cfg(target_os = "linux")]

mod common {
    pub mod child;
    pub mod net;
}

use common::child::Example;

/// A hundredth of the connections, for a second.
const SMALL: [&str; 4] = ["--scale=0.01", "--seconds=1", "--rounds=1", "--spawn"];

/// Runs one attack against a server that it starts; `part` is what it has to say of itself.
fn is_withstood(name: &str, part: &str) {
    let ended = Example::run("attack", &[&SMALL[..], &[name]].concat());
    let text = &ended.stdout;
    assert!(text.contains(part) && text.contains("before > most > after"), "no {part:?} in {ended:#?}");
    // Times are those of a machine that has other things to do; what is left behind is not.
    let missed: Vec<_> = text.lines().filter(|line| line.starts_with("missed: ")).collect();
    assert!(missed.iter().all(|line| line.contains("p99") || line.contains("CPU at rest")), "{text}");
    let code = if missed.is_empty() { 0 } else { 1 };
    ended.with_code(code);
}

#[test]
fn a_small_slow_head_is_withstood() {
    is_withstood("slow-head", " open at the end, 0 ended by the server");
}

#[test]
fn a_few_idle_connections_are_withstood() {
    is_withstood("4", " open at the end, 0 ended by the server");
}

#[test]
fn a_little_garbage_is_withstood() {
    is_withstood("garbage", "protocol");
}

#[test]
fn a_server_that_runs_is_attacked_by_its_address_and_process() {
    let (server, address) = Example::serve("http_echo", &["--metrics"]);
    let (address, pid) = (address.to_string(), server.id().to_string());
    // It ends when all have connected, however long that takes.
    let small = ["--scale=0.01", "--seconds=60", "--rounds=1"];
    let attack = [&small[..], &[address.as_str(), "--pid", pid.as_str(), "reset-storm", "descriptors"]].concat();
    let ended = Example::run("attack", &attack);
    assert!(ended.stdout.contains("reset-storm: 200 of 200 connections, 0 open at the end"), "{}", ended.stdout);
    assert!(ended.stdout.contains("descriptors: left out"), "{}", ended.stdout);
    server.signal("TERM");
    server.ends().with_code(0);
}

#[test]
fn what_makes_no_sense_is_said_in_one_line() {
    let refused = |args: &[&str], code| Example::run("attack", args).with_code(code).stderr;
    assert!(refused(&["--spawn", "slow-tail"], 2).contains("there is no attack \"slow-tail\""));
    assert!(refused(&["192.0.2.1:80", "--pid", "1"], 2).contains("192.0.2.1:80 is not on this machine"));
    assert!(refused(&["idle"], 2).contains("Give --spawn, or ADDR and --pid PID"));
    let (server, address) = Example::serve("http_echo", &[]);
    let said = refused(&[&address.to_string(), "--pid", &server.id().to_string()], 1);
    assert!(said.starts_with("error: ") && said.ends_with("start it with --metrics\n"), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
}

#[test]
fn what_makes_no_sense_is_told_with_code_2() {
    let wrong = |args: &[&str], text: &str| {
        let ended = Example::run("attack", args);
        assert!(ended.stderr.starts_with(&format!("error: {text}")), "{text}: {ended:#?}");
        ended.with_code(2);
    };
    wrong(&[], "whom to attack? ");
    wrong(&["127.0.0.1:8080"], "whom to attack? ");
    wrong(&["localhost:8080", "--pid", "1"], "ADDR \"localhost:8080\" is no IP address with a port, such as ");
    wrong(&["192.0.2.1:8080", "--pid", "1"], "192.0.2.1:8080 is not on this machine");
    wrong(&["--spawn", "no-such"], "there is no attack \"no-such\"");
}
