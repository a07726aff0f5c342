//! The waker flag: work that was left before the sleeper's last look is found, work that was left after it wakes.

use std::sync::Arc;

use loom::thread;
use sluicegate::internals::{ArrayQueue, WakeFlag};

use super::bed::Bed;
use super::check;

/// Takes `count` pieces of work, and sleeps when there is none, by the protocol of the flag.
fn take(count: usize, queue: &ArrayQueue<usize>, bed: &Bed, flag: &WakeFlag) -> Vec<usize> {
    let mut taken = Vec::new();
    while taken.len() < count {
        flag.fall_asleep();
        if queue.is_empty() {
            bed.sleep();
        }
        flag.awake();
        while let Some(work) = queue.pop() {
            taken.push(work);
        }
    }
    taken
}

#[test]
fn no_work_is_slept_over() {
    check(3, || {
        let (bed, flag) = Bed::made();
        let queue = Arc::new(ArrayQueue::new(2));
        let waker = {
            let (queue, flag) = (Arc::clone(&queue), Arc::clone(&flag));
            thread::spawn(move || {
                for work in 0..2 {
                    queue.push(work).expect("room for both");
                    flag.wake();
                }
            })
        };
        assert_eq!(take(2, &queue, &bed, &flag), [0, 1]);
        waker.join().expect("no panic");
    });
}

#[test]
fn no_work_of_two_others_is_slept_over() {
    check(3, || {
        let (bed, flag) = Bed::made();
        let queue = Arc::new(ArrayQueue::new(2));
        let wakers = [0, 1].map(|work| {
            let (queue, flag) = (Arc::clone(&queue), Arc::clone(&flag));
            thread::spawn(move || {
                queue.push(work).expect("room for both");
                flag.wake();
            })
        });
        let taken = take(2, &queue, &bed, &flag);
        assert!(taken == [0, 1] || taken == [1, 0], "{taken:?}");
        wakers.into_iter().for_each(|waker| waker.join().expect("no panic"));
    });
}
