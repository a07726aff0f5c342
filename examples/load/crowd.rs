//! All connections, and the loop that they live in.

use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::cli::Plan;
use crate::client::{Client, Shared, Turn};
use crate::dial;
use crate::process::{Memory, Process};
use crate::progress::Progress;
use crate::request::Requests;
use crate::schedule::Schedule;
use crate::tally::Tally;
use crate::trouble::Trouble;

/// Before a broken connection is made again.
const BACK_OFF: Duration = Duration::from_millis(10);
/// Between two looks at the bar, at signals and at what is overdue.
const LOOK: Duration = Duration::from_millis(100);
/// The poll sleeps by the millisecond; what is due sooner is waited for awake.
const AWAKE: Duration = Duration::from_millis(1);

/// All connections to one server.
pub struct Crowd<'a> {
    plan: &'a Plan,
    poll: Poll,
    clients: Vec<Client>,
    idle: Vec<Option<TcpStream>>,
    /// Connections that are to be made again, and when.
    down: VecDeque<(Instant, usize)>,
    shared: Shared,
    /// Requests that were due so far, in an open loop.
    due: u64,
}

/// What was measured.
pub struct Outcome {
    pub tally: Tally,
    /// Good answers within `time`, and the bytes of that time.
    pub answers: u64,
    pub sent_bytes: u64,
    pub received_bytes: u64,
    pub time: Duration,
    /// How long was sent before that.
    pub warm_up: Duration,
    /// The share of a core that this program needed.
    pub load_busy: f64,
    /// The share of the time that it could have run and others ran.
    pub load_waited: f64,
    /// If it was asked for, and the error if the server is not there any more.
    pub server: Option<io::Result<Use>>,
}

/// What the server needed meanwhile.
pub struct Use {
    pub cpu: Duration,
    pub memory: Memory,
    pub threads: usize,
}

/// The moment from which on it counts.
struct Begin {
    at: Instant,
    load: Process,
    server: Option<Process>,
}

impl<'a> Crowd<'a> {
    /// Makes all connections.
    pub fn connect(plan: &'a Plan, progress: &Progress) -> io::Result<Self> {
        let now = Instant::now();
        let mut shared = Shared::new(plan, now);
        // Where each request has a connection of its own, one shows that the server is there.
        let active = if plan.reconnect { 1 } else { plan.connections };
        let count = plan.idle + active;
        // What asks idle ones for their first answer must not ask for their end.
        let greeting = Requests::new(&Plan { reconnect: false, ..plan.clone() });
        let mut sockets = dial::dial_all(plan, count, &greeting, &mut shared.expected, &|| progress.interrupted())?;
        drop(greeting);
        let mut idle = sockets.split_off(active);
        let poll = Poll::new()?;
        let clients: Vec<_> = (0..plan.connections).map(Client::new).collect();
        for (number, socket) in idle.iter_mut().enumerate() {
            poll.registry().register(socket, Token(plan.connections + number), Interest::READABLE)?;
        }
        let idle = idle.into_iter().map(Some).collect();
        let down = VecDeque::new();
        let mut crowd = Self { plan, poll, clients, idle, down, shared, due: 0 };
        crowd.shared.schedule = plan.rate.map(|rate| Schedule::new(Instant::now(), rate, plan.connections));
        if plan.reconnect {
            crowd.down.extend((0..plan.connections).map(|number| (now, number)));
        } else {
            for (number, socket) in sockets.into_iter().enumerate() {
                crowd.opened(number, Ok(socket));
            }
        }
        Ok(crowd)
    }

    /// Sends requests until it is over, or a signal says so.
    pub fn run(&mut self, progress: &Progress) -> io::Result<Outcome> {
        let mut events = Events::with_capacity(1024);
        let start = Instant::now();
        // Not earlier: the time that connections took is no time in which something was due.
        self.shared.schedule = self.plan.rate.map(|rate| Schedule::new(start, rate, self.plan.connections));
        let mut begin = None;
        let mut look = start;
        loop {
            let now = Instant::now();
            if begin.is_none() && now >= start + self.plan.warm_up {
                begin = Some(self.begin(now)?);
            }
            if begin.as_ref().is_some_and(|begin| now >= begin.at + self.plan.time) {
                break;
            }
            if now >= look {
                look = now + LOOK;
                if progress.interrupted() {
                    break;
                }
                progress.show(now - start, begin.as_ref().map(|begin| (self.shared.tally.answers, now - begin.at)));
                self.look_for_overdue(now);
            }
            let timeout = self.issue_due(now);
            self.turns(&mut events, timeout)?;
        }
        let begin = match begin {
            Some(begin) => begin,
            None => self.begin(Instant::now())?,
        };
        let warm_up = begin.at - start;
        self.end(begin, warm_up, &mut events, progress)
    }

