//! Keeps the tick of the core going while sleeps are short and many.
//!
//! A core that runs out of work stops its tick, and starts it again when something wakes it (Linux with `NO_HZ_IDLE`).
//! Each of the two sets the timer of the core anew, which in a virtual machine leaves the guest. A processor with one
//! busy connection sleeps after each answer, so it pays for both each time: two fifths of its time, where that was
//! measured (`benches/NOTES.md`). A core keeps its tick while some timer is due before the next one. So there is one:
//! it wakes nobody, and is not set where sleeps are rare, or where the processor does not sleep at all.

use std::time::{Duration, Instant};

/// From one look at the number of sleeps to the next, and how far ahead the timer is set: no more than a tick is long
/// with the usual 250 a second.
const PERIOD: Duration = Duration::from_millis(2);

/// Sleeps of a period from which on the timer is worth its system call.
const MANY: u32 = 4;

/// Counts the sleeps of one thread, and sets the timer.
#[derive(Debug)]
pub(super) struct KernelTick {
    timer: timer::Timer,
    /// Sleeps since the present period began.
    sleeps: u32,
    /// When the present period is over.
    until: Instant,
}

impl KernelTick {
    pub(super) fn new(now: Instant) -> Self {
        Self { timer: timer::Timer::new(), sleeps: 0, until: now + PERIOD }
    }

    /// The thread is about to sleep; `now` may be a little old.
    #[inline]
    pub(super) fn before_sleep(&mut self, now: Instant) {
        self.sleeps += 1;
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
        let were_many = self.sleeps >= MANY;
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
                    .inspect_err(|error| log::debug!("the processor has no timer to keep the kernel's tick: {error}"))
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

    /// So many sleeps within the first period, and one more behind it.
    fn slept(times: u32) -> KernelTick {
        let began = Instant::now();
        let mut tick = KernelTick::new(began);
        (1..times).for_each(|_| tick.before_sleep(began));
        tick.before_sleep(began + PERIOD);
        tick
    }

    /// Whether the timer runs, or has gone off.
    fn was_set(tick: KernelTick) -> bool {
        let timer = tick.timer.0.expect("a timer");
        let left = timerfd_gettime(&timer).expect("what is left").it_value;
        (left.tv_sec, left.tv_nsec) != (0, 0) || File::from(timer).read_exact(&mut [0; 8]).is_ok()
    }

    #[test]
    fn many_sleeps_set_a_timer() {
        assert!(was_set(slept(MANY)));
    }

    #[test]
    fn few_sleeps_set_none() {
        let tick = slept(MANY - 1);
        assert_eq!(tick.sleeps, 0, "each period is counted alone");
        assert!(!was_set(tick));
    }
}
