//! The accepter and the processors: never asleep while there is room, a connection to take, or an end to come to.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use loom::thread;
use sluicegate::Finish;
use sluicegate::internals::{Accepted, Awaited, Control, Dealer, Handover, ShutdownRequest, WakeFlag, Watch};

use super::bed::Bed;
use super::check;

fn request(grace: Duration) -> ShutdownRequest {
    ShutdownRequest { asked: Instant::now(), grace, finish: Finish::Answer }
}

/// The accepter's side, with peers who wait in the backlog.
struct Accepter {
    watch: Watch<usize>,
    /// The queues that its dealer deals to.
    handovers: Vec<Arc<Handover<usize>>>,
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

    /// `Accepter::run` and `accept_some`, as far as `backlog` peers go: accepts while there is room, sleeps when there
    /// is none, and says at the end that nobody will come any more.
    fn accept(&self, backlog: usize) {
        let mut next = 0;
        while next < backlog && !self.watch.control.is_requested() {
            let Some(chosen) = self.watch.dealer.choose() else {
                self.sleep(Awaited::Room);
                continue;
            };
            self.put(chosen, next);
            next += 1;
        }
        self.watch.dealer.finish();
    }

    fn put(&self, chosen: usize, socket: usize) {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        assert!(self.watch.dealer.put(chosen, Accepted { socket, address }).is_ok(), "there was room");
    }

    /// The queue of the first processor.
    fn handover(&self) -> Arc<Handover<usize>> {
        Arc::clone(&self.handovers[0])
    }
}

/// Both sides, and what the processor sleeps in.
fn pair(capacity: usize, connections_max: usize) -> (Accepter, Arc<Bed>, Arc<WakeFlag>) {
    let (accepter, [(bed, flag)]) = crew([capacity], connections_max);
    (accepter, bed, flag)
}

/// An accepter and its processors, whose queues have these capacities, and what they sleep in.
fn crew<const N: usize>(capacities: [usize; N], connections_max: usize) -> (Accepter, [(Arc<Bed>, Arc<WakeFlag>); N]) {
    let (bed, wake) = Bed::made();
    let processors = capacities.map(|_| Bed::made());
    let each = connections_max.div_ceil(N);
    let queue = |(capacity, (_, flag)): (usize, &(_, Arc<WakeFlag>))| {
        Handover::new(capacity, each, Arc::clone(&wake), Arc::clone(flag))
    };
    let handovers: Vec<_> = capacities.into_iter().zip(&processors).map(queue).collect();
    let control = Control::new(processors.iter().map(|(_, flag)| flag).chain([&wake]).cloned());
    let dealer = Dealer::new(handovers.clone(), connections_max);
    (Accepter { watch: Watch { wake, dealer, control }, handovers, bed }, processors)
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
        let handover = accepter.handover();
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
        let handover = accepter.handover();
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
        accepter.put(0, 0);
        let handover = accepter.handover();
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
fn a_request_to_shut_down_reaches_both_threads() {
    check(3, || {
        let (accepter, bed, flag) = pair(1, 1);
        // Nobody will ever end this one.
        accepter.put(0, 0);
        let handover = accepter.handover();
        let control = Arc::clone(&accepter.watch.control);
        let seen = Arc::clone(&control);
        let accepting = thread::spawn(move || accepter.accept(9));
        let requesting = thread::spawn(move || control.request(request(Duration::ZERO)));
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

/// The peers that wait for room come to it with whichever processor has some: here both must have some, because each
/// gets one of the two that find none at first.
#[test]
fn room_with_any_of_the_processors_is_used() {
    check(2, || {
        let (accepter, beds) = crew([1, 1], 9);
        // Both queues are full.
        accepter.put(0, 0);
        accepter.put(1, 1);
        let [first, second] = beds.map(|(bed, flag)| (bed, flag));
        let handovers = accepter.handovers.clone();
        let accepting = thread::spawn(move || accepter.accept(1));
        // The first has a long cycle, and takes nothing before the other one has got what waits.
        let served = serve(&handovers[1], &second.0, &second.1, false);
        assert_eq!(served.len(), 2, "the one with room gets it");
        accepting.join().expect("no panic");
        assert_eq!(serve(&handovers[0], &first.0, &first.1, false), [0]);
    });
}

#[test]
fn the_place_of_a_connection_that_ended_anywhere_is_used() {
    check(2, || {
        let (accepter, [(bed, flag), _other]) = crew([9, 9], 2);
        accepter.put(0, 0);
        accepter.put(1, 1);
        let handovers = accepter.handovers.clone();
        let accepting = thread::spawn(move || accepter.accept(1));
        // The other keeps its connection.
        assert_eq!(serve(&handovers[0], &bed, &flag, true), [0, 0]);
        accepting.join().expect("no panic");
        assert_eq!((handovers[0].live(), handovers[1].live()), (0, 1));
    });
}

#[test]
fn a_request_to_shut_down_reaches_every_processor() {
    check(2, || {
        let (accepter, beds) = crew([1, 1], 2);
        let control = Arc::clone(&accepter.watch.control);
        let seen = Arc::clone(&control);
        accepter.watch.dealer.finish();
        let requesting = thread::spawn(move || control.request(request(Duration::ZERO)));
        let sleepers = beds.map(|(bed, flag)| {
            let seen = Arc::clone(&seen);
            thread::spawn(move || {
                while !seen.is_requested() {
                    flag.fall_asleep();
                    if !seen.is_requested() {
                        bed.sleep();
                    }
                    flag.awake();
                }
            })
        });
        sleepers.into_iter().for_each(|sleeper| sleeper.join().expect("no panic"));
        requesting.join().expect("no panic");
    });
}

#[test]
fn of_two_requests_the_shorter_grace_counts() {
    check(3, || {
        let flags = [(); 2].map(|()| Arc::new(WakeFlag::never_asleep()));
        let [accepter, processor] = flags;
        let control = Control::new([accepter, processor]);
        let requests = [1, 2].map(|seconds| {
            let control = Arc::clone(&control);
            let request = request(Duration::from_secs(seconds));
            thread::spawn(move || control.request(request))
        });
        if control.is_requested() {
            assert!(control.requested().is_some(), "what is announced is there");
        }
        requests.into_iter().for_each(|request| request.join().expect("no panic"));
        assert_eq!(control.requested().map(|request| request.grace), Some(Duration::from_secs(1)));
    });
}
