//! How a connection ends whose client has asked for it (`Connection: close`): at once where nothing can be lost by it,
//! and otherwise as all others.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use sluicegate::http1::{Http1, Response};
use sluicegate::sim::{Broken, End, SimPeer, Simulation, Weather};
use sluicegate::{CloseKind, Config, Deferred, Message, MessageProcessor, Reply};

const SECOND: Duration = Duration::from_secs(1);
/// Much less than the linger lasts.
const SOON: Duration = Duration::from_millis(500);
const LAST: &str = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
/// A body that is not in the scratch, but in a block of the connection's own.
const LAST_POST: &str = "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 1000\r\n\r\n";

type Promises = Arc<Mutex<Vec<Deferred<Http1>>>>;

fn simulation<M: MessageProcessor<Http1>>(user: M) -> Simulation<Http1, M> {
    Simulation::new(1, Config::default(), Http1::default(), |_, _| user).expect("the settings hold together")
}

fn at_once(_: Message<'_, Http1>, reply: Reply<'_, Http1>) {
    reply.send(Response::ok("done"));
}

fn whole(peer: &SimPeer) -> bool {
    peer.take_received().ends_with(b"\r\n\r\ndone")
}

/// What a peer that sends all of `sent` sees soon after: is the answer whole, has the server forgotten the connection,
/// and how has it ended.
fn soon_after(sent: &[&str]) -> Result<(bool, bool, Option<End>), Broken> {
    let mut simulation = simulation(at_once);
    let peer = simulation.connect(Weather::calm()).expect("room");
    peer.send(sent.concat().as_bytes());
    simulation.run_for(SOON)?;
    Ok((whole(&peer), simulation.open() == 0, peer.end()))
}

#[test]
fn a_client_that_asks_for_it_is_closed_at_once() -> Result<(), Broken> {
    let closed = (true, true, Some(End::Finished));
    assert_eq!(soon_after(&[LAST])?, closed);
    assert_eq!(soon_after(&["GET / HTTP/1.0\r\n\r\n"])?, closed);
    assert_eq!(soon_after(&["GET / HTTP/1.1\r\nHost: a\r\n\r\n", LAST])?, closed, "a second request counts alike");
    assert_eq!(soon_after(&[LAST_POST, &"x".repeat(1000)])?, closed);
    Ok(())
}

#[test]
fn one_that_goes_on_talking_is_waited_for() -> Result<(), Broken> {
    let lingers = (true, false, Some(End::Finished));
    assert_eq!(soon_after(&[LAST, "G"])?, lingers);
    assert_eq!(soon_after(&[LAST, LAST])?, lingers);
    assert!(!soon_after(&["CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n"])?.1, "it has promised nothing");
    Ok(())
}

/// What is behind its last message came in one piece with the end of that, and lies in the connection's block: a block
/// is read into as far as it goes where nobody knows yet how long the message will be, or where the scratch could not
/// hold it.
#[test]
fn also_one_whose_next_words_were_read_with_its_last() -> Result<(), Broken> {
    const LARGE: usize = 100_000;
    let large = format!("POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {LARGE}\r\n\r\n");
    let (begun, rest) = LAST.split_at(30);
    for (begun, rest) in [(begun, format!("{rest}GET")), (large.as_str(), "x".repeat(LARGE) + "GET")] {
        let mut simulation = simulation(at_once);
        let peer = simulation.connect(Weather::calm()).expect("room");
        peer.send(begun.as_bytes());
        simulation.run_for(SECOND)?;
        peer.send(rest.as_bytes());
        simulation.run_for(SOON)?;
        assert_eq!((whole(&peer), simulation.open(), peer.end()), (true, 1, Some(End::Finished)), "{begun}");
        // A socket that is closed by now would answer this by a reset, which destroys what its peer has not read.
        peer.send(b" / HTTP/1.1\r\n\r\n");
        simulation.run_for(SOON)?;
        assert_eq!((simulation.open(), peer.end()), (1, Some(End::Finished)), "{begun}");
    }
    Ok(())
}

/// The bytes behind come in a piece of their own, so they wait in its socket.
#[test]
fn also_one_that_does_so_while_it_waits_for_its_answer() -> Result<(), Broken> {
    for (first, second) in [(LAST, "G"), (LAST_POST, "xyz")] {
        let promises = Promises::default();
        let kept = Arc::clone(&promises);
        let mut simulation =
            simulation(move |_: Message<'_, Http1>, reply: Reply<'_, Http1>| kept.lock().push(reply.defer()));
        let peer = simulation.connect(Weather::calm()).expect("room");
        peer.send(first.as_bytes());
        simulation.run_for(SECOND)?;
        peer.send("x".repeat(if first == LAST { 0 } else { 1000 }).as_bytes());
        peer.send(second.as_bytes());
        simulation.run_for(SECOND)?;
        promises.lock().pop().expect("the request is whole").send(Response::ok("done"));
        simulation.run_for(SOON)?;
        assert_eq!((whole(&peer), simulation.open(), peer.end()), (true, 1, Some(End::Finished)), "{first}");
    }
    Ok(())
}

/// What the user says is no promise of the client's.
#[test]
fn one_whom_the_server_sends_away_is_waited_for() -> Result<(), Broken> {
    let mut simulation = simulation(|_: Message<'_, Http1>, reply: Reply<'_, Http1>| {
        reply.send(Response::ok("done").close());
    });
    let peer = simulation.connect(Weather::calm()).expect("room");
    peer.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    simulation.run_for(SOON)?;
    assert_eq!((whole(&peer), simulation.open(), peer.end()), (true, 1, Some(End::Finished)));
    Ok(())
}

/// It is still told that its answer does not come.
#[test]
fn one_that_the_program_closes_is_told_if_its_answer_does_not_come() -> Result<(), Broken> {
    for (by_time, status) in [(false, "500"), (true, "503")] {
        let (promises, opened) = (Promises::default(), Arc::new(Mutex::new(None)));
        let (kept, seen) = (Arc::clone(&promises), Arc::clone(&opened));
        let mut simulation = simulation(move |message: Message<'_, Http1>, reply: Reply<'_, Http1>| {
            *seen.lock() = Some(message.peer().connection);
            kept.lock().push(reply.defer());
        });
        let peer = simulation.connect(Weather::calm()).expect("room");
        peer.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        simulation.run_for(SECOND)?;
        simulation.proxy().close(opened.lock().expect("it has asked"));
        simulation.run_for(SECOND)?;
        if by_time {
            simulation.run_for(100 * SECOND)?
        } else {
            promises.lock().clear()
        }
        simulation.run_for(5 * SECOND)?;
        let answer = String::from_utf8_lossy(&peer.take_received()).into_owned();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer:?}");
        assert_eq!((peer.end(), simulation.metrics().closed_by(CloseKind::User)), (Some(End::Finished), 1));
    }
    Ok(())
}
