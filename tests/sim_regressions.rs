//! What the simulation has found, each with the shortest story that shows it, named by the law it broke.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use sluicegate::sim::{Broken, Network, SimPeer, Simulation, Weather};
use sluicegate::{Config, Deferred, LengthPrefixed, Message, MessageProcessor, Reply};

const SECOND: Duration = Duration::from_secs(1);

type Promises = Arc<Mutex<Vec<Deferred<LengthPrefixed>>>>;

/// A simulation of `config` whose user is made of the network.
fn simulation<M: MessageProcessor<LengthPrefixed>>(
    config: Config,
    user: impl FnOnce(Network) -> M,
) -> Simulation<LengthPrefixed, M> {
    let protocol = LengthPrefixed::new(config.inbound[2].size);
    Simulation::new(1, config, protocol, user).expect("the settings hold together")
}

fn frame(payload: &[u8]) -> Vec<u8> {
    [&(payload.len() as u32).to_be_bytes(), payload].concat()
}

/// The payloads that a peer has received since the last call.
fn received(peer: &SimPeer) -> Vec<Vec<u8>> {
    let bytes = peer.take_received();
    let mut rest = bytes.as_slice();
    let mut payloads = Vec::new();
    while let Some(prefix) = rest.first_chunk::<4>() {
        let (payload, behind) = rest[4..].split_at(u32::from_be_bytes(*prefix) as usize);
        payloads.push(payload.to_vec());
        rest = behind;
    }
    payloads
}

/// Answers at once, except what begins with `later`.
fn patient_user(promises: &Promises) -> impl FnMut(Message<'_, LengthPrefixed>, Reply<'_, LengthPrefixed>) + Send {
    let promises = Arc::clone(promises);
    move |message: Message<'_, LengthPrefixed>, reply: Reply<'_, LengthPrefixed>| match message.payload() {
        b"later" => promises.lock().push(reply.defer()),
        payload => reply.send(payload),
    }
}

/// Several connections waited because too many replies were owed. Each settled reply resumed one; if that one deferred
/// nothing, the others waited for a reply that nobody owed any more.
#[test]
fn liveness_room_for_a_reply_goes_on_to_the_next_who_waits() -> Result<(), Broken> {
    let mut config = Config::default();
    (config.owed_max, config.owed_total_max) = (1, 1);
    let promises = Promises::default();
    let mut simulation = simulation(config, |_| patient_user(&promises));
    let peers: Vec<_> = (0..4).filter_map(|_| simulation.connect(Weather::calm())).collect();
    peers[0].send(&frame(b"later"));
    simulation.run_for(SECOND)?;
    peers[1..].iter().for_each(|peer| assert!(peer.send(&frame(b"now"))));
    simulation.run_for(SECOND)?;
    promises.lock().pop().expect("deferred").send(b"at last");
    simulation.run_for(SECOND)?;
    assert_eq!(received(&peers[0]), [b"at last"]);
    peers[1..].iter().for_each(|peer| assert_eq!(received(peer), [b"now"]));
    Ok(())
}
