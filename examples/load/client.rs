//! One connection: what it has to send, and what it waits for.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::iter;
use std::time::{Duration, Instant};

use mio::net::TcpStream;

use crate::answers::{Answers, Expected, Heard};
use crate::cli::Plan;
use crate::request::Requests;
use crate::schedule::Schedule;
use crate::tally::Tally;
use crate::trouble::Trouble;

/// Of all that is read at once.
const SCRATCH: usize = 256 << 10;

/// What all connections share.
pub struct Shared {
    pub requests: Requests,
    pub expected: Expected,
    pub tally: Tally,
    pub depth: u64,
    /// In an open loop.
    pub schedule: Option<Schedule>,
    pub reconnect: bool,
    /// No more requests are sent: what is under way is waited for.
    pub over: bool,
    /// Latencies count of requests from then on.
    pub since: Instant,
    pub scratch: Vec<u8>,
}

impl Shared {
    pub fn new(plan: &Plan, now: Instant) -> Self {
        Self {
            requests: Requests::new(plan),
            expected: Expected::new(plan),
            tally: Tally::new(),
            depth: plan.depth as u64,
            schedule: None,
            reconnect: plan.reconnect,
            over: false,
            since: now,
            scratch: vec![0; SCRATCH],
        }
    }
}

/// How a turn left the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// It waits.
    Over,
    /// It has ended as it should, and is to be made again.
    Ended,
    /// It is broken.
    Broken(Trouble),
}

/// One connection.
pub struct Client {
    number: usize,
    pub socket: Option<TcpStream>,
    answers: Answers,
    /// Bytes of requests that have to leave, and where in the batch they go on.
    unsent: usize,
    at: usize,
    writable: bool,
    /// In a closed loop: when requests were sent, and how many.
    sent: VecDeque<(Instant, u64)>,
    /// Requests that may be sent, have been given to the socket, and are done with.
    due: u64,
    issued: u64,
    settled: u64,
    /// Since when its last answer is here, and it waits for the end.
    answered: Option<Instant>,
}

impl Client {
    pub fn new(number: usize) -> Self {
        Self {
            number,
            socket: None,
            answers: Answers::default(),
            unsent: 0,
            at: 0,
            writable: true,
            sent: VecDeque::new(),
            due: 0,
            issued: 0,
            settled: 0,
            answered: None,
        }
    }

    /// It has a new socket. In a closed loop its requests are due now; in an open loop they wait for their time.
    pub fn opened(&mut self, socket: TcpStream, shared: &mut Shared, now: Instant) -> Turn {
        self.socket = Some(socket);
        self.answers = Answers::default();
        (self.unsent, self.at, self.answered) = (0, 0, None);
        self.writable = true;
        self.sent.clear();
        // What was under way on the connection before is sent again, unless it was given up.
        self.issued = self.settled;
        if shared.schedule.is_none() {
            self.due = self.issued + shared.depth;
        }
        self.send(shared, now)
    }

    /// One more request is due in an open loop.
    pub fn is_due(&mut self, shared: &mut Shared, now: Instant) -> Turn {
        self.due += 1;
        let turn = self.send(shared, now);
        if let Some(schedule) = shared.schedule
            && self.issued == self.due
        {
            // The server did not hold it up: if it is late, this program is.
            let late = now.saturating_duration_since(schedule.intended(self.number, self.due - 1));
            shared.tally.late.saturating_record(late.as_nanos() as u64);
        }
        turn
    }

    /// Its connection is broken: what was under way is lost. Tells how many requests that are.
    pub fn lose(&mut self) -> u64 {
        let lost = self.under_way();
        self.settled = self.issued;
        self.socket = None;
        lost
    }

    /// Since when each of the requests waits that are under way.
    pub fn waiting_since(&self, shared: &Shared) -> Vec<Instant> {
        match &shared.schedule {
            Some(schedule) => (self.settled..self.issued).map(|nth| schedule.intended(self.number, nth)).collect(),
            None => self.sent.iter().flat_map(|(since, count)| iter::repeat_n(*since, *count as usize)).collect(),
        }
    }

    /// Requests that were sent and not answered.
    pub fn under_way(&self) -> u64 {
        self.issued - self.settled
    }

    /// Requests that are due and not answered.
    pub fn open(&self) -> u64 {
        self.due - self.settled
    }

    /// What it has waited for longer than `patience`, if anything.
    pub fn overdue(&self, shared: &Shared, now: Instant, patience: Duration) -> Option<Trouble> {
        let (since, trouble) = match (&shared.schedule, self.answered, self.sent.front()) {
            _ if self.socket.is_none() => return None,
            (_, Some(since), _) => (since, Trouble::NotClosed),
            (Some(schedule), ..) if self.under_way() > 0 => {
                (schedule.intended(self.number, self.settled), Trouble::TimedOut)
            }
            (None, _, Some((since, _))) => (*since, Trouble::TimedOut),
            _ => return None,
        };
        (now.saturating_duration_since(since) > patience).then_some(trouble)
    }