    /// From now on it counts. Without a warm-up all does, also what was sent before this moment.
    fn begin(&mut self, now: Instant) -> io::Result<Begin> {
        if !self.plan.warm_up.is_zero() {
            self.shared.tally.begin();
            self.shared.since = now;
        }
        let server = self.plan.pid.map(Process::look).transpose()?;
        Ok(Begin { at: now, load: Process::look_at_this_thread(), server })
    }

    fn end(
        &mut self,
        begin: Begin,
        warm_up: Duration,
        events: &mut Events,
        progress: &Progress,
    ) -> io::Result<Outcome> {
        let now = Instant::now();
        let time = now - begin.at;
        let load = Process::look_at_this_thread();
        let server = self.plan.pid.zip(begin.server).map(|(pid, before)| {
            let after = Process::look(pid)?;
            Ok(Use { cpu: after.cpu_since(&before), memory: Memory::of(pid)?, threads: after.threads() })
        });
        let Tally { answers, sent_bytes, received_bytes, .. } = self.shared.tally;
        self.shared.over = true;
        if self.is_over() {
            self.down.clear();
        }
        match self.shared.schedule {
            Some(_) => self.drain(now + self.plan.timeout, events, progress)?,
            None => self.wait_for_the_last(events, progress)?,
        }
        let tally = std::mem::replace(&mut self.shared.tally, Tally::new());
        let share = |part: Duration| part.as_secs_f64() / time.as_secs_f64().max(1e-9);
        let (load_busy, load_waited) = (share(load.cpu_since(&begin.load)), share(load.waited_since(&begin.load)));
        Ok(Outcome { tally, answers, sent_bytes, received_bytes, time, warm_up, load_busy, load_waited, server })
    }

    /// In a closed loop: waits for the answers to what is under way, each as long as it may take, and a signal lets it.
    /// A server that hangs in the last moments would go unnoticed otherwise.
    fn wait_for_the_last(&mut self, events: &mut Events, progress: &Progress) -> io::Result<()> {
        while self.clients.iter().any(|client| client.under_way() > 0) && !progress.interrupted() {
            self.turns(events, LOOK)?;
            self.look_for_overdue(Instant::now());
        }
        Ok(())
    }

    /// In an open loop: waits for the answers to all that was due, also to what is not sent yet. That may never end, if
    /// what is missing holds it up; at `until` all of it has waited for too long.
    fn drain(&mut self, until: Instant, events: &mut Events, progress: &Progress) -> io::Result<()> {
        let mut now = Instant::now();
        while self.clients.iter().any(|client| client.open() > 0) && now < until && !progress.interrupted() {
            self.turns(events, LOOK)?;
            now = Instant::now();
            self.look_for_overdue(now);
        }
        let longest = Duration::from_nanos(self.shared.tally.latencies.max());
        for client in &mut self.clients {
            client.give_up(&mut self.shared, now, self.plan.timeout, longest);
        }
        Ok(())
    }

    /// Lets connections send what has become due. Tells how long the poll may sleep.
    fn issue_due(&mut self, now: Instant) -> Duration {
        let Some(schedule) = self.shared.schedule else { return LOOK };
        let due = schedule.due(now);
        while self.due < due {
            let number = (self.due % self.clients.len() as u64) as usize;
            self.due += 1;
            let turn = self.clients[number].is_due(&mut self.shared, now);
            self.after(number, turn);
        }
        schedule.until(self.due, now).saturating_sub(AWAKE).min(LOOK)
    }

    fn turns(&mut self, events: &mut Events, timeout: Duration) -> io::Result<()> {
        let soon = if self.down.is_empty() { timeout } else { timeout.min(AWAKE) };
        match self.poll.poll(events, Some(soon)) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        for event in events.iter() {
            let Token(number) = event.token();
            let closed = event.is_read_closed() || event.is_error();
            let Some(client) = self.clients.get_mut(number) else {
                self.idle_closed(number - self.clients.len(), closed);
                continue;
            };
            let turn = client.turn(&mut self.shared, event.is_readable() || closed, event.is_writable(), closed);
            self.after(number, turn);
        }
        if !self.down.is_empty() {
            self.open_again(Instant::now());
        }
        Ok(())
    }

