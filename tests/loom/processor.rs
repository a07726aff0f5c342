//! The real processor's cycle beside other threads: whatever they leave is found, once, and nobody is slept over.

use std::sync::Arc;
use std::time::{Duration, Instant};

use loom::thread;
use sluicegate::Finish;
use sluicegate::internals::ShutdownRequest;
use sluicegate::internals::atomic::{AtomicBool, Ordering::SeqCst};

use super::check;
use super::world::{Plan, World, message, small, with};

/// Bytes of a short message with its prefix.
const FRAME: usize = 8;

#[test]
fn a_deferred_answer_is_not_slept_over() {
    check(3, || {
        let mut world = World::new(&small(), Plan::Defer);
        let got = world.connect(&message(1));
        world.until(|hands| !hands.deferred.is_empty());
        let deferred = with(&world.hands, |hands| hands.deferred.pop()).expect("one");
        let worker = thread::spawn(move || deferred.send(b"pong"));
        world.until(|_| !with(&got, |got| got.is_empty()));
        worker.join().expect("no panic");
        assert_eq!(with(&got, |got| got.clone()), b"\0\0\0\x04pong");
        assert_eq!(world.processor.metrics().messages_out, 1);
    });
}

#[test]
fn a_deferred_reply_settles_once_whether_it_is_sent_or_dropped() {
    check(3, || {
        let mut world = World::new(&small(), Plan::Defer);
        let got = world.connect(&message(1).repeat(2));
        world.until(|hands| hands.deferred.len() == 2);
        let mut deferred = with(&world.hands, |hands| std::mem::take(&mut hands.deferred));
        let (dropped, sent) = (deferred.pop().expect("two"), deferred.pop().expect("two"));
        let workers = [thread::spawn(move || sent.send(b"pong")), thread::spawn(move || drop(dropped))];
        world.until(|hands| hands.closed == 1);
        workers.into_iter().for_each(|worker| worker.join().expect("no panic"));
        let metrics = world.processor.metrics();
        assert_eq!((metrics.messages_out, metrics.owed, metrics.open), (1, 0, 0));
        assert_eq!(with(&got, |got| got.len()), 8);
        assert_eq!(world.processor.undelivered(0), 0);
    });
}

#[test]
fn a_connection_that_waits_for_the_user_is_resumed() {
    check(3, || {
        let mut world = World::new(&small(), Plan::Answer(1));
        // The connection has its first turn in the cycle that opens it: not yet.
        world.connect(&message(1));
        world.room.store(false, SeqCst);
        let room = Arc::clone(&world.room);
        let proxy = with(&world.hands, |hands| hands.proxy.clone()).expect("it has started");
        let worker = thread::spawn(move || {
            room.store(true, SeqCst);
            proxy.resume();
        });
        world.until(|hands| hands.processed == 1);
        worker.join().expect("no panic");
    });
}

#[test]
fn a_call_for_a_cycle_is_not_slept_over() {
    check(3, || {
        let mut world = World::new(&small(), Plan::Defer);
        world.prepare();
        let proxy = with(&world.hands, |hands| hands.proxy.clone()).expect("it has started");
        let left = Arc::new(AtomicBool::new(false));
        let leaves = Arc::clone(&left);
        let worker = thread::spawn(move || {
            leaves.store(true, SeqCst);
            proxy.wake();
        });
        world.until(|_| left.load(SeqCst));
        worker.join().expect("no panic");
    });
}

#[test]
fn an_unasked_message_is_not_slept_over() {
    check(3, || {
        let mut world = World::new(&small(), Plan::Defer);
        let got = world.connect(&[]);
        world.prepare();
        let (proxy, peer) = with(&world.hands, |hands| (hands.proxy.clone(), hands.connections[0]));
        let proxy = proxy.expect("it has started");
        let sender = thread::spawn(move || proxy.send(peer, b"ping").expect("there is room"));
        world.until(|_| with(&got, |got| got.len()) == FRAME);
        sender.join().expect("no panic");
        assert_eq!(world.processor.undelivered(0), 0);
    });
}

