//! The end of a server that reads what was sent: also what lies in its peers' kernels, behind a window that is full.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use sluicegate::sim::{Broken, Simulation, Weather};
use sluicegate::{Config, DropReason, Finish, LengthPrefixed, Message, MessageProcessor, Reply};

const SECOND: Duration = Duration::from_secs(1);
const MESSAGES: usize = 100;
const GRACE: Duration = Duration::from_secs(20);

fn user(_: Message<'_, LengthPrefixed>, reply: Reply<'_, LengthPrefixed>) {
    reply.none();
}

/// A tenth of the messages fits the window; the rest comes in pieces, each some time after there is room.
#[test]
fn what_waits_behind_a_full_window_is_read() -> Result<(), Broken> {
    let mut simulation =
        Simulation::new(1, Config::default(), LengthPrefixed::default(), |_, _| user).expect("the settings fit");
    let weather = Weather { receive_buffer: 1040, delay_max: SECOND / 100, ..Weather::calm() };
    let peer = simulation.connect(weather).expect("there is room");
    let idle = simulation.connect(Weather::calm()).expect("there is room");
    simulation.run_for(SECOND)?;
    let frame = [&100u32.to_be_bytes()[..], &[b'm'; 100]].concat();
    assert!(peer.send(&frame.repeat(MESSAGES)));
    let report = simulation.shutdown(10 * SECOND, Finish::ReadOut)?;
    assert_eq!(report.metrics.messages_in, MESSAGES as u64);
    assert!(idle.end().is_some(), "who said nothing is not waited for");
    Ok(())
}

/// Also if its last message was large: its turn to be read by itself must not pass for a sign of life.
#[test]
fn who_is_quiet_is_not_waited_for_whatever_it_has_sent_before() -> Result<(), Broken> {
    for length in [100, 100_000] {
        let mut simulation =
            Simulation::new(1, Config::default(), LengthPrefixed::default(), |_, _| user).expect("the settings fit");
        let peer = simulation.connect(Weather::calm()).expect("there is room");
        assert!(peer.send(&[&(length as u32).to_be_bytes()[..], &vec![b'm'; length]].concat()));
        simulation.run_for(SECOND)?;
        simulation.ask_to_shut_down(GRACE, Finish::ReadOut);
        simulation.run_for(SECOND / 5)?;
        assert!(peer.end().is_some(), "{length}: it is still waited for");
    }
    Ok(())
}

/// Who goes on sending does not hold the server up.
#[test]
fn who_goes_on_sending_is_read_for_a_second() -> Result<(), Broken> {
    let mut simulation =
        Simulation::new(1, Config::default(), LengthPrefixed::default(), |_, _| user).expect("the settings fit");
    let weather = Weather { receive_buffer: 104, delay_max: SECOND / 25, piece_max: 104, ..Weather::calm() };
    let peer = simulation.connect(weather).expect("there is room");
    simulation.run_for(SECOND)?;
    let frame = [&100u32.to_be_bytes()[..], &[b'm'; 100]].concat();
    assert!(peer.send(&frame.repeat(100 * MESSAGES)));
    let network = simulation.network().clone();
    let began = network.elapsed();
    let report = simulation.shutdown(60 * SECOND, Finish::ReadOut)?;
    let took = network.elapsed() - began;
    let linger = Config::default().timeouts.linger;
    assert!((SECOND..=SECOND + linger).contains(&took), "{took:?}");
    assert!(report.metrics.messages_in < 100 * MESSAGES as u64, "more was there than a second's");
    Ok(())
}

/// Not even one that is faster than it is read, so that its socket is never empty. What its kernel and the server's can
/// have held is read, and what comes in a second; up to a whole message.
#[test]
fn who_sends_faster_than_it_is_read_is_read_for_a_second() -> Result<(), Broken> {
    const ARRIVED: usize = 1 << 20;
    const UNSENT: usize = 4 << 20;
    const SENT: usize = 128 << 20;
    // Large records are handled as they come; of small ones, a read brings more than a turn takes, and more than it may
    // read.
    let usual = Config::default().turn.bytes;
    for (call_max, record, turn, is_slow) in
        [(10, 64 << 10, usual, false), (100, 64 << 10, usual, true), (100, 100, usual, true), (100, 1000, 4096, true)]
    {
        let call_max = Duration::from_millis(call_max);
        let mut config = Config::default();
        config.turn.bytes = turn;
        let mut simulation =
            Simulation::new(1, config, LengthPrefixed::default(), |_, _| user).expect("the settings fit");
        let weather = Weather { receive_buffer: ARRIVED, piece_max: ARRIVED, call_max, ..Weather::calm() };
        let peer = simulation.connect(weather).expect("there is room");
        simulation.run_for(SECOND)?;
        let frame = [&(record as u32).to_be_bytes()[..], &vec![b'm'; record]].concat();
        assert!(peer.send(&frame.repeat(SENT / frame.len())));
        let network = simulation.network().clone();
        let began = network.elapsed();
        let report = simulation.shutdown(60 * SECOND, Finish::ReadOut)?;
        let took = network.elapsed() - began;
        assert_eq!((report.metrics.cut_off, report.metrics.dropped_for(DropReason::Undecoded)), (0, 0));
        let bytes = report.metrics.messages_in as usize * frame.len();
        assert!(bytes >= UNSENT, "{bytes} of {SENT}");
        let at_last = usual + ARRIVED + UNSENT;
        if is_slow {
            assert!(bytes < at_last && took > SECOND, "{bytes} in {took:?}")
        } else {
            assert!((SECOND..4 * SECOND).contains(&took), "{took:?}")
        }
    }
    Ok(())
}

