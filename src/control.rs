//! How the server is told to shut down.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, Ordering::SeqCst};
use crate::wake::WakeFlag;

/// What a connection may still do while the server shuts down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// Idle connections close at once. A message whose first byte has arrived may finish, and is answered as the final
    /// one of its connection. If the protocol cannot tell the peer so and the peer goes on sending, it is read for
    /// another second, and what was read is answered.
    ///
    /// The message processor is not told. To say goodbye to everybody, [broadcast](crate::WriteProxy::broadcast) before
    /// you ask for the shutdown: what was sent before it is delivered.
    Answer,
    /// Everything that peers have already sent is read, also what is on its way or held by their kernels. Each
    /// connection is read until nothing has come for 50 ms. One that keeps sending is read for a second and then until
    /// its socket is empty; if its peer sends faster than it is read, it is read only as far as what had arrived and 4
    /// MiB more, which the peer's kernel may hold. Time in which it waits for a block or for the user does not count.
    /// It closes after its final whole message.
    ReadOut,
}

/// A request to shut down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShutdownRequest {
    /// When it was made.
    pub asked: Instant,
    /// How long connections have to finish since then; those that are left are closed as they are.
    pub grace: Duration,
    /// What they may still do.
    pub finish: Finish,
}

impl ShutdownRequest {
    /// A request without grace.
    pub fn at_once(asked: Instant) -> Self {
        Self { asked, grace: Duration::ZERO, finish: Finish::Answer }
    }

    /// When the grace is over: the same moment for all threads, however late one of them notices the request.
    pub fn until(&self) -> Instant {
        self.asked + self.grace
    }
}

/// The request, from any thread to all of the server's.
#[derive(Debug)]
pub struct Control {
    is_requested: AtomicBool,
    requested: Mutex<Option<ShutdownRequest>>,
    threads: Box<[Arc<WakeFlag>]>,
}

impl Control {
    /// A control that wakes these threads.
    pub fn new(threads: impl IntoIterator<Item = Arc<WakeFlag>>) -> Arc<Self> {
        let threads = threads.into_iter().collect();
        Arc::new(Self { is_requested: AtomicBool::new(false), requested: Mutex::new(None), threads })
    }

    /// Asks all threads to shut down. The first request counts; a later one is ignored, except that its grace counts if
    /// that is over sooner.
    pub fn request(&self, request: ShutdownRequest) {
        let mut counts = self.requested.lock();
        *counts = Some(match *counts {
            Some(first) if first.until() <= request.until() => first,
            Some(first) => ShutdownRequest { finish: first.finish, ..request },
            None => request,
        });
        drop(counts);
        self.is_requested.store(true, SeqCst);
        self.threads.iter().for_each(|thread| thread.wake());
    }

    /// True once a request was made. One atomic load.
    pub fn is_requested(&self) -> bool {
        self.is_requested.load(SeqCst)
    }

    /// The request, if one was made.
    pub fn requested(&self) -> Option<ShutdownRequest> {
        if self.is_requested() { *self.requested.lock() } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_requests_the_grace_that_is_over_sooner_counts() {
        let start = Instant::now();
        let second = |number| start + Duration::from_secs(number);
        let request =
            |asked, grace, finish| ShutdownRequest { asked: second(asked), grace: Duration::from_secs(grace), finish };
        let control = Control::new([]);
        let until = |request| {
            control.request(request);
            control.requested().map(|counts| (counts.until(), counts.finish))
        };
        assert_eq!(until(request(0, 60, Finish::Answer)), Some((second(60), Finish::Answer)));
        assert_eq!(until(request(30, 40, Finish::ReadOut)), Some((second(60), Finish::Answer)), "shorter, but later");
        assert_eq!(until(request(40, 10, Finish::ReadOut)), Some((second(50), Finish::Answer)));
        assert_eq!(until(request(0, 60, Finish::Answer)), Some((second(50), Finish::Answer)));
    }
}
