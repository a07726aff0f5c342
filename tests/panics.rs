//! Code that is not the server's panics, wherever it is called on the processor thread: it costs its connection, and
//! nothing else.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use log::{Level, Log, Metadata, Record};
use sluicegate::sim::{Simulation, Weather};
use sluicegate::{
    After, Config, Decode, Encode, EncodeError, Finish, Message, Outbound, Protocol, ProtocolError, Refusal, Reply,
};

const SECOND: Duration = Duration::from_secs(1);

thread_local! {
    static LOGGED: Cell<usize> = const { Cell::new(0) };
}

/// Counts the panics that this thread has logged.
struct Counting;

impl Log for Counting {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() == Level::Error
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) && record.args().to_string().contains("panic") {
            LOGGED.set(LOGGED.get() + 1);
        }
    }

    fn flush(&self) {}
}

/// Messages of two bytes: where to panic, and a line's end. It panics there when it is asked to, and nowhere else.
#[derive(Debug)]
struct Bomb {
    /// The next clone panics.
    clone: Arc<AtomicBool>,
    /// The end of this one panics.
    drop: bool,
}

fn planned(place: &str) -> ! {
    panic!("planned: in {place}");
}

/// A panic that panics once more when it is thrown away.
struct Twice;

impl Drop for Twice {
    fn drop(&mut self) {
        planned("the end of a panic");
    }
}

impl Clone for Bomb {
    fn clone(&self) -> Self {
        if self.clone.swap(false, SeqCst) {
            planned("clone");
        }
        Self { clone: Arc::clone(&self.clone), drop: false }
    }
}

impl Drop for Bomb {
    fn drop(&mut self) {
        if self.drop {
            planned("drop");
        }
    }
}

/// Where to panic.
struct Place(u8);

impl Drop for Place {
    fn drop(&mut self) {
        if self.0 == b'y' {
            planned("the end of a layout");
        }
    }
}

impl Protocol for Bomb {
    type Layout = Place;
    type Exchange = u8;
    const IN_ORDER: bool = true;

    fn message_max(&self) -> usize {
        2
    }

    fn decode(&mut self, bytes: &mut [u8]) -> Result<Decode<Place>, ProtocolError> {
        self.drop = bytes[0] == b'D';
        match bytes {
            [b'd', ..] => planned("decode"),
            [b'r', ..] => Err(ProtocolError::new("to be refused")),
            // More than there is, so that the layout is of no use.
            [b'y', ..] => Ok(Decode::Complete { consumed: bytes.len() + 1, layout: Place(b'y') }),
            [place, b'\n', ..] => Ok(Decode::Complete { consumed: 2, layout: Place(*place) }),
            _ => Ok(Decode::Partial { needs: None, keep: bytes.len() }),
        }
    }

    fn exchange(layout: &Place) -> u8 {
        if layout.0 == b'e' { planned("exchange") } else { layout.0 }
    }

    fn sends_no_more(layout: &Place) -> bool {
        if layout.0 == b'l' { planned("sends_no_more") } else { false }
    }

    fn closing(exchange: u8) -> u8 {
        if exchange == b'L' { planned("closing") } else { exchange }
    }

    fn interim(&mut self, out: &mut Outbound) {
        out.put(b"half");
        planned("interim");
    }

    fn refuse(&self, _: &Refusal, out: &mut Outbound) {
        out.put(b"half");
        planned("refuse");
    }
}

impl Encode<&[u8]> for Bomb {
    fn encode(exchange: u8, item: &[u8], out: &mut Outbound) -> Result<After, EncodeError> {
        out.put(item);
        if exchange == b'n' { planned("encode") } else { Ok(After::KeepOpen) }
    }

    fn encode_head<'i>(exchange: u8, _: &'i &[u8], out: &mut Outbound) -> Option<(After, &'i [u8])> {
        if exchange == b'h' {
            out.put(b"half");
            planned("encode_head");
        }
        None
    }
}

fn user(message: Message<'_, Bomb>, reply: Reply<'_, Bomb>) {
    match message.bytes()[0] {
        b'p' => planned("process"),
        b't' => std::panic::panic_any(Twice),
        _ => reply.send(message.bytes()),
    }
}