/// Nor does who asks again behind each reply, though it comes from another thread and is waited for.
#[test]
fn who_asks_again_behind_each_deferred_reply_is_read_for_a_second() -> Result<(), Broken> {
    let mut config = Config::default();
    config.owed_max = 1;
    let linger = config.timeouts.linger;
    let work = SECOND / 50;
    let mut simulation = Simulation::new(1, config, LengthPrefixed::default(), |_, workers| {
        let workers = workers.clone();
        move |_: Message<'_, LengthPrefixed>, reply: Reply<'_, LengthPrefixed>| {
            let deferred = reply.defer();
            workers.after(work, move || deferred.send(b"done".to_vec()));
        }
    })
    .expect("the settings fit");
    let peer = simulation.connect(Weather::calm()).expect("there is room");
    let network = simulation.network().clone();
    for question in 1..1000 {
        let peer = peer.clone();
        network.after(SECOND / 2 + question * SECOND / 40, move || {
            peer.send(&[0, 0, 0, 1, b'?']);
        });
    }
    simulation.run_for(SECOND)?;
    let began = network.elapsed();
    let report = simulation.shutdown(GRACE, Finish::ReadOut)?;
    let took = network.elapsed() - began;
    assert!((SECOND..=SECOND + linger).contains(&took), "{took:?}");
    assert!((50..70).contains(&report.metrics.messages_out), "{}", report.metrics.messages_out);
    Ok(())
}

/// Is ready as long as it has places.
struct Gated(Arc<AtomicUsize>);

impl MessageProcessor<LengthPrefixed> for Gated {
    fn process(&mut self, _: Message<'_, LengthPrefixed>, reply: Reply<'_, LengthPrefixed>) {
        self.0.fetch_sub(1, SeqCst);
        reply.none();
    }

    fn ready(&mut self) -> bool {
        self.0.load(SeqCst) > 0
    }
}

/// A server whose user has no places before it shuts down, and some more each time that `every` has passed then; how
/// many messages it has read of `sent`, and how long its end took.
fn read_out_through_a_gate(sent: usize, places: usize, every: Duration) -> Result<(u64, Duration), Broken> {
    let open = Arc::new(AtomicUsize::new(0));
    let gated = Gated(Arc::clone(&open));
    let mut simulation =
        Simulation::new(1, Config::default(), LengthPrefixed::default(), |_, _| gated).expect("the settings fit");
    let weather = Weather { receive_buffer: 1040, delay_max: SECOND / 100, ..Weather::calm() };
    let peer = simulation.connect(weather).expect("there is room");
    let frame = [&100u32.to_be_bytes()[..], &[b'm'; 100]].concat();
    assert!(peer.send(&frame.repeat(sent)));
    simulation.run_for(SECOND)?;
    for time in 1..100 {
        let (open, proxy) = (Arc::clone(&open), simulation.proxy());
        simulation.network().after(every * time, move || {
            open.store(places, SeqCst);
            proxy.resume();
        });
    }
    let network = simulation.network().clone();
    let began = network.elapsed();
    let report = simulation.shutdown(GRACE, Finish::ReadOut)?;
    Ok((report.metrics.messages_in, network.elapsed() - began))
}

/// However long the user takes nothing: once, and again and again.
#[test]
fn what_waits_behind_a_gate_that_was_closed_is_read() -> Result<(), Broken> {
    for (places, every) in [(usize::MAX, 3 * SECOND), (15, SECOND / 2), (5, SECOND / 4), (10, 3 * SECOND / 2)] {
        let (read, took) = read_out_through_a_gate(MESSAGES, places, every)?;
        assert_eq!(read, MESSAGES as u64, "{places} every {every:?}");
        assert!(took < GRACE, "{took:?}");
    }
    Ok(())
}

/// Whoever goes on sending then is read as long as the user takes it, and no longer than the grace.
#[test]
fn the_grace_ends_who_goes_on_sending_through_a_gate() -> Result<(), Broken> {
    let (read, took) = read_out_through_a_gate(100 * MESSAGES, 5, SECOND / 4)?;
    assert!((MESSAGES as u64..100 * MESSAGES as u64).contains(&read), "{read}");
    assert!(took <= GRACE + SECOND / 10, "{took:?}");
    Ok(())
}
