//! Sockets that break: each connection ends for the reason that the operating system gives.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use sluicegate::sim::{Broken, SimPeer, Simulation, Weather};
use sluicegate::{CloseReason, Config, ConnectionId, Deferred, LengthPrefixed, Message, MessageProcessor, Reply};

const SECOND: Duration = Duration::from_secs(1);

fn frame(payload: &[u8]) -> Vec<u8> {
    [&(payload.len() as u32).to_be_bytes(), payload].concat()
}

/// Defers every reply, and is told why sockets have failed.
#[derive(Clone, Default)]
struct Told {
    promises: Arc<Mutex<Vec<Deferred<LengthPrefixed>>>>,
    ends: Arc<Mutex<Vec<ErrorKind>>>,
}

impl MessageProcessor<LengthPrefixed> for Told {
    fn process(&mut self, _: Message<'_, LengthPrefixed>, reply: Reply<'_, LengthPrefixed>) {
        self.promises.lock().push(reply.defer());
    }

    fn closed(&mut self, _: ConnectionId, reason: &CloseReason) {
        if let CloseReason::Socket(kind) = reason {
            self.ends.lock().push(*kind);
        }
    }
}

/// Whatever the selector had to say about a socket, its connection ended as reset; also those that the kernel had given
/// up.
#[test]
fn ends_once_a_broken_socket_is_the_end_for_its_own_reason_also_while_paused() -> Result<(), Broken> {
    let told = Told::default();
    let mut config = Config::default();
    config.owed_max = 1;
    let user = told.clone();
    let mut simulation = Simulation::new(1, config, LengthPrefixed::default(), |_, _| user).expect("the settings fit");
    // Between messages; paused for a reply, with more behind; and with its own end behind it.
    for (sent, finishes) in [(vec![], false), (frame(b"later").repeat(2), false), (frame(b"later"), true)] {
        let reset = if finishes { ErrorKind::BrokenPipe } else { ErrorKind::ConnectionReset };
        for (breaks, why) in [(SimPeer::reset as fn(&SimPeer), reset), (SimPeer::time_out, ErrorKind::TimedOut)] {
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
