//! The accepter and the processor: never both asleep while there is room, a connection to take, or an end to come to.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use loom::thread;
use sluicegate::internals::{Accepted, Awaited, Control, Handover, Shutdown, Watch};
use sluicegate::{Finish, WakeFlag};

use super::bed::Bed;
use super::check;

const AT_ONCE: Shutdown = Shutdown { grace: Duration::ZERO, finish: Finish::Answer };

/// The accepter's side, with peers who wait in the backlog.
struct Accepter {
    watch: Watch<usize>,
    bed: Arc<Bed>,
}

impl Accepter {
    /// `Accepter::sleep`, line by line; only the poll is played.
    fn sleep(&self, awaited: Awaited) {
        if self.watch.may_sleep(awaited) {
            self.bed.sleep();
        }
        self.watch.wake.awake();
    }

    /// `Accepter::run` and `accept_some`, as far as `backlog` peers go: accepts while there is room, sleeps when there is
    /// none, and says at the end that nobody will come any more.
    fn accept(&self, backlog: usize) {
        let mut next = 0;
        while next < backlog && !self.watch.control.is_requested() {
            if !self.watch.handover.has_room() {
                self.sleep(Awaited::Room);
                continue;
            }
            self.put(next);
            next += 1;
        }
        self.watch.handover.finish();
    }

    fn put(&self, socket: usize) {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        assert!(self.watch.handover.put(Accepted { socket, address }).is_ok(), "there was room");
    }
}

/// Both sides, and what the processor sleeps in.
fn pair(capacity: usize, connections_max: usize) -> (Accepter, Arc<Bed>, Arc<WakeFlag>) {
    let (bed, wake) = Bed::made();
    let (processor_bed, processor) = Bed::made();
    let handover = Handover::new(capacity, connections_max, Arc::clone(&wake), Arc::clone(&processor));
    let control = Control::new(Arc::clone(&wake), Arc::clone(&processor));
    (Accepter { watch: Watch { wake, handover, control }, bed }, processor_bed, processor)
}

/// The processor's side: takes connections, and sleeps when there is none, until all is over. With `ends`, each
/// connection ends at once.
fn serve(handover: &Handover<usize>, bed: &Bed, flag: &WakeFlag, ends: bool) -> Vec<usize> {
    let mut served = Vec::new();
    while !handover.is_over() {
        flag.fall_asleep();
        if !handover.has_work() && !handover.is_over() {
            bed.sleep();
        }
        flag.awake();
        while let Some(accepted) = handover.take() {
            served.push(accepted.socket);
            if ends {
                handover.ended();
            }
        }
    }
    served
}

#[test]
fn the_queue_is_never_full_with_both_asleep() {
    check(3, || {
        let (accepter, bed, flag) = pair(1, 9);
        let handover = Arc::clone(&accepter.watch.handover);
        let accepting = thread::spawn(move || accepter.accept(2));
        assert_eq!(serve(&handover, &bed, &flag, false), [0, 1]);
        accepting.join().expect("no panic");
        assert_eq!((handover.live(), handover.waiting()), (2, 0));
    });
}

#[test]
fn the_place_of_an_ended_connection_is_used() {
    check(3, || {
        let (accepter, bed, flag) = pair(9, 1);
        let handover = Arc::clone(&accepter.watch.handover);
        let accepting = thread::spawn(move || accepter.accept(2));
        assert_eq!(serve(&handover, &bed, &flag, true), [0, 1]);
        accepting.join().expect("no panic");
        assert_eq!(handover.live(), 0);
    });
}

#[test]
fn after_a_failure_the_end_of_a_connection_wakes_the_accepter() {
    check(3, || {
        let (accepter, _bed, _flag) = pair(2, 9);
        accepter.put(0);
        let handover = Arc::clone(&accepter.watch.handover);
        let processor = thread::spawn(move || {
            assert_eq!(handover.take().map(|accepted| accepted.socket), Some(0));
            handover.ended();
        });
        // `Accepter::wait_out_failure`, without its clock.
        while !accepter.watch.has_come(Awaited::FewerThan(1)) {
            accepter.sleep(Awaited::FewerThan(1));
        }
        processor.join().expect("no panic");
    });
}

#[test]
fn a_request_to_go_down_reaches_both_threads() {
    check(3, || {
        let (accepter, bed, flag) = pair(1, 1);
        // Nobody will ever end this one.
        accepter.put(0);
        let handover = Arc::clone(&accepter.watch.handover);
        let control = Arc::clone(&accepter.watch.control);
        let seen = Arc::clone(&control);
        let accepting = thread::spawn(move || accepter.accept(9));
        let requesting = thread::spawn(move || control.request(AT_ONCE));
        let is_finished = || seen.is_requested() && handover.is_over();
        while !is_finished() {
            flag.fall_asleep();
            if !handover.has_work() && !is_finished() {
                bed.sleep();
            }
            flag.awake();
            while handover.take().is_some() {}
        }
        accepting.join().expect("no panic");
        requesting.join().expect("no panic");
    });
}

#[test]
fn of_two_requests_the_shorter_grace_counts() {
    check(3, || {
        let flags = [(); 2].map(|()| Arc::new(WakeFlag::never_asleep()));
        let [accepter, processor] = flags;
        let control = Control::new(accepter, processor);
        let requests = [1, 2].map(|seconds| {
            let control = Arc::clone(&control);
            let grace = Duration::from_secs(seconds);
            thread::spawn(move || control.request(Shutdown { grace, ..AT_ONCE }))
        });
        if control.is_requested() {
            assert!(control.shutdown().is_some(), "what is announced is there");
        }
        requests.into_iter().for_each(|request| request.join().expect("no panic"));
        assert_eq!(control.shutdown().map(|shutdown| shutdown.grace), Some(Duration::from_secs(1)));
    });
}
