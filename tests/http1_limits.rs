//! A request that is exactly as long as the limits allow finds its place in a block of exactly `message_max` bytes.

use std::time::Duration;

use sluicegate::http1::{Http1, Limits, Response};
use sluicegate::sim::{SimPeer, Simulation, Weather};
use sluicegate::{Config, HEADROOM, Message, Protocol, Reply, TierConfig};

const SECOND: Duration = Duration::from_secs(1);
const HEAD: usize = 400;
const BODY: usize = 400;

fn http() -> Http1 {
    Http1::with_limits(Limits { head_max: HEAD as u32, body_max: BODY as u32, ..Limits::default() })
}

/// The largest block holds the longest message, and not a byte more.
fn config() -> Config {
    let mut config = Config::default();
    let largest = http().message_max() - HEADROOM;
    config.inbound = [(32, 4), (64, 4), (largest, 4)].map(|(size, count)| TierConfig { size, count });
    config.scratch = 544;
    config
}

/// A chunked request whose head has so many bytes, with so many of trailers.
fn request(head: usize, chunks: &[usize], trailers: usize) -> Vec<u8> {
    let line = |name: &str, bytes: usize| format!("{name}: {}\r\n", "x".repeat(bytes - name.len() - 4));
    let start = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n";
    let mut text = format!("{start}{}\r\n", line("Fill", head - start.len() - 2));
    assert_eq!(text.len(), head);
    chunks.iter().for_each(|size| text += &format!("{size:x}\r\n{}\r\n", "b".repeat(*size)));
    text += "0\r\n";
    if trailers > 0 {
        text += &line("End", trailers);
    }
    (text + "\r\n").into_bytes()
}

fn user(_: Message<'_, Http1>, reply: Reply<'_, Http1>) {
    reply.send(Response::ok("taken"));
}

fn answer(peer: &SimPeer) -> String {
    String::from_utf8_lossy(&peer.take_received()).into_owned()
}

fn is_taken(request: &[u8], weather: Weather, split: Option<usize>) {
    let mut simulation = Simulation::new(1, config(), http(), |_, _| user).expect("the settings fit");
    let peer = simulation.connect(weather).expect("there is room");
    let (first, second) = request.split_at(split.unwrap_or(0));
    peer.send(first);
    simulation.run_for(SECOND / 100).expect("the laws hold");
    peer.send(second);
    simulation.run_for(if split.is_some() { SECOND / 100 } else { 20 * SECOND }).expect("the laws hold");
    let answer = answer(&peer);
    assert!(answer.starts_with("HTTP/1.1 200"), "split at {split:?}: {answer}");
}

fn is_taken_however_it_comes(request: &[u8]) {
    let weather = Weather { delay_max: Duration::ZERO, ..Weather::calm() };
    (1..request.len()).for_each(|at| is_taken(request, weather, Some(at)));
    is_taken(request, Weather { piece_max: 1, delay_max: Duration::from_millis(1), ..weather }, None);
}

#[test]
fn any_split_a_chunked_body_at_the_limit_is_taken() {
    is_taken_however_it_comes(&request(HEAD, &[BODY], 0));
    is_taken_however_it_comes(&request(HEAD, &[BODY - 1, 1], 0));
}

#[test]
fn any_split_trailers_at_the_limit_behind_a_body_at_the_limit_are_taken() {
    is_taken_however_it_comes(&request(HEAD - 60, &[BODY], 60));
}

#[test]
fn what_is_a_byte_longer_is_refused() {
    let mut simulation = Simulation::new(1, config(), http(), |_, _| user).expect("the settings fit");
    for (request, status) in [
        (request(HEAD + 1, &[BODY], 0), "431"),
        (request(HEAD, &[BODY + 1], 0), "413"),
        (request(HEAD - 60, &[BODY], 61), "431"),
    ] {
        let peer = simulation.connect(Weather::calm()).expect("there is room");
        peer.send(&request);
        simulation.run_for(SECOND).expect("the laws hold");
        let answer = answer(&peer);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
    }
}
