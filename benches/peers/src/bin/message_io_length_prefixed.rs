//! message-io over TCP. Its own framing has lengths of another form, so messages are cut out here.

use std::collections::HashMap;
use std::io;

use message_io::network::{NetEvent, Transport};
use message_io::node;

use sluicegate_bench_peers::start::{Args, announce};
use sluicegate_bench_peers::wire::Wire;

fn main() -> io::Result<()> {
    let args = Args::parse();
    rlimit::increase_nofile_limit(u64::MAX)?;
    let (handler, listener) = node::split::<()>();
    let (_, address) = handler.network().listen(Transport::Tcp, args.address)?;
    announce(address)?;
    // What is not whole, by peer.
    let mut rests: HashMap<_, Vec<u8>> = HashMap::new();
    let mut out = Vec::new();
    listener.for_each(move |event| match event.network() {
        NetEvent::Message(peer, bytes) => {
            out.clear();
            let rest = rests.entry(peer).or_default();
            if rest.is_empty() {
                let consumed = answer_all(bytes, &mut out);
                rest.extend_from_slice(&bytes[consumed..]);
            } else {
                rest.extend_from_slice(bytes);
                let consumed = answer_all(rest, &mut out);
                rest.drain(..consumed);
            }
            if !out.is_empty() {
                handler.network().send(peer, &out);
            }
        }
        NetEvent::Disconnected(peer) => drop(rests.remove(&peer)),
        NetEvent::Accepted(..) | NetEvent::Connected(..) => {}
    });
    Ok(())
}

/// Answers what is whole, large messages too, in one piece: message-io takes one slice. Returns how long that was.
fn answer_all(bytes: &[u8], out: &mut Vec<u8>) -> usize {
    let mut consumed = 0;
    loop {
        let rest = &bytes[consumed..];
        let answered = Wire::LengthPrefixed.answer(rest, out);
        out.extend_from_slice(&rest[answered.tail.clone()]);
        consumed += answered.consumed;
        if answered.tail.is_empty() {
            return consumed;
        }
    }
}