#[test]
fn a_request_to_close_is_not_slept_over_and_comes_behind_what_was_sent_before_it() {
    check(3, || {
        let mut world = World::new(&small(), Plan::Defer);
        let got = world.connect(&[]);
        world.prepare();
        let (proxy, peer) = with(&world.hands, |hands| (hands.proxy.clone(), hands.connections[0]));
        let proxy = proxy.expect("it has started");
        let sender = thread::spawn(move || {
            proxy.send(peer, b"ping").expect("there is room");
            proxy.close(peer);
            proxy.send(peer, b"late").expect("nobody is left who could be full");
        });
        world.until(|hands| hands.closed == 1);
        sender.join().expect("no panic");
        assert_eq!(with(&got, |got| got.clone()), b"\0\0\0\x04ping");
        assert_eq!(world.processor.undelivered(0), 0);
    });
}

#[test]
fn what_found_no_place_in_the_queue_is_not_counted() {
    check(3, || {
        let mut config = small();
        config.unasked_max = 1;
        let mut world = World::new(&config, Plan::Defer);
        let got = world.connect(&[]);
        world.prepare();
        let (proxy, peer) = with(&world.hands, |hands| (hands.proxy.clone(), hands.connections[0]));
        let proxy = proxy.expect("it has started");
        let sender = thread::spawn(move || (0..3).filter(|_| proxy.send(peer, b"ping").is_ok()).count());
        // The first is always taken.
        world.until(|_| !with(&got, |got| got.is_empty()));
        let bytes = sender.join().expect("no panic") * FRAME;
        world.until(|_| with(&got, |got| got.len()) == bytes);
        assert_eq!(world.processor.undelivered(0), 0);
    });
}

#[test]
fn senders_do_not_exceed_the_bound_of_a_connection_together() {
    const HIGH: usize = FRAME + 1;
    check(3, || {
        let mut config = small();
        (config.watermarks.high, config.watermarks.low) = (HIGH, 1);
        let mut world = World::new(&config, Plan::Defer);
        let got = world.connect(&[]);
        world.prepare();
        let (proxy, peer) = with(&world.hands, |hands| (hands.proxy.clone(), hands.connections[0]));
        let proxy = proxy.expect("it has started");
        let senders = [1, 2].map(|count| {
            let proxy = proxy.clone();
            thread::spawn(move || (0..count).filter(|_| proxy.send(peer, b"ping").is_ok()).count())
        });
        let sent: usize = senders.into_iter().map(|sender| sender.join().expect("no panic")).sum();
        let undelivered = world.processor.undelivered(0) as usize;
        assert_eq!(undelivered, sent * FRAME);
        assert!(undelivered < HIGH + FRAME, "{undelivered}");
        world.until(|_| with(&got, |got| got.len()) == sent * FRAME);
        assert_eq!(world.processor.undelivered(0), 0);
    });
}

#[test]
fn the_gauge_of_a_connection_is_never_below_nothing() {
    check(3, || {
        let mut world = World::new(&small(), Plan::Defer);
        let got = world.connect(&[]);
        world.prepare();
        let (proxy, peer) = with(&world.hands, |hands| (hands.proxy.clone(), hands.connections[0]));
        let proxy = proxy.expect("it has started");
        let sender = thread::spawn(move || (0..2).for_each(|_| proxy.send(peer, b"ping").expect("there is room")));
        while with(&got, |got| got.len()) < 2 * FRAME {
            world.processor.cycle();
            let undelivered = world.processor.undelivered(0);
            assert!(undelivered <= 2 * FRAME as u64, "{undelivered}");
        }
        sender.join().expect("no panic");
        assert_eq!(world.processor.undelivered(0), 0);
    });
}

#[test]
fn a_kept_block_that_is_let_go_serves_who_waits_for_it() {
    check(3, || {
        let mut world = World::new(&small(), Plan::Keep);
        // More messages than there are blocks.
        for _ in 0..4 {
            world.connect(&message(1000).repeat(2));
        }
        world.prepare();
        let (kept, all) = with(&world.hands, |hands| (hands.processed, std::mem::take(&mut hands.kept)));
        assert!(kept < 8, "all {kept} messages found a block");
        let holder = thread::spawn(move || drop(all));
        world.until(|hands| hands.processed > kept);
        holder.join().expect("no panic");
    });
}

