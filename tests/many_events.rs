//! More peers than one batch of events tells of: nobody among them is taken for idle.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::mpsc;
use std::time::Duration;

use parking_lot::Mutex;
use sluicegate::{CloseKind, Finish, LengthPrefixed, Message, Reply, Server};

/// More than a batch of events has (1024).
const PEERS: usize = 1200;

fn send(peer: &mut TcpStream, payload: &[u8]) {
    let length = (payload.len() as u32).to_be_bytes();
    peer.write_all(&[&length, payload].concat()).expect("sent");
}

fn answer(peer: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut length = [0; 4];
    peer.read_exact(&mut length)?;
    let mut payload = vec![0; u32::from_be_bytes(length) as usize];
    peer.read_exact(&mut payload)?;
    Ok(payload)
}

/// The processor is held until each of them has a request there, and the server is asked to go down.
#[test]
fn whoever_has_asked_before_the_end_is_answered() {
    rlimit::increase_nofile_limit(3 * PEERS as u64).expect("a limit may be raised to the hard one");
    let (tell, told) = mpsc::channel();
    let (let_go, go) = mpsc::channel::<()>();
    let gate = Mutex::new(go);
    let server = Server::bind("127.0.0.1:0", LengthPrefixed::default()).expect("a port");
    let echo = move |message: Message<'_, LengthPrefixed>, reply: Reply<'_, LengthPrefixed>| {
        if message.payload() == b"hold" {
            tell.send(()).expect("the test listens");
            gate.lock().recv().expect("the test lets go");
        }
        reply.send(message.payload());
    };
    let running = server.start(echo).expect("started");
    let connect = || TcpStream::connect(running.local_addr()).expect("connected");
    let mut holder = connect();
    let mut peers: Vec<_> = (0..PEERS).map(|_| connect()).collect();
    for peer in &mut peers {
        send(peer, b"hi");
        assert_eq!(answer(peer).expect("answered"), b"hi");
    }
    send(&mut holder, b"hold");
    told.recv().expect("it is held");
    peers.iter_mut().for_each(|peer| send(peer, b"before the end"));
    running.stopper().shutdown(Duration::from_secs(60), Finish::Answer);
    let_go.send(()).expect("it waits");
    let answered =
        peers.iter_mut().filter_map(|peer| answer(peer).ok()).filter(|said| said == b"before the end").count();
    assert_eq!(answered, PEERS);
    let metrics = running.shutdown(Duration::from_secs(60), Finish::Answer).expect("nothing failed");
    assert_eq!(metrics.closed_by(CloseKind::Socket), 0, "{:?}", metrics.closed);
}
