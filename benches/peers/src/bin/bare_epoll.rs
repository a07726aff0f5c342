//! A bare loop on epoll, level-triggered: as little as one thread can do to answer right.

use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, RawFd};
use std::process::ExitCode;

use sluicegate_bench_peers::connection::{Connection, Scratch, Wants};
use sluicegate_bench_peers::start::Args;
use sluicegate_bench_peers::wire::Wire;

const EVENTS: usize = 1024;
const READ: u32 = libc::EPOLLIN as u32;
const WRITE: u32 = libc::EPOLLOUT as u32;

/// An epoll instance.
struct Epoll(RawFd);

impl Epoll {
    fn new() -> io::Result<Self> {
        // SAFETY: no memory is passed.
        checked(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) }).map(Self)
    }

    fn set(&self, operation: i32, descriptor: RawFd, interest: u32) -> io::Result<()> {
        let mut event = libc::epoll_event { events: interest, u64: descriptor as u64 };
        // SAFETY: the event lives until the call returns, and the kernel keeps a copy.
        checked(unsafe { libc::epoll_ctl(self.0, operation, descriptor, &mut event) }).map(drop)
    }

    fn wait<'a>(&self, events: &'a mut [libc::epoll_event]) -> io::Result<&'a [libc::epoll_event]> {
        // SAFETY: the kernel writes no more events than there are places.
        let waited = checked(unsafe { libc::epoll_wait(self.0, events.as_mut_ptr(), events.len() as i32, -1) });
        match waited {
            Ok(count) => Ok(&events[..count as usize]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(&[]),
            Err(error) => Err(error),
        }
    }
}

/// One system call for a socket that does not block; the standard library needs two.
fn accept(listener: &TcpListener) -> io::Result<TcpStream> {
    let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    let (address, length) = (std::ptr::null_mut(), std::ptr::null_mut());
    // SAFETY: without an address there is nothing to write to.
    let descriptor = checked(unsafe { libc::accept4(listener.as_raw_fd(), address, length, flags) })?;
    // SAFETY: it is open, and nobody else's.
    Ok(unsafe { TcpStream::from_raw_fd(descriptor) })
}

fn checked(result: i32) -> io::Result<i32> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn main() -> ExitCode {
    let args = Args::parse();
    match serve(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(args: &Args) -> io::Result<()> {
    let wire = if args.length_prefixed { Wire::LengthPrefixed } else { Wire::Http };
    let epoll = Epoll::new()?;
    let listener = args.listen()?;
    epoll.set(libc::EPOLL_CTL_ADD, listener.as_raw_fd(), READ)?;
    let mut events = vec![libc::epoll_event { events: 0, u64: 0 }; EVENTS];
    let mut scratch = Scratch::default();
    // By their descriptors.
    let mut connections: Vec<Option<Connection<TcpStream>>> = Vec::new();
    loop {
        for event in epoll.wait(&mut events)? {
            let (descriptor, happened) = (event.u64 as RawFd, event.events);
            if descriptor == listener.as_raw_fd() {
                while let Ok(socket) = accept(&listener) {
                    let descriptor = socket.as_raw_fd();
                    epoll.set(libc::EPOLL_CTL_ADD, descriptor, READ)?;
                    let place = descriptor as usize;
                    if place >= connections.len() {
                        connections.resize_with(place + 1, || None);
                    }
                    connections[place] = Some(Connection::new(socket));
                }
                continue;
            }
            let place = &mut connections[descriptor as usize];
            let Some(connection) = place else { continue };
            // Who waits to write is told of nothing else, but of the end.
            let waited = if happened & WRITE != 0 { Wants::Write } else { Wants::Read };
            let wants = connection.turn(&mut scratch, wire);
            match wants {
                Wants::Nothing => *place = None,
                Wants::Read if waited == Wants::Write => epoll.set(libc::EPOLL_CTL_MOD, descriptor, READ)?,
                Wants::Write if waited == Wants::Read => epoll.set(libc::EPOLL_CTL_MOD, descriptor, WRITE)?,
                _ => {}
            }
        }
    }
}
