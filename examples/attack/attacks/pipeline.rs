//! Pipelines: one whose answers are never read, and one without end.

use std::sync::Arc;

use crate::script::{Family, Script, Shared, Step};

/// Posts of 64 KiB, one behind the other, and nobody reads their echoes.
pub fn unread() -> Family {
    unread_posts("slow-reader", 64 << 10)
}

/// The same with 900 KiB: what is not read of an answer fills a large block.
pub fn unread_large() -> Family {
    unread_posts("slow-reader-large", 900 << 10)
}

fn unread_posts(name: &'static str, length: usize) -> Family {
    let mut post = format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n").into_bytes();
    post.resize(post.len() + length, b'r');
    let post = Shared::from(post);
    Family::new(name, 200, 400.0, move |_, _| {
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
