//! Pipelines: one whose answers are never read, and one without end.

use std::sync::Arc;

use crate::script::{Family, Script, Shared, Step};

/// Posts of 64 KiB, one behind the other, and nobody reads their echoes.
pub fn unread() -> Family {
    let mut post = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 65536\r\n\r\n".to_vec();
    post.resize(post.len() + (64 << 10), b'r');
    let post = Shared::from(post);
    Family::new("slow-reader", 200, 400.0, move |_, _| {
        let post = Arc::clone(&post);
        Script::endless(false, move || Step::Send(Arc::clone(&post)))
    })
    .narrow()
}

/// GETs without end. It reads the answers, or it would hold up nobody but itself.
pub fn endless() -> Family {
    let gets = Shared::from("GET /plaintext HTTP/1.1\r\nHost: x\r\n\r\n".repeat(1000).into_bytes());
    Family::new("endless-pipeline", 1, 10.0, move |_, _| {
        let gets = Arc::clone(&gets);
        Script::endless(true, move || Step::Send(Arc::clone(&gets)))
    })
}
