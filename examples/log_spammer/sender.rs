//! One connection: sends records, and reads how many of them are safe.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::thread;
use std::time::{Duration, Instant};

use crate::pace::Pace;
use crate::record::Name;
use crate::tally::Tally;

/// Bytes that are sent at once, when there is no pace to keep.
const BUFFER: usize = 64 << 10;
/// Longer than the agent takes for anything but a full disk.
const SILENCE: Duration = Duration::from_secs(60);
/// How long the agent may take nothing, or say nothing, once the end has come: a signal, or the time that was given.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two looks at whether the end has come, while the agent takes nothing.
const LOOK: Duration = Duration::from_millis(100);

/// What one thread sends.
#[derive(Debug, Clone)]
pub struct Orders {
    pub address: (String, u16),
    pub run: u32,
    pub thread: u16,
    pub sizes: (u32, u32),
    /// `None` is as fast as possible.
    pub pace: Option<Pace>,
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
    stream.set_read_timeout(Some(LOOK))?;
    stream.set_write_timeout(Some(LOOK))?;
    let all_sent = AtomicBool::new(false);
    thread::scope(|scope| {
        let read = || {
            let read = read_acks(&stream, orders, tally, stop, &all_sent);
            if read.is_err() {
                // What is sent from here on is not acknowledged.
                let _ = stream.shutdown(Shutdown::Both);
            }
            read
        };
        let cannot = |error: io::Error| io::Error::new(error.kind(), format!("cannot start a thread: {error}"));
        let reader = thread::Builder::new().spawn_scoped(scope, read).map_err(cannot)?;
        let sent = send_all(&stream, orders, tally, stop);
        all_sent.store(true, Relaxed);
        let gave_up = sent.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::TimedOut);
        // The agent reads to this end, acknowledges what there is to be, and closes.
        let said = stream.shutdown(if gave_up { Shutdown::Both } else { Shutdown::Write });
        let read = reader.join().unwrap_or_else(|_| Err(io::Error::other("the reader of acknowledgements panicked")));
        if gave_up { sent } else { read.and(sent).and(said) }
    })?;
    let [sent, acked] = [&tally.sent, &tally.acked].map(|number| number.load(Relaxed));
    if orders.ack && acked < sent {
        let what = format!("the agent has closed, and {} of {sent} records are not acknowledged", sent - acked);
        return Err(io::Error::other(what));
    }
    Ok(())
}

fn send_all(stream: &TcpStream, orders: &Orders, tally: &Tally, stop: &AtomicBool) -> io::Result<()> {
    let Orders { run, thread, sizes, pace, count, until, .. } = orders.clone();
    let began = Instant::now();
    let mut number = 0;
    let mut buffer = Vec::with_capacity(BUFFER + sizes.1 as usize + 8);
    while !stop.load(Relaxed) && count.is_none_or(|count| number < count) {
        let now = Instant::now();
        if until.is_some_and(|until| now >= until) {
            break;
        }
        let due = pace.map_or(u64::MAX, |pace| pace.due(now - began));
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
            let pause = pace.map_or(Duration::ZERO, |pace| pace.pause(number, now - began));
            thread::sleep(until.map_or(pause, |until| pause.min(until - now)));
            continue;
        }
        tally.offered.store(number, Release);
        send(stream, &buffer, until, stop)?;
        tally.blocked_micros.fetch_add(now.elapsed().as_micros() as u64, Relaxed);
        tally.sent.store(number, Relaxed);
        tally.bytes.fetch_add(buffer.len() as u64 - 4 * (number - first), Relaxed);
    }
    Ok(())
}

/// Sends `bytes`, however long that takes; only once the end has come there is no more than patience for it.
fn send(mut stream: &TcpStream, mut bytes: &[u8], until: Option<Instant>, stop: &AtomicBool) -> io::Result<()> {
    let mut taken = Instant::now();
    while !bytes.is_empty() {
        match stream.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => {
                bytes = &bytes[count..];
                taken = Instant::now();
            }
            Err(error) if is_timeout(&error) => {
                let now = Instant::now();
                let is_over = stop.load(Relaxed) || until.is_some_and(|until| now >= until);
                if !is_over {
                    taken = now;
                } else if now - taken > PATIENCE {
                    let what = format!("given up: the agent has taken nothing for {PATIENCE:?}");
                    return Err(io::Error::new(io::ErrorKind::TimedOut, what));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// What a timeout of a socket is, here and there.
fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

/// Reads until the agent closes.
fn read_acks(
    mut stream: &TcpStream,
    orders: &Orders,
    tally: &Tally,
    stop: &AtomicBool,
    all_sent: &AtomicBool,
) -> io::Result<()> {
    let mut bytes = [0; 4096];
    let mut have = 0;
    let mut heard = Instant::now();
    loop {
        match stream.read(&mut bytes[have..]) {
            Ok(0) if have == 0 => return Ok(()),
            Ok(0) => return Err(io::Error::other("the connection ended in the middle of an acknowledgement")),
            Ok(count) if orders.ack => {
                heard = Instant::now();
                have += count;
                let whole = have / 8 * 8;
                // Only the newest number counts.
                if let Some(newest) = bytes[..whole].last_chunk::<8>() {
                    acknowledge(tally, u64::from_be_bytes(*newest))?;
                }
                bytes.copy_within(whole..have, 0);
                have -= whole;
            }
            Ok(_) => return Err(io::Error::other("the agent acknowledges, and --ack was not given")),
            Err(error) if is_timeout(&error) => {
                let now = Instant::now();
                let most = if stop.load(Relaxed) { PATIENCE } else { SILENCE };
                // Silence is only strange once everything was sent; while records flow, a disk may be full.
                if !all_sent.load(Relaxed) {
                    heard = now;
                } else if now - heard > most {
                    let what = format!("nothing was heard from the agent for {most:?}");
                    return Err(io::Error::new(io::ErrorKind::TimedOut, what));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Takes an acknowledgement of the first `newest` records.
fn acknowledge(tally: &Tally, newest: u64) -> io::Result<()> {
    let [offered, before] = [tally.offered.load(Acquire), tally.acked.load(Relaxed)];
    if newest > offered || newest < before {
        let what = format!("the agent acknowledges {newest} records, of {offered} that were sent, after {before}");
        return Err(io::Error::other(what));
    }
    tally.acked.store(newest, Relaxed);
    Ok(())
}
