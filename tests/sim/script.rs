//! What happens in one simulation, drawn from its seed.

use std::sync::Arc;
use std::time::Duration;

use sluicegate::sim::{Network, Random, Reading, SimListener, SimPeer, SimWorkers, Weather};
use sluicegate::{Config, HEADROOM, TierConfig, Timeouts, Turn, Watermarks, WriteProxy};

use super::record::{Expectations, Record};
use super::user::release;
use super::wire::{Answer, Payload, Wire};
use super::world::{ANSWER_HEAD, Act, REQUEST_HEAD, Request, Shared};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
/// Pieces of output that may run out even where blocks do not.
const FEW_SEGMENTS: usize = 40;
/// Time enough for everybody to read everything.
const LONG_LINGER: Duration = Duration::from_secs(100);
/// How long the crowd is at it.
pub const SHOW: Duration = Duration::from_secs(6);

/// The temper of one simulation.
#[derive(Debug, Clone, Copy)]
pub struct Temper {
    /// Timeouts are far away: whatever hangs, hangs for ever.
    pub patient: bool,
    /// Blocks are few.
    pub famine: bool,
    /// Nobody misbehaves. Otherwise some do.
    pub polite: bool,
    /// The network is calm.
    pub calm: bool,
    /// Most peers read slowly, if at all.
    pub slow: bool,
}

impl Temper {
    pub fn drawn(random: &mut Random) -> Self {
        Self {
            patient: random.chance(500),
            famine: random.chance(600),
            polite: random.chance(300),
            calm: random.chance(200),
            slow: random.chance(200),
        }
    }
}

pub fn config(random: &mut Random, temper: Temper) -> Config {
    let sizes = random.pick(&[[32, 300, 1500], [64, 500, 4000], [200, 201, 202]]);
    let mut tiers = |most: [usize; 3]| {
        let few = if random.chance(300) { [1; 3] } else { [4, 3, 2].map(|most| random.between(1, most)) };
        let counts = if temper.famine { few } else { most };
        [0, 1, 2].map(|tier| TierConfig { size: sizes[tier], count: counts[tier] })
    };
    let (inbound, outbound) = (tiers([64, 32, 32]), tiers([500, 300, 100]));
    let high = random.pick(&[600, 3000, 20_000]);
    let owed_max = random.pick(&[1, 2, 64]);
    let connections_max = random.between(2, 8);
    let mut config = Config::default();
    config.connections_max = connections_max;
    config.handover_max = random.between(1, connections_max);
    config.inbound = inbound;
    config.outbound = outbound;
    config.reply_max = 1024 + random.below(1024);
    config.scratch = random.pick(&[HEADROOM, 600, sizes[2] + HEADROOM]);
    config.turn = Turn { messages: random.pick(&[1, 2, 64]), bytes: random.pick(&[1, 100, 5000, 256 << 10]) };
    config.watermarks = Watermarks { high, low: high / random.between(2, 5) };
    config.timeouts = timeouts(random, temper);
    config.owed_max = owed_max;
    config.owed_total_max = owed_max * random.pick(&[1, 2, 10]);
    config.unasked_max = random.pick(&[1, 3, 100]);
    config.segments_max = random.pick(&[20, FEW_SEGMENTS, 1000]);
    if !temper.polite && random.chance(100) {
        config.admission.per_address_max = random.below(2);
        config.admission.refuse_above = random.below(connections_max);
        config.admission.retry_after = random.chance(500).then_some(SECOND);
    }
    config
}

fn timeouts(random: &mut Random, temper: Temper) -> Timeouts {
    let famine = random.pick(&[SECOND / 20, SECOND, 3 * SECOND]);
    if temper.patient {
        let off = random.pick(&[Duration::ZERO, HOUR]);
        let defaults = Timeouts { famine, ..Timeouts::default() };
        let limits = if random.chance(500) {
            Timeouts { linger: LONG_LINGER, linger_bytes: usize::MAX, ..defaults }
        } else {
            defaults
        };
        return Timeouts { idle: off, message: off, rate_grace: off, write_stall: off, reply: off, ..limits };
    }
    let [idle, message, write_stall, reply, linger] = [(); 5].map(|()| random.pick(&[SECOND / 5, SECOND, 5 * SECOND]));
    Timeouts {
        idle,
        message,
        message_rate: random.pick(&[0, 500]),
        rate_grace: random.pick(&[Duration::ZERO, SECOND / 3]),
        write_stall,
        reply,
        linger,
        linger_bytes: 1000,
        famine,
    }
}

