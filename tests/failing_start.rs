//! A start that panics leaves nothing behind. In a program of its own: a backtrace takes more memory than a ceiling
//! allows for that is measured beside it.

use std::net::TcpStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use sluicegate::{Decode, Message, Protocol, ProtocolError, Reply, Server};

/// Can be cloned so often.
#[derive(Debug)]
struct Fragile(Arc<AtomicUsize>);

impl Clone for Fragile {
    fn clone(&self) -> Self {
        let left = self.0.fetch_sub(1, SeqCst);
        assert!(left > 0, "planned: in clone");
        Self(Arc::clone(&self.0))
    }
}

impl Protocol for Fragile {
    type Layout = ();
    type Exchange = ();
    const IN_ORDER: bool = false;

    fn message_max(&self) -> usize {
        1
    }

    fn decode(&mut self, _: &mut [u8]) -> Result<Decode<()>, ProtocolError> {
        Ok(Decode::Complete { consumed: 1, layout: () })
    }

    fn exchange(_: &()) {}
}

#[test]
fn a_start_that_panics_leaves_neither_threads_nor_a_listener() {
    let fragile = Fragile(Arc::new(AtomicUsize::new(1)));
    let server = Server::builder(fragile).processors(3).bind("127.0.0.1:0").expect("a port");
    let address = server.local_addr();
    let held = Arc::new(());
    let user = |_| {
        let held = Arc::clone(&held);
        move |_: Message<'_, Fragile>, reply: Reply<'_, Fragile>| {
            let _ = &held;
            reply.none();
        }
    };
    let started = catch_unwind(AssertUnwindSafe(|| server.start_with(user)));
    assert!(started.is_err(), "the protocol could not be cloned");
    assert_eq!(Arc::strong_count(&held), 1, "no processor is left");
    TcpStream::connect(address).expect_err("nobody listens");
}
