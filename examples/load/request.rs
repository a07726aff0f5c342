//! The bytes of the requests, formatted once.

use crate::cli::{Plan, Protocol};

/// A batch is not made longer than this, unless a single request is.
const BATCH_MAX: usize = 1 << 20;
/// After so many bytes the pattern of a body begins again. Odd, so that no block of memory has a whole number of them.
const PERIOD: usize = 251;

/// Some requests, one behind the other.
pub struct Requests {
    bytes: Vec<u8>,
    /// The length of one.
    pub length: usize,
}

impl Requests {
    pub fn new(plan: &Plan) -> Self {
        let one = one(plan);
        let count = plan.depth.min(BATCH_MAX / one.len()).max(1);
        Self { bytes: one.repeat(count), length: one.len() }
    }

    /// The next bytes to send of `wanted`, if the last ones ended at `at`.
    pub fn piece(&self, at: usize, wanted: usize) -> &[u8] {
        &self.bytes[at..self.bytes.len().min(at + wanted)]
    }

    /// Where the piece behind goes on, if `count` bytes of one at `at` were sent.
    pub fn behind(&self, at: usize, count: usize) -> usize {
        (at + count) % self.bytes.len()
    }

    /// A single one.
    pub fn one(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

fn one(plan: &Plan) -> Vec<u8> {
    let mut request = match plan.protocol {
        Protocol::LengthPrefixed => (plan.size as u32).to_be_bytes().to_vec(),
        Protocol::Http => {
            let method = if plan.size == 0 { "GET" } else { "POST" };
            let last = if plan.reconnect { "Connection: close\r\n" } else { "" };
            let length = match plan.size {
                0 => String::new(),
                size => format!("Content-Length: {size}\r\n"),
            };
            format!("{method} {} HTTP/1.1\r\nHost: {}\r\n{last}{length}\r\n", plan.path, plan.server).into_bytes()
        }
    };
    request.extend((0..plan.size).map(pattern));
    request
}

/// The byte at `at` of each body.
pub fn pattern(at: usize) -> u8 {
    b'!' + (at % PERIOD % 90) as u8
}

#[cfg(test)]
pub mod tests {
    use std::time::Duration;

    use super::*;

    pub fn plan(protocol: Protocol, size: usize, depth: usize) -> Plan {
        Plan {
            server: "127.0.0.1:1".parse().expect("an address"),
            protocol,
            connections: 1,
            depth,
            size,
            path: "/".into(),
            rate: None,
            time: Duration::from_secs(1),
            warm_up: Duration::ZERO,
            reconnect: false,
            idle: 0,
            timeout: Duration::from_secs(1),
            pid: None,
        }
    }

    #[test]
    fn requests_are_what_the_protocols_say() {
        let get = Requests::new(&plan(Protocol::Http, 0, 1));
        assert_eq!(get.one(), b"GET / HTTP/1.1\r\nHost: 127.0.0.1:1\r\n\r\n");
        let post = Requests::new(&plan(Protocol::Http, 3, 1));
        assert_eq!(post.one(), b"POST / HTTP/1.1\r\nHost: 127.0.0.1:1\r\nContent-Length: 3\r\n\r\n!\"#");
        assert_eq!(Requests::new(&plan(Protocol::LengthPrefixed, 2, 1)).one(), b"\0\0\0\x02!\"");
        assert_eq!(Requests::new(&plan(Protocol::LengthPrefixed, 0, 1)).one(), b"\0\0\0\0");
    }

    #[test]
    fn pieces_follow_each_other_for_ever() {
        let requests = Requests::new(&plan(Protocol::LengthPrefixed, 2, 3));
        let (mut at, mut sent) = (0, Vec::new());
        while sent.len() < 60 {
            let piece = requests.piece(at, 4);
            sent.extend_from_slice(piece);
            at = requests.behind(at, piece.len());
        }
        assert_eq!(sent[..60], requests.one().repeat(10)[..60]);
    }

    #[test]
    fn a_batch_has_whole_requests_and_a_bound() {
        let requests = Requests::new(&plan(Protocol::LengthPrefixed, 300 << 10, 64));
        assert_eq!(requests.bytes.len(), requests.length * 3);
        let requests = Requests::new(&plan(Protocol::LengthPrefixed, 2 << 20, 64));
        assert_eq!(requests.bytes.len(), requests.length);
    }
}