/// Everything that the script needs to act later.
pub struct Director<P: Wire> {
    pub world: Shared<P>,
    pub network: Network,
    pub listener: SimListener,
    /// Of each processor.
    pub workers: Vec<SimWorkers>,
    pub proxy: WriteProxy<P>,
    pub protocol: P,
    pub temper: Temper,
    pub answer_max: usize,
    pub config: Config,
}

/// What a run has seen when somebody was asked to close.
pub const CLOSED_FROM_OUTSIDE: &str = "closed by another thread";

impl<P: Wire> Clone for Director<P> {
    fn clone(&self) -> Self {
        Self {
            world: Arc::clone(&self.world),
            network: self.network.clone(),
            listener: self.listener.clone(),
            workers: self.workers.clone(),
            proxy: self.proxy.clone(),
            protocol: self.protocol.clone(),
            config: self.config.clone(),
            ..*self
        }
    }
}

impl<P: Wire> Director<P> {
    /// Arranges all that will happen.
    pub fn arrange(&self, random: &mut Random) {
        for _ in 0..random.between(1, 9) {
            self.arrange_peer(random.duration(SHOW / 2), random.fork(), 20);
        }
        for _ in 0..random.below(12) {
            self.arrange_unasked(random.duration(SHOW), random.fork());
        }
        if random.chance(400) {
            for _ in 0..random.between(1, 4) {
                self.arrange_not_ready(random.duration(SHOW), random.duration(SECOND));
            }
        }
        if random.chance(200) {
            let (network, jump) = (self.network.clone(), random.duration(3 * SECOND));
            self.network.after(random.duration(SHOW), move || network.jump(jump));
        }
        if random.chance(200) {
            let (network, frozen) = (self.network.clone(), random.duration(10 * SECOND));
            self.network.after(random.duration(SHOW), move || network.freeze(frozen));
        }
        if random.chance(300) {
            for _ in 0..random.between(1, 9) {
                self.arrange_broadcast(random.duration(SHOW), random.fork());
            }
        }
        if random.chance(200) {
            self.arrange_close(random.duration(SHOW), random.fork());
        }
    }

    /// A peer comes, or tries again while there is no room.
    fn arrange_peer(&self, after: Duration, mut random: Random, tries: usize) {
        let director = self.clone();
        self.network.after(after, move || {
            let mut weather = if director.temper.calm { Weather::calm() } else { Weather::drawn(&mut random) };
            if !director.temper.calm && random.chance(30) {
                weather.selector_failures = 200;
            }
            if director.temper.slow {
                weather.send_buffer = random.pick(&[7, 64, 500]);
            }
            match director.listener.connect(weather) {
                Some(peer) => director.admit(peer, weather, random),
                None if tries > 0 => director.arrange_peer(random.duration(SECOND), random, tries - 1),
                None => {}
            }
        });
    }

    /// Peers that come when the server is about to be told to shut down.
    pub fn arrange_latecomers(&self, random: &mut Random) {
        for _ in 0..random.below(3) {
            if let Some(peer) = self.listener.connect(Weather::calm()) {
                self.admit(peer, Weather::calm(), random.fork());
            }
        }
    }

    fn admit(&self, peer: SimPeer, weather: Weather, mut random: Random) {
        let polite = self.temper.polite || random.chance(500);
        let (plan, mut stream) = self.plan(self.patience_for(weather), polite, &mut random);
        let mut malformed = false;
        if !polite && random.chance(200) {
            stream.extend(self.protocol.malformed(&mut random));
            // What is behind it arrives before the refusal or after it, and nobody reads it.
            stream.resize(stream.len() + random.pick(&[0, 100, 3000]), b'x');
            malformed = true;
        }
        let index = {
            let mut world = self.world.lock();
            let index = world.records.len();
            world.by_address.insert(peer.address(), index);
            let mut record = Record::new(peer.clone(), plan);
            (record.malformed, record.polite) = (malformed, polite);
            world.records.push(record);
            index
        };
        let mut at = Duration::ZERO;
        // Mostly all at once, so that requests lie behind each other; sometimes drop by drop.
        let piece = random.pick(&[usize::MAX, usize::MAX, 2000, 100, 30]);
        let end = if !polite && random.chance(200) { random.below(stream.len() + 1) } else { stream.len() };
        let mut pieces = stream[..end].chunks(piece.min(end.max(1)));
        // Mostly something has come before the server has accepted the connection.
        if random.chance(600)
            && let Some(bytes) = pieces.next()
            && peer.send_ahead(bytes)
        {
            self.world.lock().records[index].sent += bytes.len();
        }
        for bytes in pieces {
            at += random.duration(SHOW / 20);
            self.arrange_send(at, index, peer.clone(), bytes.to_vec());
        }
        self.arrange_manners(at, index, (peer, polite), &mut random);
    }

