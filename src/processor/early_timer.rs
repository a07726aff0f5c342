//! Makes many short sleeps cheap: keeps a timer due soon that wakes nobody.
//!
//! A core that runs out of work puts off its tick, and takes it up again when something wakes it (Linux with
//! `NO_HZ_IDLE`). Both times the hardware timer of the core is set anew, unless a timer is due earlier than the tick;
//! and in a virtual machine, setting it leaves the guest. A processor with one busy connection sleeps after each
//! answer, so it pays twice for each: about three tenths of its time, where that was measured (`benches/NOTES.md`).
//! With a timer that is due earlier it pays for that one, every 2 ms. The timer is not set where sleeps are rare, and
//! not where the processor has too much to do to sleep.

use std::time::{Duration, Instant};

/// How far ahead the timer is set: less than the 4 ms from one tick to the next with the usual 250 a second.
const PERIOD: Duration = Duration::from_millis(2);

/// Sleeps in a period from which on the timer is worth its system call and its interrupt.
const MANY: u32 = 4;

/// What takes less time than this was no sleep: the poll found something at once.
const SLEEP: Duration = Duration::from_micros(10);

/// Counts the sleeps of one thread, and sets the timer.
#[derive(Debug)]
pub(super) struct EarlyTimer {
    timer: timer::Timer,
    /// Sleeps since the present period began.
    sleeps: u32,
    /// When the present period is over.
    until: Instant,
}

impl EarlyTimer {
    pub(super) fn new(now: Instant) -> Self {
        Self { timer: timer::Timer::new(), sleeps: 0, until: now + PERIOD }
    }

    /// The thread has waited for events from `since` until `now`.
    #[inline]
    pub(super) fn waited(&mut self, since: Instant, now: Instant) {
        self.sleeps += u32::from(now.saturating_duration_since(since) >= SLEEP);
        if now >= self.until {
            self.begin_period(now);
        }
    }

    #[cfg(test)]
    pub(super) fn sleeps(&self) -> u32 {
        self.sleeps
    }

    /// If there were many sleeps, there will be many: the timer is due at the end of the period that begins.
    #[cold]
    fn begin_period(&mut self, now: Instant) {
        // A period ends with the first wait behind it. If that came late, the sleeps are spread over more than it.
        let were_many = self.sleeps >= MANY && now < self.until + PERIOD;
        (self.sleeps, self.until) = (0, now + PERIOD);
        if were_many {
            self.timer.set(PERIOD);
        }
    }
}

#[cfg(target_os = "linux")]
mod timer {
    use std::os::fd::OwnedFd;
    use std::time::Duration;

    use rustix::time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
    };

    /// A timer that nobody waits for. Without one, where the system refuses it, only processor time is lost.
    #[derive(Debug)]
    pub(super) struct Timer(pub(super) Option<OwnedFd>);

    impl Timer {
        pub(super) fn new() -> Self {
            Self(
                timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)
                    .inspect_err(|error| log::debug!("the processor makes do without its early timer: {error}"))
                    .ok(),
            )
        }

        /// It goes off once, `ahead` from now (timerfd_create(2)).
        pub(super) fn set(&self, ahead: Duration) {
            let Some(timer) = &self.0 else { return };
            let it_interval = Timespec { tv_sec: 0, tv_nsec: 0 };
            let it_value = Timespec { tv_sec: 0, tv_nsec: ahead.subsec_nanos().into() };
            let spec = Itimerspec { it_interval, it_value };
            // It refuses nothing but times that are none.
            let _ = timerfd_settime(timer, TimerfdTimerFlags::empty(), &spec);
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod timer {
    use std::time::Duration;

    /// Other systems are not known to need one.
    #[derive(Debug)]
    pub(super) struct Timer;

    impl Timer {
        pub(super) fn new() -> Self {
            Self
        }

        pub(super) fn set(&self, _ahead: Duration) {}
    }
}

#[cfg(target_os = "linux")]
#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::Read;

    use rustix::time::timerfd_gettime;

    /// Waits so many times for so long in the first period, and once more so long behind its end; whether the timer
    /// runs then, or has gone off.
    fn is_set(times: u32, wait: Duration, late: Duration) -> bool {
        let began = Instant::now();
        let mut early = EarlyTimer::new(began);
        (1..times).for_each(|_| early.waited(began, began + wait));
        let end = began + PERIOD + late;
        early.waited(end - wait, end);
        assert_eq!(early.sleeps, 0, "each period is counted alone");
        let timer = early.timer.0.expect("a timer");
        let left = timerfd_gettime(&timer).expect("what is left").it_value;
        (left.tv_sec, left.tv_nsec) != (0, 0) || File::from(timer).read_exact(&mut [0; 8]).is_ok()
    }

    #[test]
    fn only_many_sleeps_in_one_period_set_the_timer() {
        let soon = Duration::ZERO;
        assert!(is_set(MANY, SLEEP, soon) && is_set(MANY, SLEEP, PERIOD / 2));
        assert!(!is_set(MANY - 1, SLEEP, soon), "few");
        assert!(!is_set(MANY, SLEEP / 2, soon), "no sleeps");
        assert!(!is_set(MANY, SLEEP, PERIOD), "some of them long ago");
    }
}
