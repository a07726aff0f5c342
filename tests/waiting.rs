//! Who waits in line is served before whoever comes later, message by message: with newcomers in every cycle, too.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use sluicegate::sim::{Broken, SimPeer, Simulation, Weather};
use sluicegate::{Config, Deferred, LengthPrefixed, Message, MessageProcessor, Reply, TierConfig, WriteProxy};

const SECOND: Duration = Duration::from_secs(1);
const WAITERS: usize = 10;
/// New ones in each round.
const NEWCOMERS: usize = 5;
const ROUNDS: usize = 100;

fn frame(payload: &[u8]) -> Vec<u8> {
    [&(payload.len() as u32).to_be_bytes(), payload].concat()
}

/// What the user makes of each message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Habit {
    /// Answers, and takes so many at a time.
    Places,
    /// Answers later.
    Defers,
    /// Keeps it.
    Keeps,
    /// Keeps it, and answers later.
    Works,
    /// Answers with much.
    TellsMuch,
}

#[derive(Default)]
struct State {
    /// Who was heard, in that order.
    heard: Vec<u8>,
    /// How many more messages the user is ready for.
    places: usize,
    promises: Vec<Deferred<LengthPrefixed>>,
    kept: Vec<Message<'static, LengthPrefixed>>,
}

struct User {
    habit: Habit,
    state: Arc<Mutex<State>>,
}

impl MessageProcessor<LengthPrefixed> for User {
    fn process(&mut self, message: Message<'_, LengthPrefixed>, reply: Reply<'_, LengthPrefixed>) {
        let mut state = self.state.lock();
        state.heard.push(message.payload()[0]);
        match self.habit {
            Habit::Places => {
                state.places -= 1;
                reply.send("here");
            }
            Habit::Defers => state.promises.push(reply.defer()),
            Habit::Keeps => {
                state.kept.push(message.into_owned());
                reply.none();
            }
            Habit::Works => {
                state.promises.push(reply.defer());
                state.kept.push(message.into_owned());
            }
            Habit::TellsMuch => reply.send(&[b'y'; 1400]),
        }
    }

    fn ready(&mut self) -> bool {
        self.habit != Habit::Places || self.state.lock().places > 0
    }
}

/// A server that is short of something, and those who wait for it.
struct Scarce {
    simulation: Simulation<LengthPrefixed, User>,
    state: Arc<Mutex<State>>,
    proxy: WriteProxy<LengthPrefixed>,
    waiters: Vec<SimPeer>,
    /// They have connected long before.
    newcomers: Vec<SimPeer>,
    weather: Weather,
}

impl Scarce {
    fn new(config: Config, habit: Habit, weather: Weather) -> Result<Self, Broken> {
        let state = Arc::<Mutex<State>>::default();
        let user = User { habit, state: Arc::clone(&state) };
        let simulation = Simulation::new(1, config, LengthPrefixed::new(1500), |_, _| user).expect("the settings fit");
        let proxy = simulation.proxy();
        let (waiters, newcomers) = (Vec::new(), Vec::new());
        let mut scarce = Self { simulation, state, proxy, waiters, newcomers, weather };
        for _ in 0..ROUNDS {
            let newcomers: Vec<_> = (0..NEWCOMERS).map(|_| scarce.connect()).collect();
            scarce.newcomers.extend(newcomers);
            scarce.simulation.run_for(SECOND / 1000)?;
        }
        Ok(scarce)
    }

    fn connect(&self) -> SimPeer {
        let peer = self.simulation.connect(self.weather).expect("there is room");
        peer.stall();
        peer
    }

    /// Uses up whatever is scarce.
    fn use_up(&mut self) -> Result<Vec<SimPeer>, Broken> {
        let mut hogs = Vec::new();
        loop {
            let (hog, before) = (self.connect(), self.state.lock().heard.len());
            hog.send(&frame(b"h"));
            self.simulation.run_for(SECOND / 1000)?;
            hogs.push(hog);
            if self.state.lock().heard.len() == before {
                return Ok(hogs);
            }
        }
    }

    /// One after the other comes to wait.
    fn line_up(&mut self, messages: usize) -> Result<(), Broken> {
        for number in 0..WAITERS as u8 {
            let waiter = self.connect();
            waiter.send(&frame(&[number]).repeat(messages));
            self.simulation.run_for(SECOND / 1000)?;
            self.waiters.push(waiter);
        }
        let mut state = self.state.lock();
        assert_eq!(state.heard.iter().filter(|who| **who < WAITERS as u8).count(), 0, "they wait");
        state.heard.clear();
        Ok(())
    }

    /// Newcomers send in each cycle, and `relieve` makes room for one message, until everybody was heard who waits.
    fn hear_all(&mut self, relieve: impl Fn(&Self), steps: usize) -> Result<Vec<u8>, Broken> {
        for round in 0..ROUNDS {
            let newcomers = &self.newcomers[round * NEWCOMERS..][..NEWCOMERS];
            newcomers.iter().for_each(|peer| assert!(peer.send(&frame(b"n"))));
            relieve(self);
            for _ in 0..steps {
                self.simulation.step()?;
            }
            let heard = self.state.lock().heard.clone();
            if (0..WAITERS as u8).all(|number| heard.contains(&number)) {
                return Ok(heard);
            }
        }
        panic!("somebody is never heard: {:?}", self.state.lock().heard);
    }
}