    /// How many bytes a peer may move in that weather, so that no simulation takes long.
    fn patience_for(&self, weather: Weather) -> usize {
        let smallest = [weather.piece_max, weather.send_buffer, weather.receive_buffer, self.config.turn.bytes];
        match smallest.into_iter().min().unwrap_or(1) {
            0..10 => 1500,
            10..200 => 6000,
            _ => 40_000,
        }
    }

    /// The requests of one peer, and their bytes.
    fn plan(&self, budget: usize, polite: bool, random: &mut Random) -> (Vec<Request>, Vec<u8>) {
        let index = self.world.lock().records.len();
        let longest = P::payload_max(self.protocol.message_max());
        let (mut plan, mut stream, mut moved) = (Vec::new(), Vec::new(), 0);
        for serial in 0..random.pick(&[0, 1, 2, 5, 30]) {
            let friendly = polite || random.chance(850);
            let act = if friendly { random.pick(&Act::FRIENDLY) } else { random.pick(&Act::ALL) };
            let length = random.pick(&[REQUEST_HEAD, 40, 300, longest / 2, longest]).min(longest);
            let most = self.answer_max;
            let answer = random.pick(&[ANSWER_HEAD, 50, most / 2, most]);
            let expects = random.chance(100);
            moved += length + answer;
            if moved > budget && serial > 0 {
                break;
            }
            let mut request = Request { act, length, answer, expects, end: 0 };
            stream.extend(P::frame(&request.payload(index, serial), random));
            request.end = stream.len();
            plan.push(request);
            if polite && act.is_final() {
                break;
            }
        }
        (plan, stream)
    }

    fn arrange_send(&self, at: Duration, index: usize, peer: SimPeer, bytes: Vec<u8>) {
        let world = Arc::clone(&self.world);
        self.network.after(at, move || {
            if peer.send(&bytes) {
                world.lock().records[index].sent += bytes.len();
            }
        });
    }

    /// How the peer behaves besides.
    fn arrange_manners(&self, sent_at: Duration, index: usize, (peer, polite): (SimPeer, bool), random: &mut Random) {
        if random.chance(if self.temper.slow { 900 } else { 300 }) {
            self.world.lock().records[index].slow = true;
            self.arrange_reading(random, &peer);
        }
        let until = sent_at + SECOND;
        let world = Arc::clone(&self.world);
        match random.below(if polite { 4 } else { 10 }) {
            0..3 => {}
            3..6 => self.network.after(random.duration(until), move || {
                peer.finish();
                world.lock().records[index].finished = true;
            }),
            6 => self.network.after(random.duration(until), move || {
                peer.hang_up();
                world.lock().records[index].rude = true;
            }),
            7 => self.network.after(random.duration(until), move || {
                peer.reset();
                world.lock().records[index].rude = true;
            }),
            8 => self.network.after(random.duration(until), move || {
                peer.time_out();
                world.lock().records[index].rude = true;
            }),
            _ => {}
        }
    }

    /// Reads slowly or not at all for a while.
    fn arrange_reading(&self, random: &mut Random, peer: &SimPeer) {
        let slow = Reading::Slow { bytes: random.pick(&[1, 50, 1000]), every: random.duration(SECOND / 10) };
        let reading = if random.chance(500) { Reading::Stalled } else { slow };
        let start = random.duration(SHOW / 4);
        let (stalling, willing) = (peer.clone(), peer.clone());
        let world = Arc::clone(&self.world);
        self.network.after(start, move || {
            if !world.lock().healed {
                stalling.set_reading(reading);
            }
        });
        if random.chance(700) {
            self.network.after(start + random.duration(SHOW / 2), move || willing.set_reading(Reading::Free));
        }
    }

