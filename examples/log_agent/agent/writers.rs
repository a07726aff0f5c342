//! The threads of the writers, and how they end.

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use sluicegate::flow::Taken;

use super::collector::BatchQueue;
use super::link::Link;
use super::writer::Writer;

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

/// All writers, at work.
pub struct Writers {
    threads: Vec<JoinHandle<usize>>,
    deadline: Arc<Deadline>,
}

impl Writers {
    /// Starts a thread for each writer.
    pub fn start(writers: Vec<(Writer, BatchQueue)>, link: &Arc<Link>) -> io::Result<Self> {
        let deadline = Arc::new(Deadline::default());
        let threads = writers.into_iter().enumerate().map(|(number, (writer, queue))| {
            let (link, deadline) = (Arc::clone(link), Arc::clone(&deadline));
            let builder = thread::Builder::new().name(format!("writer-{number}")).stack_size(STACK);
            builder.spawn(move || run(number, writer, &queue, &link, &deadline))
        });
        Ok(Self { threads: threads.collect::<io::Result<_>>()?, deadline })
    }

    /// Until when they may try.
    pub fn deadline(&self) -> Arc<Deadline> {
        Arc::clone(&self.deadline)
    }

    /// Waits until all have ended. Returns how many records could not be written.
    pub fn join(self) -> io::Result<usize> {
        let mut lost = 0;
        for thread in self.threads {
            lost += thread.join().map_err(|_| io::Error::other("a writer's thread has panicked"))?;
        }
        Ok(lost)
    }
}

fn run(number: usize, mut writer: Writer, queue: &BatchQueue, link: &Link, deadline: &Deadline) -> usize {
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
    writer.close()
}
