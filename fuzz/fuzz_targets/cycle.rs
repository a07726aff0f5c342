//! The whole processor in a simulated world, with everything that happens in it written by the fuzzer: who connects, in
//! what weather, asks what, stalls, goes away, and when the user answers.
//!
//! The simulation checks the laws after every cycle and at the end (ledger, liveness, ends once, home). Here are
//! added: answers are asked-for, whole, and in order; and once the world is healed, each peer is served or has been
//! closed. A finding is replayed by its input: the weather of the network is drawn from a seed that is part of it.

#![no_main]

use std::time::Duration;

use arbitrary::{Arbitrary, Unstructured};
use libfuzzer_sys::fuzz_target;
use sluicegate::http1::Http1;
use sluicegate::sim::{Broken, Network, Random, Reading, Simulation, Weather};
use sluicegate::{Config, Finish, HEADROOM, LengthPrefixed, TierConfig, Timeouts, Turn, Watermarks};
use sluicegate_fuzz::crowd::Client;
use sluicegate_fuzz::user::Desk;
use sluicegate_fuzz::wire::{Act, Wire};

/// More events say nothing new, and take longer.
const EVENTS_MAX: usize = 100;

/// Long enough for everything that the server may take its time for.
const PATIENCE: Duration = Duration::from_secs(900);

/// What a world is like from the start.
#[derive(Debug, Arbitrary)]
struct World {
    seed: u8,
    http: bool,
    /// Blocks are few.
    famine: bool,
    /// Turns are short: a message or a few bytes.
    short_turns: bool,
    /// Little output stops input, and few replies may be owed.
    low_marks: bool,
    /// Timeouts are off: whatever hangs, hangs for ever.
    patient: bool,
    finish_read_out: bool,
    grace_ms: u8,
}

/// One thing that happens.
#[derive(Debug, Arbitrary)]
enum Event {
    Connect {
        weather: u8,
    },
    Peer {
        who: u8,
        does: Deed,
    },
    Release {
        which: u8,
        after_us: u8,
    },
    Unready,
    Ready,
    Pass {
        millis: u8,
    },
    PassLong {
        seconds: u8,
    },
    Jump {
        seconds: u8,
    },
    /// Another thread closes a connection.
    Close {
        which: u8,
    },
    /// Another thread writes the same to everybody.
    Announce {
        length: u8,
    },
}

/// What a peer does.
#[derive(Debug, Arbitrary)]
enum Deed {
    Ask { act: Act, length: u8, answer: u8, form: u8 },
    AskOften { act: Act, count: u8 },
    Babble { bytes: [u8; 4] },
    Finish,
    HangUp,
    Reset,
    Stall,
    ReadSlowly { bytes: u8 },
    ReadOn,
}

/// An input. `cargo fuzz fmt cycle ARTIFACT` prints it.
#[derive(Debug)]
struct Script {
    world: World,
    events: Vec<Event>,
}

impl<'a> Arbitrary<'a> for Script {
    fn arbitrary(input: &mut Unstructured<'a>) -> arbitrary::Result<Self> {
        let (world, mut events) = (World::arbitrary(input)?, Vec::new());
        while !input.is_empty() && events.len() < EVENTS_MAX {
            events.push(Event::arbitrary(input)?);
        }
        Ok(Self { world, events })
    }
}

fuzz_target!(|script: Script| {
    let Script { world, events } = &script;
    let played = if world.http { play::<Http1>(world, events) } else { play::<LengthPrefixed>(world, events) };
    if let Err(broken) = played {
        panic!("{broken}");
    }
});

fn play<P: Wire>(world: &World, events: &[Event]) -> Result<(), Broken> {
    let desk = Desk::<P>::default();
    let simulation = Simulation::new(u64::from(world.seed), config(world), P::small(), |_, _| desk.clone());
    let mut stage = Stage { simulation: simulation.expect("good settings"), desk, clients: Vec::new() };
    events.iter().try_for_each(|event| stage.happens(event))?;
    stage.heal()?;
    stage.end(world)
}

