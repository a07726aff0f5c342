//! Threads that wait for a block of a pool, and how they hear that one came home.

use std::sync::Arc;

use crate::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::SeqCst};
use crate::sync::{Condvar, Mutex};
use crate::wake::WakeFlag;

/// The line of threads that wait for a block.
///
/// No processor thread of any server ever stands here. The pool's own processor only asks to be told
/// ([`tell_processor`](Self::tell_processor)) and goes on with other connections. Encoders on other threads stand in
/// the line, and only the first of them may lease. What one answer needs is bounded, so the first always finishes, and
/// the next follows.
#[derive(Debug)]
pub struct Line {
    processor_wants: AtomicBool,
    encoders: AtomicU32,
    /// Counts how often the first encoder found nothing, so that the processor can tell whether a wait is still the
    /// same.
    waits: AtomicU64,
    waiting: AtomicBool,
    state: Mutex<State>,
    changed: Condvar,
    processor: Arc<WakeFlag>,
}

#[derive(Debug, Default)]
struct State {
    next_ticket: u64,
    serving: u64,
    closed: bool,
    /// A simulation plays an encoder that stands in line.
    #[cfg(feature = "sim")]
    pretended: bool,
}

impl Line {
    /// A line whose processor is woken by `processor`.
    pub fn new(processor: Arc<WakeFlag>) -> Arc<Self> {
        Arc::new(Self {
            processor_wants: AtomicBool::new(false),
            encoders: AtomicU32::new(0),
            waits: AtomicU64::new(0),
            waiting: AtomicBool::new(false),
            state: Mutex::default(),
            changed: Condvar::new(),
            processor,
        })
    }

    /// Asks for the processor to be woken by the next block that comes home. It must look at the pool once more after
    /// this.
    pub fn tell_processor(&self) {
        self.processor_wants.store(true, SeqCst);
    }

    /// A block is free again. Costs two atomic loads while nobody waits.
    pub(super) fn block_came_home(&self) {
        if self.processor_wants.load(SeqCst) && self.processor_wants.swap(false, SeqCst) {
            self.processor.wake();
        }
        if self.encoders.load(SeqCst) > 0 {
            // Taking the lock makes sure that an encoder is either before its last look or already asleep.
            let _state = self.state.lock();
            // Until it has run it does not wait: nobody is to be evicted for an encoder that has what it needs.
            self.waiting.store(false, SeqCst);
            self.changed.notify_all();
        }
    }

    /// True while encoders stand in line; others must not lease past them.
    pub fn has_encoders(&self) -> bool {
        self.encoders.load(SeqCst) > 0
    }

    /// The serial number of the wait that the first encoder is in, if it found neither block nor reserve, and none came
    /// home since.
    pub fn blocked_wait(&self) -> Option<u64> {
        self.waiting.load(SeqCst).then(|| self.waits.load(SeqCst))
    }

    /// Stands in line until first. Not on a processor's thread. Each call is followed by one [`leave`](Self::leave).
    pub(super) fn stand(&self) {
        self.encoders.fetch_add(1, SeqCst);
        let mut state = self.state.lock();
        let ticket = state.next_ticket;
        state.next_ticket += 1;
        while state.serving != ticket {
            self.changed.wait(&mut state);
        }
    }

    /// Leaves the front of the line; the next one follows.
    pub(super) fn leave(&self) {
        let mut state = self.state.lock();
        state.serving += 1;
        self.encoders.fetch_sub(1, SeqCst);
        self.changed.notify_all();
    }

    /// Only for the first in line: tries until `lease` gives something, sleeping until a block comes home in between.
    /// `None` once the line was closed.
    pub(super) fn wait_for<T>(&self, mut lease: impl FnMut() -> Option<T>) -> Option<T> {
        let mut state = self.state.lock();
        let got = loop {
            if let Some(got) = lease() {
                break Some(got);
            }
            if state.closed {
                break None;
            }
            if !self.waiting.swap(true, SeqCst) {
                self.waits.fetch_add(1, SeqCst);
                // The processor holds free blocks of its own, and only it evicts: it has to know.
                self.processor.wake();
            }
            self.changed.wait(&mut state);
        };
        self.waiting.store(false, SeqCst);
        got
    }

    /// Says that a simulated encoder waits for room, or no longer does. It wakes up by itself.
    #[cfg(feature = "sim")]
    pub(crate) fn pretend_wait(&self, waits: bool) {
        let waited = std::mem::replace(&mut self.state.lock().pretended, waits);
        match (waited, waits) {
            (false, true) => drop(self.encoders.fetch_add(1, SeqCst)),
            (true, false) => drop(self.encoders.fetch_sub(1, SeqCst)),
            _ => {}
        }
        if !self.waiting.swap(waits, SeqCst) && waits {
            self.waits.fetch_add(1, SeqCst);
            self.processor.wake();
        }
    }

    /// Sends everyone away: the server is shutting down.
    pub fn close(&self) {
        self.state.lock().closed = true;
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::thread;

    fn line() -> Arc<Line> {
        Line::new(Arc::new(WakeFlag::never_asleep()))
    }

    #[test]
    fn the_first_in_line_is_served_before_the_second() {
        let line = line();
        line.stand();
        let (tell, told) = mpsc::channel();
        let second = {
            let line = Arc::clone(&line);
            thread::spawn(move || {
                line.stand();
                tell.send(()).expect("the test listens");
                line.leave();
            })
        };
        while line.encoders.load(SeqCst) < 2 {
            thread::yield_now();
        }
        assert!(told.try_recv().is_err(), "the second waits for the first");
        line.leave();
        told.recv().expect("the second follows");
        second.join().expect("the second ends");
        assert!(!line.has_encoders());
    }

    /// The thread has been told and has not run yet: the processor must not take that for a wait.
    #[test]
    fn an_encoder_that_was_told_of_a_block_does_not_wait() {
        let line = line();
        let (let_look, looks) = mpsc::channel();
        let encoder = {
            let line = Arc::clone(&line);
            thread::spawn(move || {
                line.stand();
                let got = line.wait_for(|| looks.recv().expect("the test says what it finds"));
                line.leave();
                got
            })
        };
        let waits = |number| {
            while line.blocked_wait() != Some(number) {
                thread::yield_now();
            }
        };
        let_look.send(None).expect("it looks");
        waits(1);
        line.block_came_home();
        assert_eq!(line.blocked_wait(), None, "it looks first whether that is enough");
        let_look.send(None).expect("it looks again");
        waits(2);
        line.block_came_home();
        let_look.send(Some(7)).expect("it looks again");
        assert_eq!(encoder.join().expect("it ends"), Some(7));
    }

    #[test]
    fn a_closed_line_sends_its_first_away() {
        let line = line();
        line.stand();
        line.close();
        assert_eq!(line.wait_for(|| None::<()>), None);
        line.leave();
    }
}
