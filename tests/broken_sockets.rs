//! Sockets that break: each connection ends for the reason that the operating system gives.

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use sluicegate::http1::Http1;
use sluicegate::sim::{Broken, SimPeer, Simulation, Weather};
use sluicegate::{
    CloseReason, Config, Deferred, DropReason, LengthPrefixed, Message, MessageProcessor, Peer, Reply, WhenFull,
};

const SECOND: Duration = Duration::from_secs(1);

fn frame(payload: &[u8]) -> Vec<u8> {
    [&(payload.len() as u32).to_be_bytes(), payload].concat()
}

/// How a socket breaks, and what the operating system says of it.
type Break = (fn(&SimPeer), ErrorKind);
const BREAKS: [Break; 2] = [(SimPeer::reset, ErrorKind::ConnectionReset), (SimPeer::time_out, ErrorKind::TimedOut)];

/// Defers every reply, and is told why connections end.
#[derive(Clone, Default)]
struct Told {
    promises: Arc<Mutex<Vec<Deferred<LengthPrefixed>>>>,
    ends: Arc<Mutex<Vec<ErrorKind>>>,
    reasons: Arc<Mutex<Vec<String>>>,
}

impl MessageProcessor<LengthPrefixed> for Told {
    fn process(&mut self, _: Message<'_, LengthPrefixed>, reply: Reply<'_, LengthPrefixed>) {
        self.promises.lock().push(reply.defer());
    }

    fn closed(&mut self, _: &Peer, reason: &CloseReason) {
        self.reasons.lock().push(reason.to_string());
        if let CloseReason::Socket(kind) = reason {
            self.ends.lock().push(*kind);
        }
    }
}

/// Whatever the selector had to say about a socket, its connection ended as reset; also those that the kernel had given
/// up.
#[test]
fn ends_once_a_broken_socket_is_the_end_for_its_own_reason() -> Result<(), Broken> {
    let told = Told::default();
    let user = told.clone();
    let mut simulation =
        Simulation::new(1, Config::default(), LengthPrefixed::default(), |_, _| user).expect("the settings fit");
    // Between messages; with replies owed; and with its own end behind them.
    for (sent, finishes) in [(vec![], false), (frame(b"later").repeat(2), false), (frame(b"later"), true)] {
        for (breaks, why) in BREAKS {
            let why = if finishes && why == ErrorKind::ConnectionReset { ErrorKind::BrokenPipe } else { why };
            let peer = simulation.connect(Weather::calm()).expect("there is room");
            peer.send(&sent);
            simulation.run_for(SECOND)?;
            if finishes {
                peer.finish();
            }
            simulation.run_for(SECOND)?;
            breaks(&peer);
            simulation.run_for(SECOND / 10)?;
            assert_eq!(told.ends.lock().pop(), Some(why), "{} bytes sent: {}", sent.len(), simulation.describe());
            told.promises.lock().clear();
        }
    }
    Ok(())
}

/// What has arrived before the socket breaks is handed over, however long the connection is paused; what was owed to
/// the peer is dropped, and then it ends for the socket's reason.
#[test]
fn what_has_arrived_before_a_socket_breaks_is_handed_over() -> Result<(), Broken> {
    const SENT: usize = 100;
    for (breaks, why) in BREAKS {
        let told = Told::default();
        let user = told.clone();
        let mut config = Config::default();
        config.owed_max = 1;
        config.turn.messages = 3;
        let mut simulation = Simulation::new(1, config, LengthPrefixed::default(), |_, _| user).expect("they fit");
        let peer = simulation.connect(Weather::calm()).expect("there is room");
        // The last one is not whole.
        peer.send(&frame(b"arrived").repeat(SENT)[..SENT * 11 - 1]);
        simulation.run_for(SECOND)?;
        breaks(&peer);
        simulation.run_for(SECOND)?;
        for handed_over in 1..SENT {
            assert_eq!(*told.reasons.lock(), [""; 0], "{handed_over}: {}", simulation.describe());
            let promise = told.promises.lock().pop().expect("one after the other");
            promise.send(&b"answer"[..]);
            simulation.run_for(SECOND / 10)?;
        }
        assert_eq!(told.promises.lock().len(), 0, "{why}: {}", simulation.describe());
        assert_eq!(*told.reasons.lock(), ["the peer closed it 10 bytes into a message"]);
        let counts = simulation.metrics();
        assert_eq!((counts.messages_in, counts.bytes_outbound, counts.open), (SENT as u64 - 1, 0, 0));
    }
    Ok(())
}

/// What nobody can take is no reason to close a connection before what has arrived is read, however much it is, and
/// replies that are owed to nobody are not waited for.
#[test]
fn answers_to_a_broken_socket_are_dropped_and_hold_nothing_up() -> Result<(), Broken> {
    let handed_over = Arc::new(Mutex::new(0));
    let is_ready = Arc::new(AtomicBool::new(false));
    let user = Eager { promises: Vec::new(), handed_over: Arc::clone(&handed_over), is_ready: Arc::clone(&is_ready) };
    let mut config = Config::default();
    config.watermarks.high = 1000;
    config.watermarks.low = 500;
    config.turn.messages = 3;
    config.timeouts.reply = Duration::ZERO;
    let mut simulation = Simulation::new(1, config, LengthPrefixed::default(), |_, _| user).expect("the settings fit");
    let peer = simulation.connect(Weather::calm()).expect("there is room");
    peer.send(&frame(b"asked").repeat(Eager::LAST));
    simulation.run_for(SECOND)?;
    peer.reset();
    simulation.run_for(SECOND)?;
    is_ready.store(true, Relaxed);
    simulation.proxy().resume();
    simulation.run_for(SECOND)?;
    assert_eq!((*handed_over.lock(), simulation.metrics().open), (Eager::LAST, 0), "{}", simulation.describe());
    Ok(())
}

