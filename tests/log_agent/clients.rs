//! Clients of the agent, as tests need them, and agents within this process.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::agent::disk::Disk;
use crate::agent::fsync::Fsync;
use crate::agent::plan::{Plan, WhenFull};
use crate::agent::run::Agent;
use crate::disks::Folder;
use crate::net::{LONG, connect};
use crate::record::Name;

/// What the command line means by its defaults, with small memory and without waiting for a disk.
pub fn plan(folder: &Folder) -> Plan {
    Plan {
        address: ("127.0.0.1".into(), 0),
        directory: folder.path().to_owned(),
        rotate_bytes: 64 << 10,
        rotate_age: None,
        cap: 64 << 10,
        records_high: 4096,
        records_low: 1024,
        bytes_high: 1 << 20,
        writers: 1,
        ack: false,
        fsync: Fsync::Never,
        disk_max: None,
        when_full: WhenFull::Pause,
        packer: None,
        json: false,
        idle: Duration::ZERO,
        connections_max: 4000,
        memory_max: None,
        grace: LONG,
        metrics: None,
    }
}

/// An agent that acknowledges.
pub fn acking(folder: &Folder) -> Plan {
    Plan { ack: true, fsync: Fsync::Batch, ..plan(folder) }
}

/// Starts an agent.
pub fn start(plan: &Plan) -> (Agent, SocketAddr) {
    let agent = Agent::start(plan, |_| Ok(())).expect("started");
    let address = agent.server().local_addr();
    (agent, address)
}

/// Starts an agent over another disk.
pub fn start_on(plan: &Plan, disk: impl Disk + 'static) -> (Agent, SocketAddr) {
    let agent = Agent::start_on(plan, Box::new(disk), |_| Ok(())).expect("started");
    let address = agent.server().local_addr();
    (agent, address)
}

/// Ends an agent as a signal does.
pub fn stop(agent: Agent) -> io::Result<()> {
    agent.ender().end();
    agent.join()
}

/// The bytes of records `from..to` of a thread, framed.
pub fn frames(run: u32, thread: u16, numbers: std::ops::Range<u64>, sizes: (u32, u32)) -> Vec<u8> {
    let mut bytes = Vec::new();
    for number in numbers {
        let name = Name { run, thread, number };
        let size = name.size(sizes);
        bytes.extend_from_slice(&(size as u32).to_be_bytes());
        name.write(size, &mut bytes);
    }
    bytes
}

/// Says that nothing more comes and waits until the agent has read everything.
pub fn finish(mut peer: TcpStream) -> Vec<u8> {
    peer.shutdown(Shutdown::Write).expect("connected");
    let mut said = Vec::new();
    peer.read_to_end(&mut said).expect("the end of the stream");
    said
}

/// The newest acknowledgement in what an agent has said.
pub fn newest(said: &[u8]) -> u64 {
    let numbers: Vec<u64> =
        said.chunks(8).map(|bytes| u64::from_be_bytes(bytes.try_into().expect("eight bytes"))).collect();
    assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
    numbers.last().copied().unwrap_or(0)
}

/// Sends as long as the connection lives, up to `most` records, and reads acknowledgements until it ends; `acked` gets
/// each. Returns how many records it has tried to send.
pub fn send_until_broken(
    address: SocketAddr,
    run: u32,
    thread: u16,
    sizes: (u32, u32),
    most: u64,
    acked: &std::sync::atomic::AtomicU64,
) -> u64 {
    // It may be gone before anybody has connected.
    let Ok(mut peer) = TcpStream::connect(address) else { return 0 };
    let mut reading = peer.try_clone().expect("cloned");
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut number = [0; 8];
            while reading.read_exact(&mut number).is_ok() {
                acked.store(u64::from_be_bytes(number), std::sync::atomic::Ordering::SeqCst);
            }
        });
        let mut number = 0;
        while number < most {
            if peer.write_all(&frames(run, thread, number..number + 20, sizes)).is_err() {
                break;
            }
            number += 20;
        }
        number
    })
}

/// Waits until something is so.
pub fn until(what: &str, mut come: impl FnMut() -> bool) {
    let began = Instant::now();
    while !come() {
        assert!(began.elapsed() < LONG, "it never came that {what}");
        std::thread::yield_now();
    }
}

/// Writes until the kernel takes nothing more and the agent `is_paused`; how much was taken, which may end in a record.
pub fn write_until_blocked(peer: &mut TcpStream, bytes: &[u8], mut is_paused: impl FnMut() -> bool) -> usize {
    peer.set_nonblocking(true).expect("set");
    let mut written = 0;
    until("the agent takes nothing more", || {
        // Asked first: what is full before the agent has stopped reading is not full for good.
        let paused = is_paused();
        while written < bytes.len() {
            match peer.write(&bytes[written..]) {
                Ok(count) => written += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return paused,
                Err(error) => panic!("{error}"),
            }
        }
        panic!("it was all taken");
    });
    peer.set_nonblocking(false).expect("set");
    written
}

/// The body of an answer.
pub fn http_get(address: SocketAddr, target: &str) -> String {
    let mut peer = connect(address);
    write!(peer, "GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("taken");
    let mut answer = String::new();
    peer.read_to_string(&mut answer).expect("text");
    answer.split_once("\r\n\r\n").expect("an answer").1.to_owned()
}