fn config(world: &World) -> Config {
    let pick = |condition: bool, small: usize, usual: usize| if condition { small } else { usual };
    let counts = if world.famine { [2, 1, 1] } else { [64, 32, 16] };
    let tiers = [(64, counts[0]), (500, counts[1]), (4000, counts[2])].map(|(size, count)| TierConfig { size, count });
    let mut config = Config::default();
    config.connections_max = 6;
    config.handover_max = 3;
    (config.inbound, config.outbound) = (tiers, tiers);
    config.reply_max = 2048;
    config.scratch = pick(world.short_turns, HEADROOM, 4000);
    config.turn = Turn { messages: pick(world.short_turns, 1, 64), bytes: pick(world.short_turns, 100, 5000) };
    config.watermarks = Watermarks { high: pick(world.low_marks, 300, 4000), low: 100 };
    config.owed_max = pick(world.low_marks, 1, 8);
    config.owed_total_max = pick(world.low_marks, 2, 100);
    config.segments_max = pick(world.low_marks, 20, 500);
    if world.patient {
        let off = Duration::ZERO;
        let timeouts = Timeouts::default();
        config.timeouts =
            Timeouts { idle: off, message: off, rate_grace: off, write_stall: off, reply: off, ..timeouts };
    }
    config
}

struct Stage<P: Wire> {
    simulation: Simulation<P, Desk<P>>,
    desk: Desk<P>,
    clients: Vec<Client>,
}

impl<P: Wire> Stage<P> {
    fn happens(&mut self, event: &Event) -> Result<(), Broken> {
        match *event {
            Event::Connect { weather } => {
                let mut random = Random::new(weather.into());
                let weather = match weather {
                    0 => Weather::calm(),
                    // Some of them have a selector that fails.
                    1..8 => Weather { selector_failures: 200, ..Weather::drawn(&mut random) },
                    _ => Weather::drawn(&mut random),
                };
                self.clients.extend(self.simulation.connect(weather).map(Client::new));
            }
            Event::Release { which, after_us } => {
                let desk = self.desk.clone();
                let release = move || _ = desk.release(which.into());
                self.network().after(Duration::from_micros(after_us.into()), release);
            }
            Event::Unready => self.desk.set_ready(false),
            Event::Ready => self.get_ready(),
            Event::Pass { millis } => self.simulation.run_for(Duration::from_millis(millis.into()))?,
            Event::PassLong { seconds } => self.simulation.run_for(Duration::from_secs((seconds % 128).into()))?,
            Event::Jump { seconds } => self.network().jump(Duration::from_secs(seconds.into())),
            Event::Close { which } => {
                self.desk
                    .opened(which.into())
                    .into_iter()
                    .for_each(|connection| self.simulation.proxy().close(connection));
            }
            Event::Announce { length } => P::announce(&self.simulation.proxy(), self.desk.all_opened(), square(length)),
            Event::Peer { who, ref does } => {
                let index = usize::from(who).checked_rem(self.clients.len());
                index.into_iter().for_each(|index| act::<P>(&mut self.clients[index], does));
            }
        }
        Ok(())
    }

    fn network(&self) -> &Network {
        self.simulation.network()
    }

    fn get_ready(&self) {
        self.desk.set_ready(true);
        self.simulation.proxy().resume();
    }

    /// Everybody reads, nothing is held, the user is ready: now each peer is served or closed in the end.
    fn heal(&mut self) -> Result<(), Broken> {
        self.get_ready();
        self.clients.iter().for_each(Client::heal);
        let Self { simulation, desk, clients } = self;
        let done = |_: &Simulation<P, Desk<P>>| {
            while desk.release(0) {}
            clients.iter_mut().all(Client::is_served::<P>)
        };
        let served = simulation.run_until(PATIENCE, done)?;
        assert!(served, "LAW liveness: a peer is not served in a healed world\n{}", simulation.describe());
        Ok(())
    }

    fn end(self, world: &World) -> Result<(), Broken> {
        let Self { simulation, desk, mut clients } = self;
        while desk.release(0) {}
        let finish = if world.finish_read_out { Finish::ReadOut } else { Finish::Answer };
        simulation.shutdown(Duration::from_millis(world.grace_ms.into()) * 16, finish)?;
        clients.iter_mut().for_each(Client::check::<P>);
        Ok(())
    }
}

/// Squares reach every tier and are still fine at the small end.
fn square(number: u8) -> usize {
    usize::from(number).pow(2) / 16
}

fn act<P: Wire>(client: &mut Client, deed: &Deed) {
    match *deed {
        Deed::Ask { act, length, answer, form } => client.ask::<P>(act, square(length), square(answer), form),
        Deed::AskOften { act, count } => (0..count % 32).for_each(|_| client.ask::<P>(act, 0, 30, 0)),
        Deed::Babble { bytes } => client.babble(&bytes),
        Deed::Finish => client.peer.finish(),
        Deed::HangUp => client.hang_up(),
        Deed::Reset => client.reset(),
        Deed::Stall => client.peer.stall(),
        Deed::ReadSlowly { bytes } => {
            let every = Duration::from_millis(10);
            client.peer.set_reading(Reading::Slow { bytes: usize::from(bytes) + 1, every });
        }
        Deed::ReadOn => client.heal(),
    }
}
