//! Workers, without a server around them.

mod harness;

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::mpsc;
use std::time::Instant;

use parking_lot::Mutex;

use super::*;
use crate::outbox::Unanswered;
use harness::{LONG, Plain, PlainMessage, Server, answered, gated, unanswered};

#[test]
fn jobs_run_on_other_threads_in_the_order_of_their_messages() {
    let mut server = Server::new();
    let (ran, runs) = mpsc::channel();
    let ran = Mutex::new(ran);
    let mut offload = server.start(Workers::new(1, 8), move |message: PlainMessage, reply: Deferred<Plain>| {
        let thread = thread::current();
        let run = (message.bytes()[0], thread.id(), thread.name().map(str::to_owned));
        reply.send(message.bytes());
        ran.lock().send(run).expect("the test listens");
    });
    for number in 0..8 {
        assert!(offload.ready());
        server.hand_over(&mut offload, &[number]);
    }
    for number in 0..8 {
        let (message, thread, name) = runs.recv_timeout(LONG).expect("the job runs");
        assert_eq!(message, number);
        assert_ne!(thread, thread::current().id());
        assert_eq!(name.as_deref(), Some("sluicegate-w1"));
    }
    drop(offload);
    assert!(server.assert_all_settled_and_home(8).values().all(answered));
}

#[test]
fn as_many_jobs_run_at_once_as_there_are_threads() {
    let mut server = Server::new();
    let (work, gate) = gated();
    // The gate lets one thread through at a time; each tells that it has begun before it stands there.
    let mut offload = server.start(Workers::new(3, 8), work);
    (0..3).for_each(|number| server.hand_over(&mut offload, &[number]));
    (0..3).for_each(|_| gate.wait_for_begin());
    (0..3).for_each(|_| gate.open());
    drop(offload);
    assert!(server.assert_all_settled_and_home(3).values().all(answered));
}

#[test]
fn a_panic_settles_its_reply_and_the_thread_lives() {
    let mut server = Server::new();
    let (tell, told) = mpsc::channel();
    let tell = Mutex::new(tell);
    let mut offload = server.start(Workers::new(1, 8), move |message: PlainMessage, reply: Deferred<Plain>| {
        assert_ne!(message.bytes(), b"bad", "planned");
        reply.send(message.bytes());
        tell.lock().send(()).expect("the test listens");
    });
    for bytes in [b"bad", b"odd", b"bad", b"end"] {
        server.hand_over(&mut offload, bytes);
    }
    (0..2).for_each(|_| told.recv_timeout(LONG).expect("the jobs after the panics run"));
    drop(offload);
    assert_eq!(server.outbox.metrics.panics.value(), 2);
    let settled = server.assert_all_settled_and_home(4);
    let panicked = |answer: &harness::Answer| matches!(answer, Err(Unanswered::Panicked));
    assert!(panicked(&settled[&0]) && answered(&settled[&1]) && panicked(&settled[&2]) && answered(&settled[&3]));
}

#[test]
fn a_full_queue_is_not_ready_until_a_thread_takes_a_job() {
    let mut server = Server::new();
    let (work, gate) = gated();
    let mut offload = server.start(Workers::new(1, 2), work);
    server.hand_over(&mut offload, b"0");
    gate.wait_for_begin();
    for bytes in [b"1", b"2"] {
        assert!(offload.ready(), "there is a place");
        server.hand_over(&mut offload, bytes);
    }
    assert!(!offload.ready(), "two wait in two places");
    server.outbox.wait_for_ready();
    assert!(!offload.ready() && !server.outbox.take_resumed());
    gate.open();
    gate.wait_for_begin();
    assert!(server.outbox.take_resumed(), "the processor was told");
    assert!(offload.ready());

    server.outbox.wait_for_ready();
    gate.open();
    gate.wait_for_begin();
    assert!(!server.outbox.take_resumed(), "the queue was not full: nobody could wait for it");
    gate.open();
    drop(offload);
    assert!(server.assert_all_settled_and_home(3).values().all(answered));
}

#[test]
fn jobs_of_a_cycle_are_announced_at_its_end_or_when_they_are_many() {
    let mut server = Server::new();
    let (work, gate) = gated();
    let mut offload = server.start(Workers::new(1, 2 * BURST), work);
    // As with a wrapper that does not pass the ends on: nothing waits for them.
    server.hand_over(&mut offload, b"0");
    gate.wait_for_begin();
    assert_eq!(offload.cycle_end(Instant::now()), None);

    server.hand_over(&mut offload, b"1");
    assert_eq!(offload.unannounced, 1, "it waits for the end");
    assert_eq!(offload.cycle_end(Instant::now()), None);
    assert_eq!(offload.unannounced, 0);
    (1..BURST).for_each(|_| server.hand_over(&mut offload, b"2"));
    assert_eq!(offload.unannounced, BURST - 1);
    server.hand_over(&mut offload, b"3");
    assert_eq!(offload.unannounced, 0, "so many do not wait");
    for _ in 0..=BURST {
        gate.open();
        gate.wait_for_begin();
    }
    gate.open();
    drop(offload);
    assert!(server.assert_all_settled_and_home(2 + BURST).values().all(answered));
}