    /// Writes to somebody who did not ask: mostly one who is there.
    fn arrange_unasked(&self, at: Duration, mut random: Random) {
        let director = self.clone();
        self.network.after(at, move || {
            let most = director.answer_max;
            let length = random.pick(&[ANSWER_HEAD, 100, most]);
            let chosen = director.world.lock().anybody(&mut random);
            let Some((index, connection)) = chosen else { return };
            let payload = director.world.lock().unasked(index, length);
            if P::send_unasked(&director.proxy, connection, Answer::copied(payload.clone())) {
                director.world.lock().note_unasked(index, payload);
            }
        });
    }

    /// Writes the same to many at once, some of whom may have gone.
    fn arrange_broadcast(&self, at: Duration, mut random: Random) {
        let director = self.clone();
        self.network.after(at, move || {
            let length = random.pick(&[ANSWER_HEAD, 100, director.answer_max]);
            let (receivers, text) = {
                let mut world = director.world.lock();
                let all =
                    world.records.iter().enumerate().filter_map(|(index, record)| Some((index, record.connection?)));
                let receivers: Vec<_> = all.filter(|_| random.chance(800)).collect();
                (receivers, world.announcement(length))
            };
            let payload =
                if random.chance(800) { Payload::Copied(text.clone()) } else { Payload::Shared(text.clone().into()) };
            let to: Vec<_> = receivers.iter().map(|(_, connection)| *connection).collect();
            let refused = P::broadcast(&director.proxy, &to, Answer { payload, last: false });
            let mut world = director.world.lock();
            for (index, _) in receivers.iter().filter(|(_, connection)| !refused.contains(connection)) {
                world.note_unasked(*index, text.clone());
            }
        });
    }

    /// Asks the server to close somebody: mostly one who is there. Mostly it is given a last message.
    fn arrange_close(&self, at: Duration, mut random: Random) {
        let director = self.clone();
        self.network.after(at, move || {
            let chosen = director.world.lock().anybody(&mut random);
            let Some((index, connection)) = chosen else { return };
            let payload = director.world.lock().unasked(index, ANSWER_HEAD);
            let last = Answer::copied(payload.clone());
            let taken = match random.below(4) {
                0 => P::send_unasked(&director.proxy, connection, last),
                1 | 2 => P::close_with(&director.proxy, connection, last),
                _ => false,
            };
            if taken {
                director.world.lock().note_unasked(index, payload);
            }
            let at_once = random.chance(200);
            if at_once {
                director.proxy.abort(connection);
            } else {
                director.proxy.close(connection);
            }
            let mut world = director.world.lock();
            world.records[index].asked_to_close = true;
            world.records[index].aborted |= at_once && world.records[index].closed.is_none();
            if world.records[index].closed.is_none() {
                world.seen.push(CLOSED_FROM_OUTSIDE);
            }
        });
    }

    fn arrange_not_ready(&self, at: Duration, lasts: Duration) {
        let (world, again, proxy) = (Arc::clone(&self.world), Arc::clone(&self.world), self.proxy.clone());
        self.network.after(at, move || world.lock().not_ready = true);
        self.network.after(at + lasts, move || {
            again.lock().not_ready = false;
            proxy.resume();
        });
    }

    /// What may be expected of the server in this simulation.
    pub fn expectations(&self, failures: u64) -> Expectations {
        let Temper { patient, famine, .. } = self.temper;
        let sound = patient && failures == 0;
        let memory = !famine && self.config.segments_max > FEW_SEGMENTS;
        Expectations { sound, memory, long_linger: self.config.timeouts.linger == LONG_LINGER }
    }

    /// Makes everything good again: everybody reads, nothing is held, the user is ready.
    pub fn heal(&self) {
        let (peers, held) = {
            let mut world = self.world.lock();
            (world.healed, world.not_ready) = (true, false);
            let peers: Vec<_> = world.records.iter().map(|record| record.peer.clone()).collect();
            (peers, world.held.iter().map(|(id, held)| (*id, held.processor())).collect::<Vec<_>>())
        };
        peers.iter().for_each(|peer| peer.set_reading(Reading::Free));
        for (held, processor) in held {
            let world = Arc::clone(&self.world);
            self.workers[processor].after(Duration::ZERO, move || release(&world, held));
        }
        self.proxy.resume();
    }
}