/// Each waiter was heard after those before it, once each, and after nobody else.
fn assert_in_order(heard: &[u8]) {
    let waiters: Vec<u8> = (0..WAITERS as u8).collect();
    let before: Vec<u8> = heard.iter().copied().filter(|who| *who != b'h').take(WAITERS).collect();
    assert_eq!(before, waiters, "{heard:?}");
}

fn config() -> Config {
    let mut config = Config::default();
    config.timeouts.idle = Duration::ZERO;
    config.timeouts.write_stall = Duration::ZERO;
    config.timeouts.message = Duration::ZERO;
    config.connections_max = 2 * ROUNDS * NEWCOMERS;
    config
}

fn calm() -> Weather {
    Weather { delay_max: Duration::ZERO, ..Weather::calm() }
}

#[test]
fn liveness_who_waits_for_the_user_is_heard_after_those_before_it() -> Result<(), Broken> {
    let mut scarce = Scarce::new(config(), Habit::Places, calm())?;
    scarce.line_up(1)?;
    let one_place = |scarce: &Scarce| {
        scarce.state.lock().places = 1;
        scarce.proxy.resume();
    };
    assert_in_order(&scarce.hear_all(one_place, 2)?);
    Ok(())
}

/// Those who wait have much to say, and the user has room for more than one message: each says one thing.
#[test]
fn liveness_who_is_heard_stands_behind_those_who_wait() -> Result<(), Broken> {
    let mut scarce = Scarce::new(config(), Habit::Places, calm())?;
    scarce.line_up(20)?;
    let three_places = |scarce: &Scarce| {
        scarce.state.lock().places = 3;
        scarce.proxy.resume();
    };
    assert_in_order(&scarce.hear_all(three_places, 2)?);
    Ok(())
}

#[test]
fn liveness_who_waits_for_a_ticket_is_heard_after_those_before_it() -> Result<(), Broken> {
    let mut config = config();
    (config.owed_max, config.owed_total_max) = (4, 4);
    let mut scarce = Scarce::new(config, Habit::Defers, calm())?;
    let _hogs = scarce.use_up()?;
    scarce.line_up(4)?;
    let one_reply = |scarce: &Scarce| {
        let promise = scarce.state.lock().promises.pop();
        promise.into_iter().for_each(|promise| promise.send("at last"));
    };
    assert_in_order(&scarce.hear_all(one_reply, 2)?);
    Ok(())
}

#[test]
fn liveness_who_waits_for_a_block_is_heard_after_those_before_it() -> Result<(), Broken> {
    let mut config = config();
    config.inbound = [(32, 8), (300, 1), (1500, 1)].map(|(size, count)| TierConfig { size, count });
    config.scratch = 544;
    config.timeouts.famine = 3600 * SECOND;
    let mut scarce = Scarce::new(config, Habit::Keeps, calm())?;
    let _hogs = scarce.use_up()?;
    scarce.line_up(1)?;
    let one_block = |scarce: &Scarce| {
        let kept = scarce.state.lock().kept.remove(0);
        drop(kept);
    };
    assert_in_order(&scarce.hear_all(one_block, 3)?);
    Ok(())
}

/// Some wait for a ticket and some for a block, and whoever has got the one may have to wait for the other. What comes
/// home is for those who came first, wherever they wait.
#[test]
fn liveness_who_waits_for_two_things_is_heard_after_those_before_it() -> Result<(), Broken> {
    let shortages = [(6, 6, 2), (8, 7, 2), (8, 8, 2), (3, 6, 3), (6, 7, 3), (8, 9, 3), (7, 10, 3), (6, 12, 1)];
    for (tickets, small, replies) in shortages {
        let mut config = config();
        (config.owed_max, config.owed_total_max) = (tickets, tickets);
        config.inbound = [(32, small), (300, 1), (1500, 1)].map(|(size, count)| TierConfig { size, count });
        config.scratch = 544;
        config.timeouts.famine = 3600 * SECOND;
        let mut scarce = Scarce::new(config, Habit::Works, calm())?;
        let _hogs = scarce.use_up()?;
        scarce.line_up(1)?;
        let relieve = |scarce: &Scarce| {
            let mut state = scarce.state.lock();
            let (owed, kept) = (state.promises.len(), state.kept.len());
            let promises: Vec<_> = state.promises.drain(..replies.min(owed)).collect();
            let kept: Vec<_> = state.kept.drain(..kept.min(2)).collect();
            drop(state);
            promises.into_iter().for_each(|promise| promise.send("at last"));
            drop(kept);
        };
        assert_in_order(&scarce.hear_all(relieve, 2)?);
    }
    Ok(())
}