#[test]
fn each_new_job_wakes_a_thread_that_sleeps() {
    let mut server = Server::new();
    let (work, gate) = gated();
    let mut offload = server.start(Workers::new(3, 3), work);
    // A round begins when the threads have nothing to do; those of the first may still be starting.
    for _ in 0..20 {
        (0..3).for_each(|_| server.hand_over(&mut offload, b"0"));
        assert_eq!(offload.cycle_end(Instant::now()), None);
        // None ends before all have begun.
        (0..3).for_each(|_| gate.wait_for_begin());
        (0..3).for_each(|_| gate.open());
        server.collect_all(3);
        assert_eq!(server.settled.drain(..).filter(|(_, answer)| answered(answer)).count(), 3);
    }
    drop(offload);
    server.assert_all_settled_and_home(0);
}

#[test]
fn no_wake_up_is_lost_between_a_fast_producer_and_its_threads() {
    const MESSAGES: usize = 5_000;
    let mut server = Server::new();
    let mut offload =
        server.start(Workers::new(3, 2), |message: PlainMessage, reply: Deferred<Plain>| reply.send(message.bytes()));
    for number in 0..MESSAGES {
        while !offload.ready() {
            server.sleep_until_resumed(&mut offload);
        }
        server.hand_over(&mut offload, &number.to_le_bytes());
        server.collect();
    }
    server.collect_all(MESSAGES);
    drop(offload);
    // Tickets are used again here, so only the number tells.
    let settled = server.settled.drain(..).filter(|(_, answer)| answered(answer)).count();
    assert_eq!(settled, MESSAGES);
    server.assert_all_settled_and_home(0);
}

#[test]
fn a_message_that_was_not_asked_for_is_refused_and_nothing_grows() {
    let mut server = Server::new();
    let (work, gate) = gated();
    let mut offload = server.start(Workers::new(1, 1), work);
    let capacity = offload.jobs.capacity();
    server.hand_over(&mut offload, b"0");
    gate.wait_for_begin();
    server.hand_over(&mut offload, b"1");
    server.hand_over(&mut offload, b"2");
    assert_eq!(offload.jobs.capacity(), capacity);
    server.collect();
    assert!(matches!(server.settled[..], [(2, Err(Unanswered::Dropped))]), "{:?}", server.settled);
    (0..2).for_each(|_| gate.open());
    gate.wait_for_begin();
    drop(offload);
    let settled = server.assert_all_settled_and_home(3);
    assert!(answered(&settled[&0]) && answered(&settled[&1]));
}

#[test]
fn a_drop_gives_waiting_jobs_up_and_lets_the_running_one_finish() {
    let mut server = Server::new();
    let (work, gate) = gated();
    let mut offload = server.start(Workers::new(1, 8), work);
    server.hand_over(&mut offload, b"running");
    gate.wait_for_begin();
    (0..5).for_each(|_| server.hand_over(&mut offload, b"waiting"));
    // The first job that is given up wakes the processor, and thereby opens the gate: the queue is closed by then.
    server.outbox.wake.fall_asleep();
    let woken = std::mem::replace(&mut server.woken, mpsc::channel().1);
    let opener = thread::spawn(move || {
        woken.recv_timeout(LONG).expect("a waiting job settles");
        gate.open();
        gate
    });
    drop(offload);
    let gate = opener.join().expect("the gate was opened");
    assert!(gate.begun.try_recv().is_err(), "no waiting job was begun");
    let settled = server.assert_all_settled_and_home(6);
    assert!(answered(&settled[&0]), "the running job was waited for");
    assert!((1..6).all(|ticket| unanswered(&settled[&ticket])));
}

#[test]
fn a_thread_stuck_in_the_closure_is_left_behind_and_still_ends_once() {
    let mut server = Server::new();
    let (work, gate) = gated();
    let workers = Workers { join_timeout: Duration::from_millis(1), ..Workers::new(2, 4) };
    let mut offload = server.start(workers, work);
    server.hand_over(&mut offload, b"stuck");
    gate.wait_for_begin();
    drop(offload);
    server.collect();
    assert!(server.settled.is_empty(), "its reply is still owed");
    gate.open();
    let end = gate.begun.recv_timeout(LONG);
    assert_eq!(end, Err(mpsc::RecvTimeoutError::Disconnected), "the closure is dropped with its last thread");
    assert!(server.assert_all_settled_and_home(1).values().all(answered));
}

