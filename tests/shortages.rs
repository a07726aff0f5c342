//! What the log says when something has run out. Alone in its binary, and one test: the logger is the process's.

use std::mem;
use std::sync::Arc;
use std::time::Duration;

use log::{Level, LevelFilter, Log, Metadata, Record};
use parking_lot::Mutex;
use sluicegate::sim::{Broken, Reading, SimPeer, Simulation, Weather};
use sluicegate::{Config, Deferred, LengthPrefixed, Message, MessageProcessor, Reply, TierConfig};

const SECOND: Duration = Duration::from_secs(1);
const PEERS: usize = 30;

struct Collect(Mutex<Vec<String>>);

static WARNINGS: Collect = Collect(Mutex::new(Vec::new()));

impl Log for Collect {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= Level::Warn
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            self.0.lock().push(record.args().to_string());
        }
    }

    fn flush(&self) {}
}

/// What becomes of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Does {
    Answers,
    Keeps,
    Defers,
}

struct User {
    does: Does,
    kept: Vec<Message<'static, LengthPrefixed>>,
    promised: Arc<Mutex<Vec<Deferred<LengthPrefixed>>>>,
}

impl MessageProcessor<LengthPrefixed> for User {
    fn process(&mut self, message: Message<'_, LengthPrefixed>, reply: Reply<'_, LengthPrefixed>) {
        match self.does {
            Does::Answers => reply.send(&[b'y'; 1000]),
            Does::Keeps => {
                self.kept.push(message.into_owned());
                reply.none();
            }
            Does::Defers => self.promised.lock().push(reply.defer()),
        }
    }
}

fn frame(length: usize) -> Vec<u8> {
    [&(length as u32).to_be_bytes()[..], &vec![b'm'; length]].concat()
}

/// What was warned of, in as many seconds, while each peer sent `bytes` and took nothing.
fn warned(does: Does, seconds: u32, bytes: &[u8]) -> Result<Vec<String>, Broken> {
    let mut config = Config::default();
    let tiers = [(64, 4), (1024, 4), (8192, 2)].map(|(size, count)| TierConfig { size, count });
    (config.inbound, config.outbound, config.reply_max, config.scratch) = (tiers, tiers, 9000, 544);
    (config.owed_max, config.owed_total_max) = (8, 8);
    (config.timeouts.message, config.timeouts.idle) = (Duration::ZERO, Duration::ZERO);
    (config.timeouts.reply, config.timeouts.rate_grace) = (Duration::ZERO, Duration::ZERO);
    let promised = Arc::default();
    let user = User { does, kept: Vec::new(), promised: Arc::clone(&promised) };
    let mut simulation = Simulation::new(1, config, LengthPrefixed::new(8000), |_, _| user).expect("the settings fit");
    let narrow = Weather { send_buffer: 64, ..Weather::calm() };
    let peers: Vec<SimPeer> = (0..PEERS).map(|_| simulation.connect(narrow).expect("there is room")).collect();
    for peer in &peers {
        peer.set_reading(Reading::Stalled);
        peer.send(bytes);
    }
    simulation.run_for(SECOND * seconds)?;
    promised.lock().clear();
    Ok(mem::take(&mut *WARNINGS.0.lock()))
}

#[test]
fn each_shortage_names_what_ran_out_and_the_setting_once_in_ten_seconds() -> Result<(), Broken> {
    log::set_logger(&WARNINGS).expect("the only logger");
    log::set_max_level(LevelFilter::Warn);
    let half = &frame(4000)[..3000];
    for (does, bytes, words) in [
        (Does::Answers, half, ["all blocks of 8192 bytes", "inbound[2].count"]),
        (Does::Keeps, &frame(40), ["messages that are kept (into_owned)", "inbound[0].count"]),
        (Does::Answers, &frame(4), ["the memory for answers ran low", "watermarks.high"]),
        (Does::Defers, &frame(4), ["all 8 deferred replies", "owed_total_max"]),
    ] {
        for (seconds, most) in [(5, 1), (25, 3)] {
            let warned = warned(does, seconds, bytes)?;
            let about = warned.iter().filter(|line| words.iter().all(|word| line.contains(word))).count();
            assert!((1..=most).contains(&about), "{does:?}, {seconds} s, {words:?}: {warned:#?}");
        }
    }
    assert!(warned(Does::Answers, 5, b"")?.is_empty(), "nothing is short");
    Ok(())
}
