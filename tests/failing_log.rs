//! A panic of the processor's thread that nobody catches: its logger's. Alone in its binary, because the logger is the
//! process's.

mod common {
    pub mod net;
}

use std::sync::Mutex;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Instant;

use common::net::{LONG, connect, over, send, tiers, until};
use log::{LevelFilter, Log, Metadata, Record};
use sluicegate::{Deferred, Finish, LengthPrefixed, Message, Server, Workers};

/// Says that the server shuts down, waits until it may go on, and panics.
struct Fails(Mutex<Option<(Sender<()>, Receiver<()>)>>);

static LOGGER: Fails = Fails(Mutex::new(None));

impl Log for Fails {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        if record.args().to_string().starts_with("shutting down: ") {
            let (tell, go) = self.0.lock().expect("no panic with it").take().expect("the test has left them");
            tell.send(()).expect("the test listens");
            go.recv_timeout(LONG).expect("the test goes on");
            panic!("planned: in the logger");
        }
    }

    fn flush(&self) {}
}

/// The end of the message processor waits for workers, and these wait for blocks that nobody brings home any more.
#[test]
fn encoders_in_line_are_sent_away_before_the_end_of_the_message_processor() {
    const WORKERS: usize = 8;
    /// Blocks of the pool, and the workers' reserve.
    const ROOM: usize = 4;
    let ((tell, told), (go, goes)) = (mpsc::channel(), mpsc::channel());
    *LOGGER.0.lock().expect("no panic with it") = Some((tell, goes));
    log::set_logger(&LOGGER).expect("the only logger");
    log::set_max_level(LevelFilter::Info);

    let ((open, gate), (done, ended)) = (mpsc::channel::<()>(), mpsc::channel());
    let (gate, done) = (parking_lot::Mutex::new(gate), parking_lot::Mutex::new(done));
    let work = move |_: Message<'static, LengthPrefixed>, reply: Deferred<LengthPrefixed>| {
        // All go on when the other end is gone.
        let _ = gate.lock().recv_timeout(LONG);
        reply.send(&[0; 3000][..]);
        let _ = done.lock().send(());
    };
    let builder = Server::builder(LengthPrefixed::default()).outbound(tiers([1, 1, 1]));
    let workers = Workers { join_timeout: LONG * 4, ..Workers::new(WORKERS, WORKERS) };
    let running = builder.bind("127.0.0.1:0").expect("a port").start_on(workers, work).expect("started");
    let mut peer = connect(running.local_addr());
    (0..WORKERS).for_each(|_| send(&mut peer, b"?"));
    until(&running, "all are owed", |numbers| numbers.owed == WORKERS as u64);
    running.stopper().shutdown(LONG, Finish::Answer);
    told.recv_timeout(LONG).expect("the processor stands in its logger");
    drop(open);
    (0..ROOM).for_each(|_| ended.recv_timeout(LONG).expect("there is room"));
    let start = Instant::now();
    go.send(()).expect("it stands");
    let error = running.join().expect_err("it panicked");
    assert_eq!(error.to_string(), "the processor thread panicked: planned: in the logger");
    // A panic that prints where it came from may take a while.
    assert!(start.elapsed() < LONG * 2, "the workers were waited for in vain: {:?}", start.elapsed());
    over(&mut peer);
}
