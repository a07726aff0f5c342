//! The peers of the cycle target: what each has asked, what it got, and what it has to think of it.

use sluicegate::Protocol;
use sluicegate::sim::{Reading, SimPeer};

use crate::wire::{Act, Order, Wire};

/// More than any answer that has to be placed.
const ANSWER_MAX: usize = 1200;

pub struct Client {
    pub peer: SimPeer,
    asked: Vec<Act>,
    received: Vec<u8>,
    /// It sent what is no request, or went away by itself: nothing can be expected of its answers.
    wild: bool,
}

impl Client {
    pub fn new(peer: SimPeer) -> Self {
        Self { peer, asked: Vec::new(), received: Vec::new(), wild: false }
    }

    /// Sends the next request, unless the connection has ended.
    pub fn ask<P: Wire>(&mut self, act: Act, length: usize, answer: usize, form: u8) {
        let order = Order { act, serial: self.asked.len(), answer: answer.min(ANSWER_MAX) };
        if self.peer.send(&P::request(order, length, form)) {
            self.asked.push(act);
        }
    }

    /// Sends anything.
    pub fn babble(&mut self, bytes: &[u8]) {
        self.wild |= self.peer.send(bytes) && !bytes.is_empty();
    }

    pub fn hang_up(&mut self) {
        self.wild = true;
        self.peer.hang_up();
    }

    pub fn reset(&mut self) {
        self.wild = true;
        self.peer.reset();
    }

    /// Reads as fast as it can from now on.
    pub fn heal(&self) {
        self.peer.set_reading(Reading::Free);
    }

    /// Everything that it asked for was answered, or the server has ended the connection.
    pub fn is_served<P: Wire>(&mut self) -> bool {
        self.received.extend(self.peer.take_received());
        let expected = self.asked.iter().filter(|act| act.answers()).count();
        self.wild || self.peer.end().is_some() || P::answers(&self.received).len() >= expected
    }

    /// LAW ends once, as a peer sees it: each answer is one that was asked for, comes once, and where order matters in
    /// order.
    pub fn check<P: Wire>(&mut self) {
        self.received.extend(self.peer.take_received());
        if self.wild {
            return;
        }
        let answers = P::answers(&self.received);
        let serials: Vec<usize> = answers.iter().map(|body| serial(body)).collect();
        for (at, &serial) in serials.iter().enumerate() {
            let act = self.asked.get(serial);
            assert!(act.is_some_and(|act| act.answers()), "an answer to {act:?}, request {serial}");
            assert!(!serials[..at].contains(&serial), "request {serial} was answered twice");
        }
        assert!(!<P as Protocol>::IN_ORDER || serials.iter().copied().eq(0..serials.len()), "answered as {serials:?}");
    }
}

fn serial(body: &[u8]) -> usize {
    let digits = body.get(..4).and_then(|digits| str::from_utf8(digits).ok()?.parse().ok());
    assert!(body[4.min(body.len())..].iter().all(|&byte| byte == b'.'), "another answer's bytes are in an answer");
    digits.unwrap_or_else(|| panic!("no answer of the user's: {}", body.escape_ascii()))
}
