//! The attackers' process: one thread, one poll, thousands of connections that follow their scripts.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::dial::dial;
use crate::random::Random;
use crate::script::{Family, Script, Shared, Step};

/// Sends and reads of one connection before the others have their turn.
const TURN: usize = 32;
/// How long nothing is opened after the kernel has refused.
const BACK_OFF: Duration = Duration::from_millis(50);

/// One attacking connection.
struct Attacker {
    socket: TcpStream,
    script: Script,
    family: usize,
    /// What is being sent, and how much of it has gone.
    sending: Option<(Shared, usize)>,
    /// Until when it does nothing.
    waits: Option<Instant>,
    /// The time for which it has a timer.
    timed: Option<Instant>,
    holds: bool,
    /// What the kernel said last.
    readable: bool,
    writable: bool,
    closed: bool,
    /// Tells a place's connections apart.
    generation: u32,
}

/// A family, and what became of it.
struct Crowd {
    family: Family,
    open: usize,
    opened: usize,
    next: Instant,
    refused: usize,
    ended_by_server: usize,
    sent: u64,
    read: u64,
}

/// What a turn came to.
#[derive(PartialEq, Eq)]
enum Turn {
    /// Waits for the kernel or for its time.
    Over,
    /// There is more to do at once.
    Again,
    /// It has ended itself.
    Ended,
    /// The server has ended it.
    EndedByServer,
}

/// All attackers.
pub struct Swarm {
    target: SocketAddr,
    random: Random,
    poll: Poll,
    crowds: Vec<Crowd>,
    attackers: Vec<Option<Attacker>>,
    free: Vec<usize>,
    timers: BinaryHeap<Reverse<(Instant, usize, u32)>>,
    again: Vec<(usize, u32)>,
    generation: u32,
    scratch: Vec<u8>,
}

impl Swarm {
    pub fn new(target: SocketAddr, families: Vec<Family>, seed: u64) -> io::Result<Self> {
        let next = Instant::now();
        let crowd =
            |family| Crowd { family, open: 0, opened: 0, next, refused: 0, ended_by_server: 0, sent: 0, read: 0 };
        Ok(Self {
            target,
            random: Random::new(seed),
            poll: Poll::new()?,
            crowds: families.into_iter().map(crowd).collect(),
            attackers: Vec::new(),
            free: Vec::new(),
            timers: BinaryHeap::new(),
            again: Vec::new(),
            generation: 0,
            scratch: vec![0; 64 << 10],
        })
    }

    /// Attacks until `until`, or until all bounded families have had their connections.
    pub fn run(&mut self, until: Instant) -> io::Result<()> {
        let mut events = Events::with_capacity(1024);
        loop {
            let now = Instant::now();
            if now >= until || self.crowds.iter().all(Crowd::is_done) {
                return Ok(());
            }
            (0..self.crowds.len()).for_each(|crowd| self.open_due(crowd, now));
            self.wake_due(now);
            for (place, generation) in std::mem::take(&mut self.again) {
                self.turn(place, generation);
            }
            let timeout = if self.again.is_empty() { Duration::from_millis(2) } else { Duration::ZERO };
            match self.poll.poll(&mut events, Some(timeout)) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            for event in &events {
                let place = event.token().0;
                let Some(attacker) = self.attackers.get_mut(place).and_then(Option::as_mut) else { continue };
                attacker.readable |= event.is_readable() || event.is_read_closed();
                attacker.writable |= event.is_writable();
                attacker.closed |= event.is_error() || event.is_read_closed();
                let generation = attacker.generation;
                self.turn(place, generation);
            }
        }
    }

