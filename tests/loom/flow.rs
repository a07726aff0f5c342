//! What a processor and a thread of the user's share: the gate, the queue, and the call for a cycle.

use std::sync::Arc;

use loom::thread;
use sluicegate::flow::{Gate, GateLimits, Level, Queue, Taken};
use sluicegate::internals::WakeFlag;
use sluicegate::internals::atomic::{AtomicBool, Ordering::SeqCst};

use super::bed::Bed;
use super::check;

fn one(bytes: u64) -> Level {
    Level { items: 1, bytes }
}

/// Who finds the gate closed says that it waits, looks once more, and sleeps; whoever opens it wakes who waits. That is
/// `ready` and `resume` with everything else left out.
struct Door {
    waits: AtomicBool,
    bed: Arc<Bed>,
    flag: Arc<WakeFlag>,
}

impl Door {
    fn new() -> Arc<Self> {
        let (bed, flag) = Bed::made();
        Arc::new(Self { waits: AtomicBool::new(false), bed, flag })
    }

    fn wait_until(&self, open: impl Fn() -> bool) {
        while !open() {
            self.waits.store(true, SeqCst);
            self.flag.fall_asleep();
            if !open() {
                self.bed.sleep();
            }
            self.flag.awake();
        }
    }

    fn resume(&self) {
        if self.waits.load(SeqCst) && self.waits.swap(false, SeqCst) {
            self.flag.wake();
        }
    }
}

#[test]
fn a_gate_that_was_closed_is_opened_by_whoever_leaves_last() {
    check(3, || {
        let high = Level { items: 2, bytes: 100 };
        let mut gate = Gate::new(GateLimits { high, low: Level::default(), largest: 10 });
        let door = Door::new();
        // The second comes in, and closes the gate, while the first may be on its way out.
        let leavers = [0, 1].map(|_| {
            gate.enter(10);
            let (exit, door) = (gate.exit(), Arc::clone(&door));
            thread::spawn(move || {
                if exit.leave(one(10)) {
                    door.resume();
                }
            })
        });
        door.wait_until(|| gate.is_open());
        leavers.into_iter().for_each(|leaver| leaver.join().expect("no panic"));
        assert!(gate.is_open(), "nothing is in, so nobody would ever open it");
        assert_eq!(gate.level(), Level::default());
    });
}

#[test]
fn a_gate_that_closes_while_enough_leaves_does_not_stay_closed() {
    check(3, || {
        let high = Level { items: 2, bytes: 100 };
        let mut gate = Gate::new(GateLimits { high, low: one(100), largest: 10 });
        gate.enter(10);
        let exit = gate.exit();
        let leaver = thread::spawn(move || drop(exit.leave(one(10))));
        // This one stays, so nobody comes later who would open the gate.
        gate.enter(10);
        leaver.join().expect("no panic");
        assert!(gate.is_open());
    });
}

#[test]
fn a_gate_is_opened_once() {
    check(3, || {
        let high = Level { items: 2, bytes: 100 };
        let mut gate = Gate::new(GateLimits { high, low: one(100), largest: 10 });
        gate.enter(10);
        gate.enter(10);
        assert!(!gate.is_open());
        let leavers = [0, 1].map(|_| {
            let exit = gate.exit();
            thread::spawn(move || usize::from(exit.leave(one(10))))
        });
        let opened: usize = leavers.into_iter().map(|leaver| leaver.join().expect("no panic")).sum();
        assert_eq!((opened, gate.is_open()), (1, true));
    });
}

#[test]
fn what_is_put_into_a_queue_is_taken_in_order_and_then_the_end_is_seen() {
    check(3, || {
        let queue = Arc::new(Queue::new(1));
        let takes = Arc::clone(&queue);
        let taker = thread::spawn(move || {
            let mut taken = Vec::new();
            loop {
                match takes.take(None) {
                    Taken::Item(item) => taken.push(item),
                    Taken::Closed => return taken,
                    Taken::Nothing => panic!("nobody set a time"),
                }
            }
        });
        let mut put = Vec::new();
        for item in 0..2 {
            // Full is a value: who puts does not wait.
            if queue.put(item).is_ok() {
                put.push(item);
            }
        }
        queue.close();
        assert_eq!(queue.put(9), Err(9));
        assert_eq!(taker.join().expect("no panic"), put);
    });
}

#[test]
fn who_waits_at_a_queue_is_woken_by_an_item() {
    check(3, || {
        let queue = Arc::new(Queue::new(2));
        let takes = Arc::clone(&queue);
        let taker = thread::spawn(move || (takes.take(None), takes.take(None)));
        assert_eq!((queue.put(1), queue.put(2)), (Ok(()), Ok(())));
        assert_eq!(taker.join().expect("no panic"), (Taken::Item(1), Taken::Item(2)));
    });
}