#[test]
fn two_encoders_in_line_are_both_served() {
    check(2, || {
        const LENGTH: usize = 5000;
        let mut world = World::new(&small(), Plan::Defer);
        let got = world.connect(&message(1).repeat(2));
        world.until(|hands| hands.deferred.len() == 2);
        let deferred = with(&world.hands, |hands| std::mem::take(&mut hands.deferred));
        let workers = deferred.into_iter().map(|deferred| thread::spawn(move || deferred.send(vec![b'x'; LENGTH])));
        let workers: Vec<_> = workers.collect();
        world.until(|_| with(&got, |got| got.len()) == 2 * (LENGTH + 4));
        workers.into_iter().for_each(|worker| worker.join().expect("no panic"));
        assert_eq!(world.processor.undelivered(0), 0);
    });
}

#[test]
fn an_encoder_in_line_gets_the_blocks_that_the_processor_keeps() {
    check(3, || {
        // The first answer takes a block of each tier, and the processor keeps them when it has left.
        let mut world = World::new(&small(), Plan::AnswerFirst(6500));
        let got = world.connect(&message(1).repeat(2));
        world.prepare();
        world.connect_stuck(&message(1));
        world.prepare();
        let mut deferred = with(&world.hands, |hands| std::mem::take(&mut hands.deferred));
        // The workers' reserve goes to a peer that does not read.
        let stuck = deferred.pop().expect("two");
        thread::spawn(move || stuck.send(b"pong")).join().expect("no panic");
        world.prepare();
        let before = with(&got, |got| got.len());
        let waits = deferred.pop().expect("two");
        let worker = thread::spawn(move || waits.send(b"pong"));
        world.until(|_| with(&got, |got| got.len()) == before + FRAME);
        worker.join().expect("no panic");
    });
}

#[test]
fn a_reserve_is_repaid_by_a_block_that_comes_home() {
    check(3, || {
        let mut world = World::new(&small(), Plan::Answer(1000));
        let held = world.processor.outbound().tiers().clone().map(|tier| tier.lease());
        world.connect_stuck(&message(1));
        world.prepare();
        // It is not handed over: the processor's reserve is in the queue of the first.
        let got = world.connect(&message(1));
        world.prepare();
        assert_eq!(with(&world.hands, |hands| hands.processed), 1);
        let [small, medium, _large] = held;
        // The first is too small, and wakes the processor all the same.
        let holder = thread::spawn(move || {
            drop(small);
            drop(medium);
        });
        world.until(|_| with(&got, |got| got.len()) == 1004);
        holder.join().expect("no panic");
    });
}

#[test]
fn a_request_to_shut_down_is_not_slept_over() {
    check(3, || {
        let mut world = World::new(&small(), Plan::Answer(1));
        let control = Arc::clone(world.processor.control());
        let handover = Arc::clone(world.processor.handover());
        let request = ShutdownRequest { asked: Instant::now(), grace: Duration::from_secs(9), finish: Finish::Answer };
        let threads = [thread::spawn(move || control.request(request)), thread::spawn(move || handover.finish())];
        world.processor.run_out();
        threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
    });
}

#[test]
fn what_has_come_before_a_request_to_shut_down_is_answered() {
    check(3, || {
        let mut world = World::new(&small(), Plan::Answer(1));
        let come = Arc::new(AtomicBool::new(false));
        world.connect_late(&message(1), &come);
        world.prepare();
        let control = Arc::clone(world.processor.control());
        let handover = Arc::clone(world.processor.handover());
        let request = ShutdownRequest { asked: Instant::now(), grace: Duration::from_secs(9), finish: Finish::Answer };
        let proxy = with(&world.hands, |hands| hands.proxy.clone()).expect("it has started");
        let thread = thread::spawn(move || {
            // It has looked at its sockets, perhaps, and hears of the request behind that.
            proxy.wake();
            come.store(true, SeqCst);
            control.request(request);
            handover.finish();
        });
        world.processor.run_out();
        thread.join().expect("no panic");
        assert_eq!(with(&world.hands, |hands| (hands.processed, hands.closed)), (1, 1));
    });
}
