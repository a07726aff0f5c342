//! How the accepter shares a core with processors.

use std::thread;

/// True if that many processors leave no core for the accepter.
pub(super) fn shares_a_core(processors: usize) -> bool {
    thread::available_parallelism().is_ok_and(|cores| cores.get() <= processors)
}

/// Asks the system not to let the calling thread, when it wakes, take the core from the thread that is using it, but to
/// let it wait until that thread sleeps or has used up its slice (`SCHED_BATCH`, sched(7)). A thread with an unusual
/// policy keeps it, and every thread keeps its nice value. A refusal changes nothing. Only Linux has something like
/// this.
///
/// For the accepter: on a shared core it would interrupt the processor for each new connection, and the switches cost
/// up to two fifths of a connection's time (`benches/NOTES.md`). Meanwhile peers wait in the kernel's backlog, and are
/// then accepted in one go.
pub(super) fn give_way() {
    #[cfg(target_os = "linux")]
    if let Err(why) = linux::be_batch() {
        log::debug!("the accepter does not give way to processors: {why}");
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use std::fs;

    use thread_priority::NormalThreadSchedulePolicy::{Batch, Other};
    use thread_priority::ThreadSchedulePolicy::{self, Normal};
    use thread_priority::{ThreadPriority, set_thread_priority_and_policy, thread_native_id, thread_schedule_policy};

    pub(super) const USUAL: ThreadSchedulePolicy = Normal(Other);
    pub(super) const BATCH: ThreadSchedulePolicy = Normal(Batch);

    pub(super) fn be_batch() -> Result<(), String> {
        match thread_schedule_policy() {
            Ok(USUAL) => {}
            other => return Err(format!("its policy is {other:?}")),
        }
        // The crate sets a nice value together with a policy, so it is given the present one.
        let same = nice().and_then(priority_of).ok_or("its nice value is not known")?;
        set_thread_priority_and_policy(thread_native_id(), same, BATCH).map_err(|error| format!("{error:?}"))
    }

    /// The nice value of the calling thread (proc_pid_stat(5)).
    pub(super) fn nice() -> Option<i32> {
        let stat = fs::read_to_string("/proc/thread-self/stat").ok()?;
        // The name, in parentheses, may contain anything; the third field follows it, and the nice value is the
        // nineteenth.
        let (_, behind_name) = stat.rsplit_once(") ")?;
        behind_name.split(' ').nth(16)?.parse().ok()
    }

    /// The crate's form of a nice value.
    fn priority_of(nice: i32) -> Option<ThreadPriority> {
        let priorities = (0..100_u8).filter_map(|value| value.try_into().ok()).map(ThreadPriority::Crossplatform);
        priorities.into_iter().find(|priority| priority.to_posix(BATCH).is_ok_and(|is| is == nice))
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn each_nice_value_has_a_priority() {
            assert!((-20..20).all(|nice| priority_of(nice).is_some()));
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn only_who_asks_gives_way_and_stays_as_nice_as_it_was() {
        let now =
            || (thread_priority::thread_schedule_policy().expect("a policy"), linux::nice().expect("proc is mounted"));
        let before = now();
        let asked = thread::spawn(move || {
            give_way();
            now()
        });
        // If the tests run under an unusual policy, the thread keeps it.
        let expected = if before.0 == linux::USUAL { linux::BATCH } else { before.0 };
        assert_eq!(asked.join().expect("it ends"), (expected, before.1));
        assert_eq!(now(), before);
    }

    #[test]
    fn with_fewer_processors_than_cores_nobody_shares() {
        let cores = thread::available_parallelism().expect("a count").get();
        assert!(shares_a_core(cores) && !shares_a_core(cores - 1));
    }
}
