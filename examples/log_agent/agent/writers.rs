//! The threads of the writers, and how they end.

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use sluicegate::flow::Taken;
use sluicegate::{Finish, Stopper};

use super::collector::BatchQueue;
use super::link::Link;
use super::writer::{Closed, Writer};

/// Stack of a writer, in bytes.
pub const STACK: usize = 256 << 10;

/// Until when writers may try to write what is left, once nothing more comes.
#[derive(Default)]
pub struct Deadline {
    at: Mutex<Option<Instant>>,
    set: Condvar,
}

impl Deadline {
    /// The time that is left runs from now on.
    pub fn set(&self, at: Instant) {
        *self.at.lock() = Some(at);
        self.set.notify_all();
    }

    /// True once it is over.
    pub fn has_come(&self) -> bool {
        self.at.lock().is_some_and(|at| Instant::now() >= at)
    }

    /// Sleeps until `until`, or until the deadline; false once that has come.
    fn sleep_until(&self, until: Instant) -> bool {
        let mut at = self.at.lock();
        loop {
            let now = Instant::now();
            if at.is_some_and(|at| now >= at) {
                return false;
            }
            if now >= until {
                return true;
            }
            let next = at.map_or(until, |at| at.min(until));
            self.set.wait_until(&mut at, next);
        }
    }
}

/// Ends the agent when a writer's thread panics: its senders would wait for ever, and nobody would know.
#[derive(Default)]
pub struct Alarm(Mutex<Bell>);

#[derive(Default)]
struct Bell {
    rung: bool,
    /// From when the server has started.
    server: Option<Stopper>,
}

impl Alarm {
    /// The server that it stops: at once, if it has rung already.
    pub fn connect(&self, server: Stopper) {
        let mut bell = self.0.lock();
        bell.server = Some(server);
        bell.stop_if_rung();
    }

    fn ring(&self) {
        let mut bell = self.0.lock();
        bell.rung = true;
        bell.stop_if_rung();
    }
}

impl Bell {
    /// Without a grace: what would still be read has no writer.
    fn stop_if_rung(&self) {
        if let Some(server) = self.server.as_ref().filter(|_| self.rung) {
            server.shutdown(Duration::ZERO, Finish::Answer);
        }
    }
}

/// On the stack of a writer's thread, below everything that may panic.
struct Guard<'t> {
    number: usize,
    queue: &'t BatchQueue,
    link: &'t Link,
    alarm: &'t Alarm,
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if !thread::panicking() {
            return;
        }
        log::error!("writer {} panicked; the agent ends, and senders are told nothing more", self.number);
        // It does not end: so nothing more is taken in, until the server has stopped.
        self.link.trouble_begins();
        self.queue.close();
        self.alarm.ring();
    }
}

/// How all writers have ended.
pub struct Ended {
    /// Records that the disk did not take, of those writers that could say so.
    pub lost: usize,
    /// Why the last sync of one of them has failed.
    pub unsynced: Option<io::Error>,
    /// The first that panicked: what became of its records it cannot say.
    pub panicked: Option<usize>,
}

/// All writers, at work.
pub struct Writers {
    threads: Vec<JoinHandle<Closed>>,
    deadline: Arc<Deadline>,
    alarm: Arc<Alarm>,
}

impl Writers {
    /// Starts a thread for each writer.
    pub fn start(writers: Vec<(Writer, BatchQueue)>, link: &Arc<Link>) -> io::Result<Self> {
        let (deadline, alarm): (Arc<Deadline>, Arc<Alarm>) = Default::default();
        let threads = writers.into_iter().enumerate().map(|(number, (mut writer, queue))| {
            let (link, deadline, alarm) = (Arc::clone(link), Arc::clone(&deadline), Arc::clone(&alarm));
            writer.end_by(Arc::clone(&deadline));
            let builder = thread::Builder::new().name(format!("writer-{number}")).stack_size(STACK);
            builder.spawn(move || {
                let _guard = Guard { number, queue: &queue, link: &link, alarm: &alarm };
                run(number, writer, &queue, &link, &deadline)
            })
        });
        Ok(Self { threads: threads.collect::<io::Result<_>>()?, deadline, alarm })
    }

    /// What rings when one of them panics.
    pub fn alarm(&self) -> &Alarm {
        &self.alarm
    }

    /// Until when they may try.
    pub fn deadline(&self) -> Arc<Deadline> {
        Arc::clone(&self.deadline)
    }

    /// Waits until all have ended, whatever has become of the others.
    pub fn join(self) -> Ended {
        let mut ended = Ended { lost: 0, unsynced: None, panicked: None };
        for (number, thread) in self.threads.into_iter().enumerate() {
            match thread.join() {
                Ok(Closed { lost, unsynced }) => {
                    ended.lost += lost;
                    ended.unsynced = ended.unsynced.or(unsynced);
                }
                Err(_) => ended.panicked = ended.panicked.or(Some(number)),
            }
        }
        ended
    }
}

fn run(number: usize, mut writer: Writer, queue: &BatchQueue, link: &Link, deadline: &Deadline) -> Closed {
    let mut due: Option<Instant> = None;
    loop {
        let longest = due.map(|due| due.saturating_duration_since(Instant::now()));
        let mut taken = queue.take(longest);
        let closed = matches!(taken, Taken::Closed);
        while let Taken::Item(batch) = taken {
            // Busy until it is worked off, whatever was said of the batches before it.
            link.set_busy(number, true);
            writer.accept(batch);
            if !writer.takes_more() {
                break;
            }
            taken = queue.take(Some(Duration::ZERO));
        }
        due = writer.advance(Instant::now());
        if closed {
            break;
        }
    }
    while !writer.is_idle() && deadline.sleep_until(due.unwrap_or_else(Instant::now)) {
        due = writer.advance(Instant::now());
    }
    writer.close(Instant::now())
}
