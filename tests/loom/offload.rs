//! Workers: no thread sleeps beside a job, each job is taken once or comes back, and room in a full queue is heard of.

use std::sync::Arc;
use std::time::Duration;

use loom::thread;
use sluicegate::LengthPrefixed;
use sluicegate::internals::{Job, Jobs};

use super::check;
use super::world::{Plan, World, message, small, with};

/// A queue of so many places.
fn queue(limit: usize) -> Arc<Jobs<LengthPrefixed>> {
    Arc::new(Jobs::new(limit).expect("there is memory"))
}

/// Two jobs, and the processor that they are from.
fn two_jobs() -> (World, Vec<Job<LengthPrefixed>>) {
    let mut world = World::new(&small(), Plan::Own);
    world.connect(&message(1).repeat(2));
    world.prepare();
    let jobs = with(&world.hands, |hands| std::mem::take(&mut hands.owned));
    assert_eq!(jobs.len(), 2);
    (world, jobs)
}

#[test]
fn each_of_the_jobs_that_are_announced_together_wakes_a_thread() {
    check(3, || {
        let (_world, work) = two_jobs();
        let jobs = queue(2);
        // Each does one and no more, so nobody does that of the other.
        let workers = [(); 2].map(|()| {
            let jobs = Arc::clone(&jobs);
            thread::spawn(move || jobs.take())
        });
        for job in work {
            assert!(jobs.put(job).is_none(), "there is room");
        }
        jobs.announce(2);
        let taken = workers.map(|worker| worker.join().expect("no panic"));
        assert!(taken.iter().all(Option::is_some));
    });
}

#[test]
fn at_the_end_each_job_has_been_taken_or_comes_back() {
    check(3, || {
        let (_world, work) = two_jobs();
        let jobs = queue(2);
        let workers = [(); 2].map(|()| {
            let (jobs, on_duty) = (Arc::clone(&jobs), jobs.report_for_duty());
            thread::spawn(move || {
                let taken: Vec<_> = std::iter::from_fn(|| jobs.take()).collect();
                drop(on_duty);
                taken
            })
        });
        for job in work {
            assert!(jobs.put(job).is_none(), "there is room");
        }
        jobs.announce(2);
        let left = jobs.close();
        // In life it is at most for so long; here nobody is saved by a timer.
        assert_eq!(jobs.wait_for_end(Duration::ZERO), 0);
        let taken = workers.map(|worker| worker.join().expect("no panic"));
        assert_eq!(taken.iter().map(Vec::len).sum::<usize>() + left.len(), 2);
    });
}

#[test]
fn room_in_a_full_queue_of_workers_is_not_slept_over() {
    check(3, || {
        let jobs = queue(1);
        let mut world = World::with_workers(&small(), &jobs);
        let got = world.connect(&message(1).repeat(2));
        let worker = thread::spawn(move || {
            while let Some((_, reply)) = jobs.take() {
                reply.send(b"pong");
            }
        });
        world.until(|_| with(&got, |got| got.len()) == 16);
        drop(world);
        worker.join().expect("no panic");
    });
}
