//! Blocks that come home, and the line for them: who stands in it is woken by a block, by its turn, or by the end.

use std::sync::Arc;

use loom::thread;
use sluicegate::TierConfig;
use sluicegate::internals::{Line, SharedPool, Tier, WakeFlag, encoder, finish, keep, reserve};

use super::bed::Bed;
use super::check;

/// Bytes of the reserve, and of the one block there is.
const BLOCK: usize = 1024;

/// A pool of one block, and the encoders' last resort.
#[derive(Clone)]
struct Room {
    pool: Arc<SharedPool>,
    reserve: Arc<Tier>,
    /// The lengths of the answers, in the order in which they found room.
    served: Arc<std::sync::Mutex<Vec<usize>>>,
}

impl Room {
    fn new(processor: Arc<WakeFlag>) -> Self {
        let line = Line::new(processor);
        let reserve = reserve(4 * BLOCK, &line);
        let tiers = [(1, 0), (2, 0), (BLOCK, 1)].map(|(size, count)| TierConfig { size, count });
        Self { pool: SharedPool::new(tiers, line), reserve, served: Arc::default() }
    }

    fn block(&self) -> &Arc<Tier> {
        &self.pool.tiers()[2]
    }

    /// Encodes an answer on another thread, and gives its blocks back when it is done. How long it was, if it found
    /// room.
    fn encode(&self, length: usize) -> thread::JoinHandle<Option<usize>> {
        let room = self.clone();
        thread::spawn(move || {
            let mut out = encoder(&room.pool, &room.reserve);
            out.put(&vec![b'x'; length]);
            let written = finish(&mut out);
            room.served.lock().expect("not poisoned").extend(written);
            written
        })
    }

    fn assert_home(&self) {
        assert!(self.pool.all_home() && self.reserve.in_use() == 0, "LAW home");
        assert!(!self.pool.line().has_encoders() && self.pool.line().blocked_wait().is_none());
    }
}

/// Room for which nobody has to be woken.
fn room() -> Room {
    Room::new(Arc::new(WakeFlag::never_asleep()))
}

#[test]
fn a_block_that_comes_home_wakes_the_first_in_line() {
    check(3, || {
        let room = room();
        let (held, last_resort) = (room.block().lease(), room.reserve.lease());
        assert!(held.is_some() && last_resort.is_some());
        let encoder = room.encode(1);
        drop(held);
        assert_eq!(encoder.join().expect("no panic"), Some(1));
        drop(last_resort);
        room.assert_home();
    });
}

#[test]
fn the_reserve_that_comes_home_wakes_the_first_in_line() {
    check(3, || {
        let room = room();
        let (held, last_resort) = (room.block().lease(), room.reserve.lease());
        let encoder = room.encode(1);
        drop(last_resort);
        assert_eq!(encoder.join().expect("no panic"), Some(1));
        drop(held);
        room.assert_home();
    });
}

#[test]
fn whoever_leaves_the_line_lets_the_next_one_in() {
    check(3, || {
        let room = room();
        let held = room.block().lease();
        let encoders = [1, 2].map(|length| room.encode(length));
        let lengths = encoders.map(|encoder| encoder.join().expect("no panic"));
        assert_eq!(lengths, [Some(1), Some(2)]);
        drop(held);
        room.assert_home();
    });
}

#[test]
fn two_that_need_more_than_a_block_do_not_hold_each_other_up() {
    check(3, || {
        let room = room();
        let length = BLOCK + 600;
        let encoders = [(); 2].map(|()| room.encode(length));
        let lengths = encoders.map(|encoder| encoder.join().expect("no panic"));
        assert_eq!(lengths, [Some(length); 2]);
        room.assert_home();
    });
}

#[test]
fn the_end_sends_everyone_away() {
    check(3, || {
        let room = room();
        let (held, last_resort) = (room.block().lease(), room.reserve.lease());
        let encoders = [1, 2].map(|length| room.encode(length));
        room.pool.line().close();
        let lengths = encoders.map(|encoder| encoder.join().expect("no panic"));
        assert_eq!(lengths, [None; 2]);
        drop((held, last_resort));
        room.assert_home();
    });
}

#[test]
fn the_processor_hears_of_an_encoder_that_waits() {
    check(3, || {
        let (bed, flag) = Bed::made();
        let room = Room::new(Arc::clone(&flag));
        let (held, last_resort) = (room.block().lease(), room.reserve.lease());
        let encoder = room.encode(1);
        // `Processor::sleep` with `encoder_waits_unseen`, of which this processor has seen none.
        while room.pool.line().blocked_wait().is_none() {
            flag.fall_asleep();
            if room.pool.line().blocked_wait().is_none() {
                bed.sleep();
            }
            flag.awake();
        }
        drop(held);
        assert_eq!(encoder.join().expect("no panic"), Some(1));
        drop(last_resort);
        room.assert_home();
    });
}

#[test]
fn the_first_in_line_is_served_first() {
    check(3, || {
        let (bed, flag) = Bed::made();
        let room = Room::new(Arc::clone(&flag));
        let (held, last_resort) = (room.block().lease(), room.reserve.lease());
        let first = room.encode(1);
        while room.pool.line().blocked_wait().is_none() {
            flag.fall_asleep();
            if room.pool.line().blocked_wait().is_none() {
                bed.sleep();
            }
            flag.awake();
        }
        let second = room.encode(2);
        drop(held);
        [first, second].into_iter().for_each(|encoder| assert!(encoder.join().expect("no panic").is_some()));
        assert_eq!(*room.served.lock().expect("not poisoned"), [1, 2]);
        drop(last_resort);
        room.assert_home();
    });
}

#[test]
fn the_processor_is_told_of_a_block_that_comes_home() {
    check(3, || {
        let (bed, flag) = Bed::made();
        let room = Room::new(Arc::clone(&flag));
        let held = room.block().lease();
        let holder = thread::spawn(move || drop(held));
        // `Processor::sleep` with `listen_for_blocks` and `could_serve`, line by line.
        while room.block().available() == 0 {
            flag.fall_asleep();
            room.pool.line().tell_processor();
            if room.block().available() == 0 {
                bed.sleep();
            }
            flag.awake();
        }
        assert!(room.block().lease().is_some());
        holder.join().expect("no panic");
    });
}

/// It is in use as long as it is kept: whoever looks in between does not see it in use and kept by nobody.
#[test]
fn a_kept_block_that_is_let_go_is_home_in_every_moment() {
    check(3, || {
        let room = room();
        let mut kept = room.block().lease().expect("there is one");
        assert!(!room.pool.all_home(), "it is in use");
        keep(&mut kept);
        let user = thread::spawn(move || drop(kept));
        assert!(room.pool.all_home(), "LAW home");
        user.join().expect("no panic");
        room.assert_home();
    });
}