/// A connection that is fine, and one on which `bytes` are sent that cost it `panics`.
fn explodes(bytes: &[u8], panics: u64) {
    set_up();
    let clone = Arc::<AtomicBool>::default();
    let protocol = Bomb { clone: Arc::clone(&clone), drop: false };
    let mut simulation = Simulation::new(1, Config::default(), protocol, |_, _| user).expect("the settings fit");
    let good = simulation.connect(Weather::calm()).expect("there is room");
    good.send(b"a\n");
    simulation.run_for(SECOND).expect("the laws hold");
    clone.store(bytes.is_empty(), SeqCst);
    let bad = simulation.connect(Weather::calm()).expect("there is room");
    // A good answer goes before, in the same turn.
    bad.send(&[b"a\n", bytes].concat());
    simulation.run_for(SECOND).expect("the laws hold");
    bad.finish();
    simulation.run_for(5 * SECOND).expect("the laws hold");
    good.send(b"b\n");
    simulation.run_for(SECOND).expect("the laws hold");
    assert_eq!(good.take_received(), b"a\nb\n");
    assert_eq!(bad.take_received(), if bytes.is_empty() { &b""[..] } else { b"a\n" });
    assert!(bad.end().is_some(), "its connection is closed");
    let metrics = simulation.metrics();
    assert_eq!((metrics.panics, LOGGED.get() as u64), (panics, panics), "each is counted, and logged once");
    assert_eq!(metrics.open, 1);
    // All blocks come home.
    simulation.shutdown(SECOND, Finish::Answer).expect("the laws hold");
}

fn set_up() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        log::set_logger(&Counting).expect("no other");
        log::set_max_level(log::LevelFilter::Error);
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let text = info.payload().downcast_ref::<String>();
            if !text.is_some_and(|text| text.starts_with("planned")) && !info.payload().is::<Twice>() {
                usual(info);
            }
        }));
    });
}

#[test]
fn one_peer_a_panic_in_clone_costs_its_connection() {
    explodes(b"", 1);
}

/// What is refused is told so, which panics as well.
#[test]
fn one_peer_a_panic_in_decode_costs_its_connection() {
    explodes(b"d\n", 2);
}

#[test]
fn one_peer_a_panic_in_the_end_of_a_layout_costs_its_connection() {
    explodes(b"y\n", 2);
}

#[test]
fn one_peer_a_panic_in_interim_costs_its_connection() {
    explodes(b"i", 2);
}

#[test]
fn one_peer_a_panic_in_exchange_costs_its_connection() {
    explodes(b"e\n", 2);
}

#[test]
fn one_peer_a_panic_in_sends_no_more_costs_its_connection() {
    explodes(b"l\n", 2);
}

#[test]
fn one_peer_a_panic_in_encode_costs_its_connection() {
    explodes(b"n\n", 2);
    // Once more in the part that knows the tail, of which nothing has left.
    LOGGED.set(0);
    explodes(b"h\n", 2);
}

#[test]
fn one_peer_a_panic_in_process_costs_its_connection() {
    explodes(b"p\n", 2);
}

#[test]
fn one_peer_a_panic_that_panics_costs_its_connection() {
    explodes(b"t\n", 2);
}

#[test]
fn one_peer_a_panic_in_refuse_costs_its_connection() {
    explodes(b"r\n", 1);
}

/// It is answered; its end is what panics, when it is closed.
#[test]
fn one_peer_a_panic_in_drop_costs_its_connection() {
    set_up();
    let protocol = Bomb { clone: Arc::default(), drop: false };
    let mut simulation = Simulation::new(1, Config::default(), protocol, |_, _| user).expect("the settings fit");
    let [good, bad] = [(); 2].map(|()| simulation.connect(Weather::calm()).expect("there is room"));
    bad.send(b"D\n");
    bad.finish();
    simulation.run_for(5 * SECOND).expect("the laws hold");
    good.send(b"b\n");
    simulation.run_for(SECOND).expect("the laws hold");
    assert_eq!((good.take_received(), bad.take_received()), (b"b\n".to_vec(), b"D\n".to_vec()));
    let metrics = simulation.metrics();
    assert_eq!((metrics.panics, LOGGED.get(), metrics.open), (1, 1, 1));
    simulation.shutdown(SECOND, Finish::Answer).expect("the laws hold");
}

/// The server shuts down, and each answer is asked to be the last.
#[test]
fn one_peer_a_panic_in_closing_costs_its_connection() {
    set_up();
    let protocol = Bomb { clone: Arc::default(), drop: false };
    let mut simulation = Simulation::new(1, Config::default(), protocol, |_, _| user).expect("the settings fit");
    let weather = Weather { delay_max: Duration::ZERO, ..Weather::calm() };
    let [good, bad] = [(); 2].map(|()| simulation.connect(weather).expect("there is room"));
    simulation.run_for(SECOND).expect("the laws hold");
    bad.send(b"L\n");
    good.send(b"b\n");
    let report = simulation.shutdown(5 * SECOND, Finish::Answer).expect("the laws hold");
    assert_eq!(good.take_received(), b"b\n");
    assert_eq!((report.metrics.panics, LOGGED.get()), (2, 2), "of `last`, and of `refuse`");
}