    fn after(&mut self, number: usize, turn: Turn) {
        let trouble = match turn {
            Turn::Over => return,
            // In a closed loop it would only begin another request; what was behind its last answer is not lost.
            Turn::Ended if self.is_over() => {
                self.clients[number].lose();
                return;
            }
            Turn::Ended => {
                self.shared.tally.reconnects += 1;
                // The old socket goes first: it may hold the last descriptor there is.
                self.clients[number].socket = None;
                return self.opened(number, dial::begin(self.plan));
            }
            Turn::Broken(trouble) => trouble,
        };
        let lost = self.clients[number].lose();
        self.shared.tally.trouble(trouble, lost.max(1));
        if !self.is_over() {
            self.down.push_back((Instant::now() + BACK_OFF, number));
        }
    }

    /// True when a closed loop waits for its last answers.
    fn is_over(&self) -> bool {
        self.shared.over && self.shared.schedule.is_none()
    }

    fn open_again(&mut self, now: Instant) {
        while let Some((when, number)) = self.down.front().copied() {
            if when > now {
                return;
            }
            self.down.pop_front();
            self.shared.tally.reconnects += 1;
            self.opened(number, dial::begin(self.plan));
        }
    }

    fn opened(&mut self, number: usize, socket: io::Result<TcpStream>) {
        let registered = socket.and_then(|mut socket| {
            let interest = Interest::READABLE | Interest::WRITABLE;
            self.poll.registry().register(&mut socket, Token(number), interest)?;
            Ok(socket)
        });
        let turn = match registered {
            Ok(socket) => self.clients[number].opened(socket, &mut self.shared, Instant::now()),
            Err(error) => Turn::Broken(Trouble::connect(&error)),
        };
        if let Turn::Broken(_) = turn {
            self.after(number, turn);
        }
    }

    fn idle_closed(&mut self, number: usize, closed: bool) {
        if closed && self.idle[number].take().is_some() {
            self.shared.tally.trouble(Trouble::IdleClosed, 1);
        }
    }

    fn look_for_overdue(&mut self, now: Instant) {
        for number in 0..self.clients.len() {
            if let Some(trouble) = self.clients[number].overdue(&self.shared, now, self.plan.timeout) {
                // How long they have waited belongs to the latencies: without them the worst would be missing.
                let waiting = self.clients[number].waiting_since(&self.shared).into_iter();
                for since in waiting.filter(|since| *since >= self.shared.since) {
                    self.shared.tally.waited(now.saturating_duration_since(since));
                }
                self.after(number, Turn::Broken(trouble));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::cli::Protocol;
    use crate::request::tests::plan;

    /// A connection that is made.
    fn of_one(plan: &Plan) -> Crowd<'_> {
        let mut crowd = Crowd {
            plan,
            poll: Poll::new().expect("a poll"),
            clients: vec![Client::new(0)],
            idle: Vec::new(),
            down: VecDeque::new(),
            shared: Shared::new(plan, Instant::now()),
            due: 0,
        };
        crowd.shared.schedule = plan.rate.map(|rate| Schedule::new(Instant::now(), rate, 1));
        crowd.opened(0, dial::begin(plan));
        crowd
    }

    #[test]
    fn what_leaves_late_counts_unless_the_server_holds_it_up() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let server = listener.local_addr().expect("an address");
        let warm_up = Duration::from_secs(1);
        let plan = Plan { server, warm_up, rate: Some(100.0), ..plan(Protocol::Http, 0, 2) };
        let mut crowd = of_one(&plan);
        // In half a second, 50 are due or more. Two may be under way.
        crowd.issue_due(Instant::now() + Duration::from_millis(500));
        assert!(crowd.due >= 50);
        let late = &crowd.shared.tally.late;
        assert_eq!(late.len(), 2);
        assert!(late.min() >= 489_000_000, "{}", late.min());
        crowd.begin(Instant::now()).expect("no server is looked at");
        assert!(crowd.shared.tally.late.is_empty());
    }

    #[test]
    fn what_is_behind_a_last_answer_is_not_waited_for_at_the_end() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let server = listener.local_addr().expect("an address");
        let plan = Plan { server, ..plan(Protocol::Http, 0, 2) };
        let mut crowd = of_one(&plan);
        assert_eq!(crowd.clients[0].under_way(), 2);
        crowd.shared.over = true;
        crowd.after(0, Turn::Ended);
        assert_eq!((crowd.clients[0].under_way(), crowd.clients[0].socket.is_none()), (0, true));
        assert_eq!(crowd.shared.tally.reconnects, 0);
    }
}
