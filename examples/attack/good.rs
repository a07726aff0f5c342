//! The good clients: small requests at a steady rate, and how long each took.
//!
//! Each client has a schedule and keeps to it whatever the server does (an open loop). A request that is due while the
//! one before is unanswered counts from when it was due, so a stall of the server is seen by all requests that it held
//! up (no coordinated omission). If it is this thread that is late, its request counts from when it was sent: the
//! server can't help that.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

/// Clients whose latency counts.
pub const CLIENTS: usize = 64;
/// Between two requests of one of them.
const EVERY: Duration = Duration::from_millis(10);
/// Between two requests of a polite one.
const POLITE_EVERY: Duration = Duration::from_millis(50);
/// An answer that takes longer is an error.
const PATIENCE: Duration = Duration::from_secs(10);

const REQUESTS: [&[u8]; 2] = [
    b"GET /plaintext HTTP/1.1\r\nHost: good\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: good\r\nContent-Length: 13\r\n\r\nHello, World!",
];
/// How every good answer begins and ends.
const ANSWER: (&[u8], &[u8]) = (b"HTTP/1.1 200 OK\r\n", b"\r\n\r\nHello, World!");

/// What the clients do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// Requests that do not count.
    Warm,
    /// Requests before the attack.
    Calm,
    /// Requests during the attack.
    During,
    /// No requests; the connections stay.
    Silent,
    /// The end.
    Over,
}

impl Phase {
    const ALL: [Self; 5] = [Self::Warm, Self::Calm, Self::During, Self::Silent, Self::Over];
}

/// Latencies in nanoseconds.
pub type Latencies = Histogram<u64>;

/// What became of the clients' requests.
pub struct Outcome {
    pub calm: Latencies,
    pub during: Latencies,
    /// Connections that were closed, answers that were wrong or missing.
    pub errors: Vec<String>,
}

/// The clients, on a thread of their own.
pub struct GoodClients {
    phase: Arc<AtomicU8>,
    thread: Option<JoinHandle<io::Result<Outcome>>>,
}

impl GoodClients {
    /// Connects [`CLIENTS`], and `polite` ones beside them.
    pub fn start(address: SocketAddr, polite: usize) -> io::Result<Self> {
        let phase = Arc::new(AtomicU8::new(Phase::Warm as u8));
        let mut crowd = Crowd::connect(address, polite, Arc::clone(&phase))?;
        let thread = thread::Builder::new().name("good clients".into()).spawn(move || {
            crowd.run()?;
            Ok(crowd.outcome)
        })?;
        Ok(Self { phase, thread: Some(thread) })
    }

    /// What they do from now on.
    pub fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Relaxed);
    }

    /// Ends them.
    pub fn finish(mut self) -> io::Result<Outcome> {
        self.enter(Phase::Over);
        let thread = self.thread.take().expect("it is taken here only");
        thread.join().unwrap_or_else(|_| Err(io::Error::other("the good clients panicked")))
    }
}