/// Defers each reply, but for the last one, which ends the connection; answers with much, at the end of the cycle, all
/// but one; wants full connections closed.
struct Eager {
    promises: Vec<Deferred<LengthPrefixed>>,
    handed_over: Arc<Mutex<usize>>,
    is_ready: Arc<AtomicBool>,
}

impl Eager {
    const LAST: usize = 60;
}

impl MessageProcessor<LengthPrefixed> for Eager {
    fn process(&mut self, _: Message<'_, LengthPrefixed>, reply: Reply<'_, LengthPrefixed>) {
        let mut handed_over = self.handed_over.lock();
        *handed_over += 1;
        match *handed_over {
            Self::LAST => reply.close(),
            _ => self.promises.push(reply.defer()),
        }
    }

    fn ready(&mut self) -> bool {
        self.is_ready.load(Relaxed)
    }

    fn when_full(&mut self, _: &Peer) -> WhenFull {
        WhenFull::Close
    }

    fn cycle_end(&mut self, _: Instant) -> Option<Instant> {
        // The last one is kept for ever.
        let answered = self.promises.len().saturating_sub(1);
        self.promises.drain(..answered).for_each(|promise| promise.send(&[b'y'; 2000]));
        None
    }
}

/// Nobody is there to be given what is owed: a connection that is told to close then closes.
#[test]
fn a_broken_connection_that_is_to_close_waits_for_no_reply() -> Result<(), Broken> {
    let is_ready = Arc::new(AtomicBool::new(false));
    let user = Closing { promise: None, is_ready: Arc::clone(&is_ready) };
    let mut config = Config::default();
    config.timeouts.reply = Duration::ZERO;
    let mut simulation = Simulation::new(1, config, LengthPrefixed::default(), |_, _| user).expect("the settings fit");
    let peer = simulation.connect(Weather::calm()).expect("there is room");
    peer.send(&frame(b"asked").repeat(3));
    simulation.run_for(SECOND)?;
    peer.reset();
    simulation.run_for(SECOND)?;
    is_ready.store(true, Relaxed);
    simulation.proxy().resume();
    simulation.run_for(SECOND)?;
    let counts = simulation.metrics();
    assert_eq!((counts.messages_in, counts.open), (2, 0), "{}", simulation.describe());
    Ok(())
}

/// Once it is ready, keeps the first reply for ever and closes at the second message.
struct Closing {
    promise: Option<Deferred<LengthPrefixed>>,
    is_ready: Arc<AtomicBool>,
}

impl MessageProcessor<LengthPrefixed> for Closing {
    fn process(&mut self, _: Message<'_, LengthPrefixed>, reply: Reply<'_, LengthPrefixed>) {
        match self.promise {
            None => self.promise = Some(reply.defer()),
            Some(_) => reply.close(),
        }
    }

    fn ready(&mut self) -> bool {
        self.is_ready.load(Relaxed)
    }
}

/// With more than one turn takes in the kernel, and answers that nobody takes.
#[test]
fn a_sender_that_goes_without_its_answers_loses_nothing_but_them() -> Result<(), Broken> {
    const SENT: u64 = 1000;
    let echo = |message: Message<'_, LengthPrefixed>, reply: Reply<'_, LengthPrefixed>| reply.send(message.payload());
    let mut simulation =
        Simulation::new(1, Config::default(), LengthPrefixed::default(), |_, _| echo).expect("the settings fit");
    let peer = simulation.connect(Weather::calm()).expect("there is room");
    peer.send(&frame(b"sent").repeat(SENT as usize));
    peer.hang_up();
    simulation.run_for(SECOND)?;
    let counts = simulation.metrics();
    assert_eq!((counts.messages_in, counts.open, counts.bytes_outbound), (SENT, 0, 0), "{}", simulation.describe());
    assert!(simulation.network().counts().resets > 0, "it was reset before all was read");
    Ok(())
}

/// Where a message waits for the answer to the one before, those that nobody will hear are not begun.
#[test]
fn requests_are_not_begun_for_a_client_that_is_gone() -> Result<(), Broken> {
    let promises: Arc<Mutex<Vec<Deferred<Http1>>>> = Arc::default();
    let kept = Arc::clone(&promises);
    let defer = move |_: Message<'_, Http1>, reply: Reply<'_, Http1>| kept.lock().push(reply.defer());
    let mut simulation =
        Simulation::new(1, Config::default(), Http1::default(), |_, _| defer.clone()).expect("the settings fit");
    let peer = simulation.connect(Weather::calm()).expect("there is room");
    let request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    peer.send(&request.repeat(2));
    simulation.run_for(SECOND)?;
    peer.reset();
    simulation.run_for(SECOND)?;
    assert_eq!((promises.lock().len(), simulation.metrics().open), (1, 0), "{}", simulation.describe());
    // It was whole, and is counted as what has not had its turn.
    let dropped =
        [DropReason::Undecoded, DropReason::Incomplete].map(|reason| simulation.metrics().dropped_for(reason));
    assert_eq!(dropped, [request.len() as u64, 0]);
    Ok(())
}
