//! A small HTTP client that takes nothing for granted: each answer is read to its last byte and no further.

#![allow(dead_code, reason = "each test file uses its part")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::net::{self, rest};

/// One connection.
pub struct Client {
    pub stream: TcpStream,
    /// What was read and belongs to no answer yet.
    read: Vec<u8>,
}

/// One answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    head: String,
    pub body: Vec<u8>,
}

impl Answer {
    /// The value of a field, whatever the case of its name.
    pub fn header(&self, name: &str) -> Option<&str> {
        let fields = self.head.lines().filter_map(|line| line.split_once(": "));
        fields.filter(|(seen, _)| seen.eq_ignore_ascii_case(name)).map(|(_, value)| value).next()
    }

    /// Says that the connection ends.
    pub fn closes(&self) -> bool {
        self.header("connection") == Some("close")
    }
}

impl Client {
    pub fn connect(address: SocketAddr) -> Self {
        Self::over(net::connect(address))
    }

    pub fn over(stream: TcpStream) -> Self {
        Self { stream, read: Vec::new() }
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).expect("the server reads");
    }

    /// Sends and reads what comes back.
    pub fn ask(&mut self, bytes: impl AsRef<[u8]>) -> Answer {
        self.send(bytes);
        self.answer()
    }

    /// Asks for `target`, which is what the body of the answer has to be.
    pub fn ask_for(&mut self, target: &str) {
        let answer = self.ask(get(target));
        assert_eq!((answer.status, answer.body.as_slice()), (200, target.as_bytes()));
    }

    /// Reads one answer with its body.
    pub fn answer(&mut self) -> Answer {
        let answer = self.answer_without_body();
        let length = answer.header("content-length").expect("every answer has a length").parse().expect("a number");
        while self.read.len() < length {
            self.read_more();
        }
        let behind = self.read.split_off(length);
        Answer { body: std::mem::replace(&mut self.read, behind), ..answer }
    }

    /// Reads the head of an answer that has no body: to HEAD, or 100 Continue.
    pub fn answer_without_body(&mut self) -> Answer {
        let end = loop {
            if let Some(at) = self.read.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            self.read_more();
        };
        let behind = self.read.split_off(end);
        let head = String::from_utf8(std::mem::replace(&mut self.read, behind)).expect("a head is text");
        let status = head.strip_prefix("HTTP/1.1 ").and_then(|line| line[..3].parse().ok());
        Answer { status: status.unwrap_or_else(|| panic!("no answer: {head:?}")), head, body: Vec::new() }
    }

    fn read_more(&mut self) {
        let mut bytes = vec![0; 64 << 10];
        let count = self.stream.read(&mut bytes).expect("an answer, not a reset");
        assert!(count > 0, "the end of the stream instead of an answer, behind {:?}", self.read.escape_ascii());
        self.read.extend_from_slice(&bytes[..count]);
    }

    /// The server has closed its side, and said no more before.
    pub fn ends(mut self) {
        let behind = [std::mem::take(&mut self.read), rest(&mut self.stream)].concat();
        assert!(behind.is_empty(), "more than was asked for: {:.300}", behind.escape_ascii().to_string());
    }

    /// An answer of this status that says it is the last, and then the end of the stream. Returns its body.
    pub fn last_answer(mut self, status: u16) -> Vec<u8> {
        let answer = self.answer();
        assert_eq!(answer.status, status, "{answer:?}");
        assert!(answer.closes(), "{answer:?}");
        self.ends();
        answer.body
    }
}

pub fn get(target: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n").into_bytes()
}

pub fn post(body: &[u8]) -> Vec<u8> {
    let head = format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// The same in chunks of `size` bytes.
pub fn post_chunked(body: &[u8], size: usize) -> Vec<u8> {
    let mut request = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    for chunk in body.chunks(size) {
        request.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        request.extend_from_slice(chunk);
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"0\r\n\r\n");
    request
}