impl Drop for GoodClients {
    fn drop(&mut self) {
        self.enter(Phase::Over);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// One client.
struct Client {
    socket: TcpStream,
    /// When its next request is due.
    next: Instant,
    every: Duration,
    counts: bool,
    requests: usize,
    /// Requests that were due while an answer was awaited.
    held_up: VecDeque<(Instant, Phase)>,
    awaited: Option<(Instant, Phase)>,
    received: Vec<u8>,
    broken: bool,
}

struct Crowd {
    poll: Poll,
    clients: Vec<Client>,
    phase: Arc<AtomicU8>,
    outcome: Outcome,
}

fn histogram() -> Latencies {
    Histogram::new_with_bounds(1000, 60_000_000_000, 3).expect("these bounds are allowed")
}

impl Crowd {
    fn connect(address: SocketAddr, polite: usize, phase: Arc<AtomicU8>) -> io::Result<Self> {
        let (poll, start) = (Poll::new()?, Instant::now());
        let mut clients = Vec::new();
        for number in 0..CLIENTS + polite {
            let socket = std::net::TcpStream::connect(address)?;
            socket.set_nodelay(true)?;
            socket.set_nonblocking(true)?;
            let mut socket = TcpStream::from_std(socket);
            poll.registry().register(&mut socket, Token(number), Interest::READABLE)?;
            let counts = number < CLIENTS;
            let every = if counts { EVERY } else { POLITE_EVERY };
            // Spread evenly: all at once would measure each other.
            let next = start + every * number as u32 / (CLIENTS + polite) as u32;
            clients.push(Client {
                socket,
                next,
                every,
                counts,
                requests: number,
                held_up: VecDeque::new(),
                awaited: None,
                received: Vec::new(),
                broken: false,
            });
        }
        let outcome = Outcome { calm: histogram(), during: histogram(), errors: Vec::new() };
        Ok(Self { poll, clients, phase, outcome })
    }

    fn phase(&self) -> Phase {
        Phase::ALL[usize::from(self.phase.load(Relaxed))]
    }

    fn run(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(256);
        loop {
            let (now, phase) = (Instant::now(), self.phase());
            let awaiting = self.clients.iter().any(|client| client.awaited.is_some() && !client.broken);
            if phase == Phase::Over && !awaiting {
                return Ok(());
            }
            for client in self.clients.iter_mut().filter(|client| !client.broken) {
                if matches!(phase, Phase::Silent | Phase::Over) {
                    client.fall_silent(now, &mut self.outcome.during);
                }
                let done = client.send_due(now, phase);
                note(&mut self.outcome.errors, client, done);
            }
            match self.poll.poll(&mut events, Some(Duration::from_millis(1))) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            for event in &events {
                let client = &mut self.clients[event.token().0];
                if !client.broken {
                    let done = client.receive(&mut self.outcome.calm, &mut self.outcome.during);
                    note(&mut self.outcome.errors, client, done);
                }
            }
        }
    }
}

fn note(errors: &mut Vec<String>, client: &mut Client, done: Result<(), String>) {
    if let Err(error) = done {
        client.broken = true;
        errors.push(error);
    }
}

impl Client {
    /// Sends nothing more. What is held up still will not be sent, but how long it has waited counts: a stall that
    /// lasts until the end would be seen by one request of each client otherwise.
    fn fall_silent(&mut self, now: Instant, during: &mut Latencies) {
        self.next = now + self.every;
        for (since, phase) in self.held_up.drain(..) {
            if self.counts && phase == Phase::During {
                during.saturating_record(now.saturating_duration_since(since).as_nanos() as u64);
            }
        }
    }

    /// Sends what is due, or notes that it was due.
    fn send_due(&mut self, now: Instant, phase: Phase) -> Result<(), String> {
        while self.next <= now {
            match self.awaited {
                Some(_) => self.held_up.push_back((self.next, phase)),
                None => {
                    self.send(now, phase)?;
                    // This thread was late itself: nobody makes up for that.
                    self.next = self.next.max(now.checked_sub(self.every).unwrap_or(now));
                }
            }
            self.next += self.every;
        }
        match self.awaited {
            Some((since, _)) if now.saturating_duration_since(since) > PATIENCE => {
                Err(format!("no answer within {PATIENCE:?}"))
            }
            _ => Ok(()),
        }
    }

    fn send(&mut self, since: Instant, phase: Phase) -> Result<(), String> {
        self.requests += 1;
        let request = REQUESTS[self.requests % REQUESTS.len()];
        // There is nothing else in the socket's buffer: it takes a small request whole.
        match self.socket.write(request) {
            Ok(count) if count == request.len() => {
                self.awaited = Some((since, phase));
                Ok(())
            }
            Ok(count) => Err(format!("only {count} bytes of a request were taken")),
            Err(error) => Err(format!("a request was not taken: {error}")),
        }
    }

    fn receive(&mut self, calm: &mut Latencies, during: &mut Latencies) -> Result<(), String> {
        let mut piece = [0; 1024];
        loop {
            match self.socket.read(&mut piece) {
                Ok(0) => return Err(self.closed()),
                Ok(count) => self.received.extend_from_slice(&piece[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(format!("an answer was not read: {error}")),
            }
            if !self.received.ends_with(ANSWER.1) {
                continue;
            }
            if !self.received.starts_with(ANSWER.0) {
                return Err(self.closed());
            }
            self.received.clear();
            let now = Instant::now();
            let Some((since, phase)) = self.awaited.take() else { return Err("an answer nobody asked for".into()) };
            let nanoseconds = now.saturating_duration_since(since).as_nanos() as u64;
            match phase {
                Phase::Calm if self.counts => calm.saturating_record(nanoseconds),
                Phase::During if self.counts => during.saturating_record(nanoseconds),
                _ => {}
            }
            if let Some((since, phase)) = self.held_up.pop_front() {
                self.send(since, phase)?;
            }
        }
    }

    /// The connection has ended, with these last words.
    fn closed(&self) -> String {
        match self.received.split(|byte| *byte == b'\r').next() {
            Some(line) if !line.is_empty() => format!("answered {}", String::from_utf8_lossy(line)),
            _ => "closed by the server".into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn what_a_stall_holds_up_counts_though_it_lasts_until_the_end() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let mut crowd = Crowd::connect(address, 1, Arc::new(AtomicU8::new(Phase::During as u8))).expect("connected");
        let start = crowd.clients[0].next;
        // Nobody answers: the first request is under way, the others are held up.
        for client in &mut crowd.clients {
            client.next = start;
            client.send_due(start, Phase::During).expect("sent");
            client.send_due(start + 10 * EVERY, Phase::During).expect("held up");
            client.fall_silent(start + 20 * EVERY, &mut crowd.outcome.during);
        }
        let during = &crowd.outcome.during;
        // Not those of the polite one, which are not measured.
        assert_eq!(during.len(), 10 * CLIENTS as u64);
        assert!(Duration::from_nanos(during.min()) >= 10 * EVERY - EVERY / 10, "{}", during.min());
        assert!(Duration::from_nanos(during.max()) >= 19 * EVERY - EVERY / 10, "{}", during.max());
        assert!(crowd.clients.iter().all(|client| client.held_up.is_empty()));
    }
}