    /// What became of each family, a line each.
    pub fn report(&self) -> impl Iterator<Item = String> + '_ {
        self.crowds.iter().map(|crowd| {
            let Crowd { family, open, opened, refused, ended_by_server, sent, read, .. } = crowd;
            let (sent, read) = (*sent as f64 / f64::from(1 << 20), *read as f64 / f64::from(1 << 20));
            let wanted = family.total.unwrap_or(family.connections);
            format!(
                "{}: {opened} of {wanted} connections, {open} open at the end, {ended_by_server} ended by the server, {refused} \
                 refused; {sent:.1} MiB sent, {read:.1} MiB read",
                family.name
            )
        })
    }

    fn open_due(&mut self, index: usize, now: Instant) {
        let crowd = &mut self.crowds[index];
        // Not made up for: a slow start is no reason for a storm.
        crowd.next = crowd.next.max(now.checked_sub(Duration::from_millis(20)).unwrap_or(now));
        while self.crowds[index].wants_more() && self.crowds[index].next <= now {
            let crowd = &mut self.crowds[index];
            let filled = crowd.opened >= crowd.family.connections;
            let rate = if filled { crowd.family.reopens } else { crowd.family.opens };
            crowd.next += Duration::from_secs_f64(1.0 / rate);
            if self.open(index).is_err() {
                self.crowds[index].refused += 1;
                self.crowds[index].next = now + BACK_OFF;
            }
        }
    }

    fn open(&mut self, index: usize) -> io::Result<()> {
        let crowd = &mut self.crowds[index];
        let mut socket = dial(self.target, crowd.opened, crowd.family.narrow)?;
        // The place is taken once nothing can fail any more, or it would be lost.
        let place = self.free.last().copied().unwrap_or(self.attackers.len());
        self.poll.registry().register(&mut socket, Token(place), Interest::READABLE | Interest::WRITABLE)?;
        if self.free.pop().is_none() {
            self.attackers.push(None);
        }
        let script = (crowd.family.script)(crowd.opened, Random::new(self.random.next()));
        crowd.opened += 1;
        crowd.open += 1;
        self.generation = self.generation.wrapping_add(1);
        self.attackers[place] = Some(Attacker {
            socket,
            script,
            family: index,
            sending: None,
            waits: None,
            timed: None,
            holds: false,
            readable: false,
            writable: false,
            closed: false,
            generation: self.generation,
        });
        Ok(())
    }

    fn wake_due(&mut self, now: Instant) {
        while let Some(Reverse((due, place, generation))) = self.timers.peek().copied() {
            if due > now {
                return;
            }
            self.timers.pop();
            self.turn(place, generation);
        }
    }

    fn turn(&mut self, place: usize, generation: u32) {
        let Some(attacker) = self.attackers.get_mut(place).and_then(Option::as_mut) else { return };
        if attacker.generation != generation {
            return;
        }
        let crowd = &mut self.crowds[attacker.family];
        let turn = attacker.turn(crowd, &mut self.scratch);
        if let (Turn::Over, Some(due)) = (&turn, attacker.waits.filter(|_| attacker.waits != attacker.timed)) {
            attacker.timed = attacker.waits;
            self.timers.push(Reverse((due, place, generation)));
        }
        match turn {
            Turn::Over => {}
            Turn::Again => self.again.push((place, generation)),
            Turn::Ended | Turn::EndedByServer => {
                crowd.open -= 1;
                crowd.ended_by_server += usize::from(turn == Turn::EndedByServer);
                self.attackers[place] = None;
                self.free.push(place);
            }
        }
    }
}

impl Crowd {
    fn wants_more(&self) -> bool {
        self.open < self.family.connections && self.family.total.is_none_or(|total| self.opened < total)
    }

    fn is_done(&self) -> bool {
        self.family.total.is_some_and(|total| self.opened >= total) && self.open == 0
    }
}

impl Attacker {
    fn turn(&mut self, crowd: &mut Crowd, scratch: &mut [u8]) -> Turn {
        for _ in 0..TURN {
            let reads = self.readable && self.script.reads;
            if reads {
                match self.socket.read(scratch) {
                    Ok(0) => return Turn::EndedByServer,
                    Ok(count) => crowd.read += count as u64,
                    Err(error) if is_later(&error) => self.readable = false,
                    Err(_) => return Turn::EndedByServer,
                }
            } else if self.closed {
                // Who doesn't read does not see the end in any other way.
                return Turn::EndedByServer;
            }
            let acts = self.act(crowd);
            match acts {
                Turn::Over if self.readable && self.script.reads => {}
                Turn::Again => {}
                ended => return ended,
            }
        }
        Turn::Again
    }

    /// One step of the script, if it is time and the socket can take it.
    fn act(&mut self, crowd: &mut Crowd) -> Turn {
        if self.holds || !self.writable || self.waits.is_some_and(|due| Instant::now() < due) {
            return Turn::Over;
        }
        self.waits = None;
        let Some((bytes, gone)) = &mut self.sending else { return self.next_step() };
        match self.socket.write(&bytes[*gone..]) {
            Ok(count) => {
                crowd.sent += count as u64;
                *gone += count;
                if *gone == bytes.len() {
                    self.sending = None;
                }
                Turn::Again
            }
            Err(error) if is_later(&error) => {
                self.writable = false;
                Turn::Over
            }
            // It may have said why.
            Err(_) => {
                self.holds = true;
                self.closed = true;
                Turn::Over
            }
        }
    }

    fn next_step(&mut self) -> Turn {
        match (self.script.next)() {
            Step::Send(bytes) => self.sending = Some((bytes, 0)),
            Step::Wait(time) => {
                self.waits = Some(Instant::now() + time);
                return Turn::Over;
            }
            // Fails if the server was faster, and the end comes anyway.
            Step::Finish => drop(self.socket.shutdown(std::net::Shutdown::Write)),
            Step::Hold => {
                self.holds = true;
                return Turn::Over;
            }
            Step::Close => return Turn::Ended,
            Step::Reset => {
                let _ = socket2::SockRef::from(&self.socket).set_linger(Some(Duration::ZERO));
                return Turn::Ended;
            }
        }
        Turn::Again
    }
}

fn is_later(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted | io::ErrorKind::NotConnected)
}