/// What a closure may hold: its end takes as long as it likes.
struct Lasting(Mutex<mpsc::Receiver<()>>);

impl Drop for Lasting {
    fn drop(&mut self) {
        let _ = self.0.lock().recv_timeout(LONG);
    }
}

#[test]
fn a_thread_stuck_in_the_end_of_the_closure_is_left_behind_too() {
    let (end, ends) = mpsc::channel();
    let lasting = Lasting(Mutex::new(ends));
    // Time to begin and to end, for threads that may.
    let workers = Workers { join_timeout: Duration::from_millis(500), ..Workers::new(2, 4) };
    let held = move |_: PlainMessage, _: Deferred<Plain>| drop(lasting.0.try_lock());
    let offload = Offload::<Plain>::new(workers, held).expect("they start");
    let begin = Instant::now();
    drop(offload);
    assert!(begin.elapsed() < LONG / 2, "it was waited for");
    drop(end);
}

#[test]
fn idle_threads_end_with_the_drop_and_take_the_closure_along() {
    let held = Arc::new(());
    let inside = Arc::clone(&held);
    let workers = Workers { join_timeout: LONG, ..Workers::new(4, 4) };
    let offload = Offload::<Plain>::new(workers, move |_, _| drop(Arc::clone(&inside))).expect("they start");
    let begin = Instant::now();
    drop(offload);
    assert!(begin.elapsed() < LONG / 2, "the last thread says that it ends");
    assert_eq!(Arc::strong_count(&held), 1);
}

/// Ends slowly with the thread that it belongs to.
struct Farewell(Arc<AtomicBool>);

impl Drop for Farewell {
    fn drop(&mut self) {
        (0..10_000).for_each(|_| thread::yield_now());
        self.0.store(true, SeqCst);
    }
}

thread_local! {
    static FAREWELL: RefCell<Option<Farewell>> = const { RefCell::new(None) };
}

#[test]
fn nothing_of_a_thread_is_left_after_the_drop() {
    let mut server = Server::new();
    let gone = Arc::new(AtomicBool::new(false));
    let (tell, told) = mpsc::channel();
    let (inside, tell) = (Arc::clone(&gone), Mutex::new(tell));
    let mut offload = server.start(Workers::new(1, 1), move |message: PlainMessage, reply: Deferred<Plain>| {
        FAREWELL.set(Some(Farewell(Arc::clone(&inside))));
        reply.send(message.bytes());
        tell.lock().send(()).expect("the test listens");
    });
    server.hand_over(&mut offload, b"0");
    told.recv_timeout(LONG).expect("the job runs");
    drop(offload);
    assert!(gone.load(SeqCst), "the thread was joined");
    server.assert_all_settled_and_home(1);
}

#[test]
fn numbers_that_can_not_work_are_refused() {
    let error = |workers| Offload::<Plain>::new(workers, |_, _| {}).expect_err("refused");
    for (workers, name) in [(Workers::new(0, 1), "workers.threads"), (Workers::new(1, 0), "workers.queue")] {
        let error = error(workers);
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        let setting = error.get_ref().and_then(|inner| inner.downcast_ref::<ConfigError>()).map(ConfigError::setting);
        assert_eq!(setting, Some(name), "{error}");
        assert!(error.to_string().starts_with(&format!("{name}: is 0")), "{error}");
    }
    for (workers, name) in [(Workers::new(usize::MAX, 1), "threads"), (Workers::new(1, usize::MAX), "queue")] {
        let error = error(workers);
        assert!(
            error.to_string().starts_with(&format!("workers.{name}: is "))
                && error.to_string().contains(": lower it below "),
            "{error}"
        );
    }
    Workers::default().validate().expect("the defaults work");
}

#[test]
#[cfg(target_pointer_width = "64")]
fn a_thread_that_can_not_be_started_is_an_error() {
    let held = Arc::new(());
    let inside = Arc::clone(&held);
    // No address space holds such a stack.
    let workers = Workers { stack_size: 1 << 60, ..Workers::new(3, 1) };
    let error = Offload::<Plain>::new(workers, move |_, _| drop(Arc::clone(&inside))).expect_err("no such stack");
    assert!(error.to_string().contains("worker thread 1 of 3"), "{error}");
    assert_eq!(Arc::strong_count(&held), 1, "nothing is left behind");
}

#[test]
fn the_ceiling_counts_places_and_stacks() {
    let job = (size_of::<PlainMessage>() + size_of::<Deferred<Plain>>()) as u64;
    let workers = Workers { stack_size: 1 << 20, ..Workers::new(3, 100) };
    assert_eq!(workers.memory::<Plain>(), 100 * job + (3 << 20));
    assert_eq!(Workers::new(usize::MAX, usize::MAX).memory::<Plain>(), u64::MAX);
}
