//! How the accepter shares a core with a processor.

/// Asks that the calling thread, when it wakes, does not take the core from a thread that works on it, but waits for that to
/// sleep or to use its slice up (`SCHED_BATCH`, sched(7)).
///
/// For the accepter: with both threads on one core it would come between a processor and each of its connections, and that
/// costs more in switches than the work itself. Those who wait to be accepted meanwhile are in the kernel's backlog, and come
/// in one go. On a core of its own it is no later than before. Elsewhere than on Linux there is nothing like it.
pub(super) fn give_way() {
    #[cfg(target_os = "linux")]
    linux::be_batch();
}

#[cfg(target_os = "linux")]
mod linux {
    use thread_priority::{
        NormalThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy, set_thread_priority_and_policy,
        thread_native_id,
    };

    pub(super) const BATCH: ThreadSchedulePolicy = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Batch);
    /// What the crate makes a nice value of zero of, from 0 to 99.
    const USUAL: u8 = 48;

    pub(super) fn be_batch() {
        // A nice value comes with the policy. Who has started the server with a higher one keeps it: to lower it is not
        // allowed, and fails after the policy is set.
        let usual = USUAL.try_into().map_or(ThreadPriority::Min, ThreadPriority::Crossplatform);
        if let Err(error) = set_thread_priority_and_policy(thread_native_id(), usual, BATCH) {
            log::debug!("the accepter's scheduling is not all that was asked for: {error:?}");
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::{fs, thread};

    /// The nice value of the calling thread (proc_pid_stat(5)).
    fn nice() -> String {
        let stat = fs::read_to_string("/proc/thread-self/stat").expect("proc is mounted");
        let behind_name = stat.rsplit(") ").next().expect("fields");
        behind_name.split(' ').nth(16).expect("a nice value").into()
    }

    #[test]
    fn only_who_asks_gives_way() {
        let policy = || thread_priority::thread_schedule_policy().expect("a policy");
        let (before, nice_before) = (policy(), nice());
        let (own, nice_after) = thread::spawn(move || {
            super::give_way();
            (policy(), nice())
        })
        .join()
        .expect("it ends");
        assert_eq!(own, super::linux::BATCH);
        assert!(nice_after == "0" || nice_after == nice_before, "{nice_before} became {nice_after}");
        assert_eq!(policy(), before);
    }
}