/// All small blocks are held by connections that wait for the server, so that nobody gives one up; then the medium ones
/// are free. Whoever waits to be read needs no small one.
#[test]
fn liveness_who_waits_to_be_read_is_read_when_larger_blocks_come_home() -> Result<(), Broken> {
    let mut config = config();
    (config.owed_max, config.owed_total_max) = (1, 100);
    config.inbound = [(32, 6), (300, 3), (1500, 1)].map(|(size, count)| TierConfig { size, count });
    config.scratch = 544;
    let mut scarce = Scarce::new(config, Habit::Defers, calm())?;
    // One message is deferred, and another lies there meanwhile.
    let mut holders: Vec<SimPeer> = Vec::new();
    while scarce.simulation.metrics().block_waits == [0; 3] {
        let holder = scarce.connect();
        holder.send(&frame(b"h").repeat(2));
        scarce.simulation.run_for(SECOND / 100)?;
        holders.push(holder);
    }
    let waits = scarce.state.lock().heard.len();
    assert_eq!(waits + 1, holders.len(), "the last is not read");
    let last = holders.len() - 1;
    holders.drain(last - 2..last).for_each(|holder| holder.reset());
    scarce.simulation.run_for(60 * SECOND)?;
    assert_eq!(scarce.state.lock().heard.len(), waits + 1, "{:?}", scarce.simulation.metrics());
    Ok(())
}

#[test]
fn liveness_who_waits_for_room_for_an_answer_is_heard_after_those_before_it() -> Result<(), Broken> {
    let mut config = config();
    config.outbound = [(32, 1), (300, 1), (1500, 1)].map(|(size, count)| TierConfig { size, count });
    config.reply_max = 1500;
    let mut scarce = Scarce::new(config, Habit::TellsMuch, Weather { send_buffer: 1, ..calm() })?;
    let _hogs = scarce.use_up()?;
    scarce.line_up(1)?;
    // Output that stands still is given up: then there is room for one.
    assert_in_order(&scarce.hear_all(|scarce| scarce.simulation.network().jump(SECOND / 20), 1)?);
    Ok(())
}

/// Two who always have more to say have waited, and are heard again: by the turn, not by the message.
#[test]
fn liveness_once_all_who_waited_were_heard_turns_are_as_long_as_ever() -> Result<(), Broken> {
    const MESSAGES: usize = 64 * 20;
    let mut scarce = Scarce::new(config(), Habit::Places, calm())?;
    let talkers = [(); 2].map(|()| scarce.connect());
    talkers.iter().for_each(|talker| assert!(talker.send(&frame(b"t").repeat(MESSAGES))));
    scarce.simulation.run_for(SECOND)?;
    assert_eq!(scarce.state.lock().heard.len(), 0, "they wait");
    scarce.state.lock().places = 2 * MESSAGES;
    scarce.proxy.resume();
    let mut cycles = 0;
    while scarce.state.lock().heard.len() < 2 * MESSAGES {
        scarce.simulation.step()?;
        cycles += 1;
    }
    assert!(cycles <= MESSAGES / 64 + 5, "{cycles} cycles for {MESSAGES} messages of each");
    Ok(())
}

/// All small blocks hold halves of messages. Whoever only connects needs none of them, and neither takes one nor stands
/// in line; whoever says something does.
#[test]
fn liveness_a_newcomer_who_is_silent_takes_nobodys_block() -> Result<(), Broken> {
    let mut config = config();
    config.inbound = [(32, 4), (300, 4), (1500, 1)].map(|(size, count)| TierConfig { size, count });
    config.scratch = 544;
    let mut simulation = Simulation::new(1, config, LengthPrefixed::new(1500), |_, _| {
        |message: Message<'_, LengthPrefixed>, reply: Reply<'_, LengthPrefixed>| reply.send(message.payload())
    })
    .expect("the settings fit");
    let whole = frame(b"a message");
    let (mut halves, mut silent) = (Vec::new(), Vec::new());
    for _ in 0..4 {
        let half = simulation.connect(calm()).expect("there is room");
        half.send(&whole[..6]);
        simulation.run_for(SECOND / 100)?;
        halves.push(half);
    }
    for _ in 0..20 {
        silent.push(simulation.connect(calm()).expect("there is room"));
        simulation.run_for(SECOND / 100)?;
    }
    let metrics = simulation.metrics();
    assert_eq!((metrics.evictions, metrics.block_waits, metrics.open), ([0; 3], [0; 3], 24));
    silent[0].send(&whole);
    simulation.run_for(SECOND / 100)?;
    assert_eq!(silent[0].take_received(), whole, "it has spoken, and is heard");
    assert_eq!(simulation.metrics().evictions, [1, 0, 0]);
    halves.iter().for_each(|half| assert!(half.send(&whole[6..]) || half.end().is_some()));
    simulation.run_for(SECOND)?;
    let answered = halves.iter().filter(|half| half.take_received() == whole).count();
    assert_eq!(answered, 3, "all others are heard to the end");
    Ok(())
}
