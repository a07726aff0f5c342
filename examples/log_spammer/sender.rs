//! One connection: sends records, and reads how many of them are safe.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use crate::record::Name;
use crate::tally::Tally;

/// Bytes that are sent at once, when there is no pace to keep.
const BUFFER: usize = 64 << 10;
/// Between two sendings at a pace.
const TICK: Duration = Duration::from_millis(2);
/// Longer than the agent takes for anything but a full disk.
const SILENCE: Duration = Duration::from_secs(60);

/// What one thread sends.
#[derive(Debug, Clone)]
pub struct Orders {
    pub address: (String, u16),
    pub run: u32,
    pub thread: u16,
    pub sizes: (u32, u32),
    /// Records a second; `None` is as fast as possible.
    pub rate: Option<f64>,
    pub count: Option<u64>,
    pub until: Option<Instant>,
    pub ack: bool,
}

/// Sends until it is told to stop, then waits until the agent has read everything, or acknowledged it.
pub fn run(orders: &Orders, tally: &Tally, stop: &AtomicBool) -> io::Result<()> {
    let (host, port) = &orders.address;
    let stream = TcpStream::connect((host.as_str(), *port)).map_err(|error| {
        io::Error::new(
            error.kind(),
            format!("cannot connect to {host} port {port}: {error}; does log_agent run there?"),
        )
    })?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(SILENCE))?;
    let done = thread::scope(|scope| {
        let reader = scope.spawn(|| read_acks(&stream, orders, tally));
        let sent = send_all(&stream, orders, tally, stop);
        // The agent reads to this end, acknowledges what there is to be, and closes.
        let said = stream.shutdown(Shutdown::Write);
        let read = reader.join().unwrap_or_else(|_| Err(io::Error::other("the reader of acknowledgements panicked")));
        sent.and(read).and(said)
    });
    tally.ended.store(true, Relaxed);
    done
}

fn send_all(mut stream: &TcpStream, orders: &Orders, tally: &Tally, stop: &AtomicBool) -> io::Result<()> {
    let Orders { run, thread, sizes, rate, count, until, .. } = orders.clone();
    let began = Instant::now();
    let mut number = 0;
    let mut buffer = Vec::with_capacity(BUFFER + sizes.1 as usize + 8);
    while !stop.load(Relaxed) && count.is_none_or(|count| number < count) {
        let now = Instant::now();
        if until.is_some_and(|until| now >= until) {
            break;
        }
        let due = rate.map_or(u64::MAX, |rate| ((now - began).as_secs_f64() * rate) as u64 + 1);
        let first = number;
        buffer.clear();
        while number < due.min(count.unwrap_or(u64::MAX)) && buffer.len() < BUFFER {
            let name = Name { run, thread, number };
            let size = name.size(sizes);
            buffer.extend_from_slice(&(size as u32).to_be_bytes());
            name.write(size, &mut buffer);
            number += 1;
        }
        if number == first {
            thread::sleep(TICK);
            continue;
        }
        stream.write_all(&buffer)?;
        tally.blocked_micros.fetch_add(now.elapsed().as_micros() as u64, Relaxed);
        tally.sent.store(number, Relaxed);
        tally.bytes.fetch_add(buffer.len() as u64 - 4 * (number - first), Relaxed);
    }
    Ok(())
}

/// Reads until the agent closes.
fn read_acks(mut stream: &TcpStream, orders: &Orders, tally: &Tally) -> io::Result<()> {
    let mut bytes = [0; 4096];
    let mut have = 0;
    loop {
        match stream.read(&mut bytes[have..]) {
            Ok(0) if have == 0 => return Ok(()),
            Ok(0) => return Err(io::Error::other("the connection ended in the middle of an acknowledgement")),
            Ok(count) if orders.ack => {
                have += count;
                let whole = have / 8 * 8;
                // Only the newest number counts.
                if let Some(newest) = bytes[..whole].last_chunk::<8>() {
                    tally.acked.store(u64::from_be_bytes(*newest), Relaxed);
                }
                bytes.copy_within(whole..have, 0);
                have -= whole;
            }
            Ok(_) => return Err(io::Error::other("the agent acknowledges, and --ack was not given")),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                // Silence is only strange once everything was sent; while records flow, a disk may be full.
                let what = format!("nothing was heard from the agent for {SILENCE:?}");
                return Err(io::Error::new(io::ErrorKind::TimedOut, what));
            }
            Err(error) => return Err(error),
        }
    }
}