    /// Counts what was due and was not answered within `patience`. Behind a signal there may be more, which is not
    /// missing yet; but what has waited longer than `longest`, as no answer has, belongs to the latencies: a stall
    /// would not be seen there otherwise.
    pub fn give_up(&mut self, shared: &mut Shared, now: Instant, patience: Duration, longest: Duration) {
        let Some(schedule) = shared.schedule else { return };
        for nth in self.settled..self.due {
            let intended = schedule.intended(self.number, nth);
            let waited = now.saturating_duration_since(intended);
            if waited >= patience.min(longest) && intended >= shared.since {
                shared.tally.waited(waited);
            }
            shared.tally.trouble(Trouble::Unanswered, u64::from(waited >= patience));
        }
        self.settled = self.due;
    }

    /// The poll has something to say about its socket.
    pub fn turn(&mut self, shared: &mut Shared, readable: bool, writable: bool, closed: bool) -> Turn {
        if writable && self.unsent > 0 {
            self.writable = true;
            let turn = self.write(shared);
            if turn != Turn::Over {
                return turn;
            }
        }
        if readable { self.receive(shared, closed) } else { Turn::Over }
    }

    /// Sends what is due, as far as the depth lets it.
    fn send(&mut self, shared: &mut Shared, now: Instant) -> Turn {
        let count = self.due.min(self.settled + shared.depth).saturating_sub(self.issued);
        if count == 0 || self.socket.is_none() || self.answers.closing() {
            return Turn::Over;
        }
        self.issued += count;
        if shared.schedule.is_none() {
            self.sent.push_back((now, count));
        }
        if self.unsent == 0 {
            // All at once, from the beginning of the batch.
            self.at = 0;
        }
        self.unsent += count as usize * shared.requests.length;
        if self.writable { self.write(shared) } else { Turn::Over }
    }

    fn write(&mut self, shared: &mut Shared) -> Turn {
        let Some(socket) = &mut self.socket else { return Turn::Over };
        while self.unsent > 0 {
            match socket.write(shared.requests.piece(self.at, self.unsent)) {
                Ok(count) => {
                    shared.tally.sent_bytes += count as u64;
                    self.at = shared.requests.behind(self.at, count);
                    self.unsent -= count;
                }
                // Not connected: not yet.
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => {
                    self.writable = false;
                    return Turn::Over;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // There is no connection, and this is where that is told.
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                    return Turn::Broken(Trouble::connect(&error));
                }
                // The server may have said why before it closed.
                Err(_) => return self.receive(shared, true),
            }
        }
        Turn::Over
    }

    fn receive(&mut self, shared: &mut Shared, closed: bool) -> Turn {
        loop {
            let Some(socket) = &mut self.socket else { return Turn::Over };
            let count = match socket.read(&mut shared.scratch) {
                Ok(0) => return self.ended(),
                Ok(count) => count,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => {
                    return Turn::Over;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) if self.answered.is_some() => return Turn::Ended,
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                    return Turn::Broken(Trouble::connect(&error));
                }
                Err(error) => return Turn::Broken(Trouble::socket(&error)),
            };
            let turn = self.take(shared, count);
            // A read that was short has emptied the socket, unless its end is there.
            if turn != Turn::Over || (count < shared.scratch.len() && !closed) {
                return turn;
            }
        }
    }

    /// Takes `count` bytes of the scratch.
    fn take(&mut self, shared: &mut Shared, count: usize) -> Turn {
        let now = Instant::now();
        shared.tally.received_bytes += count as u64;
        let mut heard = Heard::default();
        let fed = self.answers.feed(&mut shared.expected, &shared.scratch[..count], &mut heard);
        let answers = heard.answers as u64;
        if answers > self.under_way() {
            return Turn::Broken(Trouble::Unasked);
        }
        for (_, trouble) in &heard.bad {
            shared.tally.trouble(*trouble, 1);
        }
        self.settle(shared, &heard, now);
        if let Err(trouble) = fed {
            return Turn::Broken(trouble);
        }
        if answers == 0 {
            return Turn::Over;
        }
        if shared.reconnect || self.answers.closing() {
            // Who closes first keeps the port: over HTTP that is the server, as it said or was asked to.
            self.answered = Some(now);
            return if self.answers.closing() { Turn::Over } else { Turn::Ended };
        }
        if shared.schedule.is_none() && !shared.over {
            self.due += answers;
        }
        self.send(shared, now)
    }

    fn settle(&mut self, shared: &mut Shared, heard: &Heard, now: Instant) {
        shared.tally.answers_ever += heard.answers as u64;
        let mut bad = heard.bad.iter().map(|(nth, _)| *nth).peekable();
        for nth in 0..heard.answers {
            let since = match shared.schedule {
                Some(schedule) => schedule.intended(self.number, self.settled),
                None => self.sent_at(),
            };
            self.settled += 1;
            if bad.next_if_eq(&nth).is_none() {
                let latency = now.saturating_duration_since(since);
                shared.tally.answered((since >= shared.since).then_some(latency));
            }
        }
    }

    /// When the oldest request was sent, which is answered now.
    fn sent_at(&mut self) -> Instant {
        let oldest = self.sent.front_mut().expect("no more answers than requests");
        oldest.1 -= 1;
        let since = oldest.0;
        if oldest.1 == 0 {
            self.sent.pop_front();
        }
        since
    }

    fn ended(&mut self) -> Turn {
        // After its last answer it is not broken, and requests behind that are sent again.
        if self.answered.is_some() || self.answers.closing() || (self.under_way() == 0 && self.unsent == 0) {
            Turn::Ended
        } else {
            Turn::Broken(Trouble::Closed)
        }
    }
}
